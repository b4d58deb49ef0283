"""Products of a sparse matrix with a block of vectors, on all threads (numba)."""

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(parallel=True, cache=True, nogil=True, fastmath={"contract", "reassoc"})
def csr_dot(indptr, indices, data, V, out):
    """out = A V for A in CSR form, V and out C-ordered (·, r)."""
    width = V.shape[1]
    for i in prange(indptr.size - 1):
        row = np.zeros(width)
        for e in range(indptr[i], indptr[i + 1]):
            value, source = data[e], V[indices[e]]
            for r in range(width):
                row[r] += value * source[r]
        out[i] = row
