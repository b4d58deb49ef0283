"""From a formula and any data frame to a Design: response, fixed columns, random terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .columns import Columns, Expression, Scope, positions, resolve
from .data import Table, column_names, plain, read_table, scattered
from .errors import DataError
from .formula import Bar, bare, expand_dot, lookups, parse_formula, quoted
from .terms import RandomTerm, factorize, unique_names

WEIGHTS, OFFSET = "argument weights", "argument offset"  # columns of a Table that were given as arrays


@dataclass(frozen=True, eq=False)
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
    formula : str
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
    formula: str
    spec: DesignSpec
    table: Table

    @property
    def n_missing(self) -> int:
        """Number of rows dropped for a missing value."""
        return 0 if self.kept is None else int(self.kept.size - self.endog.size)


@dataclass(frozen=True, eq=False)
class DesignSpec:
    """What a Design remembers of its data: levels, labels and the state of stateful functions.

    `random` holds the columns and the grouping factor of every term, `offsets` the summands of the offset.
    """

    fixed: Columns
    random: tuple[tuple[Columns, Grouping], ...]
    offsets: tuple[Expression, ...]

    def build(self, new_data, *, terms: Sequence[int] | None = None, offset=None):
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
        parts = [self.fixed, *self.offsets]
        built = self.random if terms is None else [self.random[k] for k in terms]
        parts += [part for columns, grouping in built for part in (columns, *grouping.factor)]
        names = {name for part in parts for name in part.variables}
        if offset is None and OFFSET in names:
            remedy = "Give offset= for the new rows, or fit with offset(column) in the formula."
            raise DataError(f"The model was fitted with an array of offsets, which new data do not hold. {remedy}")
        if offset is not None and OFFSET not in names:
            raise DataError("The model was not fitted with an array of offsets: leave out offset=.")
        table = read_table(new_data, sorted(names - {OFFSET}))
        if offset is not None:
            table = _with_array(table, OFFSET, offset)
        random = [(grouping.codes(table), columns.build(table)) for columns, grouping in built]
        return self.fixed.build(table), random, table.index, _total(self.offsets, table)


@dataclass(frozen=True, eq=False)
class Grouping:
    """A grouping factor that finds the level of each row of new data again.

    Of an interaction it holds the levels of every component, and after each further component the sorted keys
    ``code so far * number of levels + code of the component`` that occur: their positions are the codes so far.
    """

    factor: tuple[Expression, ...]
    levels: tuple[pd.Index, ...]
    keys: tuple[np.ndarray, ...] = ()

    def codes(self, table: Table) -> np.ndarray:
        """Return the level of each row (n,) int32, -1 for a missing label or a level that is not known."""
        found = []
        for expression, levels in zip(self.factor, self.levels, strict=True):
            part, rows = table.complete(expression.variables)
            found.append(scattered(positions(levels, expression.values(part)), rows, -1))
        codes = found[0]
        for other, levels, keys in zip(found[1:], self.levels[1:], self.keys, strict=True):
            key = codes * np.int64(len(levels)) + other
            codes = np.minimum(np.searchsorted(keys, key), keys.size - 1)
            codes[(other < 0) | (keys[codes] != key)] = -1
        return codes.astype(np.int32)

    def labels(self, new_data) -> np.ndarray:
        """Return the label of each row of new data (n_new,): joined by ":" for an interaction, None if missing."""
        table = read_table(new_data, sorted({name for part in self.factor for name in part.variables}))
        complete, rows = table.complete(table.columns)
        components = [part.values(complete) for part in self.factor]
        labels = [":".join(map(str, label)) for label in zip(*components, strict=True)]
        return scattered(np.array(labels, dtype=object), rows, None)


def build_design(
    formula: str,
    data,
    *,
    weights=None,
    offset=None,
    missing: str = "drop",
    contrasts: Mapping | None = None,
    context: Mapping | None = None,
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
        ``"treatment"``, ``"sum"``, ``"helmert"``, ``"poly"`` or contrasts of formulaic, instead of treatment
        contrasts. The column is read as categorical.
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
    parsed = parse_formula(formula)
    available = column_names(data)
    texts = [parsed.response, *parsed.offsets, *(quoted(name) for name in (weights, offset) if isinstance(name, str))]
    texts += [text for bar in parsed.bars for text in (bar.columns, *bar.factor)]
    others = set().union(*(names for text in texts for names in lookups(text)))
    fixed = expand_dot(parsed.fixed, [str(name) for name in available if name not in others])
    names, scope = resolve([fixed, *texts], available, context, contrasts)

    table = read_table(data, names)
    offsets = [Expression.on(text, table, scope) for text in parsed.offsets]
    if offset is not None:
        table, expression = _argument(offset, OFFSET, table, scope)
        offsets.append(expression)
    if weights is not None:
        table, weights = _argument(weights, WEIGHTS, table, scope)

    missing_counts = {name: int(mask.sum()) for name, mask in table.missing.items()}
    table, kept = _kept(table, missing)
    response = Expression.on(parsed.response, table, scope)
    columns, exog = Columns.fit(fixed, table, scope)
    term_names = unique_names([bar.name for bar in parsed.bars])
    random = [_random_term(bar, name, table, scope) for bar, name in zip(parsed.bars, term_names, strict=True)]
    return Design(
        endog=response.numbers(table),
        endog_name=bare(response.text),
        exog=exog,
        exog_names=list(columns.names),
        terms=tuple(term for term, _ in random),
        weights=None if weights is None else _positive(weights, table),
        offset=_total(offsets, table),
        index=table.index,
        kept=kept,
        missing=missing_counts,
        formula=formula,
        spec=DesignSpec(columns, tuple(spec for _, spec in random), tuple(offsets)),
        table=table,
    )


def _random_term(bar: Bar, name: str, table: Table, scope: Scope) -> tuple[RandomTerm, tuple[Columns, Grouping]]:
    """Return the term of one bar, and what builds its columns and codes from new data."""
    columns, values = Columns.fit(bar.columns, table, scope)
    if not columns.names:
        raise DataError(f"Term {bar.source}: '{bar.columns}' has no column in these data. Leave the term out.")
    factor = tuple(Expression.on(text, table, scope) for text in bar.factor)
    labels = [expression.values(table) for expression in factor]
    groups, levels, keys = (labels[0], (), ()) if len(labels) == 1 else _crossed(labels, bar)
    term = RandomTerm(groups, None if columns.is_intercept else values, name, columns.names, bar.structure)
    return term, (columns, Grouping(factor, levels or (term.levels,), keys))


def _crossed(labels: Sequence, bar: Bar) -> tuple[pd.Categorical, tuple[pd.Index, ...], tuple[np.ndarray, ...]]:
    """Return the interaction of the components of a factor, their levels, and the keys of `Grouping`."""
    codes, levels = factorize(labels[0], bare(bar.factor[0]))
    text, components, keys = _texts(levels), [levels], []
    for other, name in zip(labels[1:], bar.factor[1:], strict=True):
        more, levels = factorize(other, bare(name))
        codes, occurring = factorize(codes.astype(np.int64) * len(levels) + more, bar.name)
        components.append(levels)
        keys.append(occurring.to_numpy())
        first, second = np.divmod(keys[-1], len(levels))
        text = text[first] + ":" + _texts(levels)[second]
    text = pd.Index(text)
    if not text.is_unique:
        doubled = text[text.duplicated()][0]
        raise DataError(f"Factor {bar.name!r}: two levels are called {doubled!r}. Remove ':' from the labels.")
    return pd.Categorical.from_codes(codes, categories=text), tuple(components), tuple(keys)


def _texts(levels: pd.Index) -> np.ndarray:
    """Return the levels as an array of Python strings."""
    return np.array([str(level) for level in levels], dtype=object)


def _argument(value, name: str, table: Table, scope: Scope) -> tuple[Table, Expression]:
    """Return the expression of an argument, a column or an array, and the table that holds its values."""
    if isinstance(value, str):
        return table, Expression.on(quoted(value), table, scope)
    return _with_array(table, name, value), Expression(quoted(name), (name,), scope)


def _with_array(table: Table, name: str, value) -> Table:
    """Return the table with an array as one more column."""
    index = getattr(value, "index", None)
    if isinstance(index, pd.Index) and not index.equals(table.index):
        raise DataError(f"{name} has another index than the data. Give a column of the data, or an array.")
    values, missing = plain(value, name)
    if len(values) != len(table):
        raise DataError(f"{name} has {len(values)} values for {len(table)} rows of data. Give one per row.")
    masks = table.missing | ({name: missing} if missing.any() else {})
    return Table(table.columns | {name: values}, masks, table.index)


def _kept(table: Table, missing: str) -> tuple[Table, np.ndarray | None]:
    """Return the rows without missing values, unused categories dropped, and their mask (None if all are kept)."""
    complete, kept = table.complete(table.columns)
    counts = ", ".join(f"{name!r} {mask.sum()}" for name, mask in table.missing.items())
    if kept is not None and missing == "raise":
        raise DataError(f"Rows with missing values, by column: {counts}. Fill them or use missing='drop'.")
    if not len(complete):
        problem = "The data have no rows." if kept is None else f"Every row has a missing value, by column: {counts}."
        raise DataError(f"{problem} Check the columns of the formula.")
    columns = {name: _used(values) for name, values in complete.columns.items()}
    return Table(columns, {}, complete.index), kept


def _used(values):
    """Return a Categorical without the categories that do not occur, any other column as it is."""
    if not isinstance(values, pd.Categorical):
        return values
    used = np.bincount(values.codes, minlength=len(values.categories)) > 0
    if used.all():
        return values
    codes = (np.cumsum(used) - 1)[values.codes]
    return pd.Categorical.from_codes(codes, categories=values.categories[used], ordered=values.ordered)


def _positive(weights: Expression, table: Table) -> np.ndarray:
    """Return the weights (n,); raise if one is not positive."""
    values = weights.numbers(table)
    if (values <= 0).any():
        counts = f"{(values < 0).sum()} negative and {(values == 0).sum()} zero"
        remedy = "Correct the negative ones; drop rows of weight zero, which hold no information."
        raise DataError(f"weights: {counts}, first in row {table.first(values <= 0)}. {remedy}")
    return values


def _total(offsets: Sequence[Expression], table: Table) -> np.ndarray | None:
    """Return the sum (n,) of the offsets, None if there are none."""
    return sum(offset.numbers(table) for offset in offsets) if offsets else None
