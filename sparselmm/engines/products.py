"""Products with the sparse parts of S, and sums over levels, for PcgEngine."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

SMALL_PRODUCT = 100_000  # multiplications of a product that threads would not wake up for


class Matrix:
    """A sparse matrix that multiplies blocks of vectors, on all threads if it is large."""

    def __init__(self, matrix):
        from .spmm import csr_dot

        matrix = sp.csr_array(matrix)
        self._dot, self.shape, self.nnz = csr_dot, matrix.shape, matrix.nnz
        self._matrix = matrix

    def __matmul__(self, V):
        if self.nnz * V.shape[1] < SMALL_PRODUCT:
            return self._matrix @ V
        out = np.empty((self.shape[0], V.shape[1]))
        self._dot(self._matrix.indptr, self._matrix.indices, self._matrix.data, np.ascontiguousarray(V), out)
        return out


class CoreBlocks:
    """B of one core term as blocks (e, c, d): entry e couples level `row` of the first term to level `column`."""

    def __init__(self, piece, c, d):
        block = sp.csr_array(piece).tobsr((c, d))
        self.data = block.data
        self.row = np.repeat(np.arange(block.indptr.size - 1, dtype=np.int32), np.diff(block.indptr))
        self.column, self.levels = block.indices, piece.shape[1] // d

    def sandwich(self, H):
        """Return Σ_i B_ij'H_iB_ij for every level j of the core term, (levels, d, d)."""
        d = self.data.shape[2]
        out = np.empty((self.levels, d, d))
        half = np.matmul(H[self.row], self.data) if d > 1 or H.shape[1] > 1 else None
        for a in range(d):
            for b in range(a + 1):
                if half is None:
                    values = H[self.row, 0, 0] * self.data[:, 0, 0] ** 2
                else:
                    values = np.einsum("ec,ec->e", self.data[:, :, a], half[:, :, b])
                out[:, a, b] = out[:, b, a] = np.bincount(self.column, values, minlength=self.levels)
        return out

    def trace(self, outer, half):
        """Return Σ_e O B_e (h'h) B_e'O', O the block of the row and h that of the column, (c, c)."""
        if self.data.shape[1:] == (1, 1):
            scaled = outer[self.row, 0, 0] * self.data[:, 0, 0] * half[self.column, 0, 0]
            return np.array([[scaled @ scaled]])
        scaled = np.matmul(np.matmul(outer[self.row], self.data), half[self.column].transpose(0, 2, 1))
        return np.einsum("ead,ebd->ab", scaled, scaled)


def diagonal_blocks(block):
    """Return the diagonal blocks (l, c, c) of Z_k'WZ_k; a user-supplied Z has one column a level."""
    return block.diagonal()[:, None, None] if sp.issparse(block) else block


def outer_sums(left, right, levels, modes):
    """Return Σ_j (l_jr_j' + r_jl_j')/2 of every random probe plus the sum over the modes, (t, c, c)."""
    left, right = (values.reshape(levels, -1, values.shape[1]) for values in (left, right))
    products = np.einsum("jat,jbt->tab", left, right)
    products = 0.5 * (products + products.transpose(0, 2, 1))
    return products[modes:] + products[:modes].sum(axis=0)
