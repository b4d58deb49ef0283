"""Conditional AIC: equations (I9)-(I11) of docs/math/diagnostics.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..boundary import SINGULAR, column_scale
from ..inference.variance import inverse_information
from ..traces import Reduced

if TYPE_CHECKING:
    from ..likelihood import Evaluation, ProfiledLikelihood
    from ..results import LinearMixedModelResults


@dataclass(frozen=True)
class ConditionalAIC:
    """The conditional Akaike information criterion of a fit.

    Attributes
    ----------
    caic : float
        -2 llf + 2 df.
    llf : float
        Log-likelihood of the response given the random effects at their conditional modes.
    df : float
        Effective degrees of freedom: `leverage`, plus `correction`, plus one for σ².
    leverage : float
        Trace of ∂ŷ/∂y at the estimated θ (Hodges & Sargent 2001; Vaida & Blanchard 2005).
    correction : float
        What the trace gains as θ itself depends on y (Greven & Kneib 2010).
    """

    caic: float
    llf: float
    df: float
    leverage: float
    correction: float

    def __float__(self) -> float:
        return self.caic


def conditional_aic(fit: LinearMixedModelResults) -> ConditionalAIC:
    """Return the conditional AIC of a fit; see `DiagnosticMethods.caic`."""
    leverage, extra = float(np.sum(fit._conditional_leverage)), correction(fit)
    llf, df = conditional_llf(fit), leverage + extra + 1.0
    return ConditionalAIC(2.0 * (df - llf), llf, df, leverage, extra)


def conditional_llf(fit: LinearMixedModelResults) -> float:
    """Return the log-likelihood of y given b = b̂."""
    weights, residuals = fit.model.weights, fit.model.endog - fit.fittedvalues.to_numpy()
    squares = float(np.sum(residuals**2 if weights is None else weights * residuals**2))
    constant = fit.model.cross.log_weights - fit.nobs * np.log(2.0 * np.pi * fit.scale)
    return float(0.5 * (constant - squares / fit.scale))


def correction(fit: LinearMixedModelResults) -> float:
    """Return Σ_p (∂ŷ/∂θ_p)'∂θ̂_p/∂y: (I10), (I11)."""
    likelihood, at = fit.likelihood, fit.evaluation
    free = np.flatnonzero(moving(likelihood, at.theta))
    if not free.size:
        return 0.0
    hessian = likelihood.hessian(at, likelihood.derivatives(at))[np.ix_(free, free)]
    V = directions_of_response(likelihood, at)[:, free]
    reduced, engine, cross = Reduced(likelihood, at), likelihood.engine, likelihood.cross
    factors = reduced.factors
    beta = reduced.half @ (reduced.FR.T @ V)
    u = engine.solve(likelihood.map.tdot(factors, engine.gram_dot(V))) - at.U @ beta
    C = V - likelihood.map.dot(factors, u)  # ∂ŷ/∂θ_p = ZC_p - Xβ_p
    mixed = C.T @ (cross.ZX @ beta)
    gram = C.T @ engine.gram_dot(C) - mixed - mixed.T + beta.T @ cross.XX @ beta
    a = V.T @ at.w  # y'PV_pPy
    change = gram - np.outer(C.T @ at.w, a) / (at.scale * likelihood.n_effective)
    return float(2.0 / at.scale * np.sum(inverse_information(hessian) * change))


def directions_of_response(likelihood: ProfiledLikelihood, at: Evaluation) -> np.ndarray:
    """Return D_pZ'Py for every entry of θ, (q, m)."""
    V = np.zeros((likelihood.map.n_effects, likelihood.map.n_theta))
    for k, D in enumerate(Reduced(likelihood, at).directions):
        part, shape = likelihood.map.effect_slices[k], likelihood.map.shapes[k]
        w = at.w[part].reshape(shape.n_levels, shape.n_columns)
        V[part, likelihood.map.theta_slices[k]] = np.einsum("pab,jb->jap", D, w).reshape(shape.n_effects, -1)
    return V


def moving(likelihood: ProfiledLikelihood, theta: np.ndarray) -> np.ndarray:
    """Return which entries of θ move with y, (m,): not those of the columns of λ_k that are zero."""
    map_, entries = likelihood.map, []
    for k, (factor, shape) in enumerate(zip(map_.unpack(theta), map_.shapes, strict=True)):
        size = column_scale(map_, likelihood.theta_scale, k)
        norms = np.linalg.norm(factor / size[:, None], axis=0)
        entries.append(norms[shape.entries[1]] >= SINGULAR)
    return np.concatenate(entries)
