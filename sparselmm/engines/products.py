"""Products of PcgEngine with B = Z₁'WZ₂, read from the arrays of the cross-products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts

REDUCED = 4  # entries per column of a thread's sums below which further threads cost more than they save
LANES = 4  # columns that a processor multiplies at a time


class Coupling:
    """B, (l*c, q), in CSR form with sorted indices: level i of the first term owns c of its rows.

    Memory besides B are the sums of every thread, (q, r): B'(...) is summed over rows, not a product with a transpose.
    """

    def __init__(self, matrix: sp.csr_array, c: int) -> None:
        from numba import get_num_threads

        from . import spmm

        self._kernels, self.c = spmm, c
        self.shape, self.nnz = matrix.shape, matrix.nnz
        self.matrix, self._arrays = matrix, (matrix.indptr, matrix.indices, matrix.data)
        self._threads = int(np.clip(self.nnz // (REDUCED * max(self.shape[1], 1)), 1, get_num_threads()))
        by_level = matrix.indptr[::c]  # threads own equal numbers of entries
        self._starts = np.searchsorted(by_level, np.linspace(0, self.nnz, self._threads + 1)).astype(np.int64)
        self._starts[[0, -1]] = 0, by_level.size - 1

    def dot(self, V: np.ndarray) -> np.ndarray:
        """Return BV, (l*c, r)."""
        out = np.empty((self.shape[0], V.shape[1]))
        self._kernels.csr_dot(*self._arrays, np.ascontiguousarray(V), out)
        return out

    def tdot(self, V: np.ndarray) -> np.ndarray:
        """Return B'V, (q, r)."""
        sums = self._sums(V.shape[1])
        self._kernels.csr_tdot(*self._arrays, np.ascontiguousarray(V), self._starts * self.c, sums)
        return sums.sum(axis=0)

    def normal_dot(self, H: np.ndarray, V: np.ndarray) -> np.ndarray:
        """Return Σ_i B_i'H_iB_iV, (q, r), for H (l, c, c)."""
        width = V.shape[1]
        padded = np.zeros((self.shape[1], width + -width % LANES))
        padded[:, :width] = V
        sums = self._sums(padded.shape[1])
        self._kernels.normal_dot(*self._arrays, H, padded, self._starts, sums)
        return sums[:, :, :width].sum(axis=0)

    def column_blocks(self, H: np.ndarray, part: slice, d: int) -> np.ndarray:
        """Return Σ_i B_ij'H_iB_ij for every level j of the term with these columns, (l, d, d)."""
        sums = np.empty((self._threads, (part.stop - part.start) // d, d, d))
        self._kernels.column_blocks(*self._arrays, H, part.start, part.stop, self._starts, sums)
        return sums.sum(axis=0)

    def add_row_blocks(self, G: np.ndarray, part: slice, out: np.ndarray) -> None:
        """Add Σ_j B_ijG_jB_ij' over the levels j of the term with these columns to out (l, c, c)."""
        self._kernels.row_blocks(*self._arrays, G, part.start, part.stop, out)

    def gram(self, H: np.ndarray) -> np.ndarray:
        """Return Σ_i B_i'H_iB_i, dense (q, q)."""
        sums = np.empty((self._threads, self.shape[1], self.shape[1]))
        self._kernels.gram(*self._arrays, H, self._starts, sums)
        return sums.sum(axis=0)

    def add_quadratic(self, F: np.ndarray, out: np.ndarray) -> None:
        """Add B_iFB_i' to out (l, c, c), for dense F (q, q)."""
        self._kernels.quadratic(*self._arrays, F, out)

    def _sums(self, width: int) -> np.ndarray:
        return np.empty((self._threads, self.shape[1], width))


def canonical(matrix: sp.sparray) -> sp.csr_array:
    """Return the matrix in CSR form with sorted indices; its arrays are not copied if it is."""
    matrix = sp.csr_array(matrix)
    matrix.sort_indices()
    return matrix


def joined(pieces: Sequence[sp.sparray]) -> sp.csr_array:
    """Return the pieces side by side; the array itself if there is one."""
    return canonical(pieces[0] if len(pieces) == 1 else sp.hstack(pieces, format="csr"))


def core_gram(cross: CrossProducts, terms: Sequence[int]) -> sp.csr_array:
    """Return the part of S that belongs to these terms, both triangles."""

    def block(k: int, m: int) -> sp.sparray:
        if k == m:
            own = cross.diagonal[k]
            if sp.issparse(own):
                return own
            levels, c, _ = own.shape
            return sp.bsr_array((own, np.arange(levels), np.arange(levels + 1)), shape=(levels * c, levels * c))
        return cross.cross[k, m] if k < m else cross.cross[m, k].T

    return sp.block_array([[block(k, m) for m in terms] for k in terms], format="csr")


def diagonal_blocks(block: np.ndarray | sp.csr_array) -> np.ndarray:
    """Return the diagonal blocks (l, c, c) of Z_k'WZ_k; a user-supplied Z has one column a level."""
    return block.diagonal()[:, None, None] if sp.issparse(block) else block


def outer_sums(left: np.ndarray, right: np.ndarray, levels: int, modes: int) -> np.ndarray:
    """Return Σ_j (l_jr_j' + r_jl_j')/2 of every random probe plus the sum over the modes, (t, c, c)."""
    left, right = (values.reshape(levels, -1, values.shape[1]) for values in (left, right))
    if left.shape[1] == 1:
        products = np.einsum("jat,jat->t", left, right)[:, None, None]
    else:
        products = np.einsum("jat,jbt->tab", left, right)
    products = 0.5 * (products + products.transpose(0, 2, 1))
    return products[modes:] + products[:modes].sum(axis=0)
