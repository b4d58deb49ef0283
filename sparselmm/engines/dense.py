"""DenseGroupEngine: the classical computation, group by group on dense V_i (Lindstrom & Bates 1988).

Groups are rows that share no level with the rows of another group. Of group i, with n_i rows and q_i random effects,

    V_i = W_i⁻¹ + Z_iΛ_iΛ_i'Z_i'      (n_i, n_i), its Cholesky factor costs n_i³/3
    Z_i'V_i⁻¹Z_i                      (q_i, q_i)

and the verbs follow by Woodbury: M⁻¹ = I - Λ'Z'V⁻¹ZΛ, log|M| = Σ_i log|V_i| + log|W_i|. Crossed factors make one group
of all rows. This engine checks the sparse ones and is compared with them; it is never chosen automatically.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.sparse.csgraph import connected_components

from ..covariance import RelativeFactor
from ..errors import EngineError
from ..threads import all_blas_threads

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts

LARGE = 2_500  # rows of a group from which LAPACK gains enough from threads


@dataclass(frozen=True, eq=False)
class Group:
    """Rows that share no level with other rows, dense.

    Attributes
    ----------
    columns : ndarray of int (q_i,)
        Columns of the model's Z that belong to the group, ascending.
    Z : ndarray (n_i, q_i)
    weights : ndarray (n_i,)
    map : RelativeFactor
        Λ_i, the levels of the group.
    """

    columns: np.ndarray
    Z: np.ndarray
    weights: np.ndarray
    map: RelativeFactor

    def gram(self) -> np.ndarray:
        """Return Z_i'W_iZ_i, (q_i, q_i)."""
        return self.Z.T @ (self.weights[:, None] * self.Z)

    def condition(self, factors: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
        """Return Z_i'V_i⁻¹Z_i, (q_i, q_i), and log|V_i| + log|W_i| for the given λ_k."""
        LZ = self.map.tdot(factors, self.Z.T)  # Λ_i'Z_i'
        V = LZ.T @ LZ
        np.einsum("ii->i", V)[...] += 1.0 / self.weights
        with all_blas_threads() if self.weights.size >= LARGE else nullcontext():
            try:
                L = cholesky(V.T, lower=True, overwrite_a=True, check_finite=False)  # in LAPACK's order: in place
            except LinAlgError as error:
                raise EngineError(f"The Cholesky factorisation of V failed: {error}. θ is out of range.") from error
            half = solve_triangular(L, self.Z, lower=True, check_finite=False)
            return half.T @ half, float(2.0 * np.log(np.diag(L)).sum() + np.log(self.weights).sum())


class DenseGroupEngine:
    """The classical engine; see `Engine` for the verbs and the module for the mathematics.

    Where Λ'SΛ is large, M⁻¹ = I - Λ'Z'V⁻¹ZΛ is a difference of nearly equal numbers and loses digits that the sparse
    engine keeps.

    Parameters
    ----------
    cross : CrossProducts
    Z : sparse (n, q)
    weights : ndarray (n,), optional
    """

    slack = tolerance = 0.0

    def __init__(self, cross: CrossProducts, Z: sp.sparray, weights: np.ndarray | None = None) -> None:
        self.map = cross.relative_factor
        weights = np.ones(Z.shape[0]) if weights is None else weights
        self.groups = list(disjoint_groups(sp.csr_array(Z), weights, self.map))
        self._grams = [group.gram() for group in self.groups]

    @property
    def description(self) -> str:
        """How M is factored, in one phrase."""
        count, rows = len(self.groups), max((g.weights.size for g in self.groups), default=0)
        size = f"{rows:,} rows" if count == 1 else f"up to {rows:,} rows each"
        return f"dense Cholesky (LAPACK) of V, {count:,} {'group' if count == 1 else 'groups'} of {size}"

    def factorize(self, theta: np.ndarray) -> None:
        """Factor V_i(θ) of every group."""
        self.factors = self.map.unpack(theta)
        conditioned = [group.condition(self.factors) for group in self.groups]
        self._marginals = [marginal for marginal, _ in conditioned]  # Z_i'V_i⁻¹Z_i
        self._logdet = sum(logdet for _, logdet in conditioned)

    def logdet(self) -> float:
        """Return log|M|."""
        return self._logdet

    def solve(self, rhs: np.ndarray, rough: bool = False) -> np.ndarray:
        """Return M⁻¹ rhs = rhs - Λ'Z'V⁻¹ZΛ rhs, (q, r)."""
        product = self._by_group(self._marginals, self.map.dot(self.factors, rhs))
        return rhs - self.map.tdot(self.factors, product)

    def gram_dot(self, V: np.ndarray) -> np.ndarray:
        """Return S V, (q, r)."""
        return self._by_group(self._grams, V)

    def _by_group(self, matrices: Sequence[np.ndarray], V: np.ndarray) -> np.ndarray:
        """Return the product of a matrix (q_i, q_i) for each group with V, (q, r)."""
        out = np.zeros(V.shape)
        for group, matrix in zip(self.groups, matrices, strict=True):
            out[group.columns] = matrix @ V[group.columns]
        return out

    def _marginal_blocks(self, k: int) -> np.ndarray:
        """Return the diagonal blocks of Z'V⁻¹Z of term k, (l_k, c_k, c_k)."""
        shape, start = self.map.shapes[k], self.map.effect_slices[k].start
        c = shape.n_columns
        blocks = np.zeros((shape.n_levels, c, c))
        for group, marginal in zip(self.groups, self._marginals, strict=True):
            part = group.map.effect_slices[k]
            levels = (group.columns[part][::c] - start) // c
            own = marginal[part, part].reshape(levels.size, c, levels.size, c)
            blocks[levels] = np.einsum("jajb->jab", own)
        return blocks

    def inverse_blocks(self, k: int) -> np.ndarray:
        """Return the diagonal blocks of M⁻¹ of term k, I - λ'[Z'V⁻¹Z]_jjλ, (l_k, c_k, c_k)."""
        factor = self.factors[k]
        return np.eye(factor.shape[0]) - factor.T @ self._marginal_blocks(k) @ factor

    def marginal_block_sums(self) -> list[np.ndarray]:
        """Return Σ_j [Z'V⁻¹Z]_jj, (c_k, c_k) each."""
        return [self._marginal_blocks(k).sum(axis=0) for k in range(len(self.map.shapes))]


def disjoint_groups(Z: sp.csr_array, weights: np.ndarray, map_: RelativeFactor) -> Iterator[Group]:
    """Yield the groups: connected components of the graph that joins every row to the levels it belongs to.

    Rows without a level and levels without a row have no part in V and are left out.
    """
    n, shapes = Z.shape[0], map_.shapes
    widths = np.repeat([s.n_columns for s in shapes], [s.n_levels for s in shapes])
    level = np.repeat(np.arange(widths.size), widths)  # of every column of Z
    size = n + widths.size
    entries = Z.tocoo()
    graph = sp.coo_array((np.ones(Z.nnz), (entries.row, n + level[entries.col])), shape=(size, size))
    count, label = connected_components(graph, directed=False)
    row_order, row_ends = _sorted_by(label[:n], count)
    column_order, column_ends = _sorted_by(label[n + level], count)
    Z, weights = Z[row_order][:, column_order], weights[row_order]
    bounds = [part.start for part in map_.effect_slices] + [map_.n_effects]
    for i in range(count):
        own_rows, own = slice(*row_ends[i : i + 2]), slice(*column_ends[i : i + 2])
        if own_rows.start == own_rows.stop or own.start == own.stop:
            continue
        columns = column_order[own]
        effects = np.diff(np.searchsorted(columns, bounds))
        levels = [replace(s, n_levels=int(q) // s.n_columns) for s, q in zip(shapes, effects, strict=True)]
        yield Group(columns, Z[own_rows, own].toarray(), weights[own_rows], RelativeFactor(levels))


def _sorted_by(label: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices in order of their label, and where each label begins and ends, (count + 1,)."""
    return np.argsort(label, kind="stable"), np.r_[0, np.cumsum(np.bincount(label, minlength=count))]
