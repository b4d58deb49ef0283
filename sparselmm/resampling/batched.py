"""The likelihood of many responses on one design, each at its own θ. Reads beside docs/math.md.

Every array has a leading axis of responses. One θ for all of them is a leading axis of length one, and what does not
depend on the response is then computed once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .absorption import Absorbed, DenseGram, absorbed_term, by_column

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts
    from .responses import Responses

LARGEST_CORE = 160  # columns of the core up to which batches beat warm-started refits with one engine
LARGEST_COUPLING = 200_000  # entries of the dense B, likewise
CHUNK = 2_000_000  # numbers that a chunk of responses holds: few enough for the caches, enough against overheads


@dataclass(eq=False)
class Points:
    """The likelihood of k responses, each at its own θ: `Evaluation` and `Derivatives` with a leading axis.

    Attributes
    ----------
    theta : ndarray (k, m)
    deviance, scale : ndarray (k,)
        Infinite deviance where the likelihood cannot be computed.
    beta, se : ndarray (k, p)
        Fixed effects in the pilot basis; standard errors, over σ, of the fixed effects in the user's columns.
    gradient, hessian : ndarray (k, m), (k, m, m)
    A : list of ndarray (k, c_k, c_k)
    """

    theta: np.ndarray
    deviance: np.ndarray
    scale: np.ndarray
    beta: np.ndarray
    se: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    A: list[np.ndarray]

    def arrays(self) -> list[np.ndarray]:
        """Return all arrays, in one order."""
        return [self.theta, self.deviance, self.scale, self.beta, self.se, self.gradient, self.hessian, *self.A]

    @classmethod
    def of(cls, arrays: list[np.ndarray]) -> Points:
        """Return the points of `arrays`."""
        theta, deviance, scale, beta, se, gradient, hessian, *A = arrays
        return cls(theta, deviance, scale, beta, se, gradient, hessian, A)

    @classmethod
    def joined(cls, points: Iterable[Points]) -> Points:
        """Return several lots of points as one."""
        return cls.of([np.concatenate(parts) for parts in zip(*(lot.arrays() for lot in points), strict=True)])

    @classmethod
    def nowhere(cls, cross: CrossProducts, count: int) -> Points:
        """Return points of infinite deviance, not a number else."""
        p, m = cross.n_fixed, cross.relative_factor.n_theta
        shapes = [(m,), (), (), (p,), (p,), (m,), (m, m), *((s.n_columns, s.n_columns) for s in cross.shapes)]
        points = cls.of([np.full((count, *shape), np.nan) for shape in shapes])
        points.deviance[:] = np.inf
        return points

    def take(self, index: np.ndarray) -> Points:
        """Return some of the points."""
        return Points.of([array[index] for array in self.arrays()])

    def copy(self) -> Points:
        """Return the points in arrays of their own."""
        return Points.of([np.array(array) for array in self.arrays()])

    def put(self, index: np.ndarray, other: Points) -> None:
        """Overwrite the points at `index` by others."""
        for array, values in zip(self.arrays(), other.arrays(), strict=True):
            array[index] = values


class BatchedLikelihood:
    """d(θ) and its derivatives for many responses on one design.

    Parameters
    ----------
    cross : CrossProducts
        Of the design; its response does not matter.
    reml : bool
    """

    def __init__(self, cross: CrossProducts, reml: bool) -> None:
        self.cross, self.reml, self.map = cross, reml, cross.relative_factor
        self.n_effective = cross.nobs - (cross.n_fixed if reml else 0)  # N
        self.gram = DenseGram(cross)
        self.ZX = cross.ZX[self.gram.order][None]
        gram, columns = self.gram, cross.n_fixed + 2 * self.map.n_theta
        size = 4 * gram.q1 * gram.q2 + 8 * gram.q2**2 + 8 * gram.S1.size + 6 * gram.order.size * (1 + columns)
        self.chunk = int(np.clip(CHUNK // size, 1, 2048))

    @staticmethod
    def suits(cross: CrossProducts) -> bool:
        """Return True if batches of dense arrays are the faster way for a design."""
        first, rest = absorbed_term(cross)
        core = sum(cross.shapes[k].n_effects for k in rest)
        absorbed = 0 if first is None else cross.shapes[first].n_effects
        return core <= LARGEST_CORE and core * absorbed <= LARGEST_COUPLING

    def evaluate(self, theta: np.ndarray, responses: Responses) -> Points:
        """Return the Points of k responses at θ (k, m), or at one θ (1, m), in chunks on all cores."""
        common, count = theta.shape[0] == 1, len(responses)
        chunk = 8 * self.chunk if common else self.chunk
        parts = [slice(start, start + chunk) for start in range(0, count, chunk)]

        def evaluate(part: slice) -> Points:
            return self._robust(theta if common else theta[part], responses.take(part))

        if len(parts) == 1:
            return evaluate(parts[0])
        with ThreadPoolExecutor(cores()) as pool:  # NumPy's loops over stacks let other threads run
            return Points.joined(list(pool.map(evaluate, parts)))

    def _robust(self, theta: np.ndarray, responses: Responses) -> Points:
        """Return the Points, of infinite deviance for the responses whose matrices cannot be factored."""
        count = len(responses)
        try:
            with np.errstate(all="ignore"):
                return self._points(theta, responses)
        except np.linalg.LinAlgError:
            if count == 1:
                points = Points.nowhere(self.cross, 1)
                points.theta[:] = theta
                return points
            theta = np.broadcast_to(theta, (count, theta.shape[1]))
            halves = slice(0, count // 2), slice(count // 2, count)
            return Points.joined([self._robust(theta[half], responses.take(half)) for half in halves])

    def _points(self, theta: np.ndarray, responses: Responses) -> Points:
        """Return the Points of one chunk: equations (1)-(5), (8) and (9)."""
        cross, N, k = self.cross, self.n_effective, len(responses)
        factors = self.unpack(theta)
        M = Absorbed(self.gram, factors)
        Zy, Xy = responses.Zy[:, self.gram.order, None], responses.Xy[:, :, None]

        E_X, rest_X = M.reduce(self.ZX)
        E_y, rest_y = M.reduce(Zy)
        L = np.linalg.cholesky(cross.XX - t(E_X) @ E_X)  # (1), L = R'
        root = t(np.linalg.inv(L))
        half = t(root) @ (Xy - t(E_X) @ E_y)
        beta = root @ half  # (2)
        r2 = responses.yy - np.sum(E_y**2, axis=(1, 2)) - np.sum(half**2, axis=(1, 2))  # (3)
        scale = r2 / N
        deviance = M.logdet - cross.log_weights + N * (1.0 + np.log(2.0 * np.pi * scale))  # (4)
        if self.reml:
            deviance = deviance + 2.0 * np.log(np.einsum("kii->ki", L)).sum(axis=1) - cross.basis_logdet
        F = M.marginal(self.ZX, E_X, rest_X)  # (5)
        w = M.marginal(Zy, E_y, rest_y) - F @ beta
        FR = F @ root

        per_scale = 1.0 / scale[:, None, None]
        A = [self._boundary_derivative(term, M, w, FR, per_scale) for term in range(len(factors))]
        V, curvature = self._directions(factors, w, A)
        SV = self.gram.dot(V)
        E_V, _ = M.reduce(SV)
        FV, a = t(FR) @ V, t(V) @ w * per_scale
        information = (t(V) @ SV - t(E_V) @ E_V - t(FV) @ FV) * per_scale
        hessian = information - a @ t(a) / N + curvature  # (9)
        gradient = self.pack([2.0 * A_k @ factor for A_k, factor in zip(A, factors, strict=True)])
        se = np.sqrt(np.sum((cross.basis @ root) ** 2, axis=2))
        deviance = np.where(r2 > 0, deviance, np.inf)
        theta, se = np.broadcast_to(theta, (k, theta.shape[1])), np.broadcast_to(se, (k, se.shape[1]))
        return Points(theta, deviance, scale, beta[:, :, 0], se, gradient, 0.5 * (hessian + t(hessian)), A)

    def _boundary_derivative(
        self, term: int, M: Absorbed, w: np.ndarray, FR: np.ndarray, per_scale: np.ndarray
    ) -> np.ndarray:
        """Return A_k, (k, c, c): equation (8)."""
        c, part = self.map.shapes[term].n_columns, self.gram.parts[term]
        w, FR = by_column(w[:, part], c), by_column(FR[:, part], c)
        A = M.block_sums(term, c) - w @ t(w) * per_scale
        return A - FR @ t(FR) if self.reml else A

    def _directions(
        self, factors: list[np.ndarray], w: np.ndarray, A: list[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return v_p of every entry of θ, (k, q, m), and the curvature of ΛΛ', (k, m, m)."""
        k, m = len(w), self.map.n_theta
        V, curvature = np.zeros((k, w.shape[1], m)), np.zeros((k, m, m))
        for term, (shape, factor) in enumerate(zip(self.map.shapes, factors, strict=True)):
            entries, (rows, columns) = self.map.theta_slices[term], shape.entries
            w_k = w[:, self.gram.parts[term], 0].reshape(k, shape.n_levels, shape.n_columns)
            u_k = w_k @ factor  # Λ'w = u
            v = np.zeros((k, shape.n_levels, shape.n_columns, rows.size))
            for p, (i, j) in enumerate(zip(rows, columns, strict=True)):  # D_p w_j with D_p = E_ij λ' + λ E_ij'
                v[:, :, j:, p] = w_k[:, :, i, None] * factor[:, None, j:, j]
                v[:, :, i, p] += u_k[:, :, j]
            V[:, self.gram.parts[term], entries] = v.reshape(k, shape.n_effects, rows.size)
            A_k = np.broadcast_to(A[term], (k, *A[term].shape[1:]))
            curvature[:, entries, entries] = 2.0 * A_k[:, rows[:, None], rows] * (columns[:, None] == columns)
        return V, curvature

    def unpack(self, theta: np.ndarray) -> list[np.ndarray]:
        """Return the λ_k, (k, c_k, c_k), of θ (k, m)."""
        factors = []
        for shape, part in zip(self.map.shapes, self.map.theta_slices, strict=True):
            factor = np.zeros((len(theta), shape.n_columns, shape.n_columns))
            factor[:, *shape.entries] = theta[:, part]
            factors.append(factor)
        return factors

    def pack(self, matrices: list[np.ndarray]) -> np.ndarray:
        """Return the free entries of matrices (k, c_k, c_k), (k, m)."""
        return np.concatenate([a[:, *s.entries] for a, s in zip(matrices, self.map.shapes, strict=True)], axis=1)

    def canonical(self, theta: np.ndarray) -> np.ndarray:
        """Return θ (k, m) with the columns of every λ_k flipped to non-negative diagonals."""
        factors = self.unpack(theta)
        return self.pack([f * np.where(np.einsum("kii->ki", f) < 0, -1.0, 1.0)[:, None] + 0.0 for f in factors])


def t(matrices: np.ndarray) -> np.ndarray:
    """Return the transposes of a stack of matrices."""
    return matrices.transpose(0, 2, 1)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
