"""DenseCore: the Schur complement C of the eliminated term as one dense matrix, factored by LAPACK."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import lapack

from ..errors import EngineError
from ..threads import all_blas_threads
from .gram import GramPlan

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts
    from .coupling import DenseCoupling, SparseCoupling

SMALL = 600  # columns up to which a dense product with S beats a sparse one
LARGE = 2_500  # columns from which LAPACK gains enough from threads


class DenseCore:
    """C = Λ'SΛ + I - R'R over the terms that are not eliminated, dense (q, q).

    C is C-ordered and only its upper triangle is meaningful; LAPACK sees the transpose, a lower triangle.
    """

    rank = permutation = None  # see `SparseCore`
    _factor: np.ndarray

    def __init__(self, cross: CrossProducts, terms: Sequence[int]) -> None:
        self.plan = GramPlan(cross, terms)
        self.map = self.plan.map
        self.size = self.plan.size
        columns = np.repeat(np.arange(self.size), np.diff(self.plan.indptr))
        self._positions = columns * self.size + self.plan.indices
        self._gram = self.plan.matrix.toarray() if self.size <= SMALL else self.plan.matrix
        self._work = np.empty((self.size, self.size))
        self._threads = all_blas_threads if self.size >= LARGE else nullcontext
        self._inverse: np.ndarray | None = None

    def describe(self) -> str:
        """Return how the remainder is factored."""
        return f"dense Cholesky (LAPACK) of the remaining {self.size:,} columns"

    def factorize(self, factors: Sequence[np.ndarray], coupling: DenseCoupling | SparseCoupling | None) -> None:
        """Form C for the given λ_k, subtract the coupling's R'R and factor it."""
        C = self._work
        C.fill(0.0)
        C.ravel()[self._positions] = self.plan.values(factors)
        if coupling is not None:
            coupling.subtract_gram(C)
        with self._threads():
            self._factor, info = lapack.dpotrf(C.T, lower=1, overwrite_a=1, clean=0)
        if info:
            raise EngineError(f"The Cholesky factorisation failed at column {info} of {self.size}; θ is out of range.")
        self._inverse = None

    def logdet(self) -> float:
        """Return log|C|."""
        return 2.0 * float(np.log(np.diag(self._factor)).sum())

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """Return C⁻¹ rhs, (q, r)."""
        return lapack.dpotrs(self._factor, rhs, lower=1)[0]

    def gram_dot(self, V: np.ndarray) -> np.ndarray:
        """Return S V, (q, r)."""
        return self._gram @ V

    @property
    def inverse(self) -> np.ndarray:
        """C⁻¹, (q, q); only its upper triangle in C order is meaningful."""
        if self._inverse is None:
            with self._threads():
                self._inverse = lapack.dpotri(self._factor, lower=1)[0].T
        return self._inverse

    def quadratic(
        self, kernels: ModuleType, values: np.ndarray, pattern: tuple[np.ndarray, ...], *sizes: np.ndarray | int
    ) -> np.ndarray:
        """Return Σ_ab G_ja C⁻¹_ab G_jb' per level of a coupling with the given values."""
        return kernels.quadratic_dense(self.inverse, values, *pattern, *sizes)

    def inverse_blocks(self, k: int) -> np.ndarray:
        """Return the diagonal blocks of C⁻¹ of term k, (l, c, c)."""
        shape, part = self.map.shapes[k], self.map.effect_slices[k]
        l, c = shape.n_levels, shape.n_columns
        if c == 1:
            return np.diag(self.inverse)[part, None, None]
        view = self.inverse[part, part].reshape(l, c, l, c)
        upper = np.triu(view[np.arange(l), :, np.arange(l), :])
        return upper + np.triu(upper, 1).transpose(0, 2, 1)
