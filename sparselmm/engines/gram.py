"""GramPlan: the scatter plan that maps θ to the entries of Λ'SΛ + I without a sparse matrix product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from ..covariance import RelativeFactor

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts


class GramPlan:
    """Λ'SΛ + I of some terms as the lower triangle of a sorted CSC matrix of fixed pattern.

    Attributes
    ----------
    indptr, indices : ndarray of int32
        Pattern, lower triangle with the diagonal; it contains `extra` (a sparse (q, q) pattern) as well.
    matrix : scipy.sparse.csr_array
        S itself, both triangles.
    """

    def __init__(
        self,
        cross: CrossProducts,
        terms: Sequence[int],
        extra: sp.sparray | None = None,
        rank: np.ndarray | None = None,
    ) -> None:
        self.terms = terms
        self.map = RelativeFactor([cross.shapes[k] for k in terms])
        self.size = self.map.n_effects
        self._pieces = []  # (k, m, blocks (b, c_k, c_m)): block row of term k, block column of term m
        row_parts, column_parts = [], []
        for k, m, blocks, block_rows, block_columns in self._blocks(cross):
            c, d = blocks.shape[1:]
            row = self.map.effect_slices[k].start + block_rows[:, None, None] * c + np.arange(c)[:, None]
            column = self.map.effect_slices[m].start + block_columns[:, None, None] * d + np.arange(d)
            row_parts.append(np.broadcast_to(row, blocks.shape).ravel())
            column_parts.append(np.broadcast_to(column, blocks.shape).ravel())
            self._pieces.append((k, m, blocks))
        rows, columns = np.concatenate(row_parts), np.concatenate(column_parts)
        self._source = np.flatnonzero(rows >= columns)
        rows, columns = rows[self._source], columns[self._source]
        if rank is not None:
            rows, columns = rank[rows], rank[columns]
            rows, columns = np.maximum(rows, columns), np.minimum(rows, columns)
            extra = None if extra is None else _permuted(extra, rank)
        shape = (self.size, self.size)
        pattern = sp.csc_array((np.ones(rows.size), (rows, columns)), shape=shape)
        pattern = pattern + sp.eye_array(self.size, format="csc")
        if extra is not None:
            pattern = sp.csc_array(pattern + abs(sp.tril(extra, format="csc")))
        pattern.sort_indices()
        self.indptr, self.indices = pattern.indptr.astype(np.int32), pattern.indices.astype(np.int32)
        keys = np.repeat(np.arange(self.size), np.diff(self.indptr)) * self.size + self.indices
        self._target = np.searchsorted(keys, columns.astype(np.int64) * self.size + rows)
        values = np.concatenate([blocks.ravel() for _, _, blocks in self._pieces])[self._source]
        strict = rows > columns
        self.matrix = sp.csr_array(
            (
                np.concatenate([values, values[strict]]),
                (np.concatenate([rows, columns[strict]]), np.concatenate([columns, rows[strict]])),
            ),
            shape=shape,
        )

    def _blocks(self, cross: CrossProducts) -> Iterator[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield (k, m, blocks, block rows, block columns) of S, lower block triangle, by position in terms."""
        for k, term in enumerate(self.terms):
            block = cross.diagonal[term]
            if sp.issparse(block):
                block = sp.coo_array(block)
                yield k, k, block.data[:, None, None], block.row, block.col
            else:
                levels = np.arange(block.shape[0])
                yield k, k, block, levels, levels
            for m, other in enumerate(self.terms[:k]):
                block = cross.cross[other, term].T if other < term else cross.cross[term, other]
                shape = cross.shapes[term].n_columns, cross.shapes[other].n_columns
                block = sp.csr_array(block).tobsr(shape)
                rows = np.repeat(np.arange(block.indptr.size - 1), np.diff(block.indptr))
                yield k, m, block.data, rows, block.indices

    def values(self, factors: Sequence[np.ndarray], out: np.ndarray | None = None) -> np.ndarray:
        """Return the data of Λ'SΛ + I on the pattern, for the λ_k of these terms."""
        parts = []
        for k, m, blocks in self._pieces:
            (c, d), left, right = blocks.shape[1:], factors[k], factors[m]
            if c == d == 1:
                part = blocks.ravel() * (left[0, 0] * right[0, 0])
            else:
                part = (blocks.reshape(-1, c * d) @ np.kron(left, right)).ravel()
            parts.append(part)
        data = np.zeros(self.indices.size) if out is None else out
        data[self._target] = np.concatenate(parts)[self._source]
        data[self.indptr[:-1]] += 1.0
        return data


def _permuted(pattern: sp.sparray, rank: np.ndarray) -> sp.coo_array:
    """Return the symmetric pattern with row and column i moved to rank[i]."""
    pattern = sp.coo_array(pattern)
    return sp.coo_array((pattern.data, (rank[pattern.row], rank[pattern.col])), shape=pattern.shape)
