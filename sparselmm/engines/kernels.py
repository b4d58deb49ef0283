"""Compiled loops over the coupling's pattern (numba); imported only by models that need them.

All loops run over the columns b of R and, for each level j that b meets, over the entries a >= b of that level's
row. That order streams through memory and lets threads own the rows of C.

R is given as values (e, c) on a pattern: entry s belongs to column indices[s] and to the level whose row
of the pattern ends at row_end[s]; entries of one level are sorted by column. by_column lists the entries of column b at
positions column_ptr[b]:column_ptr[b + 1].
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

_OPTIONS = {"cache": True, "fastmath": {"contract", "reassoc"}, "nogil": True}


@njit(parallel=True, **_OPTIONS)
def block_dot(blocks, V, out, transpose):
    """out_j = B_j V_j (or B_j' V_j) for blocks (l, c, c) and V, out of shape (l, c, r)."""
    levels, c, _ = blocks.shape
    for j in prange(levels):
        for a in range(c):
            for r in range(V.shape[2]):
                total = 0.0
                for b in range(c):
                    total += (blocks[j, b, a] if transpose else blocks[j, a, b]) * V[j, b, r]
                out[j, a, r] = total


@njit(inline="always")
def _alternate(i, size):
    """Return 0, size-1, 1, size-2, ...: equal work for threads that own halves of the range."""
    return i // 2 if i % 2 == 0 else size - 1 - i // 2


@njit(parallel=True, **_OPTIONS)
def subtract_gram_dense(C, R, indices, row_end, by_column, column_ptr):
    """C[b, a] -= Σ_j R_jb' R_ja for a >= b; C is C-ordered (q, q)."""
    size, c = C.shape[0], R.shape[1]
    for i in prange(size):
        b = _alternate(i, size)
        row = C[b]
        for t in range(column_ptr[b], column_ptr[b + 1]):
            p = by_column[t]
            if c == 1:
                value = R[p, 0]
                for s in range(p, row_end[p]):
                    row[indices[s]] -= value * R[s, 0]
            else:
                for s in range(p, row_end[p]):
                    total = 0.0
                    for m in range(c):
                        total += R[p, m] * R[s, m]
                    row[indices[s]] -= total


@njit(parallel=True, **_OPTIONS)
def quadratic_dense(inverse, G, indices, row_end, by_column, column_ptr, level, n_levels, threads):
    """Return Σ_ab G_ja inverse[a, b] G_jb' per level, (l, c, c); only inverse[b, a] with a >= b is read."""
    size, c = inverse.shape[0], G.shape[1]
    sums = np.zeros((threads, n_levels, c, c))
    for thread in prange(threads):
        v = np.empty(c)
        for b in range(thread, size, threads):
            row = inverse[b]
            for t in range(column_ptr[b], column_ptr[b + 1]):
                p = by_column[t]
                if c == 1:
                    total = 0.5 * row[b] * G[p, 0]
                    for s in range(p + 1, row_end[p]):
                        total += row[indices[s]] * G[s, 0]
                    sums[thread, level[p], 0, 0] += 2.0 * total * G[p, 0]
                else:
                    for m in range(c):
                        v[m] = 0.5 * row[b] * G[p, m]
                    for s in range(p + 1, row_end[p]):
                        for m in range(c):
                            v[m] += row[indices[s]] * G[s, m]
                    for m in range(c):
                        for o in range(c):
                            sums[thread, level[p], m, o] += v[m] * G[p, o] + G[p, m] * v[o]
    return sums.sum(axis=0)


@njit(parallel=True, **_OPTIONS)
def subtract_gram_sparse(data, indptr, rows, R, indices, row_end, by_column, column_ptr, threads):
    """data -= R'R on the lower triangle of a CSC pattern (indptr, rows) that contains it."""
    size, c = indptr.size - 1, R.shape[1]
    for thread in prange(threads):
        work = np.zeros(size)
        for b in range(thread, size, threads):
            for t in range(column_ptr[b], column_ptr[b + 1]):
                p = by_column[t]
                for s in range(p, row_end[p]):
                    total = 0.0
                    for m in range(c):
                        total += R[p, m] * R[s, m]
                    work[indices[s]] += total
            for e in range(indptr[b], indptr[b + 1]):
                data[e] -= work[rows[e]]
                work[rows[e]] = 0.0


@njit(parallel=True, **_OPTIONS)
def quadratic_sparse(inverse, indptr, rows, G, indices, row_end, by_column, column_ptr, level, n_levels, threads):
    """Return Σ_ab G_ja inverse_ab G_jb' per level, (l, c, c), inverse on a lower CSC pattern that contains G'G."""
    size, c = indptr.size - 1, G.shape[1]
    sums = np.zeros((threads, n_levels, c, c))
    for thread in prange(threads):
        v = np.empty(c)
        row = np.zeros(size)
        for b in range(thread, size, threads):
            if column_ptr[b] == column_ptr[b + 1]:
                continue
            for e in range(indptr[b], indptr[b + 1]):
                row[rows[e]] = inverse[e]
            for t in range(column_ptr[b], column_ptr[b + 1]):
                p = by_column[t]
                for m in range(c):
                    v[m] = 0.5 * row[b] * G[p, m]
                for s in range(p + 1, row_end[p]):
                    for m in range(c):
                        v[m] += row[indices[s]] * G[s, m]
                for m in range(c):
                    for o in range(c):
                        sums[thread, level[p], m, o] += v[m] * G[p, o] + G[p, m] * v[o]
    return sums.sum(axis=0)


@njit(**_OPTIONS)
def selected_inverse(indptr, rows, L, dense_from, inverse):
    """Takahashi's recursion: fill `inverse` with (LL')⁻¹ on the pattern of L (sorted lower CSC).

    Columns from dense_from on must have been filled already. Column j needs, for every pair of its rows
    (i, k), the entry (i, k), which the pattern of L contains.
    """
    size = indptr.size - 1
    position = np.full(size, -1, np.int64)
    total = np.zeros(size)
    for j in range(dense_from - 1, -1, -1):
        start, stop = indptr[j], indptr[j + 1]
        pivot = L[start]
        for e in range(start + 1, stop):
            position[rows[e]] = e
            total[e - start] = 0.0
        for e in range(start + 1, stop):
            k = rows[e]
            found = e
            value = L[e]
            column_sum = 0.0
            for f in range(indptr[k], indptr[k + 1]):
                at = position[rows[f]]
                if at >= 0:
                    entry = inverse[f]
                    column_sum += entry * L[at]
                    if at != e:
                        total[at - start] += entry * value
                    found += 1
                    if found == stop:
                        break
            total[e - start] += column_sum
        diagonal = 1.0 / pivot
        for e in range(start + 1, stop):
            inverse[e] = -total[e - start] / pivot
            diagonal -= inverse[e] * L[e]
            position[rows[e]] = -1
        inverse[start] = diagonal / pivot


@njit(**_OPTIONS)
def column_counts(indptr, rows):
    """Return the number of entries in each column of L for a lower CSC pattern in elimination order.

    Walks every row's subtree of the elimination tree (Liu 1990), O(nnz of L).
    """
    size = indptr.size - 1
    starts = np.zeros(size + 1, np.int64)  # the pattern by rows: columns k < i of row i
    for e in range(rows.size):
        starts[rows[e] + 1] += 1
    starts = np.cumsum(starts)
    fill, columns = starts.copy(), np.empty(rows.size, np.int64)
    for k in range(size):
        for e in range(indptr[k], indptr[k + 1]):
            columns[fill[rows[e]]] = k
            fill[rows[e]] += 1
    parent, mark, counts = np.full(size, -1), np.full(size, -1), np.ones(size, np.int64)
    for i in range(size):
        mark[i] = i
        for e in range(starts[i], starts[i + 1]):
            k = columns[e]
            while mark[k] != i:
                if parent[k] == -1:
                    parent[k] = i
                counts[k] += 1
                mark[k] = i
                k = parent[k]
    return counts
