"""Cluster-robust tests of the fixed effects: equations (I12)-(I15) of docs/math/diagnostics.md.

Contrasts and covariances are in the coordinates β̃ with β = Aβ̃, A = `fit._root`, in which the model-based covariance is
σ²I.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg import solve_triangular

from ..inference.ddf import Inference
from ..inference.quadratic import ConditionalCovariance
from ..inference.wald import DEPENDENT, wald
from .adjustment import adjusted, relative_rows
from .subset import coarsest_factor, grouping

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..results import LinearMixedModelResults

KINDS = ("CR0", "CR1", "CR1S", "CR2")
SLICE = 1 << 24  # products of entries of sparse matrices that are in memory at a time
INDEFINITE = "The two-way covariance had negative eigenvalues, which were set to zero (Cameron, Gelbach & Miller 2011)."


def robust(
    fit: LinearMixedModelResults, kind: str, groups: str | ArrayLike | Sequence[str | ArrayLike] | None
) -> Inference:
    """Return cluster-robust Inference; see `DiagnosticMethods.robust`."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}; Stata's and statsmodels' is CR1S.")
    groups = coarsest_factor(fit.model) if groups is None else groups
    factors: Sequence[Any] = groups if isinstance(groups, (list, tuple)) and len(groups) < 3 else [groups]
    found = [grouping(fit.model, group) for group in factors]
    for _, levels in found:
        if len(levels) < 2:
            raise ValueError(f"All rows are in one cluster of {levels.name!r}: clusters must be at least two.")
    pieces = [(1.0, codes) for codes, _ in found]
    if len(found) == 2:
        (first, _), (second, levels) = found
        both = np.unique(first.astype(np.int64) * len(levels) + second, return_inverse=True)[1]
        pieces.append((-1.0, both))
    names = " and ".join(str(levels.name) for _, levels in found)
    clusters = [(sign, Clusters(fit, codes, kind)) for sign, codes in pieces]
    return Inference(f"{kind} by {names}", fit.model.exog_names, fit.beta, fit._root, RobustTests(clusters))


class Clusters:
    """The sandwich of one clustering of the rows.

    Attributes
    ----------
    count : int
        Clusters G.
    meat : ndarray (p, p)
        Covariance of β in units of A, the correction of the kind included.
    rows : ndarray (n, p)
        A_g(V⁻¹X)_g of CR2, or V⁻¹X, in units of A.
    X : ndarray (n, p)
        In units of A.
    ZL : sparse (n, q)
        ZΛ.
    """

    def __init__(self, fit: LinearMixedModelResults, codes: np.ndarray, kind: str) -> None:
        model, count = fit.model, int(codes.max()) + 1
        self.fit, self.codes, self.count, self.kind = fit, codes, count, kind
        K = ConditionalCovariance(fit.likelihood, fit.evaluation)
        rows = K.reduced(model.exog, model.Z)
        if model.weights is not None:
            rows = rows * model.weights[:, None]
        X = model.exog @ model.cross.basis
        self.X = solve_triangular(fit.evaluation.R, X.T, trans=1).T if X.shape[1] else X
        self.ZL = relative_rows(fit)
        self.rows = adjusted(fit, codes, rows, self.X) if kind == "CR2" else rows
        residuals = fit.residuals("marginal").to_numpy()
        scores = sp.csr_array((residuals, (codes, np.arange(codes.size)))) @ self.rows
        n, p = rows.shape
        factor = {"CR1": count / (count - 1), "CR1S": count * (n - 1) / ((count - 1) * (n - p))}.get(kind, 1.0)
        self.meat = factor * scores.T @ scores

    def degrees(self, rows: np.ndarray) -> np.ndarray:
        """Return the degrees of freedom (I14) of contrasts (r, p), (r,); G - 1 for other kinds than CR2."""
        if self.kind != "CR2":
            return np.full(len(rows), self.count - 1.0)
        grams = [_ClusterGram(self, row, row) for row in rows]
        return np.array([gram.trace**2 / gram.dot(gram) for gram in grams])

    def hotelling(self, rows: np.ndarray) -> float:
        """Return η of the Wald test of orthonormal contrasts (r, p): CR2 is like a Wishart matrix of η df (I15)."""
        r, total = len(rows), 0.0
        own = [_ClusterGram(self, row, row) for row in rows]
        for s in range(r):
            for t in range(r):
                mixed = own[s] if s == t else _ClusterGram(self, rows[s], rows[t])
                total += mixed.dot(mixed.transpose) + own[s].dot(own[t])
        return r * (r + 1) / total


class _ClusterGram:
    """P[g, h] = u_g'(V - X(X'V⁻¹X)⁻¹X')v_h for the rows u, v of two contrasts, cluster by cluster: D + EF' - TU'.

    D is diagonal, E and F are sparse (G, q); P itself, (G, G), is full where clusters share levels of another factor.
    """

    def __init__(self, clusters: Clusters, first: np.ndarray, second: np.ndarray) -> None:
        model, codes = clusters.fit.model, clusters.codes
        left, right = clusters.rows @ first, clusters.rows @ second
        noise = left * right if model.weights is None else left * right / model.weights
        indicators = [sp.csr_array((values, (codes, np.arange(codes.size)))) for values in (left, right)]
        self.D = np.bincount(codes, noise)
        self.E, self.F = (indicator @ clusters.ZL for indicator in indicators)
        self.T, self.U = (indicator @ clusters.X for indicator in indicators)
        self.diagonal = self.E.multiply(self.F).sum(axis=1)
        self.trace = self.D.sum() + self.diagonal.sum() - np.sum(self.T * self.U)

    @property
    def transpose(self) -> _ClusterGram:
        """P'."""
        other = copy(self)
        other.E, other.F, other.T, other.U = self.F, self.E, self.U, self.T
        return other

    def times(self, right: np.ndarray) -> np.ndarray:
        """Return (D + EF') times (G, p)."""
        return self.D[:, None] * right + self.E @ (self.F.T @ right)

    def dot(self, other: _ClusterGram) -> float:
        """Return Σ_gh P[g, h] Q[g, h]."""
        sparse = np.sum(self.D * other.D + self.D * other.diagonal + other.D * self.diagonal)
        sparse += _inner(self.E, self.F, other.E, other.F)
        mixed = np.sum(self.times(other.U) * other.T) + np.sum(other.times(self.U) * self.T)
        return float(sparse - mixed + np.sum((self.T.T @ other.T) * (self.U.T @ other.U)))


def _inner(a: sp.csr_array, b: sp.csr_array, c: sp.csr_array, d: sp.csr_array) -> float:
    """Return Σ_gh (ab')[g, h] (cd')[g, h] = Σ_ij (a'c)[i, j] (b'd)[i, j] by the way that takes fewer products."""
    ways = (a, b, c, d), tuple(matrix.T.tocsr() for matrix in (a, c, b, d))
    left, right, other_left, other_right = min(ways, key=lambda way: _products(*way[:2]).sum())
    ends, total = np.cumsum(_products(left, right)), 0.0
    cuts = np.unique(np.searchsorted(ends, np.arange(SLICE, ends[-1], SLICE), side="right"))
    for start, stop in pairwise([0, *cuts, left.shape[0]]):
        part = slice(start, stop)
        total += (left[part] @ right.T).multiply(other_left[part] @ other_right.T).sum()
    return total


def _products(left: sp.csr_array, right: sp.csr_array) -> np.ndarray:
    """Return how many products of entries each row of left right' takes."""
    counts = np.bincount(right.indices, minlength=right.shape[1])
    return np.add.reduceat(np.append(counts[left.indices], 0), left.indptr[:-1]) * (np.diff(left.indptr) > 0)


class RobustTests:
    """Tests of the fixed effects by V₁, or by V₁ + V₂ - V₁₂ of two clusterings.

    Attributes
    ----------
    covariance : ndarray (p, p)
    notes : tuple of str
    """

    notes: tuple[str, ...] = ()
    monte_carlo_error = 0.0

    def __init__(self, clusters: Sequence[tuple[float, Clusters]]) -> None:
        self.clusters = clusters
        self.covariance = sum(sign * part.meat for sign, part in clusters)
        if len(clusters) > 1:
            values, Q = np.linalg.eigh(self.covariance)
            if values.size and values[0] < 0:
                self.covariance, self.notes = Q * np.maximum(values, 0.0) @ Q.T, (INDEFINITE,)

    @property
    def _ways(self) -> list[Clusters]:
        """The clusterings themselves, without their intersection."""
        return [part for sign, part in self.clusters if sign > 0]

    def degrees(self, rows: np.ndarray) -> np.ndarray:
        """Return degrees of freedom of the contrasts, (r,), the smaller of two clusterings; NaN for a row of zeros."""
        df = np.full(len(rows), np.nan)
        used = rows.any(axis=1)
        if used.any():
            df[used] = np.min([part.degrees(rows[used]) for part in self._ways], axis=0)
        return df

    def joint(self, rows: np.ndarray, difference: np.ndarray) -> tuple[float, int, float]:
        """Return F, its rank and its denominator: approximately Hotelling's T² for CR2, else G - 1.

        NaN where the covariance of the contrasts is singular, as there are too few clusters for them.
        """
        _, sizes, contrasts = np.linalg.svd(rows, full_matrices=False)
        contrasts = contrasts[sizes > DEPENDENT * sizes.max(initial=0.0)]
        values = np.linalg.eigvalsh(contrasts @ self.covariance @ contrasts.T)
        if not values.size or values[0] <= DEPENDENT * values[-1]:
            return np.nan, len(contrasts), np.nan
        statistic, rank = wald(rows, self.covariance, difference)
        if self.clusters[0][1].kind != "CR2":
            return statistic / rank, rank, float(min(part.count for part in self._ways) - 1)
        eta = min(part.hotelling(contrasts) for part in self._ways)
        df = eta - rank + 1.0
        return (df / (eta * rank) * statistic, rank, df) if df > 0 else (np.nan, rank, np.nan)
