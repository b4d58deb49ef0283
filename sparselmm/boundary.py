"""Covariances at the boundary, and directions of θ that the data do not identify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .covariance import triangle

if TYPE_CHECKING:
    from .covariance import RelativeFactor

SINGULAR = 1e-4  # lme4's isSingular: smallest relative standard deviation of a regular fit
FLAT = 1e-7  # eigenvalue of the Hessian, its diagonal scaled to one, below which a direction is not identified


@dataclass(frozen=True, eq=False)
class Boundary:
    """The direction of covariance at zero in which the deviance grows least.

    `value` is the derivative of the deviance in the variance along `direction` (scaled columns), NaN where every
    λ_k is regular; `size` is the magnitude below which it counts as zero.
    """

    value: float = np.nan
    term: int = -1
    direction: np.ndarray = field(default_factory=lambda: np.empty(0))
    scale: np.ndarray = field(default_factory=lambda: np.empty(0))
    size: float = np.nan

    @property
    def wants_to_grow(self) -> bool:
        """True if a variance at zero would lower the deviance."""
        return bool(self.value < -1e-6 * self.size)

    def grown(self, factor: np.ndarray, size: float) -> np.ndarray:
        """Return the Cholesky factor of λλ' plus a variance of size² along the direction."""
        columns = np.column_stack([factor, size * self.scale * self.direction])
        R = triangle(columns.T)
        return R.T * np.where(np.diag(R) < 0, -1.0, 1.0)


def find_boundary(
    map_: RelativeFactor, theta: np.ndarray, scale: np.ndarray, A: Sequence[np.ndarray], deviance_scale: Sequence[float]
) -> Boundary:
    """Return the Boundary at θ: the smallest eigenvalue of A_k on the null space of every singular λ_k."""
    lowest = Boundary()
    for k, (factor, shape) in enumerate(zip(map_.unpack(theta), map_.shapes, strict=True)):
        size = column_scale(map_, scale, k)
        scaled = factor / size[:, None]
        derivative = A[k] * np.outer(size, size)
        if shape.structure == "diagonal":
            null = np.eye(size.size)[:, np.abs(np.diag(scaled)) < SINGULAR]
            values, vectors = np.diag(derivative)[null.argmax(axis=0)], null
        else:
            left, singular_values, _ = np.linalg.svd(scaled)
            null = left[:, singular_values < SINGULAR]
            values, inner = np.linalg.eigh(null.T @ derivative @ null)
            vectors = null @ inner
        if values.size and not values.min() >= lowest.value:
            at = int(values.argmin())
            lowest = Boundary(float(values[at]), k, vectors[:, at], size, deviance_scale[k])
    return lowest


def column_scale(map_: RelativeFactor, scale: np.ndarray, k: int) -> np.ndarray:
    """Return the natural size of the rows of λ_k, (c_k,), from the scale of θ."""
    shape = map_.shapes[k]
    size = np.empty(shape.n_columns)
    size[shape.entries[0]] = scale[map_.theta_slices[k]]
    return size


def flat_terms(map_: RelativeFactor, theta: np.ndarray, hessian: np.ndarray, nobs: int) -> list[str]:
    """Return the names of the terms that share a direction in which the deviance does not change.

    A curvature is small if it is so beside the square of θ, or of the least standard deviation that n rows can show.

    Parameters
    ----------
    map_ : RelativeFactor
    theta, hessian : ndarray (m,), (m, m)
        In θ divided by its scale.
    nobs : int
    """
    levels = np.concatenate([np.full(s.entries[0].size, s.n_levels) for s in map_.shapes])
    least = 1e-2 * levels / np.maximum(theta**2, levels / nobs)
    units = np.sqrt(np.maximum(np.diag(hessian), least))
    eigenvalues, vectors = np.linalg.eigh(hessian / np.outer(units, units))
    flat = np.abs(vectors[:, eigenvalues < FLAT]).max(axis=1, initial=0.0) > 0.1
    return [shape.name for shape, part in zip(map_.shapes, map_.theta_slices, strict=True) if flat[part].any()]
