"""Entries and quadratic forms of the covariance of the random effects given the data, σ²ΛM⁻¹Λ', never all of it.

With K = ΛM⁻¹Λ' the inverse of the mixed-model equations is (Henderson 1975)

    [ K + BB'   -B(R⁻¹)' ]
    [ -R⁻¹B'  R⁻¹(R⁻¹)' ],   B = ΛUR⁻¹,

so the variance of x'β̂ + z'(b̂ - b) is σ²(z'Kz + |R⁻ᵀ(x - U'Λ'z)|²), x in the pilot basis.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.linalg import solve_triangular
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from ..likelihood import Evaluation, ProfiledLikelihood

STORED = 36_000_000  # entries of K up to which its columns are kept once computed: 288 MB
CHUNK = 8_000_000  # entries of a block of columns of K where they are not kept: 64 MB
PAIRS = 4_000_000  # entries of K that are looked up at once


class ConditionalCovariance:
    """K = ΛM⁻¹Λ': the covariance of the random effects given y, β and θ, in units of σ², (q, q).

    Random columns are numbered as the columns of `model.Z`. Two columns of one level of the largest term come from
    the diagonal blocks of M⁻¹; every other entry needs one of its columns solved for, and that of the smaller terms
    is. Columns of a small K are kept, so ask one object for everything that belongs to one θ; of a large K, columns in
    different connected components of Z'Z share a right-hand side.

    Parameters
    ----------
    likelihood : ProfiledLikelihood
    at : Evaluation
        Where K is wanted, as `fit.evaluation`.

    Examples
    --------
    >>> import sparselmm
    >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))
    >>> K = ConditionalCovariance(fit.likelihood, fit.evaluation)
    >>> K.block([0, 1], [0, 1]).shape
    (2, 2)
    >>> K.diagonal(fit.model.Z).shape  # z_i'Kz_i of every row
    (180,)
    """

    def __init__(self, likelihood: ProfiledLikelihood, at: Evaluation) -> None:
        self.likelihood, self.at = likelihood, at
        self._factors = likelihood.map.unpack(at.theta)
        shapes, parts = likelihood.map.shapes, likelihood.map.effect_slices
        self.size = likelihood.map.n_effects
        self._largest = max(range(len(shapes)), key=lambda k: shapes[k].n_effects)
        self._part, self._width = parts[self._largest], shapes[self._largest].n_columns
        self._kept = np.empty((self.size, self.size)) if self.size**2 <= STORED else None  # row j: column j of K
        self._known = np.zeros(self.size, dtype=bool)

    def dot(self, V: np.ndarray) -> np.ndarray:
        """Return KV for V of shape (q, r)."""
        likelihood = self.likelihood
        likelihood.factorize(self.at.theta)
        inner = likelihood.engine.solve(likelihood.map.tdot(self._factors, np.asarray(V, dtype=float)))
        return likelihood.map.dot(self._factors, inner)

    def gram(self, rows: np.ndarray | sp.sparray) -> np.ndarray:
        """Return ZKZ', (r, r), for a few rows Z of shape (r, q), sparse or dense."""
        dense = sp.csr_array(rows).toarray() if sp.issparse(rows) else np.asarray(rows, dtype=float)
        return dense @ self.dot(dense.T)

    def block(self, rows: Sequence[int] | np.ndarray, columns: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the entries of K of the given random columns, (len(rows), len(columns))."""
        first, second = np.meshgrid(np.asarray(rows), np.asarray(columns), indexing="ij")
        return self.entries(first.ravel(), second.ravel()).reshape(first.shape)

    def entries(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return K[first[e], second[e]] for pairs of random columns, (e,)."""
        first, second = np.asarray(first, dtype=np.intp), np.asarray(second, dtype=np.intp)
        start, stop = self._part.start, self._part.stop
        first_large = (first >= start) & (first < stop)
        second_large = (second >= start) & (second < stop)
        levels = (first - start) // self._width, (second - start) // self._width
        within = first_large & second_large & (levels[0] == levels[1])
        values = np.empty(first.shape)
        if within.any():
            i, j = (first[within] - start) % self._width, (second[within] - start) % self._width
            values[within] = self._diagonal_blocks[levels[0][within], i, j]
        across = np.flatnonzero(~within)
        swap = second_large[across]  # K is symmetric: solve for the column of the smaller term
        solved = np.where(swap, first[across], second[across])
        other = np.where(swap, second[across], first[across])
        values[across] = self._solved_entries(other, solved)
        return values

    def diagonal(self, rows: sp.sparray) -> np.ndarray:
        """Return z'Kz of every row z of a sparse matrix (r, q), (r,)."""
        rows = sp.csr_array(rows)
        values, counts = np.empty(rows.shape[0]), np.diff(rows.indptr).astype(np.intp)
        for part in _batches(counts**2, PAIRS):
            row, first, second = _pairs(rows.indptr[part.start : part.stop + 1])
            triangle = second <= first
            row, first, second = row[triangle], first[triangle], second[triangle]
            K = self.entries(rows.indices[first], rows.indices[second])
            terms = np.where(first == second, 1.0, 2.0) * rows.data[first] * rows.data[second] * K
            values[part] = np.bincount(row, terms, minlength=part.stop - part.start)
        return values

    def prediction_variances(self, X: np.ndarray, rows: sp.sparray) -> np.ndarray:
        """Return the variance of x'β̂ + z'(b̂ - b) over σ², (r,), of rows x of X (r, p, as `exog`) and z (r, q)."""
        variances, rows = self.diagonal(rows), sp.csr_array(rows)
        step = max(1, CHUNK // max(1, X.shape[1]))
        for part in (slice(start, start + step) for start in range(0, len(X), step)):
            reduced = self.reduced(X[part], rows[part])
            variances[part] += np.einsum("ij,ij->i", reduced, reduced)
        return variances

    def reduced(self, X: np.ndarray, rows: sp.sparray) -> np.ndarray:
        """Return (XT - ZΛU)R⁻¹, (r, p), of rows X (r, p, as `exog`) and Z (r, q)."""
        at, cross = self.at, self.likelihood.cross
        difference = X @ cross.basis - rows @ self.likelihood.map.dot(self._factors, at.U)
        return (
            solve_triangular(at.R, difference.T, trans=1, check_finite=False).T if difference.shape[1] else difference
        )

    @cached_property
    def _diagonal_blocks(self) -> np.ndarray:
        """λM⁻¹_jjλ' of the levels of the largest term, (l, c, c)."""
        self.likelihood.factorize(self.at.theta)
        factor = self._factors[self._largest]
        return factor @ self.likelihood.engine.inverse_blocks(self._largest) @ factor.T

    def _columns(self, columns: np.ndarray) -> np.ndarray:
        """Return the columns of K in rows, (r, q)."""
        E = np.zeros((self.size, columns.size))
        E[columns, np.arange(columns.size)] = 1.0
        return self.dot(E).T

    def _solved_entries(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return K[rows, columns] by solving for the distinct columns, as many at a time as memory allows."""
        width = max(1, CHUNK // self.size)
        if self._kept is not None:
            used = np.zeros(self.size, dtype=bool)
            used[columns] = True
            new = np.flatnonzero(used & ~self._known)
            for start in range(0, new.size, width):
                part = new[start : start + width]
                self._kept[part] = self._columns(part)
            self._known[new] = True
            return self._kept[columns, rows]
        together = self._components[rows] == self._components[columns]  # K is zero between components
        distinct, place = np.unique(columns[together], return_inverse=True)
        number = _number_within(self._components[distinct])  # one right-hand side for a column of every component
        order = np.argsort(number[place], kind="stable")
        numbers, chosen_rows = number[place][order], rows[together][order]
        solved = np.empty(order.size)
        for start in range(0, int(number.max(initial=-1)) + 1, width):
            columns_now = np.flatnonzero((number >= start) & (number < start + width))
            E = np.zeros((self.size, min(width, int(number.max()) + 1 - start)))
            E[distinct[columns_now], number[columns_now] - start] = 1.0
            now = slice(*np.searchsorted(numbers, (start, start + width)))
            solved[now] = self.dot(E)[chosen_rows[now], numbers[now] - start]
        values, inner = np.zeros(rows.shape), np.empty(order.size)
        inner[order] = solved
        values[together] = inner
        return values

    @cached_property
    def _components(self) -> np.ndarray:
        """Connected component of Z'Z of every random column, (q,)."""
        cross, shapes = self.likelihood.cross, self.likelihood.map.shapes
        firsts = np.cumsum([0] + [shape.n_levels for shape in shapes])
        links = []
        for (k, m), block in cross.cross.items():
            block = block.tocoo()
            links.append((firsts[k] + block.row // shapes[k].n_columns, firsts[m] + block.col // shapes[m].n_columns))
        for k, block in enumerate(cross.diagonal):
            if sp.issparse(block):
                block = sp.coo_array(block)
                links.append((firsts[k] + block.row, firsts[k] + block.col))
        first, second = (np.concatenate([link[i] for link in links] or [np.zeros(0, int)]) for i in (0, 1))
        graph = sp.coo_array((np.ones(first.size), (first, second)), shape=(firsts[-1], firsts[-1]))
        levels = connected_components(graph, directed=False)[1]
        return np.repeat(levels, np.repeat([s.n_columns for s in shapes], [s.n_levels for s in shapes]))


def _batches(costs: np.ndarray, limit: float) -> list[slice]:
    """Return slices of consecutive items whose costs add up to about the limit at most."""
    ends = np.cumsum(costs)
    batches, start = [], 0
    while start < ends.size:
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + limit, side="right")))
        batches.append(slice(start, stop))
        start = stop
    return batches


def _number_within(groups: np.ndarray) -> np.ndarray:
    """Return the number of each item among those of its group, 0, 1, ..."""
    order = np.argsort(groups, kind="stable")
    numbers = np.empty(groups.size, dtype=np.intp)
    counts = np.bincount(groups)
    numbers[order] = np.arange(groups.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return numbers


def _pairs(indptr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, first and second position of all pairs of entries of the same row of a CSR matrix."""
    counts = np.diff(indptr).astype(np.intp)
    row = np.repeat(np.arange(counts.size), counts**2)
    within = np.arange(row.size) - np.repeat(np.cumsum(counts**2) - counts**2, counts**2)
    width = counts[row]
    return row, indptr[row] + within // width, indptr[row] + within % width
