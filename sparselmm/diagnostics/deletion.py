"""What the fit at fixed θ loses with the rows of a level: equations (I5)-(I8) of docs/math/diagnostics.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.linalg import solve_triangular

from ..crossproducts import CrossProducts
from ..engines.choose import choose_engine
from ..inference.quadratic import ConditionalCovariance
from ..likelihood import ProfiledLikelihood
from .subset import rows_of

if TYPE_CHECKING:
    from ..results import LinearMixedModelResults

BATCH = 4_000_000  # entries of the arrays of a batch of levels: a few times 32 MB
LARGEST = 1_000  # rows, or effects, of a level up to which it is deleted by dense algebra
DEPENDENT = 1e-10  # part of a column of X left by the other rows below which it is dependent


class Deletion:
    """The fit without the rows of a level, level after level, σ² estimated again and θ as it is.

    Let e be the conditional residuals of the level's rows, M their covariance over σ² and Q their rows of
    (X - ZΛU)R⁻¹. Everything about β and σ² follows from Q'M⁻¹Q, Q'M⁻¹e and e'M⁻¹e (I5).

    Parameters
    ----------
    fit : LinearMixedModelResults
    codes : ndarray of int (n,)
        Level of each row, 0 to n_levels - 1.
    n_levels : int

    Attributes
    ----------
    counts : ndarray of int (n_levels,)
        Rows of each level.
    estimable : ndarray of bool (n_levels,)
        Whether X keeps its rank without the level, with more rows than columns.
    """

    def __init__(self, fit: LinearMixedModelResults, codes: np.ndarray, n_levels: int) -> None:
        self.fit, self.codes = fit, np.asarray(codes)
        model = fit.model
        self._K = ConditionalCovariance(fit.likelihood, fit.evaluation)
        self.counts = np.bincount(codes, minlength=n_levels)
        order = np.argsort(codes, kind="stable")
        self._first = np.r_[0, np.cumsum(self.counts)]  # rows are sorted by level from here on
        self._order = order
        Z = model.Z[order]
        reduced = self._K.reduced(model.exog, model.Z)[order]
        self._weights = np.ones(model.nobs) if model.weights is None else model.weights[order]
        residuals = (model.endog - fit.fittedvalues.to_numpy())[order]
        self._right = np.column_stack([reduced, residuals])  # [Q, e]
        self._entries(Z)
        self.estimable = self._keeps_rank()

    def _entries(self, Z: sp.csr_array) -> None:
        """Number the random columns of every level's rows."""
        q, counts = Z.shape[1], np.diff(Z.indptr)
        levels = np.repeat(np.repeat(np.arange(self.counts.size), self.counts), counts)
        keys, place = np.unique(levels * np.int64(q) + Z.indices, return_inverse=True)
        self._columns = keys % q
        self.effects = np.bincount(keys // q, minlength=self.counts.size)
        self._first_column = np.r_[0, np.cumsum(self.effects)]
        local = place - self._first_column[levels]
        self._Z = sp.csr_array((Z.data, local, Z.indptr), shape=(Z.shape[0], int(self.effects.max(initial=1))))

    def _keeps_rank(self) -> np.ndarray:
        """Return whether X has full rank, and σ² degrees of freedom, without the rows of each level, (n_levels,)."""
        model = self.fit.model
        p = len(model.exog_names)
        keeps = model.nobs - self.counts > p
        if not p:
            return keeps
        X = (model.exog @ model.cross.basis)[self._order] * np.sqrt(self._weights)[:, None]  # orthonormal columns
        for levels in self._batches(self.counts, np.zeros_like(self.counts), np.ones_like(self.effects, dtype=bool)):
            rows, inside = self._rows(levels)
            part = X[rows] * inside[:, :, None]
            small = part @ part.transpose(0, 2, 1) if rows.shape[1] < p else part.transpose(0, 2, 1) @ part
            keeps[levels] &= 1.0 - np.linalg.eigvalsh(small)[:, -1] > DEPENDENT
        return keeps

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return an iterator of levels (r,) and [Q, e]'M⁻¹[Q, e], (r, p+1, p+1), for the estimable levels."""
        width = self._right.shape[1] - 1
        small = np.minimum(self.counts, self.effects + width) <= LARGEST
        small &= self.counts * (self.effects + width) <= BATCH
        for level in np.flatnonzero(self.estimable & ~small).tolist():
            yield np.array([level]), self._recomputed(level)[None]
        for levels in self._batches(self.counts, self.effects, self.estimable & small):
            yield levels, self._deleted(levels)

    def _batches(self, rows: np.ndarray, effects: np.ndarray, chosen: np.ndarray) -> list[np.ndarray]:
        """Return batches of the chosen levels of like size whose padded arrays fit the memory."""
        p = self._right.shape[1]
        chosen = np.flatnonzero(chosen)
        chosen = chosen[np.lexsort((effects[chosen], rows[chosen]))]
        batches, start = [], 0
        while start < chosen.size:
            n, j = rows[chosen[start:]], np.maximum.accumulate(effects[chosen[start:]])
            small = np.minimum(n, j + p)
            cost = np.arange(1, n.size + 1) * (n * (j + p) + j**2 + small**2 + p**2)
            fits = (cost <= BATCH) & (n <= 1.5 * n[0] + 4)
            stop = max(1, int(np.argmin(fits)) if not fits.all() else fits.size)
            batches.append(chosen[start : start + stop])
            start += stop
        return batches

    def _rows(self, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the levels, padded, (r, n), and which of them are none of the padding."""
        places = np.arange(self.counts[levels].max(initial=0))
        inside = places < self.counts[levels, None]
        return np.where(inside, self._first[levels, None] + places, 0), inside

    def _deleted(self, levels: np.ndarray) -> np.ndarray:
        """Return [Q, e]'M⁻¹[Q, e] of some levels, (r, p+1, p+1), by whichever of (I6) and (I7) is smaller."""
        rows, inside = self._rows(levels)
        right = self._right[rows] * inside[:, :, None]
        weights = np.where(inside, self._weights[rows], 1.0)
        Z, K = self._local_Z(levels, rows, inside), self._local_K(levels)
        Q = right[:, :, :-1]
        n, j, p = rows.shape[1], Z.shape[2], Q.shape[2]
        if n <= j + p:
            M = -(Z @ K) @ Z.transpose(0, 2, 1) - Q @ Q.transpose(0, 2, 1)
            np.einsum("rii->ri", M)[...] += 1.0 / weights
            return right.transpose(0, 2, 1) @ _solved(M, right)  # (I6)
        B = np.concatenate([Z, Q], axis=2)
        weighted = right * weights[:, :, None]
        SB, SE = (part.transpose(0, 2, 1) @ B for part in (B * weights[:, :, None], weighted))
        G = np.zeros((levels.size, j + p, j + p))
        G[:, :j, :j] = K
        G[:, np.arange(j, j + p), np.arange(j, j + p)] = 1.0
        inner = _solved(np.eye(j + p) - G @ SB, G @ SE.transpose(0, 2, 1))
        return right.transpose(0, 2, 1) @ weighted + SE @ inner  # (I7)

    def _local_Z(self, levels: np.ndarray, rows: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Return the rows of Z of the levels on the random columns they touch, padded, (r, n, j)."""
        level, row = np.nonzero(inside)
        part = self._Z[rows[inside]]
        counts = np.diff(part.indptr)
        Z = np.zeros((*rows.shape, self.effects[levels].max()))
        Z[np.repeat(level, counts), np.repeat(row, counts), part.indices] = part.data
        return Z

    def _local_K(self, levels: np.ndarray) -> np.ndarray:
        """Return the covariance of the random columns that the rows of the levels touch, padded, (r, j, j)."""
        sizes = self.effects[levels]
        places = np.arange(sizes.max())
        inside = places < sizes[:, None]
        columns = self._columns[np.where(inside, self._first_column[levels, None] + places, 0)]
        level, i, j = np.nonzero(inside[:, :, None] & inside[:, None, :] & (places[:, None] >= places))
        K = np.zeros((levels.size, places.size, places.size))
        K[level, i, j] = K[level, j, i] = self._K.entries(columns[level, i], columns[level, j])
        return K

    def _recomputed(self, level: int) -> np.ndarray:
        """Return [Q, e]'M⁻¹[Q, e] of one level from the likelihood of the remaining rows at θ: (I8)."""
        fit, model, keep = self.fit, self.fit.model, self.codes != level
        response = model.endog if model.offset is None else model.endog - model.offset
        weights = None if model.weights is None else model.weights[keep]
        terms = [rows_of(term, keep) for term in model.terms]
        cross = CrossProducts.from_arrays(response[keep], model.exog[keep], terms, weights, model.cross.basis)
        other = ProfiledLikelihood(cross, fit.reml, choose_engine(cross, fit._engine)).evaluate(fit.evaluation.theta)
        full, p = fit.evaluation, cross.n_fixed
        result = np.empty((p + 1, p + 1))
        root = solve_triangular(other.R, full.R.T, trans=1)
        result[:p, :p] = root.T @ root - np.eye(p)
        result[:p, p] = result[p, :p] = full.R @ (model.cross.center + full.beta - cross.center - other.beta)
        N = fit.likelihood.n_effective
        result[p, p] = full.scale * N - other.scale * (N - self.counts[level])
        return result


def _solved(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Return A⁻¹B of stacks; NaN where A is singular, as the fit goes through rows of the level whatever they are."""
    try:
        return np.linalg.solve(A, B)
    except np.linalg.LinAlgError:
        regular = np.linalg.slogdet(A)[0] != 0
        solved = np.full(B.shape, np.nan)
        solved[regular] = np.linalg.solve(A[regular], B[regular])
        return solved
