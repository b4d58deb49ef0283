"""Products with B = Z₁'WZ₂ in CSR form and sums over its blocks, on all threads (numba).

B has a block of c rows for every level of the first term; d columns from `start` to `stop` belong to every level of a
term. Sums over rows are taken by each thread for its levels, starts[t]:starts[t + 1].
"""

from __future__ import annotations

import numpy as np
from numba import prange

from .compiled import compiled, on_all_threads


@on_all_threads(parallel=True)
def csr_dot(indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, V: np.ndarray, out: np.ndarray) -> None:
    """out = B V, V and out C-ordered (·, r)."""
    width = V.shape[1]
    for i in prange(indptr.size - 1):
        for r in range(width):
            out[i, r] = 0.0
        for e in range(indptr[i], indptr[i + 1]):
            value, j = data[e], indices[e]
            for r in range(width):
                out[i, r] += value * V[j, r]


@on_all_threads(parallel=True)
def csr_tdot(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, V: np.ndarray, starts: np.ndarray, sums: np.ndarray
) -> None:
    """sums[t] = B'V over the rows of thread t, V and sums[t] C-ordered (·, r)."""
    width = V.shape[1]
    for t in prange(sums.shape[0]):
        out = sums[t]
        out[:] = 0.0
        for i in range(starts[t], starts[t + 1]):
            for e in range(indptr[i], indptr[i + 1]):
                value, j = data[e], indices[e]
                for r in range(width):
                    out[j, r] += value * V[i, r]


@on_all_threads(parallel=True)
def normal_dot(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    H: np.ndarray,
    V: np.ndarray,
    starts: np.ndarray,
    sums: np.ndarray,
) -> None:
    """sums[t] = Σ_i B_i'H_iB_iV over the levels i of thread t, for symmetric H (l, c, c); B is read once."""
    c, width = H.shape[1], V.shape[1]
    stride, flat = np.uint64(width), V.reshape(-1)
    for t in prange(sums.shape[0]):
        out = sums[t].reshape(-1)
        out[:] = 0.0
        inner, outer = np.empty((c, width)), np.empty((c, width))
        row = inner[0]
        for i in range(starts[t], starts[t + 1]):
            if c == 1:  # the loops below cost twice this on short rows
                _row_dot(indptr, indices, data, flat, stride, i, row)
                for r in range(width):
                    row[r] *= H[i, 0, 0]
                _add_row(indptr, indices, data, out, stride, i, row)
                continue
            for a in range(c):
                _row_dot(indptr, indices, data, flat, stride, i * c + a, inner[a])
            for a in range(c):
                for r in range(width):
                    total = 0.0
                    for b in range(c):
                        total += H[i, a, b] * inner[b, r]
                    outer[a, r] = total
            for a in range(c):
                _add_row(indptr, indices, data, out, stride, i * c + a, outer[a])


@compiled(inline="always")
def _row_dot(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    flat: np.ndarray,
    stride: np.uint64,
    i: int,
    out: np.ndarray,
) -> None:
    """out = row i of B times V, given flat."""
    for r in range(out.size):
        out[r] = 0.0
    for e in range(indptr[i], indptr[i + 1]):
        value, j = data[e], np.uint64(indices[e]) * stride
        for r in range(out.size):
            out[r] += value * flat[j + np.uint64(r)]


@compiled(inline="always")
def _add_row(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    flat: np.ndarray,
    stride: np.uint64,
    i: int,
    row: np.ndarray,
) -> None:
    """Add (row i of B)' row to the flat matrix."""
    for e in range(indptr[i], indptr[i + 1]):
        value, j = data[e], np.uint64(indices[e]) * stride
        for r in range(row.size):
            flat[j + np.uint64(r)] += value * row[r]


@on_all_threads(parallel=True)
def column_blocks(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    H: np.ndarray,
    start: int,
    stop: int,
    starts: np.ndarray,
    sums: np.ndarray,
) -> None:
    """sums[t, j] = Σ_i B_ij'H_iB_ij over the levels i of thread t, (threads, l, d, d)."""
    c, d = H.shape[1], sums.shape[2]
    for t in prange(sums.shape[0]):
        out = sums[t]
        out[:] = 0.0
        for i in range(starts[t], starts[t + 1]):
            for a in range(c):
                for b in range(c):
                    first, end = indptr[i * c + b], indptr[i * c + b + 1]
                    for e in range(indptr[i * c + a], indptr[i * c + a + 1]):
                        if indices[e] < start or indices[e] >= stop:
                            continue
                        j = (indices[e] - start) // d
                        while first < end and indices[first] < start + j * d:
                            first += 1
                        for f in range(first, end):
                            if indices[f] >= start + (j + 1) * d:
                                break
                            x, y = indices[e] - start - j * d, indices[f] - start - j * d
                            out[j, x, y] += H[i, a, b] * data[e] * data[f]


@on_all_threads(parallel=True)
def row_blocks(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, G: np.ndarray, start: int, stop: int, out: np.ndarray
) -> None:
    """out[i] += Σ_j B_ijG_jB_ij' for the levels i of the first term, out (l₁, c, c) and G (l, d, d)."""
    c, d = out.shape[1], G.shape[1]
    for i in prange(out.shape[0]):
        for a in range(c):
            for b in range(c):
                first, end, total = indptr[i * c + b], indptr[i * c + b + 1], 0.0
                for e in range(indptr[i * c + a], indptr[i * c + a + 1]):
                    if indices[e] < start or indices[e] >= stop:
                        continue
                    j = (indices[e] - start) // d
                    while first < end and indices[first] < start + j * d:
                        first += 1
                    for f in range(first, end):
                        if indices[f] >= start + (j + 1) * d:
                            break
                        x, y = indices[e] - start - j * d, indices[f] - start - j * d
                        total += data[e] * G[j, x, y] * data[f]
                out[i, a, b] += total


@on_all_threads(parallel=True)
def gram(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, H: np.ndarray, starts: np.ndarray, sums: np.ndarray
) -> None:
    """sums[t] = Σ_i B_i'H_iB_i over the levels of thread t, dense (threads, m, m), for a B of few columns."""
    c = H.shape[1]
    for t in prange(sums.shape[0]):
        out = sums[t]
        out[:] = 0.0
        for i in range(starts[t], starts[t + 1]):
            for a in range(c):
                for b in range(c):
                    for e in range(indptr[i * c + a], indptr[i * c + a + 1]):
                        value = H[i, a, b] * data[e]
                        for f in range(indptr[i * c + b], indptr[i * c + b + 1]):
                            out[indices[e], indices[f]] += value * data[f]


@on_all_threads(parallel=True)
def quadratic(indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, F: np.ndarray, out: np.ndarray) -> None:
    """out[i] += B_iFB_i' for the levels i, out (l, c, c), for a B of few columns and dense F (m, m)."""
    c = out.shape[1]
    for i in prange(out.shape[0]):
        for a in range(c):
            for b in range(c):
                total = 0.0
                for e in range(indptr[i * c + a], indptr[i * c + a + 1]):
                    for f in range(indptr[i * c + b], indptr[i * c + b + 1]):
                        total += data[e] * F[indices[e], indices[f]] * data[f]
                out[i, a, b] += total


@on_all_threads()
def merge_neighbours(
    indptr: np.ndarray, indices: np.ndarray, weights: np.ndarray, size: np.ndarray, order: np.ndarray, fewest: int
) -> np.ndarray:
    """Return for every node the node it is merged with, until `fewest` are left; heaviest edge over root size first."""
    count = order.size
    mate, left = np.full(count, -1), count
    for v in order:
        if mate[v] >= 0:
            continue
        mate[v] = v
        if left <= fewest:
            continue
        best, nearest = 0.0, -1
        for e in range(indptr[v], indptr[v + 1]):
            u = indices[e]
            weight = weights[e] / np.sqrt(size[u])
            if u != v and weight > best:
                best, nearest = weight, u
        if nearest >= 0:
            if mate[nearest] < 0:
                mate[nearest] = nearest
            mate[v] = mate[nearest]
            left -= 1
    return mate
