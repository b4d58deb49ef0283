"""RandomTerm: one bar ``(columns | factor)`` as codes, levels and columns, and its block of Z."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

STRUCTURES = ("unstructured", "diagonal")


class TermSizes:
    """The sizes of a random-effects term, from its `levels` and `columns`."""

    name: str
    levels: pd.Index
    columns: tuple[str, ...]
    structure: str
    matrix: sp.csr_array | None

    @property
    def n_levels(self) -> int:
        """Number of levels l."""
        return len(self.levels)

    @property
    def n_columns(self) -> int:
        """Number of columns c."""
        return len(self.columns)

    @property
    def n_effects(self) -> int:
        """Number of random effects l*c: the columns of this term's block of Z."""
        return self.n_levels * self.n_columns

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.n_levels:,} levels of {', '.join(self.columns)}>"


@dataclass(frozen=True, eq=False, init=False, repr=False)
class RandomTerm(TermSizes):
    """One random-effects term: every level of a factor has its own vector of coefficients.

    Parameters
    ----------
    groups : array_like, shape (n,)
        Label of the level of each row: integers, strings, booleans, dates or a pandas Categorical.
        Levels are the labels that occur, sorted (a Categorical keeps its own order).
    values : array_like, shape (n, c) or (n,), optional
        Columns of the term. By default one column of ones (a random intercept).
    name : str, optional
        Name of the factor in every output. Default: the name of a pandas Series, else "group".
    columns : sequence of str, optional
        Names of the ``c`` columns. Default: ``("Intercept",)`` without `values`, else x1, x2, ...
    structure : {"unstructured", "diagonal"}
        Covariance of the ``c`` coefficients of one level: any positive semidefinite matrix, or a diagonal
        one (the double bar ``||``).

    Attributes
    ----------
    codes : ndarray of int32, shape (n,)
        Level of each row, ``levels[codes[i]] == groups[i]``.
    levels : pandas.Index, length l
    values : ndarray of float64, shape (n, c)
        One column of ones takes no memory: it is a read-only view of a single 1.
    is_intercept : bool
        Whether `values` is one column of ones.
    matrix : scipy.sparse.csr_array or None
        The block of Z itself where the user supplied it (see `from_matrix`); `codes` is then None.

    Raises
    ------
    DataError
        If a label is missing, a value is not finite or shapes disagree.

    Examples
    --------
    >>> import sparselmm
    >>> data = sparselmm.datasets.load("sleepstudy")
    >>> values = [[1.0, days] for days in data["Days"]]
    >>> term = sparselmm.RandomTerm(data["Subject"], values, columns=["Intercept", "Days"])
    >>> term.n_levels, term.n_columns
    (18, 2)
    """

    values: np.ndarray
    name: str
    columns: tuple[str, ...]
    structure: str
    codes: np.ndarray
    levels: pd.Index
    is_intercept: bool = False
    matrix: sp.csr_array | None = None
    index: pd.Index | None = None

    def __init__(
        self,
        groups: Any,
        values: ArrayLike | None = None,
        name: str | None = None,
        columns: Sequence[str] | None = None,
        structure: str = "unstructured",
    ) -> None:
        if name is None:
            own = getattr(groups, "name", None)
            name = "group" if own is None else str(own)
        if not isinstance(name, str):
            raise DataError(
                f"The name of a term is a string, not {type(name).__name__}: RandomTerm(groups, values, name)."
            )
        if structure not in STRUCTURES:
            raise DataError(f"Term {name!r}: structure must be one of {STRUCTURES}, not {structure!r}.")
        index = groups.index if isinstance(groups, pd.Series) else None
        codes, levels = factorize(groups, name)
        if values is None:
            values, columns = _ones(codes.size), columns or ("Intercept",)
        values = np.asarray(values, dtype=np.float64)
        if values.ndim == 1:
            values = values[:, None]
        if values.ndim != 2 or values.shape[0] != codes.size or values.shape[1] == 0:
            raise DataError(f"Term {name!r}: values have shape {values.shape}, expected ({codes.size}, c).")
        is_intercept = values.shape[1] == 1 and bool((values == 1.0).all())
        values = _ones(codes.size) if is_intercept else np.array(values, order="C")
        if not is_intercept and not np.isfinite(values).all():
            raise DataError(f"Term {name!r}: its columns hold missing or infinite values. Drop those rows first.")
        columns = tuple(columns) if columns else tuple(f"x{i + 1}" for i in range(values.shape[1]))
        if len(columns) != values.shape[1]:
            raise DataError(f"Term {name!r}: {len(columns)} column names for {values.shape[1]} columns.")
        self._set(values=values, name=name, columns=columns, structure=structure, codes=codes, levels=levels)
        self._set(is_intercept=is_intercept, index=index)

    @classmethod
    def from_matrix(
        cls, matrix: ArrayLike | sp.sparray, name: str = "Z", levels: Sequence[Any] | None = None
    ) -> RandomTerm:
        """Return a term of independent coefficients with common variance from a user-supplied block of Z.

        Parameters
        ----------
        matrix : array_like or sparse, shape (n, l)
            Its columns are the random columns: multiple membership weights, spline bases, a Cholesky factor
            of a relationship matrix, ...
        name : str
        levels : sequence, optional
            Labels of the columns; default 0, 1, ...
        """
        block = sp.csr_array(matrix, dtype=np.float64)
        if block.ndim != 2 or 0 in block.shape:
            raise DataError(f"Term {name!r}: the block of Z has shape {block.shape}; it needs rows and columns.")
        if not np.isfinite(block.data).all():
            raise DataError(f"Term {name!r}: the block of Z holds missing or infinite values. Drop those rows first.")
        levels = pd.RangeIndex(block.shape[1]) if levels is None else pd.Index(levels)
        if len(levels) != block.shape[1]:
            columns = block.shape[1]
            raise DataError(f"Term {name!r}: {len(levels)} level labels for {columns} columns of Z. Give one for each.")
        self = object.__new__(cls)
        self._set(values=None, name=name, columns=("Intercept",), structure="unstructured")
        self._set(codes=None, levels=levels, matrix=block)
        return self

    def _set(self, **attributes: Any) -> None:
        for key, value in attributes.items():
            object.__setattr__(self, key, value)

    def renamed(self, name: str) -> RandomTerm:
        """Return the same term under another name."""
        other = copy(self)
        other._set(name=name)
        return other

    @property
    def nobs(self) -> int:
        """Number of rows n."""
        return self.codes.size if self.matrix is None else self.matrix.shape[0]

    @property
    def Z(self) -> sp.csr_array:
        """The term's block of Z, shape (n, l*c): level after level, within a level column after column."""
        return self.rows(slice(None))

    def rows(self, part: slice) -> sp.csr_array:
        """Return the rows of the block of Z in a slice."""
        if self.matrix is not None:
            return self.matrix if part == slice(None) else self.matrix[part]
        codes, values = self.codes[part], self.values[part]
        n, c = values.shape
        indices = codes if c == 1 else (codes[:, None] * np.int32(c) + np.arange(c, dtype=np.int32)).ravel()
        indptr = np.arange(0, n * c + 1, c, dtype=np.int32)
        return sp.csr_array((values.ravel(), indices, indptr), shape=(n, self.n_effects))


def factorize(groups: Any, name: str = "group") -> tuple[np.ndarray, pd.Index]:
    """Return codes (n,) int32 and the Index of occurring levels, sorted (a Categorical keeps its order)."""
    if isinstance(groups, (pd.Series, pd.Index)):
        groups = groups.array
    elif hasattr(groups, "to_numpy") and not isinstance(groups, pd.api.extensions.ExtensionArray):  # as polars'
        groups = groups.to_numpy()
    if isinstance(groups, pd.arrays.NumpyExtensionArray) or not hasattr(groups, "dtype"):
        groups = np.asarray(groups)
    if groups.ndim != 1:
        raise DataError(f"Grouping factor {name!r} has shape {groups.shape}; it must be one column.")
    if groups.size == 0:
        raise DataError(f"Grouping factor {name!r} has no rows. Give a label for each row.")
    if isinstance(groups, pd.Categorical):
        codes, levels = groups.codes, groups.categories
    elif isinstance(groups, np.ndarray) and groups.dtype.kind in "iu" and _is_dense(groups):
        low, codes = int(groups.min()), np.empty(groups.size, dtype=np.int32)
        np.subtract(groups, low, out=codes, dtype=np.int64, casting="unsafe")
        levels = pd.RangeIndex(low, int(groups.max()) + 1)
    else:
        try:
            codes, levels = pd.factorize(groups, sort=True)
        except TypeError:  # labels of mixed type have no order of their own
            raise DataError(
                f"Grouping factor {name!r} mixes types that cannot be sorted. Convert it to one type, "
                f"for example with .astype(str)."
            ) from None
        levels = pd.Index(levels)
    if codes.min() < 0:
        raise DataError(f"Grouping factor {name!r} has missing labels. Drop those rows or use missing='drop'.")
    used = np.zeros(len(levels), dtype=bool)
    used[codes] = True
    if used.all():
        return codes.astype(np.int32), levels
    return (np.cumsum(used, dtype=np.int32) - 1)[codes], levels[used]


def _is_dense(values: np.ndarray) -> bool:
    """Return whether integers are numbered so densely that a table of their range costs less than hashing them."""
    low, high = int(values.min()), int(values.max())
    return high - low < min(4 * values.size + 1024, 2**31) and high < 2**63 - 1


def _ones(n: int) -> np.ndarray:
    """Return one column of ones, (n, 1), that takes no memory."""
    return np.broadcast_to(np.ones(1), (n, 1))


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names with ".1", ".2", ... appended to those that occur before."""
    unique = []
    for name in names:
        candidates = [name, *(f"{name}.{i}" for i in range(1, len(names) + 1))]
        unique.append(next(candidate for candidate in candidates if candidate not in unique))
    return unique
