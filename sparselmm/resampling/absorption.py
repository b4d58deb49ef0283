"""M(θ) for a stack of θ: the largest term absorbed by its blocks, a small dense core for the others.

Equations (B1)-(B6) of docs/math/batched.md. All arrays have a leading axis: of length k for k different θ, of length
one for what does not depend on θ. Vectors of length q are in the order of `DenseGram.order`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from ..engines import blocks

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts

SMALL_TRIANGLE = 8  # rows from which the inverse of a triangle is cheaper by halves than by LAPACK's general inverse


class DenseGram:
    """S = Z'WZ of a design, prepared for absorption.

    Attributes
    ----------
    first : int or None
        The term that is absorbed: the one with most effects; None if all are user-supplied blocks of Z.
    rest : list of int
        The others.
    order : ndarray of int (q,)
        Position in the model's order of every effect: the absorbed term's first.
    parts : dict of slice
        Where each term stands in that order.
    S1, B, S2 : ndarray (l, c, c), (q₁, q₂), (q₂, q₂)
        The blocks of S of the absorbed term, between it and the others, and of the others.
    """

    def __init__(self, cross: CrossProducts) -> None:
        shapes, slices = cross.shapes, cross.relative_factor.effect_slices
        self.first, self.rest = absorbed_term(cross)
        terms = self.rest if self.first is None else [self.first, *self.rest]
        self.order = np.concatenate([np.arange(slices[k].start, slices[k].stop) for k in terms])
        ends = np.cumsum([0, *(shapes[k].n_effects for k in terms)])
        self.parts = {k: slice(int(a), int(b)) for k, a, b in zip(terms, ends[:-1], ends[1:], strict=True)}
        self.q1 = 0 if self.first is None else shapes[self.first].n_effects
        self.q2 = self.order.size - self.q1
        self.S1 = np.zeros((0, 1, 1)) if self.first is None else cross.diagonal[self.first]
        self.B, self.S2 = np.zeros((self.q1, self.q2)), np.zeros((self.q2, self.q2))
        for i, k in enumerate(terms):
            for m in terms[i:]:
                rows, columns = self._core(k), self._core(m)
                if m == self.first:
                    continue
                block = cross.diagonal[k] if k == m else cross.cross[k, m] if k < m else cross.cross[m, k].T
                block = _block_diagonal(block) if isinstance(block, np.ndarray) else block.toarray()
                if k == self.first:
                    self.B[:, columns] = block
                else:
                    self.S2[rows, columns] = block
                    self.S2[columns, rows] = block.T

    def _core(self, k: int) -> slice:
        """Return where a term stands in the core."""
        part = self.parts[k]
        return slice(part.start - self.q1, part.stop - self.q1)

    @property
    def core_parts(self) -> list[tuple[int, slice]]:
        """The terms of the core and where they stand in it."""
        return [(k, self._core(k)) for k in self.rest]

    def dot(self, V: np.ndarray) -> np.ndarray:
        """Return SV, (k, q, r)."""
        first, rest = V[:, : self.q1], V[:, self.q1 :]
        return np.concatenate([apply(self.S1[None], first) + self.B @ rest, self.B.T @ first + self.S2 @ rest], axis=1)


def absorbed_term(cross: CrossProducts) -> tuple[int | None, list[int]]:
    """Return the term that is absorbed by blocks, and the others."""
    grouped = [k for k, block in enumerate(cross.diagonal) if not sp.issparse(block)]
    first = max(grouped, key=lambda k: cross.shapes[k].n_effects, default=None)
    return first, [k for k in range(len(cross.shapes)) if k != first]


class Absorbed:
    """M(θ) factored for a stack of θ.

    Parameters
    ----------
    gram : DenseGram
    factors : list of ndarray (k, c, c)
        λ of every term.

    Attributes
    ----------
    logdet : ndarray (k,)
        log|M|.
    """

    def __init__(self, gram: DenseGram, factors: list[np.ndarray]) -> None:
        self.gram, k = gram, factors[0].shape[0]
        S1, (l, c, _) = gram.S1[None], gram.S1.shape
        factor = np.ones((k, 1, 1)) if gram.first is None else factors[gram.first]
        transposed = factor.transpose(0, 2, 1)[:, None]
        M = mul(mul(transposed, S1), factor[:, None])
        np.einsum("kjii->kji", M)[...] += 1.0
        root = blocks.cholesky_inverse(M.reshape(k * l, c, c))[0].reshape(k, l, c, c)
        self.N1 = mul(root, transposed)  # (B1)
        self.J = np.eye(c) - mul(S1, mul(self.N1.transpose(0, 1, 3, 2), self.N1))
        self.R = apply(self.N1, np.broadcast_to(gram.B, (k, *gram.B.shape)))
        self.S2 = gram.S2 - self.R.transpose(0, 2, 1) @ self.R  # (B2)
        C = self._times(self._times(self.S2, factors).transpose(0, 2, 1), factors)
        np.einsum("kii->ki", C)[...] += 1.0
        L = np.linalg.cholesky(C)
        self.N2 = self._times(triangular_inverse(L), [f.transpose(0, 2, 1) for f in factors])  # (B3)
        self.K2 = self.N2 @ self.S2
        self.JP = apply(self.J, gram.B @ self.N2.transpose(0, 2, 1))
        diagonals = np.einsum("kjii->kji", root).reshape(k, -1), np.einsum("kii->ki", L)
        self.logdet = 2.0 * (np.log(diagonals[1]).sum(axis=1) - np.log(diagonals[0]).sum(axis=1))

    def _times(self, X: np.ndarray, factors: list[np.ndarray]) -> np.ndarray:
        """Return X Λ₂ for X (k, r, q₂) and the λ of the core's terms."""
        out = np.empty(X.shape)
        for t, part in self.gram.core_parts:
            c = factors[t].shape[1]
            if c == 1:
                np.multiply(X[:, :, part], factors[t], out=out[:, :, part])
            else:
                block = X[:, :, part]
                out[:, :, part] = (block.reshape(len(X), -1, c) @ factors[t]).reshape(block.shape)
        return out

    def reduce(self, A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return E with A'ΛM⁻¹Λ'A = E'E, (k, q, r), and what is left of the core's part of A, (k, q₂, r)."""
        first, q1 = apply(self.N1, A[:, : self.gram.q1]), self.gram.q1
        rest = A[:, q1:] - self.R.transpose(0, 2, 1) @ first
        second = self.N2 @ rest
        if first.shape[0] != second.shape[0]:
            first = np.broadcast_to(first, (second.shape[0], *first.shape[1:]))
        return np.concatenate([first, second], axis=1), rest  # (B4)

    def marginal(self, A: np.ndarray, E: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Return Z'V⁻¹a, (k, q, r), for A = Z'Wa with its E and rest from `reduce`."""
        q1 = self.gram.q1
        second = E[:, q1:]
        first = apply(self.J, A[:, :q1]) - self.JP @ second
        return np.concatenate([first, rest - self.K2.transpose(0, 2, 1) @ second], axis=1)  # (B5)

    def block_sums(self, t: int, c: int) -> np.ndarray:
        """Return Σ_j [Z'V⁻¹Z]_jj of term t with c columns, (k, c, c)."""
        if t == self.gram.first:  # (B6)
            half = by_column(self.JP, c)
            return mul(self.J, self.gram.S1[None]).sum(axis=1) - half @ half.transpose(0, 2, 1)
        part = dict(self.gram.core_parts)[t]
        half = by_column(self.K2[:, :, part].transpose(0, 2, 1), c).transpose(0, 2, 1)
        levels = np.arange(part.start, part.stop).reshape(-1, c)
        return self.S2[:, levels[:, :, None], levels[:, None, :]].sum(axis=1) - half.transpose(0, 2, 1) @ half


def mul(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return products of stacks of small matrices (..., c, c)."""
    return left * right if left.shape[-1] == 1 else left @ right


def apply(stack: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Return B_jV_j stacked, (k, l*c, r), for blocks (k or 1, l, c, c) and V (k or 1, l*c, r)."""
    _, l, c, _ = stack.shape
    if c == 1:
        return stack[:, :, 0] * V
    product = stack @ V.reshape(len(V), l, c, -1)
    return product.reshape(len(product), *V.shape[1:])


def by_column(V: np.ndarray, c: int) -> np.ndarray:
    """Return V (k, l*c, r) with a row for each of the c columns, (k, c, l*r)."""
    k, q, r = V.shape
    return V.reshape(k, q // c, c, r).transpose(0, 2, 1, 3).reshape(k, c, q // c * r)


def triangular_inverse(L: np.ndarray) -> np.ndarray:
    """Return L⁻¹ of lower triangles (k, q, q), by halves."""
    q = L.shape[-1]
    if q <= SMALL_TRIANGLE:
        return np.linalg.inv(L)
    h, inverse = q // 2, np.zeros_like(L)
    inverse[:, :h, :h] = triangular_inverse(L[:, :h, :h])
    inverse[:, h:, h:] = triangular_inverse(L[:, h:, h:])
    inverse[:, h:, :h] = -(inverse[:, h:, h:] @ L[:, h:, :h]) @ inverse[:, :h, :h]
    return inverse


def _block_diagonal(stack: np.ndarray) -> np.ndarray:
    """Return the (l*c, l*c) matrix with the given diagonal blocks."""
    l, c, _ = stack.shape
    matrix = np.zeros((l, c, l, c))
    matrix[np.arange(l), :, np.arange(l), :] = stack
    return matrix.reshape(l * c, l * c)
