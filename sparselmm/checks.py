"""Checks of the arrays of a model: each failure names the column or term, what is wrong with it and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .terms import RandomTerm

SMALLEST = 1e-75  # size of a column, or one over that of the largest


def check_labels(index: pd.Index | None, labelled: Mapping[str, object]) -> None:
    """Raise a DataError if a pandas object is labelled otherwise than the response: nothing is aligned here."""
    for name, values in labelled.items():
        other = getattr(values, "index", None)
        if not isinstance(index, pd.Index) or not isinstance(other, pd.Index):
            continue
        if len(other) == len(index) and not other.equals(index):
            raise DataError(
                f"{name} has another index than the response. Rows are matched by position: put them in the same "
                "order and give both the same index, or pass arrays."
            )


def as_array(values: ArrayLike, ndim: int, name: str) -> np.ndarray:
    """Return values as a float array of the given number of dimensions."""
    try:
        values = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not numeric: {error}. Convert it to numbers.") from None
    if values.ndim == 2 and ndim == 1 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1 and ndim == 2:
        values = values[:, None]
    if values.ndim != ndim:
        raise DataError(f"{name} has {values.ndim} dimensions; it needs {ndim}.")
    return values


def default_names(exog: np.ndarray) -> list[str]:
    """Return const for a column of ones and x1, x2, ... for the others."""
    names, number = [], 0
    for column in exog.T:
        if "const" not in names and column.size and np.ptp(column) == 0 and column[0] == 1:
            names.append("const")
        else:
            number += 1
            names.append(f"x{number}")
    return names


def check_model(
    endog: np.ndarray,
    exog: np.ndarray,
    terms: Sequence[RandomTerm],
    weights: np.ndarray | None,
    offset: np.ndarray | None,
    endog_name: str,
) -> None:
    """Raise a DataError for arrays that cannot be a mixed model."""
    n = endog.size
    if n == 0:
        raise DataError("The data have no rows. Check how they were selected.")
    if not terms:
        raise DataError("A mixed model needs at least one random-effects term: give RandomTerm(groups).")
    for name, values in (("exog", exog), ("weights", weights), ("offset", offset)):
        if values is not None and values.shape[0] != n:
            raise DataError(f"{name} has {values.shape[0]} rows, the response has {n}. Give one for each row.")
    for name, values in ((endog_name, endog), ("exog", exog), ("weights", weights), ("offset", offset)):
        if values is not None and not np.isfinite(values).all():
            raise DataError(f"{name} holds missing or infinite values. Drop those rows first.")
    if weights is not None and not (weights > 0).all():
        raise DataError(f"{(weights <= 0).sum()} weights are zero or negative. Drop those rows or correct the weights.")
    equal_weights = weights is None or np.ptp(weights) == 0
    for term in terms:
        if term.nobs != n:
            raise DataError(f"Term {term.name!r} has {term.nobs} rows, the response has {n}. Give one for each row.")
        if term.matrix is not None:
            continue
        check_term(term.name, term.n_levels, term.n_effects, n, equal_weights)


def effects_of(terms: Iterable[RandomTerm]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the values of every random column that is not an intercept, or of a block of Z."""
    for term in terms:
        if term.matrix is not None:
            yield f"The block of Z of {term.name!r}", term.matrix.data
        elif not term.is_intercept:
            yield from ((f"{x} of term {term.name!r}", v) for x, v in zip(term.columns, term.values.T, strict=True))


def check_sizes(named: Iterable[tuple[str, np.ndarray | None]], smallest: float = SMALLEST) -> None:
    """Raise a DataError for the first named column whose powers are no numbers; None and NaN are passed over."""
    for name, values in ((name, values) for name, values in named if values is not None):
        largest = np.fmax.reduce(np.abs(values), initial=0.0)
        if np.isinf(largest):
            raise DataError(f"{name} holds infinite values. Correct them, or leave those rows out.")
        if largest > 1.0 / SMALLEST or 0.0 < largest < smallest:
            raise DataError(
                f"{name} is of the size of {largest:.0e}, whose powers leave the range of floating-point numbers. "
                "Give it in another unit, such as divided by its standard deviation."
            )


def check_term(name: str, n_levels: int, n_effects: int, n: int, equal_weights: bool) -> None:
    """Raise a DataError for a grouping factor whose variance cannot be estimated from n rows."""
    if n_levels == 1:
        raise DataError(
            f"Grouping factor {name!r} has a single level, so its variance cannot be estimated. "
            "Remove the term, or use a factor with more levels."
        )
    if n_effects >= n and equal_weights:
        raise DataError(
            f"Term {name!r} has {n_effects} random effects for {n} rows: they cannot be told "
            "from the residuals. Remove columns of the term, or use a coarser grouping factor."
        )


def check_rows(n: int, p: int) -> None:
    """Raise a DataError if n rows leave no residual beside p independent fixed effects."""
    if p >= n:
        raise DataError(
            f"There are {n} rows for {p} independent fixed effects: no residual is left. "
            "Use fewer fixed effects or more data."
        )


def check_residual(endog_name: str, residual: float, tiny: float) -> None:
    """Raise a DataError if the residual sum of squares is no more than `tiny`, rounding."""
    if residual <= tiny:
        raise DataError(
            f"The response {endog_name!r} is constant or an exact linear function of the fixed effects: there is no "
            "residual variance to estimate. Leave out the predictor it was computed from, or take another response."
        )
