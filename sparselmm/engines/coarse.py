"""CoarseSpace: the second level of the preconditioner, shifts of whole neighbourhoods of levels solved exactly.

Levels that share many levels of the first term (firms of one labour market) move together at all but no cost, which is
where A has its small eigenvalues. Equation (S8) of docs/math/pcg.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

from ..covariance import RelativeFactor, TermShape
from ..errors import EngineError
from . import blocks
from .products import Coupling, canonical

SHARE, MOST = 6, 768  # columns of the core per coarse column, and most coarse columns
PAIRS = 20  # pairs of entries in the rows of B for every entry above which forming the coarse matrix does not pay


def coarse_space(
    B: Coupling, pieces: Sequence[sp.csr_array], S: sp.csr_array, core_map: RelativeFactor, small: int
) -> CoarseSpace | None:
    """Return the CoarseSpace of the terms with more than `small` columns, None where rows of B are long."""
    labels = [
        neighbourhoods(piece, B.c, s.n_columns) if s.n_effects > small else np.full(s.n_levels, -1)
        for piece, s in zip(pieces, core_map.shapes, strict=True)
    ]
    return CoarseSpace(B, S, core_map, labels) if any((found >= 0).any() for found in labels) else None


def neighbourhoods(piece: sp.csr_array, c: int, d: int) -> np.ndarray:
    """Return the neighbourhood of every level of a core term, (l,); -1 for levels without neighbours.

    Two levels are near if they share levels of the first term with few others: weights Σ_i |B_ij||B_ik| / Σ_k |B_ik|.
    Neighbours are merged, heaviest edges first, until few enough are left.
    """
    by_level, levels = piece.indptr[::c], piece.shape[1] // d
    if np.square(np.diff(by_level), dtype=float).sum() > PAIRS * piece.nnz:
        return np.full(levels, -1)
    size = np.abs(piece.data)
    B = sp.csr_array((size, piece.indices // d, by_level), shape=(by_level.size - 1, levels))
    if c * d > 1:
        B = sp.csr_array(B, copy=True)
        B.sum_duplicates()
    total = np.repeat(np.asarray(B.sum(axis=1)).ravel(), np.diff(B.indptr))
    shares = np.divide(B.data, total, out=np.zeros(total.size), where=total > 0)
    graph = _without_loops(sp.csr_array((shares, B.indices, B.indptr), shape=B.shape).T @ B)
    linked, labels = np.flatnonzero(np.diff(graph.indptr)), np.full(levels, -1)
    most = MOST // d
    found = _merged(graph[linked][:, linked], min(max(levels // SHARE, 1), most))
    if found.max(initial=-1) < 2 * most:
        labels[linked] = found
    return labels


def _merged(graph: sp.csr_array, fewest: int) -> np.ndarray:
    """Return the cluster of every node, (n,): `fewest` clusters, more if there are more components."""
    from .spmm import merge_neighbours

    labels = np.arange(graph.shape[0])
    while (count := graph.shape[0]) > fewest:
        members = np.bincount(labels, minlength=count)
        order = np.argsort(members, kind="stable")
        mate = merge_neighbours(graph.indptr, graph.indices, graph.data, members, order, fewest)
        roots, mate = np.unique(mate, return_inverse=True)
        if roots.size == count:
            break
        labels = mate[labels]
        P = sp.csr_array((np.ones(count), mate, np.arange(count + 1)), shape=(count, roots.size))
        graph = _without_loops(P.T @ graph @ P)
    return labels


def _without_loops(graph: sp.csr_array) -> sp.csr_array:
    """Return the matrix without its diagonal, CSR."""
    graph = sp.csr_array(graph)
    graph.setdiag(0.0)
    graph.eliminate_zeros()
    return graph


class CoarseSpace:
    """R = I + W(L⁻ᵀ - I)W' with W orthonormal, W'AW = K = LL': R'AR is I on the range of W.

    The columns of L_D⁻ᵀW are one for the levels of a neighbourhood, N⁻ᵀ making W orthonormal.

    Parameters
    ----------
    B : Coupling
    S : csr_array (q, q)
        The core's part of S.
    core_map : RelativeFactor
        Of the core.
    labels : list of ndarray (l_k,)
        The neighbourhood of every level of every term of the core, -1 for none.

    Attributes
    ----------
    terms : list of int
        Positions in the core of the terms with neighbourhoods.
    logdet, trace : float
        log|K| and tr(R'AR - I), if the diagonal blocks of A are I.
    """

    def __init__(self, B: Coupling, S: sp.csr_array, core_map: RelativeFactor, labels: Sequence[np.ndarray]) -> None:
        self.terms = [k for k, found in enumerate(labels) if (found >= 0).any()]
        self._kept, self._label = [], []
        shapes: list[TermShape] = []
        counts, indices = np.zeros(core_map.n_effects, dtype=int), []  # W: d entries in the rows of levels with a label
        for k in self.terms:
            shape, first = core_map.shapes[k], sum(s.n_effects for s in shapes)
            kept, d = np.flatnonzero(labels[k] >= 0), shape.n_columns
            label = labels[k][kept]
            columns = first + label[:, None, None] * d + np.arange(d)
            indices.append(np.broadcast_to(columns, (kept.size, d, d)).ravel())
            counts[core_map.effect_slices[k]].reshape(-1, d)[kept] = d
            self._kept.append(kept)
            self._label.append(label)
            shapes.append(TermShape(int(label.max()) + 1, d))
        self.map = RelativeFactor(shapes)
        size = core_map.n_effects, self.map.n_effects
        self._W = sp.csr_array((np.ones(sum(map(len, indices))), np.concatenate(indices), _ends(counts)), shape=size)
        identity = [np.tile(np.eye(s.n_columns), (kept.size, 1, 1)) for s, kept in zip(shapes, self._kept, strict=True)]
        P = sp.csr_array(self._with(identity), copy=True)  # 1 for the levels of a neighbourhood
        P.eliminate_zeros()
        self._coupling, self._S = Coupling(canonical(B.matrix @ P), B.c), (P.T @ (S @ P)).toarray()
        self._members = np.asarray(P.sum(axis=0)).ravel()

    def _with(self, values: Sequence[np.ndarray]) -> sp.csr_array:
        """Return W with these blocks (levels with a label, d, d) of every term."""
        self._W.data = np.concatenate([block.ravel() for block in values])
        return self._W

    def update(
        self, factors: Sequence[np.ndarray], H: np.ndarray, diagonals: Sequence[np.ndarray], roots: Sequence[np.ndarray]
    ) -> None:
        """Set W and K for the λ_k of the core, H₁ (l, c, c), and D_j and L_D⁻¹ (l, d, d) of every term of the core."""
        self._lambda = [factors[k] for k in self.terms]
        self._F: np.ndarray | None = None
        C = self._S - self._coupling.gram(H)
        C = self.map.tdot(self._lambda, np.ascontiguousarray(self.map.tdot(self._lambda, C).T))
        C[np.diag_indices_from(C)] += self._members
        self._inverses, values = [], []  # N⁻¹
        for k, kept, label, shape in zip(self.terms, self._kept, self._label, self.map.shapes, strict=True):
            D, root = diagonals[k][kept], roots[k][kept]
            sums = np.zeros((shape.n_levels, *D.shape[1:]))
            np.add.at(sums, label, D)
            inverse = blocks.cholesky_inverse(sums)[0]
            self._inverses.append(inverse)
            values.append(root @ D @ inverse[label].transpose(0, 2, 1))  # L_D'N⁻ᵀ
        self._with(values)
        self._K = self._sandwich(blocks.dot, C)
        L, info = lapack.dpotrf(self._K, lower=1)
        if info:
            raise EngineError(
                "The coarse matrix of the conjugate gradients is not positive definite; θ is out of range."
            )
        self._inverse = lapack.dtrtri(L, lower=1)[0]
        self.logdet = 2.0 * float(np.log(np.diag(L)).sum())
        self._shift = self._inverse - np.eye(len(L))
        self.trace = len(L) - float(np.trace(self._K))

    def _sandwich(self, multiply: Callable[[np.ndarray, np.ndarray], np.ndarray], C: np.ndarray) -> np.ndarray:
        """Return N⁻¹CN⁻ᵀ, or N⁻ᵀCN⁻¹, of a symmetric C."""
        for _ in range(2):
            parts = zip(self._inverses, self.map.effect_slices, strict=True)
            C = np.concatenate([multiply(inverse, C[part]) for inverse, part in parts]).T
        return np.ascontiguousarray(C)

    def dot(self, V: np.ndarray) -> np.ndarray:
        """Return RV."""
        return V + self._W @ (self._shift.T @ (self._W.T @ V))

    def tdot(self, V: np.ndarray) -> np.ndarray:
        """Return R'V."""
        return V + self._W @ (self._shift @ (self._W.T @ V))

    @property
    def correction(self) -> np.ndarray:
        """F, where L_D⁻ᵀRR'L_D⁻¹ = D⁻¹ + PFP' and P is one for the levels of a neighbourhood."""
        if self._F is None:
            F = self._inverse.T @ self._inverse
            F[np.diag_indices_from(F)] -= 1.0
            self._F = self._sandwich(blocks.tdot, F)
        return self._F

    def block_sum(self, k: int) -> np.ndarray:
        """Return Σ_j of the diagonal blocks of PFP' of a term of the core, (d, d)."""
        at = self.terms.index(k)
        shape, part = self.map.shapes[at], self.map.effect_slices[at]
        size = np.bincount(self._label[at], minlength=shape.n_levels)
        levels, d = np.arange(shape.n_levels), shape.n_columns
        own = self.correction[part, part].reshape(shape.n_levels, d, shape.n_levels, d)[levels, :, levels]
        return np.einsum("j,jab->ab", size, own)

    def add_quadratic(self, out: np.ndarray) -> None:
        """Add the diagonal blocks of BΛ₂PFP'Λ₂'B' to out (l, c, c)."""
        F = self.map.dot(self._lambda, np.ascontiguousarray(self.map.dot(self._lambda, self.correction).T))
        self._coupling.add_quadratic(F, out)


def _ends(counts: np.ndarray) -> np.ndarray:
    """Return the index pointer of rows with so many entries."""
    return np.r_[0, np.cumsum(counts)]
