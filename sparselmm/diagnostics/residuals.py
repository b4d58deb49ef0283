"""Residuals and leverage of the rows; equations (I1)-(I4) of docs/math/diagnostics.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve_triangular

from ..covariance import cov_re
from ..inference.quadratic import ConditionalCovariance

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp

    from ..results import LinearMixedModelResults
    from ..terms import RandomTerm

RESIDUALS = ("conditional", "marginal", "pearson", "standardized", "studentized", "marginal-standardized")
LEVERAGES = ("conditional", "fixed", "random")
MOST_ROWS = 200_000  # rows up to which leverages take some seconds
ROUNDING = 1e-10  # one minus a leverage below which a row fits itself: no residual is left to standardise


def residuals(fit: LinearMixedModelResults, kind: str, scaled: bool) -> np.ndarray:
    """Return residuals of a kind, (n,); see `DiagnosticMethods.residuals`."""
    if kind not in RESIDUALS:
        raise ValueError(f"kind must be one of {', '.join(RESIDUALS)}, not {kind!r}.")
    if kind.startswith("marginal"):
        values = fit.model.endog - fit.predict(random=False).to_numpy()
    else:
        values = fit.model.endog - fit.fittedvalues.to_numpy()
    if kind == "marginal-standardized":
        return values / np.sqrt(fit.scale * marginal_variances(fit))
    if kind in ("conditional", "marginal"):
        return values / fit.sigma if scaled else values
    weighted = values if fit.model.weights is None else values * np.sqrt(fit.model.weights)
    if kind == "pearson":
        return weighted / fit.sigma if scaled else weighted
    left, N = _remainder(fit), fit.likelihood.n_effective
    standardized = weighted / (fit.sigma * np.sqrt(left))  # (I2)
    if kind == "standardized":
        return standardized
    return standardized * np.sqrt((N - 1.0) / np.maximum(N - standardized**2, 0.0))  # (I3)


def has_leverages(fit: LinearMixedModelResults) -> bool:
    """Return whether leverages are exact and take no more than seconds."""
    return fit.optimizer.monte_carlo is None and fit.nobs <= MOST_ROWS


def divided_residuals(fit: LinearMixedModelResults) -> pd.Series:
    """Return residuals (n,) over their own standard deviations; over those of the errors without `has_leverages`."""
    return fit.residuals("standardized") if has_leverages(fit) else fit.residuals("pearson", scaled=True)


def leverage(fit: LinearMixedModelResults, kind: str) -> np.ndarray:
    """Return leverages of a kind, (n,); see `DiagnosticMethods.leverage`."""
    if kind not in LEVERAGES:
        raise ValueError(f"kind must be one of {', '.join(LEVERAGES)}, not {kind!r}.")
    if kind == "conditional":
        return fit._conditional_leverage
    fixed = _times_weights(fit, np.einsum("ij,ij->i", _exog_root(fit), _covariance(fit).reduced(*_rows(fit))))
    return fixed if kind == "fixed" else fit._conditional_leverage - fixed


def conditional_leverage(fit: LinearMixedModelResults) -> np.ndarray:
    """Return the diagonal of ∂(Xβ̂ + Zb̂)/∂y at fixed θ, (n,): (I1)."""
    return _times_weights(fit, _covariance(fit).prediction_variances(*_rows(fit)))


def cooks_distance(fit: LinearMixedModelResults) -> np.ndarray:
    """Return Cook's distances of the fitted values, (n,): (I4)."""
    p, left = max(len(fit.model.exog_names), 1), _remainder(fit)
    return residuals(fit, "pearson", True) ** 2 * (1.0 - left) / (p * left**2)


def marginal_variances(fit: LinearMixedModelResults) -> np.ndarray:
    """Return the variances of y - Xβ̂ over σ², (n,): the diagonal of V - X(X'V⁻¹X)⁻¹X'; NaN where it is zero."""
    model, root = fit.model, _exog_root(fit)
    V = np.ones(model.nobs) if model.weights is None else 1.0 / model.weights
    factors = fit.likelihood.map.unpack(fit.evaluation.theta)
    for term, factor in zip(model.terms, factors, strict=True):
        V += row_variances(term, cov_re(factor))
    left = V - np.einsum("ij,ij->i", root, root)
    return np.where(left > ROUNDING * V, left, np.nan)


def row_variances(term: RandomTerm, G: np.ndarray) -> np.ndarray:
    """Return z_i'(I ⊗ G)z_i of the rows of one term, (n,)."""
    if term.matrix is not None:
        return G[0, 0] * term.matrix.multiply(term.matrix).sum(axis=1)
    return np.einsum("ia,ab,ib->i", term.values, G, term.values)


def _covariance(fit: LinearMixedModelResults) -> ConditionalCovariance:
    """Return K of the fit."""
    return ConditionalCovariance(fit.likelihood, fit.evaluation)


def _rows(fit: LinearMixedModelResults) -> tuple[np.ndarray, sp.csr_array]:
    """Return the rows of X and Z."""
    return fit.model.exog, fit.model.Z


def _exog_root(fit: LinearMixedModelResults) -> np.ndarray:
    """Return X(X'V⁻¹X)^(-1/2) in the pilot basis, (n, p)."""
    X = fit.model.exog @ fit.model.cross.basis
    return solve_triangular(fit.evaluation.R, X.T, trans=1).T if X.shape[1] else X


def _times_weights(fit: LinearMixedModelResults, values: np.ndarray) -> np.ndarray:
    """Return the values (n,) times the weights."""
    return values if fit.model.weights is None else values * fit.model.weights


def _remainder(fit: LinearMixedModelResults) -> np.ndarray:
    """Return one minus the conditional leverage, (n,); NaN where nothing remains."""
    left = 1.0 - fit._conditional_leverage
    return np.where(left > ROUNDING, left, np.nan)
