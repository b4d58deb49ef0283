"""CrossProducts: all that a likelihood needs to know of the rows, in q and p dimensions.

Everything here is a sum over rows, so nothing to the right of this module depends on n. The sums are taken
in a pilot basis: columns X T, orthonormal, and response y - X β₀ with β₀ the least-squares fit. That removes
the cancellation of raw cross-products and makes the numbers independent of the units of X and of a
large mean of y; `to_params` and `basis_logdet` undo it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .covariance import RelativeFactor, TermShape
from .errors import DataError
from .levelsums import cross_block, diagonal_block
from .merging import merged, tree_sum
from .rank import full_rank_basis, independent_columns, inverse_upper
from .storage import load, save

if TYPE_CHECKING:
    import os

    from .terms import RandomTerm

SLICE = 1 << 20  # rows whose X is in the pilot basis at a time


@dataclass(frozen=True, eq=False, repr=False)
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
        ``cross[k, l]`` for k < l: the block Z_k'WZ_l, a canonical CSR array; of two unweighted intercepts, whose
        entries are counts of rows, in float32 as long as that is exact.
    shapes : tuple of TermShape
    basis : ndarray (p, p)
        T, upper triangular; columns of the pilot basis are X T.
    center : ndarray (p,)
        Coefficients of the pilot fit in the pilot basis.
    levels : tuple of Index, length l_k
        Labels of the levels of every term, by which `+` finds them again.

    Examples
    --------
    >>> import numpy as np
    >>> import sparselmm
    >>> data = sparselmm.datasets.load("Dyestuff")
    >>> def sums(rows):
    ...     term = sparselmm.RandomTerm(rows["Batch"], name="Batch")
    ...     return sparselmm.CrossProducts.from_arrays(rows["Yield"].to_numpy(), np.ones((len(rows), 1)), [term])
    >>> both = sums(data[:10]) + sums(data[10:])
    >>> both.nobs, list(both.levels[0])
    (30, ['A', 'B', 'C', 'D', 'E', 'F'])
    """

    nobs: int
    log_weights: float
    XX: np.ndarray
    Xy: np.ndarray
    yy: float
    ZX: np.ndarray
    Zy: np.ndarray
    diagonal: tuple[np.ndarray | sp.csr_array, ...]
    cross: dict[tuple[int, int], sp.csr_array]
    shapes: tuple[TermShape, ...]
    basis: np.ndarray
    center: np.ndarray
    levels: tuple[pd.Index, ...]

    @classmethod
    def from_arrays(
        cls,
        y: np.ndarray,
        X: np.ndarray,
        terms: Sequence[RandomTerm],
        weights: np.ndarray | None = None,
        basis: np.ndarray | None = None,
    ) -> CrossProducts:
        """Return the cross-products of y (n,), X (n, p) of full rank, K terms and weights (n,).

        `basis` is T if it is known already (see `full_rank_basis`).
        """
        if basis is None:
            kept, basis = full_rank_basis(X, weights)
            if len(kept) < X.shape[1]:
                raise DataError("The fixed-effects columns are linearly dependent. Leave some of them out.")
        rows = _pilot_rows(y, X, weights, basis, np.zeros(basis.shape[1]))
        gram = sum(WV.T @ V for _, V, WV in rows)
        return cls._sums(y, X, terms, weights, basis, np.linalg.solve(gram[:-1, :-1], gram[:-1, -1]))

    @classmethod
    def from_chunk(
        cls,
        y: np.ndarray,
        X: np.ndarray,
        terms: Sequence[RandomTerm],
        weights: np.ndarray | None,
        basis: np.ndarray,
        center: np.ndarray,
    ) -> CrossProducts:
        """Return the cross-products of some rows in a given basis T, with the response y - XTc of a given center c.

        The `sum` of those of all chunks, after `settle`, is what `from_arrays` returns for all rows.

        Parameters
        ----------
        y, X : ndarray (n,), ndarray (n, p)
        terms : sequence of RandomTerm
            With the levels of these rows; chunks may have different ones.
        weights : ndarray (n,) or None
        basis : ndarray (p, p)
            T, invertible and upper triangular; best that of a sample of all rows (see `full_rank_basis`), which keeps
            rounding small.
        center : ndarray (p,)
            c, best of the fit to a sample.

        Raises
        ------
        DataError
            If a value is not finite or a weight not positive.
        """
        if weights is not None and not (weights > 0).all():
            raise DataError(
                f"{(~(weights > 0)).sum()} weights are not positive. Drop those rows or correct the weights."
            )
        with np.errstate(invalid="ignore", over="ignore"):  # sums that are not finite are named below
            cross = cls._sums(y, X, terms, weights, basis, center)
        if not (np.isfinite(cross.XX).all() and np.isfinite(cross.Xy).all() and np.isfinite(cross.yy)):
            raise DataError("The response, X or the weights hold missing, infinite or huge values. Drop those rows.")
        return cross

    @classmethod
    def _sums(
        cls,
        y: np.ndarray,
        X: np.ndarray,
        terms: Sequence[RandomTerm],
        weights: np.ndarray | None,
        basis: np.ndarray,
        center: np.ndarray,
    ) -> CrossProducts:
        """Return the cross-products in the pilot basis around the center."""
        p = basis.shape[1]
        gram, parts = np.zeros((p + 1, p + 1)), [np.zeros((term.n_effects, p + 1)) for term in terms]
        for rows, V, WV in _pilot_rows(y, X, weights, basis, center):
            gram += WV.T @ V
            for term, sums in zip(terms, parts, strict=True):
                sums += term.rows(rows).T @ WV
        ZV = np.concatenate(parts)
        return cls(
            nobs=y.size,
            log_weights=0.0 if weights is None else float(np.log(weights).sum()),
            XX=gram[:p, :p].copy(),
            Xy=gram[:p, p].copy(),
            yy=float(gram[p, p]),
            ZX=np.ascontiguousarray(ZV[:, :p]),
            Zy=ZV[:, p].copy(),
            diagonal=tuple(diagonal_block(term, weights) for term in terms),
            cross={
                (k, m): cross_block(left, right, weights)
                for m, right in enumerate(terms)
                for k, left in enumerate(terms[:m])
            },
            shapes=tuple(TermShape(t.n_levels, t.n_columns, t.structure, t.name) for t in terms),
            basis=basis,
            center=center,
            levels=tuple(term.levels for term in terms),
        )

    def __repr__(self) -> str:
        p, q = self.n_fixed, self.ZX.shape[0]
        return f"<CrossProducts of {self.nobs:,} rows, {p:,} fixed-effects columns and {q:,} random effects>"

    def __add__(self, other: CrossProducts) -> CrossProducts:
        """Return the cross-products of both sets of rows, in the basis of the first; levels are matched by label."""
        return merged(self, other) if isinstance(other, CrossProducts) else NotImplemented

    def __radd__(self, other: object) -> CrossProducts:
        """Return these cross-products for 0 + them, from which the built-in sum starts."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    @classmethod
    def sum(cls, products: Iterable[CrossProducts]) -> CrossProducts:
        """Return the sum of an iterable of cross-products, not settled.

        Unlike the built-in sum it adds sums of like size, so that no number moves more often than the logarithm of
        their count, and takes the next from the iterable when the former are added: a generator needs memory for the
        sum and about as much again.
        """
        return tree_sum(products)

    def save(self, file: str | os.PathLike[str] | IO[bytes]) -> None:
        """Write to a file: a path, which is replaced when all is written, or an open binary file.

        The format is NumPy's .npz without pickle. Labels of levels that are neither numbers, truth values, dates nor
        texts become texts.
        """
        save(self, file)

    @classmethod
    def load(cls, file: str | os.PathLike[str] | IO[bytes]) -> CrossProducts:
        """Return the cross-products that `save` wrote to a path or binary file.

        Raises
        ------
        DataError
            If that is not what the file holds. No code in a file is run.
        """
        return cls(**load(file))

    def rebased(self, basis: np.ndarray, center: np.ndarray) -> CrossProducts:
        """Return the same sums in another basis T₁ and around another center c₁: X T₁ and y - X T₁c₁."""
        if np.array_equal(basis, self.basis) and np.array_equal(center, self.center):
            return self
        return self.combined(np.linalg.solve(self.basis, basis), basis, center)

    def combined(self, A: np.ndarray, basis: np.ndarray, center: np.ndarray) -> CrossProducts:
        """Return the sums of XTA, A (p, p₁), in the place of XT, called by a new basis, around a center c₁ (p₁,)."""
        d = self.center - A @ center
        return replace(
            self,
            XX=A.T @ self.XX @ A,
            Xy=A.T @ (self.Xy + self.XX @ d),
            yy=max(0.0, self.yy + float(d @ (2.0 * self.Xy + self.XX @ d))),
            ZX=self.ZX @ A,
            Zy=self.Zy + self.ZX @ d,
            basis=basis,
            center=center,
        )

    def settle(self) -> tuple[np.ndarray, CrossProducts]:
        """Return the indices of independent columns of X and the sums of these, orthonormal, around least squares.

        The leftmost are kept. A column is dependent if its part outside the span of those to its left is smaller than
        1e-7 of it or, in the pilot basis, than 1e-5 of it (see `independent_columns`).
        """
        kept, R = independent_columns(self.XX, self.basis)  # XT = QR
        A = inverse_upper(R[:, kept])  # Q is the kept columns of XT times A
        basis = inverse_upper(R @ inverse_upper(self.basis)[:, kept])
        XX, Xy = A.T @ self.XX[np.ix_(kept, kept)] @ A, A.T @ self.Xy[kept]
        orthonormal = replace(self, XX=XX, Xy=Xy, ZX=self.ZX[:, kept] @ A, basis=basis, center=R @ self.center)
        return kept, orthonormal.rebased(basis, orthonormal.center + np.linalg.solve(XX, Xy))

    def with_response(
        self, y: np.ndarray, X: np.ndarray, terms: Sequence[RandomTerm], weights: np.ndarray | None = None
    ) -> CrossProducts:
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

    def to_params(self, beta: np.ndarray) -> np.ndarray:
        """Return β in the user's columns and units, (p,), from β in the pilot basis."""
        return self.basis @ (self.center + beta)

    def column_scale(self, k: int) -> np.ndarray:
        """Return the root mean square (over rows, weighted) of each column of term k, (c_k,)."""
        return self._column_scales[k]

    @cached_property
    def _column_scales(self) -> list[np.ndarray]:
        """The `column_scale` of every term; one where a column is zero."""
        scales = []
        for block in self.diagonal:
            total = block.diagonal().sum()[None] if sp.issparse(block) else np.einsum("jii->i", block)
            scales.append(np.sqrt(np.where(total > 0, total / self.nobs, 1.0)))
        return scales


def rounding(response: np.ndarray, weights: np.ndarray | None = None) -> Any:
    """Return the sum of squared residuals that is rounding for responses (n,) or (n, k): a float or (k,)."""
    tiny = len(response) * (200 * np.finfo(float).eps * np.abs(response).max(axis=0)) ** 2
    return tiny if weights is None else tiny * weights.mean()


def _pilot_rows(
    y: np.ndarray, X: np.ndarray, weights: np.ndarray | None, basis: np.ndarray, center: np.ndarray
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield slices of the rows, V = [XT, y - XTc] of each and WV."""
    for start in range(0, y.size, SLICE):
        rows = slice(start, min(start + SLICE, y.size)) if y.size > SLICE else slice(None)
        pilot = X[rows] @ basis
        V = np.column_stack([pilot, y[rows] - pilot @ center])
        yield rows, V, V if weights is None else V * weights[rows, None]
