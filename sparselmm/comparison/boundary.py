"""P-values of likelihood ratios of variances that the smaller model holds at zero, the end of their range.

The tests' null distribution is a mixture of chi-squared distributions (Self & Liang 1987; Stram & Lee 1994): the
parameters that may have either sign give their degrees of freedom, and every variance adds one if its estimate
is positive. One variance is so half the time; for several, the information of the larger model decides how often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import lapack

from ..covariance import triangle
from .mixtures import cone_weights, mixture_tail
from .nesting import covariances_of

if TYPE_CHECKING:
    from ..covariance import RelativeFactor
    from ..likelihood import Evaluation, ProfiledLikelihood
    from ..results import LinearMixedModelResults
    from .nesting import Nesting

MOST_DENSE = 1_500  # random effects up to which the expected information is computed


def boundary_tail(statistic: float, df: int, nested: Nesting, large: LinearMixedModelResults) -> float:
    """Return the p-value of a likelihood ratio in the mixture of chi-squared distributions.

    Where an unstructured covariance gets two or more further columns, the cone of positive semidefinite matrices is
    replaced by the larger one of non-negative variances: the p-value is then an upper bound.

    Parameters
    ----------
    statistic : float
    df : int
        Parameters that the larger model has more, fixed effects included.
    nested : Nesting
    large : LinearMixedModelResults
    """
    r = nested.n_variances
    if r == 1:
        weights = np.array([0.5, 0.5])
    else:
        likelihood = large.likelihood
        C = nested.constraints(likelihood.map)
        at_null = information(likelihood, theta_of(likelihood.map, nested.gamma))
        units = np.sqrt(np.diag(at_null))
        C = C / units
        weights = cone_weights(C @ np.linalg.pinv(at_null / np.outer(units, units), 1e-10, hermitian=True) @ C.T)
    return mixture_tail(statistic, weights, df - r)


def theta_of(map_: RelativeFactor, gamma: np.ndarray) -> np.ndarray:
    """Return θ, (m,), of the relative covariances γ, singular ones included."""
    factors = []
    for G, shape in zip(covariances_of(map_, gamma), map_.shapes, strict=True):
        if shape.structure == "diagonal":
            factors.append(np.diag(np.sqrt(np.maximum(np.diag(G), 0.0))))
            continue
        values, vectors = np.linalg.eigh(G)
        factors.append(triangle((vectors * np.sqrt(np.maximum(values, 0.0))).T).T)
    return map_.canonical(map_.pack(factors))


def information(likelihood: ProfiledLikelihood, theta: np.ndarray) -> np.ndarray:
    """Return the expected information of γ at θ, σ² profiled out, (m, m): tr(QV_pQV_q)/2 - tr(QV_p)tr(QV_q)/2N.

    Q is P under REML and V⁻¹ under ML. With many random effects the average information takes its place.
    """
    at = likelihood.evaluate(theta)
    map_ = likelihood.map
    directions = _directions(map_)
    if map_.n_effects > MOST_DENSE:
        V = np.zeros((map_.n_effects, map_.n_theta))
        for p, (k, D) in enumerate(directions):
            part = map_.effect_slices[k]
            V[part, p] = (at.w[part].reshape(-1, len(D)) @ D).ravel()
        W = _project(likelihood, at, V)
        a = V.T @ at.w / at.scale
        return 0.5 * (V.T @ W / at.scale - np.outer(a, a) / likelihood.n_effective)
    ZQZ = _project(likelihood, at, np.eye(map_.n_effects), fixed=likelihood.reml)
    traces, moved = np.empty(map_.n_theta), []
    for p, (k, D) in enumerate(directions):
        part, c = map_.effect_slices[k], len(D)
        product = np.zeros_like(ZQZ)  # Z'QZ (I ⊗ D)
        product[:, part] = (ZQZ[:, part].reshape(len(ZQZ), -1, c) @ D).reshape(len(ZQZ), -1)
        traces[p] = np.trace(product)
        moved.append(product)
    pairs = np.array([[np.vdot(left, right.T) for right in moved] for left in moved])
    return 0.5 * (pairs - np.outer(traces, traces) / likelihood.n_effective)


def _directions(map_: RelativeFactor) -> list[tuple[int, np.ndarray]]:
    """Return (k, D) for every entry of γ: its term and the symmetric matrix of its derivative, (c_k, c_k)."""
    directions = []
    for k, shape in enumerate(map_.shapes):
        for i, j in zip(*shape.entries, strict=True):
            D = np.zeros((shape.n_columns, shape.n_columns))
            D[i, j] = D[j, i] = 1.0
            directions.append((k, D))
    return directions


def _project(likelihood: ProfiledLikelihood, at: Evaluation, V: np.ndarray, fixed: bool = True) -> np.ndarray:
    """Return Z'PZ V, (q, r), or Z'V⁻¹Z V if the fixed effects are not taken out."""
    engine, factors = likelihood.engine, likelihood.map.unpack(at.theta)
    likelihood.factorize(at.theta)
    SV = engine.gram_dot(V)
    solved = engine.solve(likelihood.map.tdot(factors, SV))
    W = SV - engine.gram_dot(likelihood.map.dot(factors, solved))
    if fixed and at.R.size:
        F = likelihood.cross.ZX - engine.gram_dot(likelihood.map.dot(factors, at.U))
        FR = lapack.dtrtrs(at.R, F.T, lower=0, trans=1)[0]
        W -= FR.T @ (FR @ V)
    return W
