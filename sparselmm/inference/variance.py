"""Observed information of the variance parameters: arrays in θ and log σ², standard errors in natural units.

Every λ_k has as many natural parameters as entries of θ, so all arrays here have one element per entry of θ,
in its order, and a last one for σ².
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..boundary import SINGULAR, column_scale
from ..covariance import correlation, cov_re

if TYPE_CHECKING:
    from ..covariance import RelativeFactor
    from ..crossproducts import CrossProducts
    from ..likelihood import Evaluation, ProfiledLikelihood

ROUNDING = 1e-13  # relative error of the information, which large ratios of variances multiply
FEWEST, MOST = 1e-11, 1e-3  # its limits
SMALLEST_EIGENVALUE = 1e-7  # of the scaled information: below it the difference's rounding decides, not the data


def at_boundary(map_: RelativeFactor, theta: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return which entries of θ have no standard error, (m,): all of a singular λ_k, the zeros of a diagonal one.

    `size` (m,) is the natural size of θ, `ProfiledLikelihood.theta_scale`.
    """
    held = []
    for k, (factor, shape) in enumerate(zip(map_.unpack(theta), map_.shapes, strict=True)):
        scaled = factor / column_scale(map_, size, k)[:, None]
        if shape.structure == "diagonal":
            held.append(np.abs(np.diag(scaled)) < SINGULAR)
        else:
            smallest = np.linalg.svd(scaled, compute_uv=False)[-1]
            held.append(np.full(shape.entries[0].size, smallest < SINGULAR))
    return np.concatenate(held)


def information(likelihood: ProfiledLikelihood, at: Evaluation, held: np.ndarray) -> np.ndarray:
    """Return the observed information of (θ, log σ²), (m+1, m+1): half the Hessian of the deviance.

    The curvature in σ² that profiling removed is put back into the Hessian of the profiled deviance. Rows and
    columns of `held` entries are zero.

    Parameters
    ----------
    likelihood : ProfiledLikelihood
    at : Evaluation
        At the optimum.
    held : ndarray of bool (m,)
        Entries that do not move (see `at_boundary`).
    """
    m, free = at.theta.size, np.flatnonzero(~held)
    hessian = np.zeros((m + 1, m + 1))
    exact = likelihood.hessian(at, likelihood.derivatives(at))
    hessian[np.ix_(free, free)] = exact[np.ix_(free, free)]
    mixed = -_residual_gradient(likelihood.map, at)[free] / at.scale  # of the deviance in θ and log σ²
    hessian[free, m] = hessian[m, free] = mixed
    hessian[np.ix_(free, free)] += np.outer(mixed, mixed) / likelihood.n_effective
    hessian[m, m] = likelihood.n_effective
    return 0.25 * (hessian + hessian.T)


def _residual_gradient(map_: RelativeFactor, at: Evaluation) -> np.ndarray:
    """Return ∂r²/∂θ, (m,): -2 Σ_j w_j w_j' λ_k."""
    products = []
    for factor, shape, part in zip(map_.unpack(at.theta), map_.shapes, map_.effect_slices, strict=True):
        w = at.w[part].reshape(shape.n_levels, shape.n_columns)
        products.append(-2.0 * w.T @ (w @ factor))
    return map_.pack(products)


def covariances(map_: RelativeFactor, theta: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries of G_k = σ²λ_kλ_k' and σ², (m+1,), and their derivatives in (θ, log σ²), (m+1, m+1)."""
    m = map_.n_theta
    values, jacobian = np.empty(m + 1), np.zeros((m + 1, m + 1))
    for factor, shape, part in zip(map_.unpack(theta), map_.shapes, map_.theta_slices, strict=True):
        entries = shape.entries
        values[part] = cov_re(factor, scale)[entries]
        for p, (i, j) in enumerate(zip(*entries, strict=True), start=part.start):
            D = np.zeros_like(factor)
            D[i] = factor[:, j]
            jacobian[part, p] = scale * (D + D.T)[entries]
    values[m] = scale
    jacobian[:, m] = values
    return values, jacobian


def correlations(map_: RelativeFactor, theta: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return standard deviations, correlations and σ, (m+1,), and their derivatives in (θ, log σ²), (m+1, m+1).

    Undefined (NaN) where a variance is zero.
    """
    values, jacobian = covariances(map_, theta, scale)
    for factor, shape, part in zip(map_.unpack(theta), map_.shapes, map_.theta_slices, strict=True):
        rows, columns = shape.entries
        sd, corr = correlation(cov_re(factor, scale))
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = jacobian[part] / np.outer(sd[rows] * sd[columns], np.ones(jacobian.shape[1]))
            log_variance = relative[rows == columns]
            drift = 0.5 * corr[rows, columns, None] * (log_variance[rows] + log_variance[columns])
            on_diagonal = 0.5 * sd[rows, None] * relative
        values[part] = np.where(rows == columns, sd[rows], corr[rows, columns])
        jacobian[part] = np.where((rows == columns)[:, None], on_diagonal, relative - drift)
    values[-1] = np.sqrt(scale)
    jacobian[-1] = 0.5 * jacobian[-1] / values[-1]
    return values, jacobian


def standard_errors(likelihood: ProfiledLikelihood, at: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard errors of `covariances` and of `correlations`, (m+1,) each.

    Delta method on the inverse of the observed information; a singular λ_k is held where it is and has NaN, as have
    all if the information is not positive definite.

    Parameters
    ----------
    likelihood : ProfiledLikelihood
    at : Evaluation
        At the optimum.
    """
    held = at_boundary(likelihood.map, at.theta, likelihood.theta_scale)
    free = np.append(~held, True)
    covariance = inverse_information(information(likelihood, at, held)[np.ix_(free, free)])
    errors = []
    for parameters in (covariances, correlations):
        _, jacobian = parameters(likelihood.map, at.theta, at.scale)
        part = jacobian[np.ix_(free, free)]
        error = np.full(free.size, np.nan)
        error[free] = np.sqrt(np.einsum("ip,pq,iq->i", part, covariance, part))
        errors.append(error)
    return errors[0], errors[1]


def inverse_information(matrix: np.ndarray) -> np.ndarray:
    """Return the inverse of a positive-definite matrix whatever the units of its rows; NaN if it is not one."""
    diagonal = np.diag(matrix)
    if not (diagonal > 0).all():
        return np.full(matrix.shape, np.nan)
    units = np.outer(diagonal, diagonal) ** -0.5
    eigenvalues, Q = np.linalg.eigh(matrix * units)
    if eigenvalues[0] < SMALLEST_EIGENVALUE:
        return np.full(matrix.shape, np.nan)
    return Q / eigenvalues @ Q.T * units


def pseudo_inverse(matrix: np.ndarray, floor: np.ndarray, flat: float) -> tuple[np.ndarray, float]:
    """Return the inverse of an information matrix on the directions that are identified, and its smallest eigenvalue.

    Eigenvalues are those after every parameter got the unit in which its own information is one, or the unit of
    `floor` (m,) if that is larger; directions with an eigenvalue of at most `flat` are left out.
    """
    units = np.sqrt(np.maximum(np.diag(matrix), floor))
    eigenvalues, Q = np.linalg.eigh(matrix / np.outer(units, units))
    kept = eigenvalues > flat
    root = Q[:, kept] / np.sqrt(eigenvalues[kept]) / units[:, None]
    return root @ root.T, float(eigenvalues[0])


def variance_ratios(cross: CrossProducts, factors: Sequence[np.ndarray]) -> np.ndarray:
    """Return the variance of the level sums of the column of every entry of θ over that of its residuals, (m,)."""
    ratios = []
    for k, (factor, shape) in enumerate(zip(factors, cross.shapes, strict=True)):
        squares = cross.nobs / shape.n_levels * cross.column_scale(k) ** 2
        ratios.append((np.square(factor).sum(axis=1) * squares)[shape.entries[0]])
    return np.concatenate(ratios)


def rounding(ratios: np.ndarray) -> np.ndarray:
    """Return the share of the information on a parameter alone that is no more than rounding, (m,)."""
    return np.clip(ROUNDING * (1.0 + ratios), FEWEST, MOST)
