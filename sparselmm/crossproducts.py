"""CrossProducts: all that a likelihood needs to know of the rows, in q and p dimensions.

Everything here is a sum over rows, so nothing to the right of this module depends on n. The sums are taken
in a pilot basis: columns X T, orthonormal, and response y - X β₀ with β₀ the least-squares fit. That removes
the cancellation of raw cross-products and makes the numbers independent of the units of X and of a
large mean of y; `to_params` and `basis_logdet` undo it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.linalg as sla
import scipy.sparse as sp

from .covariance import RelativeFactor, TermShape
from .errors import DataError

RANK_TOLERANCE = 1e-7  # R's: a column whose part outside the others' span is smaller than this is dependent
SAFE_PIVOT = 1e-8  # Cholesky pivot (squared relative residual) above which a Gram matrix decides the rank


@dataclass(frozen=True, eq=False)
class CrossProducts:
    """Additive sufficient statistics of y, X, Z with weights W.

    Attributes
    ----------
    nobs : int
        Rows n.
    log_weights : float
        log|W|.
    XX, Xy, yy : ndarray (p, p), ndarray (p,), float
        X'WX, X'Wy and y'Wy in the pilot basis.
    ZX, Zy : ndarray (q, p), ndarray (q,)
    diagonal : tuple
        Per term k the diagonal block of S = Z'WZ: the l_k blocks as ndarray (l_k, c_k, c_k), or a sparse
        (q_k, q_k) array for a user-supplied block of Z.
    cross : dict
        ``cross[k, l]`` for k < l: the sparse block Z_k'WZ_l.
    shapes : tuple of TermShape
    basis : ndarray (p, p)
        T, upper triangular; columns of the pilot basis are X T.
    center : ndarray (p,)
        Coefficients of the pilot fit in the pilot basis.
    levels : tuple of Index, length l_k
        Labels of the levels of every term, by which `+` finds them again.
    """

    nobs: int
    log_weights: float
    XX: np.ndarray
    Xy: np.ndarray
    yy: float
    ZX: np.ndarray
    Zy: np.ndarray
    diagonal: tuple
    cross: dict
    shapes: tuple[TermShape, ...]
    basis: np.ndarray
    center: np.ndarray
    levels: tuple

    @classmethod
    def from_arrays(cls, y, X, terms, weights=None, basis=None) -> CrossProducts:
        """Return the cross-products of y (n,), X (n, p) of full rank, K terms and weights (n,).

        `basis` is T if it is known already (see `full_rank_basis`).
        """
        if basis is None:
            kept, basis = full_rank_basis(X, weights)
            if len(kept) < X.shape[1]:
                raise DataError("The fixed-effects columns are linearly dependent.")
        X = X @ basis
        XX = _gram(X, weights)
        Xw = X if weights is None else X * weights[:, None]
        center = np.linalg.solve(XX, Xw.T @ y) if X.shape[1] else np.zeros(0)
        return cls._sums(y, X, XX, terms, weights, basis, center)

    @classmethod
    def from_chunk(cls, y, X, terms, weights, basis, center) -> CrossProducts:
        """Return the cross-products of some rows in a given basis T, with the response y - XTc of a given center c.

        A sum of those of all chunks, `settled`, is what `from_arrays` returns for all rows. Basis and center are best
        those of a sample of the rows: they remove the cancellation.
        """
        X = X @ basis
        return cls._sums(y, X, _gram(X, weights), terms, weights, basis, center)

    @classmethod
    def _sums(cls, y, X, XX, terms, weights, basis, center):
        """Return the cross-products for X (n, p) in the pilot basis and X'WX."""
        y = y - X @ center
        center_left = np.column_stack([X, y])
        weighted = center_left if weights is None else center_left * weights[:, None]
        blocks = [term.Z for term in terms]
        ZXy = np.vstack([Z.T @ weighted for Z in blocks])
        scaled = blocks if weights is None else [_scale_rows(Z, weights) for Z in blocks]
        count = range(len(terms))
        return cls(
            nobs=y.size,
            log_weights=0.0 if weights is None else float(np.log(weights).sum()),
            XX=XX,
            Xy=weighted[:, :-1].T @ y,
            yy=float(weighted[:, -1] @ y),
            ZX=ZXy[:, :-1],
            Zy=ZXy[:, -1],
            diagonal=tuple(_diagonal_block(terms[k], blocks[k], scaled[k], weights) for k in count),
            cross={
                (k, m): _cross_block(terms[k], terms[m], scaled[k], blocks[m], weights)
                for k in count
                for m in count
                if k < m
            },
            shapes=tuple(TermShape(t.n_levels, t.n_columns, t.structure, t.name) for t in terms),
            basis=basis,
            center=center,
            levels=tuple(term.levels for term in terms),
        )

    def __add__(self, other) -> CrossProducts:
        """Return the cross-products of both sets of rows, in the basis of the first; levels are matched by label."""
        from .merging import merged

        return merged(self, other) if isinstance(other, CrossProducts) else NotImplemented

    def rebased(self, basis, center) -> CrossProducts:
        """Return the same sums in another basis T₁ and around another center c₁: X T₁ and y - X T₁c₁."""
        A = np.linalg.solve(self.basis, basis)
        d = self.center - A @ center
        return replace(
            self,
            XX=A.T @ self.XX @ A,
            Xy=A.T @ (self.Xy + self.XX @ d),
            yy=self.yy + float(d @ (2.0 * self.Xy + self.XX @ d)),
            ZX=self.ZX @ A,
            Zy=self.Zy + self.ZX @ d,
            basis=basis,
            center=center,
        )

    def settled(self) -> CrossProducts:
        """Return the same sums in an orthonormal basis, around the least-squares fit.

        Raises
        ------
        DataError
            If the fixed-effects columns are linearly dependent over all rows.
        """
        if not self.n_fixed:
            return self
        size = np.sqrt(np.diag(self.XX))
        R, info = sla.lapack.dpotrf(self.XX / np.outer(size, size), lower=0) if (size > 0).all() else (None, 1)
        if info or np.diag(R).min() ** 2 < SAFE_PIVOT:
            raise DataError("The fixed-effects columns are linearly dependent.")
        R = np.triu(R) * size
        least_squares = np.linalg.solve(self.XX, self.Xy)
        return self.rebased(self.basis @ _inverse_upper(R), R @ (self.center + least_squares))

    def with_response(self, y, X, terms, weights=None) -> CrossProducts:
        """Return the cross-products of the same X (n, p), K terms and weights with another response y (n,)."""
        X = X @ self.basis
        weighted = y if weights is None else y * weights
        center = np.linalg.solve(self.XX, X.T @ weighted) if self.n_fixed else np.zeros(0)
        y = y - X @ center
        weighted = y if weights is None else y * weights
        return replace(
            self,
            Xy=X.T @ weighted,
            yy=float(weighted @ y),
            Zy=np.concatenate([term.Z.T @ weighted for term in terms]),
            center=center,
        )

    @property
    def n_fixed(self) -> int:
        """Fixed effects p."""
        return self.XX.shape[0]

    @property
    def n_effects(self) -> int:
        """Random effects q."""
        return self.Zy.size

    @cached_property
    def relative_factor(self) -> RelativeFactor:
        """The map between θ and the λ_k of these terms."""
        return RelativeFactor(self.shapes)

    @property
    def basis_logdet(self) -> float:
        """log|T|²: log|X'V⁻¹X| in the user's columns is the pilot basis' minus this."""
        return 2.0 * float(np.log(np.abs(np.diag(self.basis))).sum())

    def to_params(self, beta) -> np.ndarray:
        """Return β in the user's columns and units, (p,), from β in the pilot basis."""
        return self.basis @ (self.center + beta)

    def column_scale(self, k) -> np.ndarray:
        """Return the root mean square (over rows, weighted) of each column of term k, (c_k,)."""
        return self._column_scales[k]

    @cached_property
    def _column_scales(self):
        """The `column_scale` of every term; one where a column is zero."""
        scales = []
        for block in self.diagonal:
            total = block.diagonal().sum()[None] if sp.issparse(block) else np.einsum("jii->i", block)
            scales.append(np.sqrt(np.where(total > 0, total / self.nobs, 1.0)))
        return scales


def full_rank_basis(X, weights=None) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of independent columns of X (leftmost kept) and T with orthonormal X[:, kept] T.

    A Gram matrix decides where all its pivots are large; otherwise a QR decomposition does, with R's
    tolerance, column after column from the left.
    """
    p = X.shape[1]
    Xw = X if weights is None else X * np.sqrt(weights)[:, None]
    norms = np.sqrt(np.einsum("ij,ij->j", Xw, Xw))
    kept = np.flatnonzero(norms > 0)
    if kept.size == p:
        gram = Xw.T @ Xw / np.outer(norms, norms)
        R, info = sla.lapack.dpotrf(gram, lower=0)
        if info == 0 and (p == 0 or np.diag(R).min() ** 2 > SAFE_PIVOT):
            return kept, _inverse_upper(R) / norms[:, None]
    while True:
        R = np.linalg.qr(Xw[:, kept] / norms[kept], mode="r")
        pivots = np.abs(np.diag(R))
        dependent = np.flatnonzero(pivots < RANK_TOLERANCE)
        first = dependent[0] if dependent.size else R.shape[0] if R.shape[0] < kept.size else None
        if first is None:
            return kept, _inverse_upper(R) / norms[kept, None]
        kept = np.delete(kept, first)


def rounding(response, weights=None):
    """Return the sum of squared residuals that is rounding for responses (n,) or (n, k): a float or (k,)."""
    tiny = len(response) * (200 * np.finfo(float).eps * np.abs(response).max(axis=0)) ** 2
    return tiny if weights is None else tiny * weights.mean()


def _gram(X, weights):
    """Return X'WX."""
    return (X if weights is None else X * weights[:, None]).T @ X


def _inverse_upper(R):
    """Return R⁻¹ of an upper-triangular R, (p, p)."""
    return sla.solve_triangular(R, np.eye(R.shape[0])) if R.size else R


def _scale_rows(Z, weights):
    """Return WZ as a CSR array that shares Z's pattern."""
    return sp.csr_array((Z.data * np.repeat(weights, np.diff(Z.indptr)), Z.indices, Z.indptr), shape=Z.shape)


def _diagonal_block(term, Z, WZ, weights):
    """Return Z_k'WZ_k: blocks (l, c, c), or sparse for a user-supplied Z."""
    if term.matrix is not None:
        return canonical(WZ.T @ Z)
    c, codes, values = term.n_columns, term.codes, term.values
    blocks = np.empty((term.n_levels, c, c))
    weighted = values if weights is None else values * weights[:, None]
    for i in range(c):
        for j in range(i + 1):
            sums = np.bincount(codes, weighted[:, i] * values[:, j], minlength=term.n_levels)
            blocks[:, i, j] = blocks[:, j, i] = sums
    return blocks


def _cross_block(left, right, WZ_left, Z_right, weights):
    """Return Z_k'WZ_l, sparse (q_k, q_l)."""
    if left.n_columns == right.n_columns == 1 and left.matrix is None and right.matrix is None:
        values = left.values[:, 0] * right.values[:, 0]
        values = values if weights is None else values * weights
        pairs = sp.coo_array((values, (left.codes, right.codes)), shape=(left.n_levels, right.n_levels))
        return canonical(pairs)
    return canonical(WZ_left.T @ Z_right)


def canonical(matrix):
    """Return a CSR array with sorted indices and no duplicates."""
    matrix = sp.csr_array(matrix)
    matrix.sum_duplicates()
    return matrix
