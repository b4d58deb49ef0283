"""From a formula and any data frame to a Design: response, fixed columns, random terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .caller import warn
from .columns import Columns, Expression
from .data import Table, column_names, index_names, plain, read_table
from .errors import DataError, DataWarning
from .formula_text import bare, quoted
from .roles import Grouping, Roles, read_roles
from .terms import RandomTerm

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

WEIGHTS, OFFSET = "argument weights", "argument offset"  # columns of a Table that were given as arrays


@dataclass(frozen=True, eq=False, repr=False)
class Design:
    """Everything a linear mixed model needs of its data: the n rows that were kept, in their order.

    Attributes
    ----------
    endog : ndarray of float64, shape (n,)
        Response, named `endog_name`.
    exog : ndarray of float64, shape (n, p)
        Fixed columns, named `exog_names`.
    terms : tuple of RandomTerm
        One per bar, in the order of the formula.
    weights, offset : ndarray of float64, shape (n,), or None
    index : pandas.Index, length n
        Labels of the kept rows.
    kept : ndarray of bool or None
        Which rows of the data were kept; None if all were.
    missing : dict of str to int
        Number of rows with a missing value in each column that has any; `n_missing` rows were dropped.
    roles : Roles
        What the formula asks of data.
    spec : DesignSpec
        Builds the same columns from new data.
    table : Table
        The columns of the data that the formula uses, the n rows that were kept.
    """

    endog: np.ndarray
    endog_name: str
    exog: np.ndarray
    exog_names: list[str]
    terms: tuple[RandomTerm, ...]
    weights: np.ndarray | None
    offset: np.ndarray | None
    index: pd.Index
    kept: np.ndarray | None
    missing: dict[str, int]
    roles: Roles
    spec: DesignSpec
    table: Table

    @property
    def formula(self) -> str:
        """The formula as it was given."""
        return self.roles.formula

    is_rowwise = False  #: whether every column is known to be a function of its own row of the data

    @property
    def frequencies(self) -> np.ndarray:
        """How many rows of the data each row of `table` stands for, (n,): one."""
        return np.ones(len(self.table))

    @property
    def n_missing(self) -> int:
        """Number of rows dropped for a missing value."""
        return 0 if self.kept is None else int(self.kept.size - self.endog.size)

    def __repr__(self) -> str:
        return f"<Design: {self.formula}, {self.endog.size:,} rows, {self.n_missing:,} left out>"


@dataclass(frozen=True, eq=False)
class DesignSpec:
    """What a Design remembers of its data: levels, labels and the state of stateful functions.

    `random` holds the columns and the grouping factor of every term, `offsets` the summands of the offset.
    """

    fixed: Columns
    random: tuple[tuple[Columns, Grouping], ...]
    offsets: tuple[Expression, ...]

    def variables(self, terms: Sequence[int] | None = None) -> set[str]:
        """Return the columns of the data that are used, by all random terms or by some."""
        built = self.random if terms is None else [self.random[k] for k in terms]
        parts = [self.fixed, *self.offsets, *(part for columns, grouping in built for part in (columns, grouping))]
        return {name for part in parts for name in part.variables}

    def build(
        self, new_data: Any, *, terms: Sequence[int] | None = None, offset: ArrayLike | None = None
    ) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]], pd.Index, np.ndarray | None]:
        """Return the columns of the model for new data.

        Parameters
        ----------
        new_data : data frame or dict of arrays
            The predictors; the response is not needed.
        terms : sequence of int, optional
            Positions of the random terms that are built, whose columns are needed; default: all.
        offset : array_like, shape (n_new,), optional
            Required if the model was built with an array of offsets.

        Returns
        -------
        exog : ndarray of float64, shape (n_new, p)
            NaN in rows with a missing predictor.
        random : list of (codes, values)
            Per term that is built, ``codes`` (n_new,) int32, -1 for a missing label or an unseen level, and ``values``
            (n_new, c), NaN in rows with a missing value.
        index : pandas.Index, length n_new
        offset : ndarray of float64, shape (n_new,), or None

        Raises
        ------
        DataError
            If a column is missing or a categorical fixed effect has labels the model has not seen.
        """
        built = self.random if terms is None else [self.random[k] for k in terms]
        names = self.variables(terms)
        if offset is None and OFFSET in names:
            remedy = "Give offset= for the new rows, or fit with offset(column) in the formula."
            raise DataError(f"The model was fitted with an array of offsets, which new data do not hold. {remedy}")
        if offset is not None and OFFSET not in names:
            raise DataError("The model was not fitted with an array of offsets: leave out offset=.")
        table = read_table(new_data, sorted(names - {OFFSET}))
        if offset is not None:
            table = with_array(table, OFFSET, offset)
        random = [(grouping.codes(table), columns.build(table)) for columns, grouping in built]
        return self.fixed.build(table), random, table.index, total(self.offsets, table)


def build_design(
    formula: str,
    data: Any,
    *,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
    missing: str = "drop",
    contrasts: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
) -> Design:
    """Return the Design of a mixed-model formula on a data frame.

    Parameters
    ----------
    formula : str
        See `parse_formula`.
    data : data frame or dict of arrays
        pandas, polars, Arrow, DuckDB, ... (whatever narwhals takes). Only the columns that the formula uses are
        read. Levels of strings are sorted, those of a pandas Categorical, polars Enum or Arrow dictionary keep the
        order of the categories, those of a polars Categorical, which has no order, are sorted.
    weights, offset : str or array_like, shape (n,), optional
        A column or one value per row of the data; weights are positive. `offset` adds to those in the formula.
    missing : {"drop", "raise"}
        What to do with rows that have a missing value in a column that is used.
    contrasts : mapping of column to contrasts, optional
        ``"treatment"``, ``"sum"``, ``"helmert"``, ``"poly"``, codes of your own or contrasts of formulaic, instead of
        treatment contrasts. Codes are a number for each category in their order, ``[-0.5, 0.5]``, an array (categories,
        contrasts), or such lists by name, ``{"new - old": [-0.5, 0.5]}``. The column is read as categorical.
    context : mapping, optional
        Functions and constants that the formula may use. Names of columns and formulaic's own functions go first.

    Returns
    -------
    Design

    Raises
    ------
    FormulaError
        If the formula cannot be read.
    DataError
        If the data do not fit the formula; the message names the column or term.
    """
    if missing not in ("drop", "raise"):
        raise ValueError(f"missing must be 'drop' or 'raise', not {missing!r}.")
    roles = read_roles(
        formula,
        column_names(data),
        weights=weights if isinstance(weights, str) else None,
        offset=offset if isinstance(offset, str) else None,
        contrasts=contrasts,
        context=context,
        index=index_names(data),
    )
    table = read_table(data, roles.names)
    offsets, weighing = roles.offsets_on(table), roles.weights_on(table)
    if offset is not None and not isinstance(offset, str):
        table, expression = _with_argument(offset, OFFSET, table, roles)
        offsets = (*offsets, expression)
    if weights is not None and not isinstance(weights, str):
        table, weighing = _with_argument(weights, WEIGHTS, table, roles)

    missing_counts = {name: int(mask.sum()) for name, mask in table.missing.items()}
    table, kept = complete_rows(table, missing)
    _warn_of_numbers(table, roles)
    response = Expression.on(roles.response, table, roles.scope)
    columns, exog = Columns.fit(roles.fixed, table, roles.scope)
    terms, random = zip(*(roles.fit_term(k, table) for k in range(len(roles.bars))), strict=True)
    return Design(
        endog=response.numbers(table),
        endog_name=bare(response.text),
        exog=exog,
        exog_names=list(columns.names),
        terms=terms,
        weights=None if weighing is None else positive(weighing, table),
        offset=total(offsets, table),
        index=table.index,
        kept=kept,
        missing=missing_counts,
        roles=roles,
        spec=DesignSpec(columns, random, offsets),
        table=table,
    )


def _warn_of_numbers(table: Table, roles: Roles) -> None:
    """Warn of columns of fractions that contrasts make categorical."""
    for name in roles.scope.contrasts:
        values = table.columns[name]
        if values.dtype.kind == "f" and (values % 1.0).any():
            count = len(pd.unique(values))
            warn(f"contrasts makes {name!r}, a column of numbers, categorical: {count:,} categories.", DataWarning)


def _with_argument(value: ArrayLike, name: str, table: Table, roles: Roles) -> tuple[Table, Expression]:
    """Return the table with an array that was given as an argument, and the expression that reads it."""
    return with_array(table, name, value), Expression(quoted(name), (name,), roles.scope)


def with_array(table: Table, name: str, value: ArrayLike) -> Table:
    """Return the table with an array as one more column."""
    index = getattr(value, "index", None)
    if isinstance(index, pd.Index) and not index.equals(table.index):
        raise DataError(f"{name} has another index than the data. Give a column of the data, or an array.")
    values, missing = plain(value, name)
    if len(values) != len(table):
        raise DataError(f"{name} has {len(values)} values for {len(table)} rows of data. Give one per row.")
    masks = table.missing | ({name: missing} if missing.any() else {})
    return Table(table.columns | {name: values}, masks, table.index)


def complete_rows(table: Table, missing: str) -> tuple[Table, np.ndarray | None]:
    """Return the rows without missing values, unused categories dropped, and their mask (None if all are kept)."""
    complete, kept = table.complete(table.columns)
    counts = ", ".join(f"{name!r} {mask.sum()}" for name, mask in table.missing.items())
    if kept is not None and missing == "raise":
        raise DataError(f"Rows with missing values, by column: {counts}. Fill them or use missing='drop'.")
    if not len(complete):
        problem = "The data have no rows." if kept is None else f"Every row has a missing value, by column: {counts}."
        raise DataError(f"{problem} Check the columns of the formula.")
    columns = {name: used(values) for name, values in complete.columns.items()}
    return Table(columns, {}, complete.index), kept


def used(values: Any) -> Any:
    """Return a Categorical without the categories that do not occur, any other column as it is."""
    if not isinstance(values, pd.Categorical):
        return values
    used = np.bincount(values.codes, minlength=len(values.categories)) > 0
    if used.all():
        return values
    codes = (np.cumsum(used) - 1)[values.codes]
    return pd.Categorical.from_codes(codes, categories=values.categories[used], ordered=values.ordered)


def positive(weights: Expression, table: Table) -> np.ndarray:
    """Return the weights (n,); raise if one is not positive."""
    values = weights.numbers(table)
    if (values <= 0).any():
        counts = f"{(values < 0).sum()} negative and {(values == 0).sum()} zero"
        remedy = "Correct the negative ones; drop rows of weight zero, which hold no information."
        raise DataError(f"weights: {counts}, first in row {table.first(values <= 0)}. {remedy}")
    return values


def total(offsets: Sequence[Expression], table: Table) -> np.ndarray | None:
    """Return the sum (n,) of the offsets, None if there are none."""
    return np.sum([offset.numbers(table) for offset in offsets], axis=0) if offsets else None
