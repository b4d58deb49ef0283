"""Coupling: the block R = L₁⁻¹Λ₁'BΛ₂ of the Cholesky factor between the eliminated term and the others.

B is Z₁'WZ₂, (l*c, q): level j of the eliminated term owns its rows j*c, ..., j*c + c - 1. Two classes with the
same verbs: dense (BLAS) for small models, sparse (compiled loops, see kernels.py) for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.linalg import blas

from . import blocks

if TYPE_CHECKING:
    from ..covariance import RelativeFactor
    from .cholmod import SparseCore
    from .core import DenseCore


class DenseCoupling:
    """R as a dense (l*c, q) array."""

    def __init__(self, B: sp.csr_array, n_columns: int, factor_map: RelativeFactor) -> None:
        self.B = np.ascontiguousarray(B.toarray(), dtype=float)
        self.c = n_columns
        self.map = factor_map

    def update(self, factor: np.ndarray, factors: Sequence[np.ndarray], inverse_cholesky: np.ndarray) -> None:
        """Set R for λ₁, the λ_k of the other terms and the blocks L_j⁻¹."""
        self.G = np.ascontiguousarray(self.map.tdot(factors, self.B.T).T)
        self.R = blocks.dot(inverse_cholesky @ factor.T, self.G)

    def subtract_gram(self, C: np.ndarray) -> None:
        """C ← C - R'R on the triangle that is the lower one of C.T."""
        blas.dsyrk(-1.0, self.R.T, beta=1.0, c=C.T, lower=1, overwrite_c=1)

    def dot(self, V: np.ndarray) -> np.ndarray:
        """Return RV."""
        return self.R @ V

    def tdot(self, V: np.ndarray) -> np.ndarray:
        """Return R'V."""
        return self.R.T @ V

    def gram_dot(self, V: np.ndarray) -> np.ndarray:
        """Return BV."""
        return self.B @ V

    def gram_tdot(self, V: np.ndarray) -> np.ndarray:
        """Return B'V."""
        return self.B.T @ V

    def quadratic(self, core: DenseCore, scaled: bool) -> np.ndarray:
        """Return R_jC⁻¹R_j' per level, (l, c, c), or (BΛ₂)_jC⁻¹(BΛ₂)_j' if not `scaled`."""
        rows = self.R if scaled else self.G
        half = blas.dsymm(1.0, core.inverse.T, rows.T, lower=1).T.reshape(-1, self.c, rows.shape[1])
        return np.matmul(half, rows.reshape(half.shape).transpose(0, 2, 1))


class SparseCoupling:
    """R as values (e, c) on the pattern of B: columns `indices`, sorted within each level.

    `pieces` are the blocks (l*c, q_m) of B, one for each of the other terms, and `rank` renumbers the q columns
    (the fill-reducing order of a sparse core).
    """

    def __init__(
        self, pieces: Sequence[sp.csr_array], n_columns: int, factor_map: RelativeFactor, rank: np.ndarray | None = None
    ) -> None:
        from numba import get_num_threads

        from . import kernels

        self.kernels, self.threads = kernels, get_num_threads()
        self.c = n_columns
        self.map = factor_map
        levels, columns, self._data = [], [], []
        for piece, shape, part in zip(pieces, factor_map.shapes, factor_map.effect_slices, strict=True):
            d = shape.n_columns
            block = sp.csr_array(piece).tobsr((n_columns, d))
            level = np.repeat(np.arange(block.indptr.size - 1, dtype=np.int32), np.diff(block.indptr))
            column = part.start + block.indices[:, None] * d + np.arange(d)
            levels.append(np.repeat(level, d))
            columns.append(column.ravel() if rank is None else rank[column.ravel()])
            self._data.append(block.data)
        level, column = np.concatenate(levels), np.concatenate(columns).astype(np.int32)
        self.shape = pieces[0].shape[0], factor_map.n_effects
        self._order = np.lexsort((column, level))
        self.level, self.indices = level[self._order], column[self._order]
        counts = np.bincount(self.level, minlength=self.shape[0] // n_columns)
        self.indptr = np.r_[0, np.cumsum(counts)].astype(np.int32)
        self.row_end = np.repeat(self.indptr[1:], counts)
        self.by_column = np.argsort(self.indices, kind="stable").astype(np.int32)
        self.column_ptr = np.r_[0, np.cumsum(np.bincount(self.indices, minlength=self.shape[1]))].astype(np.int32)
        self._B = self._sparse(self._columns([np.eye(s.n_columns) for s in factor_map.shapes]))

    def _columns(self, factors: Sequence[np.ndarray]) -> np.ndarray:
        """Return BΛ₂ for the λ_k of the other terms, values (e, c)."""
        parts = []
        for data, factor in zip(self._data, factors, strict=True):
            scaled = data * factor[0, 0] if factor.size == 1 else data @ factor
            parts.append(scaled.transpose(0, 2, 1).reshape(-1, self.c))
        return np.concatenate(parts)[self._order]

    def _sparse(self, values: np.ndarray) -> sp.sparray:
        """Return the (l*c, q) sparse array with the given values on the pattern."""
        if self.c == 1:
            return sp.csr_array((values.ravel(), self.indices, self.indptr), shape=self.shape)
        return sp.bsr_array((values[:, :, None], self.indices, self.indptr), shape=self.shape)

    def update(self, factor: np.ndarray, factors: Sequence[np.ndarray], inverse_cholesky: np.ndarray) -> None:
        """Set R for λ₁, the λ_k of the other terms and the blocks L_j⁻¹."""
        self.G = self._columns(factors)
        if self.c == 1:
            self.R = self.G * (inverse_cholesky.ravel() * factor[0, 0])[self.level, None]
        else:
            self.R = np.einsum("eab,eb->ea", (inverse_cholesky @ factor.T)[self.level], self.G)
        self._R = self._sparse(self.R)

    @property
    def _pattern(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.indices, self.row_end, self.by_column, self.column_ptr

    def subtract_gram(self, C: np.ndarray) -> None:
        """C ← C - R'R on the upper triangle of a C-ordered C."""
        self.kernels.subtract_gram_dense(C, self.R, *self._pattern)

    def subtract_gram_sparse(self, data: np.ndarray, indptr: np.ndarray, rows: np.ndarray) -> None:
        """data ← data - R'R on a lower CSC pattern that contains it."""
        self.kernels.subtract_gram_sparse(data, indptr, rows, self.R, *self._pattern, self.threads)

    def dot(self, V: np.ndarray) -> np.ndarray:
        """Return RV."""
        return self._R @ V

    def tdot(self, V: np.ndarray) -> np.ndarray:
        """Return R'V."""
        return self._R.T @ V

    def gram_dot(self, V: np.ndarray) -> np.ndarray:
        """Return BV."""
        return self._B @ V

    def gram_tdot(self, V: np.ndarray) -> np.ndarray:
        """Return B'V."""
        return self._B.T @ V

    def quadratic(self, core: DenseCore | SparseCore, scaled: bool) -> np.ndarray:
        """Return R_jC⁻¹R_j' per level, (l, c, c), or (BΛ₂)_jC⁻¹(BΛ₂)_j' if not `scaled`."""
        rows = self.R if scaled else self.G
        return core.quadratic(self.kernels, rows, self._pattern, self.level, self.indptr.size - 1, self.threads)
