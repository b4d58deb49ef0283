"""Compiled loops over the coupling's pattern (numba); imported only by models that need them.

All loops run over the columns b of R and, for each level j that b meets, over the entries a >= b of that level's
row. That order streams through memory and lets threads own the rows of C.

R is given as values (e, c) on a pattern: entry s belongs to column indices[s] and to the level whose row
of the pattern ends at row_end[s]; entries of one level are sorted by column. by_column lists the entries of column b at
positions column_ptr[b]:column_ptr[b + 1].
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .compiled import OPTIONS, compiled, on_all_threads


@on_all_threads(parallel=True)
def block_dot(blocks: np.ndarray, V: np.ndarray, out: np.ndarray, transpose: bool) -> None:
    """out_j = B_j V_j (or B_j' V_j) for blocks (l, c, c) and V, out of shape (l, c, r)."""
    levels, c, _ = blocks.shape
    for j in prange(levels):
        for a in range(c):
            for r in range(V.shape[2]):
                total = 0.0
                for b in range(c):
                    total += (blocks[j, b, a] if transpose else blocks[j, a, b]) * V[j, b, r]
                out[j, a, r] = total


@compiled(inline="always")
def _alternate(i: int, size: int) -> int:
    """Return 0, size-1, 1, size-2, ...: equal work for threads that own halves of the range."""
    return i // 2 if i % 2 == 0 else size - 1 - i // 2


@on_all_threads(parallel=True)
def subtract_gram_dense(
    C: np.ndarray,
    R: np.ndarray,
    indices: np.ndarray,
    row_end: np.ndarray,
    by_column: np.ndarray,
    column_ptr: np.ndarray,
) -> None:
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


@compiled(**OPTIONS)
def _add_products(
    row: np.ndarray,
    b: int,
    G: np.ndarray,
    indices: np.ndarray,
    row_end: np.ndarray,
    by_column: np.ndarray,
    column_ptr: np.ndarray,
    level: np.ndarray,
    v: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Add the terms of column b to Σ_ab G_ja inverse[a, b] G_jb' of its levels; row[a] = inverse[b, a], v is work."""
    c = G.shape[1]
    for t in range(column_ptr[b], column_ptr[b + 1]):
        p = by_column[t]
        if c == 1:
            total = 0.5 * row[b] * G[p, 0]
            for s in range(p + 1, row_end[p]):
                total += row[indices[s]] * G[s, 0]
            sums[level[p], 0, 0] += 2.0 * total * G[p, 0]
        else:
            for m in range(c):
                v[m] = 0.5 * row[b] * G[p, m]
            for s in range(p + 1, row_end[p]):
                for m in range(c):
                    v[m] += row[indices[s]] * G[s, m]
            for m in range(c):
                for o in range(c):
                    sums[level[p], m, o] += v[m] * G[p, o] + G[p, m] * v[o]


@on_all_threads(parallel=True)
def quadratic_dense(
    inverse: np.ndarray,
    G: np.ndarray,
    indices: np.ndarray,
    row_end: np.ndarray,
    by_column: np.ndarray,
    column_ptr: np.ndarray,
    level: np.ndarray,
    n_levels: int,
    threads: int,
) -> np.ndarray:
    """Return Σ_ab G_ja inverse[a, b] G_jb' per level, (l, c, c); only inverse[b, a] with a >= b is read."""
    size, c = inverse.shape[0], G.shape[1]
    sums = np.zeros((threads, n_levels, c, c))
    for thread in prange(threads):
        v = np.empty(c)
        for b in range(thread, size, threads):
            row = inverse[b]
            _add_products(row, b, G, indices, row_end, by_column, column_ptr, level, v, sums[thread])
    return sums.sum(axis=0)


@on_all_threads(parallel=True)
def subtract_gram_sparse(
    data: np.ndarray,
    indptr: np.ndarray,
    rows: np.ndarray,
    R: np.ndarray,
    indices: np.ndarray,
    row_end: np.ndarray,
    by_column: np.ndarray,
    column_ptr: np.ndarray,
    threads: int,
) -> None:
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


@on_all_threads(parallel=True)
def quadratic_sparse(
    inverse: np.ndarray,
    indptr: np.ndarray,
    rows: np.ndarray,
    G: np.ndarray,
    indices: np.ndarray,
    row_end: np.ndarray,
    by_column: np.ndarray,
    column_ptr: np.ndarray,
    level: np.ndarray,
    n_levels: int,
    threads: int,
) -> np.ndarray:
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
            _add_products(row, b, G, indices, row_end, by_column, column_ptr, level, v, sums[thread])
    return sums.sum(axis=0)


@compiled(parallel=True, **OPTIONS)
def _gather(
    indptr: np.ndarray,
    rows: np.ndarray,
    inverse: np.ndarray,
    dense_from: int,
    members: np.ndarray,
    position: np.ndarray,
    out: np.ndarray,
) -> None:
    """out[a, b] = entry (members[a], members[b]) of the inverse, both triangles; position[members[a]] = a."""
    for b in prange(members.size):
        k = members[b]
        if k >= dense_from:  # a full column: entry (i, k) stands at i - k
            offset = indptr[k] - k
            for a in range(b, members.size):
                out[a, b] = out[b, a] = inverse[offset + members[a]]
        else:
            left = members.size - b
            for e in range(indptr[k], indptr[k + 1]):
                a = position[rows[e]]
                if a >= 0:
                    out[a, b] = out[b, a] = inverse[e]
                    left -= 1
                    if left == 0:
                        break


@on_all_threads()
def selected_inverse(
    indptr: np.ndarray, rows: np.ndarray, L: np.ndarray, supernodes: np.ndarray, dense_from: int, inverse: np.ndarray
) -> None:
    """Takahashi's recursion, supernode by supernode: fill `inverse` with (LL')⁻¹ on the pattern of L.

    L is a sorted lower CSC matrix; supernodes are the first columns of runs whose patterns are nested, then
    dense_from. Columns from dense_from on are full triangles and must have been filled already. A supernode J
    with rows I below it has, with Y = L_IJ L_JJ⁻¹,

        Z_IJ = -Z_II Y,   Z_JJ = (L_JJ L_JJ')⁻¹ + Y'Z_II Y,

    and Z_II is on the pattern.
    """
    size = indptr.size - 1
    position = np.full(size, -1, np.int64)
    for s in range(supernodes.size - 2, -1, -1):
        first, last = supernodes[s], supernodes[s + 1]
        width = last - first
        members = rows[indptr[last - 1] + 1 : indptr[last]].astype(np.int64)
        count = members.size
        triangle, below = np.zeros((width, width)), np.empty((count, width))
        for c in range(width):
            start = indptr[first + c]
            for r in range(c, width):
                triangle[r, c] = L[start + r - c]
            for r in range(count):
                below[r, c] = L[start + width - c + r]
        root = np.zeros((width, width))  # L_JJ⁻¹
        for c in range(width):
            root[c, c] = 1.0 / triangle[c, c]
            for r in range(c + 1, width):
                total = 0.0
                for k in range(c, r):
                    total += triangle[r, k] * root[k, c]
                root[r, c] = -total / triangle[r, r]
        corner = np.dot(root.T.copy(), root)
        if count:
            for a in range(count):
                position[members[a]] = a
            inner = np.empty((count, count))
            _gather(indptr, rows, inverse, dense_from, members, position, inner)
            for a in range(count):
                position[members[a]] = -1
            Y = np.dot(below, root)
            outer = -np.dot(inner, Y)
            corner -= np.dot(Y.T.copy(), outer)
            for c in range(width):
                start = indptr[first + c] + width - c
                for r in range(count):
                    inverse[start + r] = outer[r, c]
        for c in range(width):
            start = indptr[first + c]
            for r in range(c, width):
                inverse[start + r - c] = corner[r, c]


@compiled(**OPTIONS)
def column_counts(indptr: np.ndarray, rows: np.ndarray) -> np.ndarray:
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
