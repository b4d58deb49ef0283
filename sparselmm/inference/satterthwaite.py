"""Satterthwaite's degrees of freedom (Fai & Cornelius 1996; Kuznetsova, Brockhoff & Christensen 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..traces import Reduced
from .variance import information, pseudo_inverse, rounding, variance_ratios
from .wald import MomentTests, wald

if TYPE_CHECKING:
    from ..likelihood import Evaluation, ProfiledLikelihood

FLAT = 1e-7  # eigenvalue of the information, its diagonal one, below which a direction is not identified
EQUAL = 1e-8  # difference below which the components' degrees of freedom are one number
SADDLE = (
    "The information of the variance parameters is not positive definite: degrees of freedom leave out directions in "
    "which the deviance falls. Refit from another start."
)


class Satterthwaite(MomentTests):
    """Satterthwaite's tests on C = σ²(X'V⁻¹X)⁻¹, by the observed information of (θ, log σ²): equations (D1)-(D3)."""

    def __init__(self, likelihood: ProfiledLikelihood, at: Evaluation) -> None:
        everything = information(likelihood, at, np.zeros(at.theta.size, dtype=bool))
        ratios = variance_ratios(likelihood.cross, likelihood.map.unpack(at.theta))
        alone = likelihood.cross.nobs / likelihood.theta_scale**2 / (1.0 + ratios)  # order of it with no other columns
        self.spread, smallest = pseudo_inverse(everything, np.append(alone * rounding(ratios), 0.0) / FLAT, FLAT)
        if smallest < -FLAT:
            self.notes = (SADDLE,)
        reduced = Reduced(likelihood, at)
        self.half = np.sqrt(at.scale) * reduced.half
        self.covariance = self.half @ self.half.T
        in_scale = np.eye(len(self.half))[None]
        self.gradients = np.concatenate([reduced.fixed_gram(reduced.directions), in_scale])

    def joint(self, rows: np.ndarray, difference: np.ndarray) -> tuple[float, int, float]:
        """Return F, its rank and its denominator: that of the eigenvectors of LCL', pooled."""
        statistic, rank = wald(rows, self.covariance, difference)
        if not rank:
            return np.nan, 0, np.nan
        _, Q = np.linalg.eigh(rows @ self.covariance @ rows.T)
        return statistic / rank, rank, pooled(self.degrees(Q[:, -rank:].T @ rows))


def pooled(df: np.ndarray) -> float:
    """Return the denominator of an F whose components have the given degrees of freedom (Fai & Cornelius 1996)."""
    if np.isinf(df).all() or np.ptp(df) < EQUAL:
        return float(df.mean())
    if (df <= 2.0).any():
        return 2.0
    E = (1.0 / (1.0 - 2.0 / df)).sum()
    return 2.0 * E / (E - df.size)
