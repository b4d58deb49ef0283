"""Traces and products of V⁻¹G_rV⁻¹G_s in the q dimensions of M(θ), exact or by probes: equations (D4)-(D10).

G_r = ZE_rZ' for the entries r of the relative covariances λ_kλ_k' and G_0 = W⁻¹, so that V = Σ_r τ_rG_r + G_0.
Everything is a product of Φ = Z'V⁻¹Z = S - SΛM⁻¹Λ'S with unit vectors, probes or F = Z'V⁻¹X, some columns at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations_with_replacement, product
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

from .engines.exact import largest_term

if TYPE_CHECKING:
    from .likelihood import Evaluation, ProfiledLikelihood

    Grams = dict[tuple[int, int], np.ndarray]  # (c_k, c_m, c_k, c_m) for terms k, m

SMALL = 300  # random effects up to which all of Φ at once is faster than eliminating a term
BLOCK = 4_000_000  # entries of a block of columns (q, b): 32 MB
PROBED = 16_000_000  # entries of a block of probes
MOST_WORK = 2e11  # multiplications of the exact traces (some 20 s), above which probes estimate them


def inverse_root(at: Evaluation) -> np.ndarray:
    """Return R⁻¹, (p, p): R⁻¹R⁻ᵀ = (X'V⁻¹X)⁻¹ in the pilot basis."""
    return lapack.dtrtri(at.R, lower=0)[0] if at.R.size else at.R


class Reduced:
    """Φ and F at one θ.

    Attributes
    ----------
    factors : list of ndarray (c_k, c_k)
        The λ_k.
    half : ndarray (p, p)
        R⁻¹, so that half half' = (X'V⁻¹X)⁻¹.
    """

    def __init__(self, likelihood: ProfiledLikelihood, at: Evaluation) -> None:
        likelihood.factorize(at.theta)
        self.engine, self.cross, self.map = likelihood.engine, likelihood.cross, likelihood.map
        self.factors = self.map.unpack(at.theta)
        self.half = inverse_root(at)
        self._U = at.U

    @cached_property
    def FR(self) -> np.ndarray:
        """Z'V⁻¹XR⁻¹, (q, p)."""
        return (self.cross.ZX - self.engine.gram_dot(self.map.dot(self.factors, self._U))) @ self.half

    def marginal_dot(self, V: np.ndarray, rough: bool = False) -> np.ndarray:
        """Return ΦV, (q, r); `rough` as in `Engine.solve`."""
        SV = self.engine.gram_dot(V)
        solved = self.engine.solve(self.map.tdot(self.factors, SV), rough=rough)
        return SV - self.engine.gram_dot(self.map.dot(self.factors, solved))

    def by_level(self, k: int, V: np.ndarray) -> np.ndarray:
        """Return the rows of term k of V (q, r), a view (l_k, c_k, r) if V is C-contiguous."""
        shape = self.map.shapes[k]
        return V[self.map.effect_slices[k]].reshape(shape.n_levels, shape.n_columns, V.shape[1])

    @property
    def basis(self) -> list[np.ndarray]:
        """The symmetric E_r of every term, (m_k, c_k, c_k): the covariance is Σ_r τ_rE_r."""
        matrices = []
        for shape in self.map.shapes:
            rows, columns = shape.entries
            E = np.zeros((rows.size, shape.n_columns, shape.n_columns))
            E[np.arange(rows.size), rows, columns] = E[np.arange(rows.size), columns, rows] = 1.0
            matrices.append(E)
        return matrices

    @property
    def directions(self) -> list[np.ndarray]:
        """The D_p = E_ijλ' + λE_ij' of every term, (m_k, c_k, c_k): derivatives of λ_kλ_k' in θ."""
        matrices = []
        for shape, factor in zip(self.map.shapes, self.factors, strict=True):
            rows, columns = shape.entries
            D = np.zeros((rows.size, *factor.shape))
            D[np.arange(rows.size), rows] = factor[:, columns].T
            matrices.append(D + D.transpose(0, 2, 1))
        return matrices

    def contract(self, matrices: Sequence[np.ndarray], grams: Grams) -> np.ndarray:
        """Return tr(V⁻¹G_rV⁻¹G_s), (m, m), for symmetric E_r per term (m_k, c_k, c_k) from `pair_grams`."""
        traces = np.empty((self.map.n_theta, self.map.n_theta))
        for (k, m), gram in grams.items():
            part = np.einsum("pea,qbf,abef->pq", matrices[k], matrices[m], gram, optimize=True)
            traces[self.map.theta_slices[k], self.map.theta_slices[m]] = part
            traces[self.map.theta_slices[m], self.map.theta_slices[k]] = part.T
        return traces

    def fixed_gram(self, matrices: Sequence[np.ndarray], right: np.ndarray | None = None) -> np.ndarray:
        """Return R⁻ᵀX'V⁻¹ZE_r right, (m, p, p), for symmetric E_r per term (m_k, c_k, c_k) and right (q, p) or FR."""
        parts = []
        for k, E in enumerate(matrices):
            left, other = (self.by_level(k, V) for V in (self.FR, self.FR if right is None else right))
            gram = np.tensordot(left, other, axes=(0, 0))  # Σ_j FR[j, a, x] right[j, b, y], (c, p, c, p)
            parts.append(np.einsum("rab,axby->rxy", E, gram, optimize=True))
        return np.concatenate(parts)

    def fixed_pairs(self, matrices: Sequence[np.ndarray]) -> np.ndarray:
        """Return R⁻ᵀX'V⁻¹G_rV⁻¹G_sV⁻¹XR⁻¹, (m, m, p, p), for E_r per term (m_k, c_k, c_k)."""
        products = []
        for k, E in enumerate(matrices):
            for E_s in E:
                EF = np.zeros(self.FR.shape)
                self.by_level(k, EF)[...] = E_s @ self.by_level(k, self.FR)
                products.append(self.fixed_gram(matrices, self.marginal_dot(EF)))
        return np.stack(products, axis=1)

    def single_traces(self, matrices: Sequence[np.ndarray]) -> np.ndarray:
        """Return tr(V⁻¹G_r), (m,), for E_r per term (m_k, c_k, c_k)."""
        sums = self.engine.marginal_block_sums()
        return np.concatenate([np.einsum("rab,ab->r", E, block) for E, block in zip(matrices, sums, strict=True)])

    def criterion_traces(
        self, matrices: Sequence[np.ndarray], restricted: bool, grams: Grams | None = None
    ) -> np.ndarray:
        """Return tr(QG_rQG_s), (m, m), with Q = P if restricted, else V⁻¹, for E_r per term (m_k, c_k, c_k).

        `grams` are `pair_grams` or estimates of them; by default the former are computed.
        """
        traces = self.contract(matrices, self.pair_grams() if grams is None else grams)
        if restricted:
            P = self.fixed_gram(matrices)
            traces += np.einsum("rxy,sxy->rs", P, P) - 2.0 * np.einsum("rsxx->rs", self.fixed_pairs(matrices))
        return traces

    def pair_grams(self) -> Grams:
        """Return Σ_jj' Φ[ja, j'b] Φ[je, j'f], (c_k, c_m, c_k, c_m), for terms k, m: keys (k, m), each pair once."""
        shapes = self.map.shapes
        eliminated = self.eliminated
        rest = [k for k in range(len(shapes)) if k != eliminated]
        grams = {} if eliminated is None else {(eliminated, eliminated): self._eliminated_gram(eliminated, rest)}
        for m in rest:
            partners = [k for k in range(len(shapes)) if k == eliminated or k <= m]
            d = shapes[m].n_columns
            for columns in self._blocks(self.map.effect_slices[m], d):
                unit = np.zeros((self.map.n_effects, columns.size))
                unit[columns, np.arange(columns.size)] = 1.0
                block = self.marginal_dot(unit)
                for k in partners:
                    grams[k, m] = grams.get((k, m), 0.0) + _gram(self.by_level(k, block), d)
        return grams

    def probed_grams(self, rng: np.random.Generator, probes: int, rough: bool = False) -> list[Grams]:
        """Return one unbiased estimate of `pair_grams` per probe (Hutchinson 1990); `rough` as in `Engine.solve`."""
        columns = sum(shape.n_columns for shape in self.map.shapes)
        at_once = max(1, PROBED // (self.map.n_effects * columns))
        estimates = []
        for first in range(0, probes, at_once):
            signs = [self._probe(rng, columns) for _ in range(first, min(first + at_once, probes))]
            marginal = self.marginal_dot(np.concatenate(signs, axis=1), rough)
            parts = (marginal[:, i * columns : (i + 1) * columns] for i in range(len(signs)))
            estimates += [self._probed_gram(np.ascontiguousarray(part)) for part in parts]
        return estimates

    def _probe(self, rng: np.random.Generator, columns: int) -> np.ndarray:
        """Return the columns of I of every term, summed over its levels with random signs, (q, Σ c_k)."""
        signs, end = np.zeros((self.map.n_effects, columns)), 0
        for shape, part in zip(self.map.shapes, self.map.effect_slices, strict=True):
            z, start, end = 2.0 * rng.integers(0, 2, shape.n_levels) - 1.0, end, end + shape.n_columns
            signs[part, start:end] = np.kron(z[:, None], np.eye(shape.n_columns))
        return signs

    def _probed_gram(self, V: np.ndarray) -> Grams:
        """Return the estimate of `pair_grams` from ΦV (q, Σ c_k) of one probe V."""
        ends = np.cumsum([shape.n_columns for shape in self.map.shapes])
        one_way = {}
        for k, m in product(range(ends.size), repeat=2):
            y = self.by_level(k, V)[:, :, ends[m] - self.map.shapes[m].n_columns : ends[m]]
            one_way[k, m] = np.einsum("jab,jef->abef", y, y, optimize=True)
        return {
            (k, m): 0.5 * (gram + one_way[m, k].transpose(1, 0, 3, 2)) for (k, m), gram in one_way.items() if k <= m
        }

    @property
    def eliminated(self) -> int | None:
        """The term with most effects among those whose part of S is block diagonal; None if none is, or Φ is small."""
        return None if self.map.n_effects <= SMALL else largest_term(self.cross)

    @property
    def work(self) -> float:
        """Multiplications of `pair_grams`: block solves with the columns of all terms but the eliminated."""
        columns = self.map.n_effects
        if self.eliminated is not None:
            columns -= self.map.shapes[self.eliminated].n_effects
        filled = sum(block.nnz for block in self.cross.cross.values())
        return 6.0 * columns * (columns**2 + 2.0 * filled)

    def _blocks(self, part: slice, step: int) -> list[np.ndarray]:
        """Return the positions of a term's columns, in blocks of whole levels."""
        levels = max(1, BLOCK // (self.map.n_effects * step))
        positions = np.arange(part.start, part.stop)
        return [positions[i : i + levels * step] for i in range(0, positions.size, levels * step)]

    def _eliminated_gram(self, k: int, rest: Sequence[int]) -> np.ndarray:
        """Return the gram of Φ_kk = D - HC⁻¹H', D block diagonal: solves with the columns of the other terms only."""
        S, factor = self.cross.diagonal[k], self.factors[k]
        l, c, _ = S.shape
        inner = np.linalg.inv(factor.T @ S @ factor + np.eye(c))
        SH = S @ (factor @ inner @ factor.T)
        D = S - SH @ S
        gram = np.einsum("jab,jef->abef", D, D, optimize=True)
        if not rest:
            return gram
        H = self._coupling(k, rest, np.eye(c) - SH)  # Z_k'V_k⁻¹Z_restΛ_rest with V_k of this term alone
        rows = [sp.csr_array(H[a::c]) for a in range(c)]
        positions = np.concatenate([np.arange(p.start, p.stop) for p in (self.map.effect_slices[m] for m in rest)])
        diagonal, quadratic = np.zeros((l, c, c)), np.zeros((c, c, c, c))
        width = max(1, BLOCK // self.map.n_effects)
        for start in range(0, positions.size, width):
            columns = slice(start, min(start + width, positions.size))
            unit = np.zeros((positions.size, columns.stop - columns.start))
            unit[np.arange(columns.start, columns.stop), np.arange(unit.shape[1])] = 1.0
            inverse = self._core_solve(positions, unit)  # C⁻¹ of these columns
            y = [row @ inverse for row in rows]
            own = [row[:, columns] for row in rows]
            K = [[sp.csr_array(rows[a].T @ own[b]) for b in range(c)] for a in range(c)]  # H_a'H_b of these columns
            for a, b in np.ndindex(c, c):
                diagonal[:, a, b] += np.asarray(own[b].multiply(y[a]).sum(axis=1)).ravel()
            for b, f in combinations_with_replacement(range(c), 2):
                X = self._core_solve(positions, rows[b].T @ y[f])  # C⁻¹H_b'H_fC⁻¹
                for e, a in np.ndindex(c, c):
                    trace = float(K[a][e].multiply(X).sum())  # tr(C⁻¹H_b'H_fC⁻¹H_e'H_a)
                    quadratic[a, b, e, f] += trace
                    if b != f:
                        quadratic[e, f, a, b] += trace
        cross = np.einsum("jab,jef->abef", D, diagonal, optimize=True)
        return gram - cross - cross.transpose(2, 3, 0, 1) + quadratic

    def _coupling(self, k: int, rest: Sequence[int], left: np.ndarray) -> sp.csr_array:
        """Return left Z_k'WZ_rest Λ_rest, sparse, with block diagonal left (l, c, c)."""
        pieces = []
        for m in rest:
            piece = self.cross.cross[k, m] if k < m else self.cross.cross[m, k].T
            factor = sp.kron(sp.eye_array(self.map.shapes[m].n_levels), self.factors[m], format="csr")
            pieces.append(sp.csr_array(piece) @ factor)
        l, c, _ = left.shape
        outer = sp.bsr_array((left, np.arange(l), np.arange(l + 1)), shape=(l * c, l * c))
        return sp.csr_array(outer @ sp.hstack(pieces, format="csr"))

    def _core_solve(self, positions: np.ndarray, V: np.ndarray) -> np.ndarray:
        """Return C⁻¹V for the other terms' part of M⁻¹, at these positions."""
        full = np.zeros((self.map.n_effects, V.shape[1]))
        full[positions] = V
        return self.engine.solve(full)[positions]


def _gram(block: np.ndarray, d: int) -> np.ndarray:
    """Return Σ block[j, a, j'b] block[j, e, j'f] for a block (l, c, l'd) of Φ, (c, d, c, d)."""
    l, c, width = block.shape
    rows = block.reshape(l, c, width // d, d).transpose(1, 3, 0, 2).reshape(c * d, -1)
    return (rows @ rows.T).reshape(c, d, c, d)
