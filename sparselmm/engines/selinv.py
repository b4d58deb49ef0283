"""Selected inverse: entries of (LL')⁻¹ on the pattern of L, by Takahashi's recursion."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack


def selected_inverse(indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return (LL')⁻¹ on the pattern of L, as data of the same lower CSC matrix with sorted indices.

    The trailing columns that form a dense triangle are inverted by LAPACK, the others by the recursion over supernodes
    (Takahashi, Fagan & Chen 1973; Erisman & Tinney 1975).
    """
    from .kernels import selected_inverse as recursion

    size = indptr.size - 1
    inverse = np.empty_like(data)
    full = np.diff(indptr) == size - np.arange(size)
    dense_from = size - int(np.argmin(full[::-1])) if not full.all() else 0
    width = size - dense_from
    if width:
        start = indptr[dense_from]
        columns, rows = np.triu_indices(width)  # the packed columns of a lower triangle
        triangle = np.zeros((width, width), order="F")
        triangle[rows, columns] = data[start:]
        lower, _ = lapack.dpotri(triangle, lower=1, overwrite_c=1)
        inverse[start:] = lower[rows, columns]
    recursion(indptr, indices, data, supernodes(indptr, indices, dense_from), dense_from, inverse)
    return inverse


def supernodes(indptr: np.ndarray, indices: np.ndarray, stop: int) -> np.ndarray:
    """Return the first columns of the runs of nested patterns among the columns before `stop`, then `stop`."""
    counts = np.diff(indptr)[: stop + 1]
    firsts = np.ones(stop + 1, dtype=bool)
    if stop > 1:  # column j + 1 continues column j: it is the first row below j and has one entry less
        j = np.flatnonzero((counts[: stop - 1] == counts[1:stop] + 1) & (counts[: stop - 1] > 1))
        firsts[j[indices[indptr[j] + 1] == j + 1] + 1] = False
    return np.flatnonzero(firsts)
