"""Sums over rows by level: the blocks of S = Z'WZ.

Rows are sorted by their level with the counting sort that is the transposition of a sparse matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from .terms import RandomTerm

SINGLE_LIMIT = 2**24  # whole numbers below it are exact in float32


def diagonal_block(term: RandomTerm, weights: np.ndarray | None) -> np.ndarray | sp.csr_array:
    """Return Z_k'WZ_k: blocks (l, c, c), or sparse (l, l) for a user-supplied Z."""
    if term.matrix is not None:
        return canonical(_scale_rows(term.Z, weights).T @ term.Z)
    c, codes, values = term.n_columns, term.codes, term.values
    if term.is_intercept:
        return np.bincount(codes, weights, minlength=term.n_levels).astype(float)[:, None, None]
    blocks = np.empty((term.n_levels, c, c))
    weighted = values if weights is None else values * weights[:, None]
    for i in range(c):
        for j in range(i + 1):
            sums = np.bincount(codes, weighted[:, i] * values[:, j], minlength=term.n_levels)
            blocks[:, i, j] = blocks[:, j, i] = sums
    return blocks


def cross_block(left: RandomTerm, right: RandomTerm, weights: np.ndarray | None) -> sp.csr_array:
    """Return Z_k'WZ_l, a canonical CSR array (q_k, q_l); counts of rows as `count_values`."""
    if left.matrix is not None or right.matrix is not None:
        return canonical(_scale_rows(left.Z, weights).T @ right.Z)
    rows, starts, indices, indptr = _pairs(left, right)
    c, d = left.n_columns, right.n_columns
    shape = left.n_effects, right.n_effects
    if left.is_intercept and right.is_intercept and weights is None:
        counts = np.diff(starts, append=rows.size)
        return sp.csr_array((count_values(counts, counts.max()), indices, indptr), shape=shape)
    weights = None if weights is None else weights[rows]
    data = np.empty((starts.size, c, d))
    for a in range(c):
        values = left.values[rows, a] if weights is None else left.values[rows, a] * weights
        for b in range(d):
            data[:, a, b] = np.add.reduceat(values * right.values[rows, b], starts)
    block = (
        sp.csr_array((data.ravel(), indices, indptr), shape=shape)
        if c == d == 1
        else sp.csr_array(sp.bsr_array((data, indices, indptr), shape=shape))
    )
    block.eliminate_zeros()
    return block


def count_values(counts: np.ndarray, largest: float) -> np.ndarray:
    """Return counts in float32, half the memory, if the largest is exact in it, else in float64."""
    return counts.astype(np.float32 if largest < SINGLE_LIMIT else np.float64, copy=False)


def _pairs(left: RandomTerm, right: RandomTerm) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows sorted by pair of levels, where each pair starts, and the pattern (indices, indptr) of pairs."""
    n = left.codes.size
    codes = sp.csr_array((left.codes, right.codes, np.arange(n + 1, dtype=np.int32)), shape=(n, right.n_levels)).tocsc()
    shape = left.n_levels, right.n_levels
    pairs = sp.csc_array((codes.indices, codes.data, codes.indptr), shape=shape).tocsr()  # its values are row numbers
    first = np.empty(n, dtype=bool)  # of the rows of its pair
    np.not_equal(pairs.indices[1:], pairs.indices[:-1], out=first[1:])
    first[pairs.indptr[:-1][np.diff(pairs.indptr) > 0]] = True
    starts = np.flatnonzero(first)
    count = np.zeros(n + 1, dtype=pairs.indptr.dtype)
    np.cumsum(first, out=count[1:])
    return pairs.data, starts, pairs.indices[first], count[pairs.indptr]


def _scale_rows(Z: sp.csr_array, weights: np.ndarray | None) -> sp.csr_array:
    """Return WZ as a CSR array that shares Z's pattern."""
    if weights is None:
        return Z
    return sp.csr_array((Z.data * np.repeat(weights, np.diff(Z.indptr)), Z.indices, Z.indptr), shape=Z.shape)


def canonical(matrix: sp.sparray) -> sp.csr_array:
    """Return a CSR array with sorted indices and no duplicates."""
    matrix = sp.csr_array(matrix)
    matrix.sum_duplicates()
    return matrix
