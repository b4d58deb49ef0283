"""Fixed effects with an L1 penalty, the covariance of the random effects given."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .results import MixedLMResults


def lasso(fit: MixedLMResults, alpha: np.ndarray, ceps: float, ptol: float, maxit: int) -> MixedLMResults:
    """Return the results of a fit with its fixed effects replaced by those under an L1 penalty.

    Cyclic coordinate descent (Friedman, Hastie & Tibshirani 2010) on r'V⁻¹r + Σ alpha_j|β_j|, V in natural units.

    Parameters
    ----------
    fit : MixedLMResults
        Without the penalty.
    alpha : ndarray (k_fe,)
    ceps : float
        Coefficients below it stay zero.
    ptol : float
        Largest change in the last cycle.
    maxit : int
    """
    likelihood, point = fit._point()
    gram = likelihood.exog_gram(point) / fit.scale
    best = np.array(fit.params_object.fe_params)
    gradient = likelihood.exog_residual(point) / fit.scale  # X'V⁻¹(y - Xβ) at the start
    target, beta = gradient + gram @ best, best.copy()
    for _ in range(maxit):
        before = beta.copy()
        for j in np.flatnonzero(np.abs(beta) >= ceps):
            partial = target[j] - gram[j] @ beta + gram[j, j] * beta[j]
            beta[j] = np.sign(partial) * max(abs(partial) - 0.5 * alpha[j], 0.0) / gram[j, j]
        if np.abs(before - beta).max(initial=0.0) < ptol:
            break
    return with_fixed_effects(fit, np.where(np.abs(beta) < ceps, 0.0, beta))


def with_fixed_effects(fit: MixedLMResults, beta: np.ndarray) -> MixedLMResults:
    """Return a copy of a fit with other fixed effects: zeros have no standard error."""
    result = copy(fit)
    for name in ("_joint_covariance", "_effects", "random_effects", "fittedvalues", "resid"):
        vars(result).pop(name, None)
    likelihood = fit.model.likelihood(fit.reml)
    point = likelihood.point(fit._factors, beta)
    result._beta, result.scale = beta, point.qf / likelihood.N
    result.params_object = fit.params_object.copy()
    result.params_object.fe_params, result.llf = beta, likelihood.value(point)
    result._undefined = fit._undefined.copy()
    result._undefined[: fit.k_fe] = beta == 0.0
    return result
