"""Tests of linear hypotheses on the fixed effects: Wald statistics, and degrees of freedom given or by moments."""

from __future__ import annotations

from typing import Protocol

import numpy as np

DEPENDENT = 1e-10  # eigenvalue of the correlation of the hypotheses below which they say the same
CONTRADICTION = 1e-4  # of the largest z statistic: hypotheses that say the same differ by less than √DEPENDENT of it


class Tests(Protocol):
    """Tests of contrasts in the pilot basis by one method of the degrees of freedom."""

    covariance: np.ndarray  #: of the fixed effects, (p, p)
    notes: tuple[str, ...]  #: sentences on what the numbers do not show
    monte_carlo_error: float  #: relative standard error of the degrees of freedom where probes estimate them

    def degrees(self, rows: np.ndarray) -> np.ndarray:
        """Return the degrees of freedom of the contrasts, (r,); NaN for a row of zeros."""

    def joint(self, rows: np.ndarray, difference: np.ndarray) -> tuple[float, int, float]:
        """Return F, its rank and its denominator for Lβ - r = difference."""


class ConstantTests:
    """Tests with degrees of freedom that are the same for all contrasts.

    Contrasts are rows in the pilot basis.

    Parameters
    ----------
    covariance : ndarray (p, p)
        Of the fixed effects.
    df : float
    """

    notes: tuple[str, ...] = ()
    monte_carlo_error: float = 0.0

    def __init__(self, covariance: np.ndarray, df: float) -> None:
        self.covariance, self.df = covariance, float(df)

    def degrees(self, rows: np.ndarray) -> np.ndarray:
        """Return the degrees of freedom of the contrasts, (r,); NaN for a row of zeros."""
        return np.where(np.abs(rows).sum(axis=1) > 0, self.df, np.nan)

    def joint(self, rows: np.ndarray, difference: np.ndarray) -> tuple[float, int, float]:
        """Return F, its rank and its denominator for Lβ - r = difference."""
        statistic, rank = wald(rows, self.covariance, difference)
        return (statistic / rank, rank, self.df) if rank else (np.nan, 0, np.nan)


class MomentTests:
    """Tests whose degrees of freedom match the mean and variance of l'Ĉl to a multiple of chi-squared.

    Attributes
    ----------
    covariance : ndarray (p, p)
        Of the fixed effects.
    half : ndarray (p, p)
        half half' = C = σ²(X'V⁻¹X)⁻¹.
    gradients : ndarray (s, p, p)
        half⁻¹(∂C/∂φ)half⁻ᵀ for the s variance parameters φ, up to sign.
    spread : ndarray (s, s)
        Covariance of their estimates.
    """

    covariance: np.ndarray
    half: np.ndarray
    gradients: np.ndarray
    spread: np.ndarray
    notes: tuple[str, ...] = ()
    monte_carlo_error: float = 0.0

    def degrees(self, rows: np.ndarray) -> np.ndarray:
        """Return 2(l'Cl)²/var(l'Ĉl) of the contrasts, (r,), equation (D1); NaN for a row of zeros."""
        H = self.half.T @ rows.T
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = relative_gradients(self.gradients, H)
            return 2.0 / np.einsum("sr,sr->r", relative, self.spread @ relative)


def relative_gradients(gradients: np.ndarray, H: np.ndarray) -> np.ndarray:
    """Return h'K_sh/h'h for the gradients K_s (s, p, p) and the columns h of H (p, r), (s, r)."""
    return np.array([np.einsum("ar,ar->r", H, K @ H) for K in gradients]) / np.einsum("ar,ar->r", H, H)


def wald(rows: np.ndarray, covariance: np.ndarray, difference: np.ndarray) -> tuple[float, int]:
    """Return the Wald statistic d'(LCL')⁻d and the rank of LCL', whatever the units of the rows of L.

    Undefined hypotheses (NaN), and those whose covariance is not positive semidefinite, as Kenward and Roger's need not
    be, give NaN and rank 0. Those that no β can satisfy raise a ValueError.
    """
    V = rows @ covariance @ rows.T
    if not (np.isfinite(V).all() and np.isfinite(difference).all() and (np.diag(V) >= 0).all()):
        return np.nan, 0
    sd = np.sqrt(np.diag(V))
    empty = sd == 0
    if difference[empty].any():
        raise ValueError("A hypothesis has zero weights on all estimates and a value that is not zero: it cannot hold.")
    if empty.all():
        return np.nan, 0
    sd, difference = sd[~empty], difference[~empty]
    values, Q = np.linalg.eigh(V[np.ix_(~empty, ~empty)] / np.outer(sd, sd))
    if values[0] < -DEPENDENT * values[-1]:
        return np.nan, 0
    kept = values > DEPENDENT * values[-1]
    z = Q.T @ (difference / sd)
    if np.abs(z[~kept]).max(initial=0.0) > CONTRADICTION * np.abs(difference / sd).max():
        raise ValueError("The hypotheses contradict each other: rows of L that depend on each other have other values.")
    return float((z[kept] ** 2 / values[kept]).sum()), int(kept.sum())
