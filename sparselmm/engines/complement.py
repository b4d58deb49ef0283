"""Complement: C = Λ₂'(S₂₂ - B'H₁B)Λ₂ + I, never formed, and its preconditioner (S1), (S2), (S8) of docs/math/pcg.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..covariance import RelativeFactor
from . import blocks
from .coarse import coarse_space
from .products import Coupling, core_gram, diagonal_blocks, joined
from .schur import coupling_pieces

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts


class Complement:
    """A = R'L_D⁻¹CL_D⁻ᵀR at one θ: D the diagonal blocks of C, R the coarse correction.

    Holds no copy of B = Z₁'WZ₂ where the cross-products have it by rows of the eliminated term.

    Parameters
    ----------
    cross : CrossProducts
    eliminated : int
        The term eliminated by blocks.
    few : int
        Columns of a term up to which it has no part in the coarse space.

    Attributes
    ----------
    map : RelativeFactor
        Of the other terms, the core.
    factors : list of ndarray (c_k, c_k)
        Their λ_k.
    gram, inverse : ndarray (l, c, c)
        Blocks of S₁ and M₁⁻¹ of the eliminated term.
    roots : list of ndarray (l_k, c_k, c_k)
        Blocks of L_D⁻¹.
    schur_sums : list of ndarray (c_k, c_k)
        Sums of the diagonal blocks of S₂₂ - B'H₁B.
    logdet, trace : float
        log|M| - log|A| and tr(A - I).
    """

    def __init__(self, cross: CrossProducts, eliminated: int, few: int) -> None:
        rest = [k for k in range(len(cross.shapes)) if k != eliminated]
        self.map = RelativeFactor([cross.shapes[k] for k in rest])
        self.gram = np.ascontiguousarray(cross.diagonal[eliminated])
        pieces = [joined([piece]) for piece in coupling_pieces(cross, eliminated, rest)]
        S = core_gram(cross, rest)
        self._S, self._B = Coupling(S, 1), Coupling(joined(pieces), self.gram.shape[1])
        self._diagonals = [diagonal_blocks(cross.diagonal[k]) for k in rest]
        self._coarse = coarse_space(self._B, pieces, S, self.map, few)

    @property
    def nnz(self) -> int:
        """Entries of B and S₂₂ that a product with C reads."""
        return self._B.nnz + self._S.nnz

    @property
    def covered(self) -> list[int]:
        """Positions of the terms whose shifts the coarse space holds."""
        return [] if self._coarse is None else self._coarse.terms

    def update(self, factor: np.ndarray, factors: Sequence[np.ndarray]) -> None:
        """Eliminate the first term and set the preconditioner of what is left, for λ₁ and the other λ_k."""
        self._factor, self.factors = factor, factors
        M = blocks.transform(self.gram, factor)
        np.einsum("jii->ji", M)[...] += 1.0
        root, self.logdet = blocks.cholesky_inverse(M)
        self.inverse = blocks.product(root, root, transpose=True)
        half = root @ factor.T
        self.H = blocks.product(half, half, transpose=True)
        self.roots, self.schur_sums, diagonals = [], [], []
        for S, lambda_, part in zip(self._diagonals, factors, self.map.effect_slices, strict=True):
            S = S - self._B.column_blocks(self.H, part, len(lambda_))
            self.schur_sums.append(S.sum(axis=0))
            D = blocks.transform(S, lambda_)
            np.einsum("jii->ji", D)[...] += 1.0
            root, logdet = blocks.cholesky_inverse(D)
            self.roots.append(root)
            diagonals.append(D)
            self.logdet += logdet
        transposed = [np.ascontiguousarray(root.transpose(0, 2, 1)) for root in self.roots]
        self._halves = [np.ascontiguousarray(lambda_ @ t) for lambda_, t in zip(factors, transposed, strict=True)]
        self._ridges = [blocks.product(*pair) for pair in zip(self.roots, transposed, strict=True)]
        self.trace = 0.0
        if self._coarse is not None:
            self._coarse.update(factors, self.H, diagonals, self.roots)
            self.logdet += self._coarse.logdet
            self.trace = self._coarse.trace

    def apply(self, V: np.ndarray) -> np.ndarray:
        """Return AV."""
        V = self._right(V)
        product = self.schur_dot(self._by_term(blocks.dot, self._halves, V))  # halves: Λ₂L_D⁻ᵀ
        return self._left(
            self._by_term(blocks.tdot, self._halves, product) + self._by_term(blocks.dot, self._ridges, V)
        )

    def whiten(self, V: np.ndarray) -> np.ndarray:
        """Return R'L_D⁻¹V."""
        return self._left(self._by_term(blocks.dot, self.roots, V))

    def color(self, V: np.ndarray) -> np.ndarray:
        """Return L_D⁻ᵀRV."""
        return self._by_term(blocks.tdot, self.roots, self._right(V))

    def _right(self, V: np.ndarray) -> np.ndarray:
        return V if self._coarse is None else self._coarse.dot(V)

    def _left(self, V: np.ndarray) -> np.ndarray:
        return V if self._coarse is None else self._coarse.tdot(V)

    def _by_term(
        self, multiply: Callable[[np.ndarray, np.ndarray], np.ndarray], matrices: Sequence[np.ndarray], V: np.ndarray
    ) -> np.ndarray:
        parts = [multiply(m, V[part]) for m, part in zip(matrices, self.map.effect_slices, strict=True)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def schur_dot(self, V: np.ndarray) -> np.ndarray:
        """Return (S₂₂ - B'H₁B)V."""
        return self._S.dot(V) - self._B.normal_dot(self.H, V)

    def gram_dot(self, first: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the two parts of SV from those of V."""
        return blocks.dot(self.gram, first) + self._B.dot(rest), self._S.dot(rest) + self._B.tdot(first)

    def coupled(self, V: np.ndarray) -> np.ndarray:
        """Return BΛ₂V."""
        return self._B.dot(self.map.dot(self.factors, V))

    def coupled_back(self, V: np.ndarray) -> np.ndarray:
        """Return Λ₂'B'V."""
        return self.map.tdot(self.factors, self._B.tdot(V))

    def controls(self) -> list[np.ndarray]:
        """Return Σ_j of the diagonal blocks of L_D⁻ᵀRR'L_D⁻¹, close to C⁻¹, (c_k, c_k) for every term of the core."""
        sums = [blocks.product(root, root, transpose=True).sum(axis=0) for root in self.roots]
        if self._coarse is not None:
            for k in self.covered:
                sums[k] += self._coarse.block_sum(k)
        return sums

    def first_controls(self) -> np.ndarray:
        """Return the diagonal blocks of BΛ₂L_D⁻ᵀRR'L_D⁻¹Λ₂'B', (l, c, c)."""
        out = np.zeros(self.gram.shape)
        for half, part in zip(self._halves, self.map.effect_slices, strict=True):
            self._B.add_row_blocks(blocks.product(half, np.ascontiguousarray(half.transpose(0, 2, 1))), part, out)
        if self._coarse is not None:
            self._coarse.add_quadratic(out)
        return out
