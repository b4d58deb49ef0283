"""SchurEngine: eliminate one term by its small blocks, factor the Schur complement of the others.

With the eliminated term first, the Cholesky factor of M = Λ'SΛ + I is

    L = [ L₁       ]      L₁ = blockdiag(L_j), the blocks of the eliminated term
        [ R'   L_C ]      R = L₁⁻¹Λ₁'BΛ₂, B = Z₁'WZ₂;  L_C L_C' = C = Λ₂'S₂₂Λ₂ + I - R'R

C is dense (LAPACK), sparse (CHOLMOD) or empty; with no eliminated term it is M itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import scipy.sparse as sp

from ..covariance import triangle
from . import blocks
from .protocol import Core, CoreCoupling

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts

WELL_CONDITIONED = 1e-5  # squared smallest singular value of λ_k, scaled, above which (7) beats (8) in precision
FEW = 512  # columns of a term up to which (8) is computed by block solves
RAISED = 3e-4  # singular values of a scaled λ_k that (6) replaces smaller ones by in larger terms: D is good to 1e-7


class SchurEngine:
    """The exact engine; see `Engine` for the verbs and the module for the mathematics.

    Parameters
    ----------
    cross : CrossProducts
    eliminated : int or None
        The term eliminated by blocks.
    core : DenseCore, SparseCore or None
        Factors the rest; None if there is no other term.
    coupling : DenseCoupling, SparseCoupling or None
    """

    slack = tolerance = 0.0

    def __init__(
        self, cross: CrossProducts, eliminated: int | None, core: Core | None, coupling: CoreCoupling | None
    ) -> None:
        self.map = cross.relative_factor
        self.core, self.coupling = cast(Core, core), cast(CoreCoupling, coupling)  # None where there is no such part
        self.eliminated = eliminated
        self._first = slice(0, 0) if eliminated is None else self.map.effect_slices[eliminated]
        self._rest = [k for k in range(len(cross.shapes)) if k != eliminated]
        self._gram = np.empty((0, 0, 0)) if eliminated is None else np.ascontiguousarray(cross.diagonal[eliminated])
        self._scales = [cross.column_scale(k) * np.sqrt(cross.nobs / s.n_levels) for k, s in enumerate(cross.shapes)]

    @property
    def description(self) -> str:
        """How M is factored, in one phrase."""
        parts = []
        if self.eliminated is not None:
            shape = self.map.shapes[self.eliminated]
            parts.append(f"{shape.name} eliminated as {shape.n_levels:,} blocks")
        if self.core is not None:
            parts.append(self.core.describe())
        return ", ".join(parts)

    def _split(self, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the parts of V (q, r) of the eliminated term and of the core, in the core's order."""
        if self.core is None:
            return V, V[:0]
        rest = V
        if self.eliminated is not None:
            rest = np.concatenate([V[: self._first.start], V[self._first.stop :]])
        return V[self._first], rest if self.core.rank is None else rest[self.core.permutation]

    def _join(self, first: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Undo `_split`."""
        if self.core is None:
            return first
        if self.core.rank is not None:
            rest = rest[self.core.rank]
        start = self._first.start
        return np.concatenate([rest[:start], first, rest[start:]])

    def factorize(self, theta: np.ndarray) -> None:
        """Factor M(θ)."""
        self.factors = self.map.unpack(theta)
        rest = [self.factors[k] for k in self._rest]
        self._logdet = 0.0
        if self.eliminated is not None:
            factor = self.factors[self.eliminated]
            M = blocks.transform(self._gram, factor)
            np.einsum("jii->ji", M)[...] += 1.0
            self._inverse_cholesky, self._logdet = blocks.cholesky_inverse(M)
            if self.coupling is not None:
                self.coupling.update(factor, rest, self._inverse_cholesky)
        if self.core is not None:
            self.core.factorize(rest, self.coupling)
            self._logdet += self.core.logdet()
        self._quadratics: dict[bool, np.ndarray] = {}

    def logdet(self) -> float:
        """Return log|M|."""
        return self._logdet

    def solve(self, rhs: np.ndarray, rough: bool = False) -> np.ndarray:
        """Return M⁻¹ rhs, (q, r)."""
        first, rest = self._split(rhs)
        if self.eliminated is None:
            return self._join(first, self.core.solve(rest))
        first = blocks.dot(self._inverse_cholesky, first)
        if self.core is not None:
            rest = self.core.solve(rest - self.coupling.tdot(first))
            first = first - self.coupling.dot(rest)
        return self._join(blocks.tdot(self._inverse_cholesky, first), rest)

    def gram_dot(self, V: np.ndarray) -> np.ndarray:
        """Return S V, (q, r)."""
        first, rest = self._split(V)
        if self.eliminated is None:
            return self._join(first, self.core.gram_dot(rest))
        product = blocks.dot(self._gram, first)
        if self.core is not None:
            product = product + self.coupling.gram_dot(rest)
            rest = self.core.gram_dot(rest) + self.coupling.gram_tdot(first)
        return self._join(product, rest)

    def _coupled(self, scaled: bool) -> np.ndarray:
        """Return R_jC⁻¹R_j' per level of the eliminated term, (l, c, c), R_j = L_j⁻¹λ'(BΛ₂)_j, or L_j⁻¹λ' left out.

        One pass per θ. M⁻¹ needs the former: M_jj⁻¹λ' on both sides of the latter loses cond(M) ε λ².
        """
        if scaled not in self._quadratics:
            self._quadratics[scaled] = self.coupling.quadratic(self.core, scaled)
        return self._quadratics[scaled]

    def inverse_blocks(self, k: int) -> np.ndarray:
        """Return the diagonal blocks of M⁻¹ of term k, (l_k, c_k, c_k)."""
        if k != self.eliminated:
            return self.core.inverse_blocks(self._rest.index(k))
        inner = self._inverse_cholesky
        inverse = blocks.product(inner, inner, transpose=True)
        if self.core is not None:  # L_j⁻ᵀ(I + R_jC⁻¹R_j')L_j⁻¹
            inverse += blocks.sandwich(inner.transpose(0, 2, 1), self._coupled(scaled=True))
        return inverse

    def marginal_block_sums(self) -> list[np.ndarray]:
        """Return Σ_j [Z'V⁻¹Z]_jj, (c_k, c_k) each: from T_k where λ_k is well conditioned (7), else directly (8)."""
        return [self._marginal_block_sum(k) for k in range(len(self.map.shapes))]

    def _marginal_block_sum(self, k: int) -> np.ndarray:
        factor, shape = self.factors[k], self.map.shapes[k]
        scaled = factor * self._scales[k][:, None]
        smallest = abs(scaled[0, 0]) if shape.n_columns == 1 else np.linalg.svd(scaled, compute_uv=False)[-1]
        if smallest**2 > WELL_CONDITIONED:
            return self._unscaled_marginal_sum(k)
        if k == self.eliminated:
            return self._eliminated_marginal_sum(factor)
        return self._solved_marginal_sum(k) if shape.n_effects <= FEW else self._raised_marginal_sum(k)

    def _eliminated_marginal_sum(self, factor: np.ndarray) -> np.ndarray:
        """Return (8) for the eliminated term: Σ_j S_j - S_jH_jS_j - (I - S_jH_j)Q_j(I - S_jH_j)', H_j = λM_j⁻¹λ'."""
        S, inner = self._gram, self._inverse_cholesky @ factor.T
        SH = S @ (inner.transpose(0, 2, 1) @ inner)
        marginal = S - SH @ S
        if self.core is not None:
            marginal -= blocks.sandwich(np.eye(S.shape[1]) - SH, self._coupled(scaled=False))
        return marginal.sum(axis=0)

    def _unscaled_marginal_sum(self, k: int) -> np.ndarray:
        """Return λ_k⁻ᵀ(l_k I - T_k)λ_k⁻¹, equation (6)."""
        shape, inverse = self.map.shapes[k], np.linalg.inv(self.factors[k])
        inner = shape.n_levels * np.eye(shape.n_columns) - self.inverse_blocks(k).sum(axis=0)
        return inverse.T @ inner @ inverse

    def _solved_marginal_sum(self, k: int) -> np.ndarray:
        """Return (8) by a block solve with the columns of term k: Σ_j of E_j'(S - SΛM⁻¹Λ'S)E_j."""
        shape, part = self.map.shapes[k], self.map.effect_slices[k]
        l, c = shape.n_levels, shape.n_columns
        SE = self.gram_dot(np.eye(self.map.n_effects)[:, part])
        half = self.map.tdot(self.factors, SE)
        product = (SE[part] - half.T @ self.solve(half)).reshape(l, c, l, c)
        return product[np.arange(l), :, np.arange(l), :].sum(axis=0)

    def _raised_marginal_sum(self, k: int) -> np.ndarray:
        """Return (6) at a nearby θ, where the small singular values of λ_k are raised."""
        factors, size = list(self.factors), self._scales[k][:, None]
        if self.map.shapes[k].structure == "diagonal":
            factors[k] = np.diag(np.maximum(np.abs(np.diag(factors[k])), RAISED / size[:, 0]))
        else:
            left, values, _ = np.linalg.svd(factors[k] * size)
            factors[k] = triangle((left * np.maximum(values, RAISED)).T).T / size
        here = self.map.pack(self.factors)
        try:
            self.factorize(self.map.pack(factors))
            return self._unscaled_marginal_sum(k)
        finally:
            self.factorize(here)


def coupling_pieces(cross: CrossProducts, eliminated: int, rest: Sequence[int]) -> list[sp.csr_array]:
    """Return the sparse pieces Z₁'WZ_k of the coupling, one for each of the other terms."""
    return [cross.cross[eliminated, k] if eliminated < k else sp.csr_array(cross.cross[k, eliminated].T) for k in rest]
