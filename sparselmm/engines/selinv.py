"""Selected inverse: entries of (LL')⁻¹ on the pattern of L, by Takahashi's recursion."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack


def selected_inverse(indptr, indices, data):
    """Return (LL')⁻¹ on the pattern of L, as data of the same lower CSC matrix with sorted indices.

    The trailing columns that form a dense triangle are inverted by LAPACK, the others by a compiled loop (Takahashi,
    Fagan & Chen 1973; Erisman & Tinney 1975).
    """
    from .kernels import selected_inverse as recursion

    size = indptr.size - 1
    inverse = np.empty_like(data)
    counts = np.diff(indptr)
    full = counts == size - np.arange(size)
    dense_from = size - int(np.argmin(full[::-1])) if not full.all() else 0
    width = size - dense_from
    if width:
        start = indptr[dense_from]
        columns, rows = np.triu_indices(width)  # the packed columns of a lower triangle
        triangle = np.zeros((width, width), order="F")
        triangle[rows, columns] = data[start:]
        lower, _ = lapack.dpotri(triangle, lower=1, overwrite_c=1)
        inverse[start:] = lower[rows, columns]
    recursion(indptr, indices, data, dense_from, inverse)
    return inverse
