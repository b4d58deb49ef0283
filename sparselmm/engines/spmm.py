"""Products of a sparse matrix with a block of vectors, on all threads (numba)."""

from __future__ import annotations

from numba import prange

from .compiled import on_all_threads


@on_all_threads(parallel=True)
def csr_dot(indptr, indices, data, V, out):
    """out = A V for A in CSR form, V and out C-ordered (·, r)."""
    width = V.shape[1]
    for i in prange(indptr.size - 1):
        for r in range(width):
            out[i, r] = 0.0
        for e in range(indptr[i], indptr[i + 1]):
            value, j = data[e], indices[e]
            for r in range(width):
                out[i, r] += value * V[j, r]
