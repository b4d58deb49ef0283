"""Trust-region Newton for many responses at once: `sparselmm.descent` with a leading axis and masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..boundary import SINGULAR, column_scale
from ..descent import LIMIT, PATIENCE, ROUNDING
from ..optimize import TOLERANCE
from .batched import Points

if TYPE_CHECKING:
    from ..covariance import TermShape
    from .batched import BatchedLikelihood
    from .responses import Responses

EPSILON = np.finfo(float).eps


@dataclass(eq=False)
class Optima:
    """The points where the descents of k responses ended, and what is known of them.

    Attributes
    ----------
    points : Points
    certified : ndarray of bool (k,)
        True if no step promises a lower deviance and no variance at zero wants to grow.
    singular : ndarray of bool (k,)
    evaluations : ndarray of int (k,)
    """

    points: Points
    certified: np.ndarray
    singular: np.ndarray
    evaluations: np.ndarray

    @classmethod
    def unknown(cls, points: Points) -> Optima:
        """Return the Optima of descents that have not begun."""
        count = len(points.deviance)
        return cls(points, np.zeros(count, dtype=bool), np.zeros(count, dtype=bool), np.zeros(count, dtype=int))


def minimize_many(likelihood: BatchedLikelihood, responses: Responses, points: Points, scale: np.ndarray) -> Optima:
    """Return the Optima that trust-region Newton reaches from the given points, one for each response.

    What is not certified here (steps that crawl and need the exact Hessian, variances that want to leave zero) is left
    to `sparselmm.optimize.minimize`.

    Parameters
    ----------
    likelihood : BatchedLikelihood
    responses : Responses
    points : Points
        Where the descents start; overwritten.
    scale : ndarray (m,)
        Natural size of the entries of θ, as in `minimize`.
    """
    run = _Run(likelihood, responses, points, scale)
    run.descend(np.flatnonzero(np.isfinite(points.deviance)))
    singular = run.smallest_singular_values() < SINGULAR
    run.descend(run.snap(np.flatnonzero(singular)))
    singular = run.smallest_singular_values() < SINGULAR
    certified = np.isfinite(points.deviance) & ~run.crawls
    decrease = run.promised(np.flatnonzero(certified))[1]
    certified[certified] = run.negligible(certified, decrease) | (decrease < ROUNDING)
    boundary = np.flatnonzero(singular & certified)
    certified[boundary] = ~run.wants_to_grow(boundary)
    return Optima(points, certified, singular, run.evaluations)


class _Run:
    """The descents of k responses; θ is measured in `scale`."""

    def __init__(self, likelihood: BatchedLikelihood, responses: Responses, points: Points, scale: np.ndarray) -> None:
        self.likelihood, self.responses, self.points, self.scale = likelihood, responses, points, scale
        self.sizes = [column_scale(likelihood.map, scale, k) for k in range(len(likelihood.map.shapes))]
        count = len(responses)
        self.evaluations, self.crawls = np.ones(count, dtype=int), np.zeros(count, dtype=bool)

    def promised(self, index: np.ndarray, radius: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the steps (r, m) of the responses at `index` in scaled θ, and the decrease that each promises."""
        gradient = self.points.gradient[index] * self.scale
        hessian = self.points.hessian[index] * np.outer(self.scale, self.scale)
        steps = trust_region_steps(gradient, hessian, np.ones(len(gradient)) if radius is None else radius)
        return steps, -np.einsum("kp,kp->k", gradient + 0.5 * np.einsum("kpq,kq->kp", hessian, steps), steps)

    def negligible(self, index: np.ndarray, decrease: np.ndarray) -> np.ndarray:
        """Return whether a decrease is below the tolerance or the rounding of the deviance, (r,)."""
        return decrease < np.maximum(TOLERANCE, 4.0 * EPSILON * np.abs(self.points.deviance[index]))

    def descend(self, index: np.ndarray) -> None:
        """Move the responses at `index` to stationary points; those that crawl are left where they are."""
        points, radius = self.points, np.ones(len(self.responses))
        while index.size:
            steps, predicted = self.promised(index, radius[index])
            going = ~(self.negligible(index, predicted) | (radius[index] < 1e-12))
            index, steps, predicted = index[going], steps[going], predicted[going]
            if not index.size:
                return
            trial = self.likelihood.evaluate(points.theta[index] + self.scale * steps, self.responses.take(index))
            self.evaluations[index] += 1
            before, length = points.deviance[index], np.linalg.norm(steps, axis=1)
            gain = np.where(np.isfinite(trial.deviance), (before - trial.deviance) / predicted, -1.0)
            wide = (gain > 0.75) & (length > 0.9 * radius[index])
            radius[index] = np.where(gain < 0.25, 0.25 * length, np.where(wide, 2.0, 1.0) * radius[index])
            accepted = trial.deviance <= before + 1e-13 * np.abs(before)
            points.put(index[accepted], trial.take(accepted))
            slow = self.evaluations[index] >= np.where(gain > 1.5, PATIENCE, LIMIT)
            self.crawls[index] |= slow & accepted
            index = index[np.where(accepted, ~slow, predicted >= ROUNDING)]

    def smallest_singular_values(self) -> np.ndarray:
        """Return the smallest scaled singular value of the λ_k, (k,)."""
        smallest = np.full(len(self.responses), np.inf)
        for values, _ in self._spectra(slice(None)):
            smallest = np.minimum(smallest, values.min(axis=1))
        return smallest

    def _spectra(self, index: np.ndarray | slice) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return singular values (r, c) and left singular vectors (r, c, c) of every scaled λ_k."""
        spectra = []
        for shape, size, factor in self._factors(index):
            if shape.structure == "diagonal" or shape.n_columns == 1:
                values = np.abs(np.einsum("kii->ki", factor)) / size
                spectra.append((values, np.broadcast_to(np.eye(size.size), factor.shape)))
            else:
                left, values, _ = np.linalg.svd(np.nan_to_num(factor / size[:, None]))
                spectra.append((values, left))
        return spectra

    def _factors(self, index: np.ndarray | slice) -> Iterator[tuple[TermShape, np.ndarray, np.ndarray]]:
        """Return shape, scale of the rows (c,) and λ (r, c, c) of every term."""
        factors = self.likelihood.unpack(self.points.theta[index])
        return zip(self.likelihood.map.shapes, self.sizes, factors, strict=True)

    def snap(self, index: np.ndarray) -> np.ndarray:
        """Set directions of the λ_k that are all but zero to zero where that is free; return where it was done."""
        if not index.size:
            return index
        factors = []
        for (shape, size, factor), (values, left) in zip(self._factors(index), self._spectra(index), strict=True):
            small = values < SINGULAR
            if shape.structure == "diagonal" or shape.n_columns == 1:
                factors.append(factor * ~small[:, None, :])
                continue
            rows = (left * np.where(small, 0.0, values)[:, None]).transpose(0, 2, 1)
            triangle: np.ndarray = np.linalg.qr(rows, mode="r")  # type: ignore[assignment]  # this mode returns R alone
            changed = np.any(small & (values > 0), axis=1)
            factors.append(np.where(changed[:, None, None], triangle.transpose(0, 2, 1) * size[:, None], factor))
        theta = self.likelihood.canonical(self.likelihood.pack(factors))
        moved = (theta != self.likelihood.canonical(self.points.theta[index])).any(axis=1)
        index, theta = index[moved], theta[moved]
        if not index.size:
            return index
        trial = self.likelihood.evaluate(theta, self.responses.take(index))
        self.evaluations[index] += 1
        free = trial.deviance - self.points.deviance[index] < TOLERANCE
        self.points.put(index[free], trial.take(free))
        return index[free]

    def wants_to_grow(self, index: np.ndarray) -> np.ndarray:
        """Return whether the deviance falls in a variance at zero, (r,): A_k on the null space of λ_k."""
        grows = np.zeros(index.size, dtype=bool)
        for k, (values, left) in enumerate(self._spectra(index)):
            null, shape = values < SINGULAR, self.likelihood.map.shapes[k]
            A = self.points.A[k][index] * np.outer(self.sizes[k], self.sizes[k])
            inner = left.transpose(0, 2, 1) @ A @ left
            if shape.structure == "diagonal":
                inner = inner * np.eye(shape.n_columns)
            inner = np.where(null[:, :, None] & null[:, None, :], inner, 0.0)  # zero off the null space: no decrease
            grows |= np.linalg.eigvalsh(inner)[:, 0] < -1e-6 * shape.n_levels
        return grows


def trust_region_steps(gradient: np.ndarray, hessian: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return the minimisers of g's + s'Hs/2 within |s| <= radius for stacks (k, m), (k, m, m), (k,).

    `sparselmm.descent.trust_region_step` for many problems at once, hard case included (Moré & Sorensen 1983).
    """
    eigenvalues, Q = np.linalg.eigh(hessian)
    g = np.einsum("kpq,kp->kq", Q, gradient)
    largest = np.abs(eigenvalues).max(axis=1)
    lowest = eigenvalues[:, 0]
    shift = np.maximum(0.0, -lowest)
    shifted = eigenvalues + shift[:, None]
    near = shifted <= 1e-10 * largest[:, None]  # directions in which the shifted Hessian is singular
    size = np.linalg.norm(np.where(near, g, 0.0), axis=1)
    easy = size <= 1e-12 * np.maximum(np.linalg.norm(g, axis=1), largest * radius)
    newton = np.where(near, 0.0, -g / np.where(near, 1.0, shifted))
    length = np.linalg.norm(newton, axis=1)
    inside = easy & (length <= radius)
    hard = inside & (lowest < -1e-10 * largest)  # go on where the curvature is most negative
    rest = np.sqrt(np.maximum(radius**2 - length**2, 0.0)) * np.where(g[:, 0] <= 0, 1.0, -1.0)
    newton[:, 0] = np.where(hard, rest, newton[:, 0])

    g = np.where((easy[:, None] & near) | inside[:, None], 0.0, g)
    mu, zero = shift + size / radius, g == 0.0
    for _ in range(50):  # Newton on 1/|s(mu)| = 1/radius, monotone from the left, where |s| >= radius
        s = np.where(zero, 0.0, -g / np.where(zero, 1.0, eigenvalues + mu[:, None]))
        length = np.linalg.norm(s, axis=1)
        going = ~inside & (np.abs(length - radius) >= 1e-6 * radius)
        if not going.any():
            break
        slope = np.sum(s**2 / np.where(s == 0.0, 1.0, eigenvalues + mu[:, None]), axis=1)
        mu = mu + np.where(going, (length / radius - 1.0) * length**2 / np.where(going, slope, 1.0), 0.0)
    return np.einsum("kpq,kq->kp", Q, np.where(inside[:, None], newton, s))
