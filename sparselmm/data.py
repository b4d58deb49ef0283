"""Table: columns of any data frame in plain types, with masks of what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from .errors import DataError
from .habits import near

NUMBERS = {"boolean": bool, "integer": int, "floating": float, "mixed-integer-float": float, "decimal": float}


@dataclass(frozen=True)
class Table:
    """Columns (n,) of plain types: int64, float64, bool, dates, labels or pandas Categorical, never aligned by index.

    What stands in a missing entry is arbitrary; `missing` holds the mask (n,) of each column that has any.
    """

    columns: dict[str, Any]
    missing: dict[str, np.ndarray]
    index: pd.Index

    def __len__(self) -> int:
        return len(self.index)

    def first(self, rows: np.ndarray) -> Any:
        """Return the label of the first of the rows that a mask holds."""
        return self.index[np.flatnonzero(rows)[0]]

    def part(self, names: Iterable[str], rows: slice | np.ndarray = slice(None)) -> Table:
        """Return the columns `names` in some rows, a slice, mask or positions."""
        columns = {name: self.columns[name][rows] for name in names}
        masks = {name: self.missing[name][rows] for name in columns if name in self.missing}
        return Table(columns, {name: mask for name, mask in masks.items() if mask.any()}, self.index[rows])

    def complete(self, names: Iterable[str]) -> tuple[Table, np.ndarray | None]:
        """Return the columns `names` in the rows where none is missing, and the mask of those (None: all rows)."""
        columns = {name: self.columns[name] for name in names}
        masks = [self.missing[name] for name in names if name in self.missing]
        if not masks:
            return Table(columns, {}, self.index), None
        rows = ~np.logical_or.reduce(masks)
        return Table({name: values[rows] for name, values in columns.items()}, {}, self.index[rows]), rows


def column_names(data: Any) -> list[str]:
    """Return the names of the columns of any data frame."""
    if isinstance(data, (Mapping, Table)):
        data = data.columns if isinstance(data, Table) else data
        return list(data)
    return list(data.columns) if isinstance(data, pd.DataFrame) else _narwhals(data).collect_schema().names()


def index_names(data: Any) -> list[str]:
    """Return the names of the index of a pandas frame, none of other data."""
    return [name for name in data.index.names if name is not None] if isinstance(data, pd.DataFrame) else []


def read_table(data: Any, names: Sequence[str]) -> Table:
    """Return the columns `names` of a pandas frame, a dict of arrays or anything narwhals takes."""
    available = column_names(data)
    names = names or available[:1]  # one column tells the number of rows
    for name in names:
        if name not in available:
            raise DataError(f"The data have no column {name!r}.{near(name, available, index_names(data))}")
        if available.count(name) > 1:
            raise DataError(f"The data have {available.count(name)} columns {name!r}. Rename all but one.")
    if isinstance(data, Table):
        return data.part(names)
    index = data.index if isinstance(data, pd.DataFrame) else None
    if not isinstance(data, (Mapping, pd.DataFrame)):
        data = _narwhals(data).select(*names)
        data = data.collect() if isinstance(data, nw.LazyFrame) else data
    columns, missing = {}, {}
    for name in names:
        columns[name], mask = plain(data[name], f"Column {name!r}")
        if mask.any():
            missing[name] = mask
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"The columns differ in length: {lengths}. Give every column one value per row.")
    return Table(columns, missing, pd.RangeIndex(max(lengths.values(), default=0)) if index is None else index)


def plain(values: Any, what: str) -> tuple[Any, np.ndarray]:
    """Return one column of any library as an array of a plain type, and the mask (n,) of its missing entries."""
    if isinstance(values, pd.Series) and isinstance(values.dtype, np.dtype) and values.dtype.kind in "if":
        values = _widened(values.to_numpy(), what)
        return values, np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.size, dtype=bool)
    series = nw.from_native(values, series_only=True, pass_through=True)
    if not isinstance(series, nw.Series):
        try:
            series = nw.from_native(pd.Series(values), series_only=True)
        except (TypeError, ValueError) as error:
            raise DataError(f"{what} is not one column of values: {error}") from None
    native = series.to_native()
    if isinstance(native, pd.Series) and isinstance(native.dtype, (pd.CategoricalDtype, pd.DatetimeTZDtype)):
        return native.array, native.isna().to_numpy()
    if isinstance(series.dtype, (nw.Categorical, nw.Enum)):
        values = _categorical(series, native)
        return values, values.codes < 0
    if series.dtype == nw.Decimal:
        series = series.cast(nw.Float64)
    missing = series.is_null().to_numpy()
    if missing.any():
        values = scattered(_widened(series.drop_nulls().to_numpy(), what), ~missing, 0)
    else:
        values = _widened(series.to_numpy(), what)
    if values.dtype.kind == "f":  # polars and Arrow tell null from NaN
        missing = missing | np.isnan(values)
    return values, missing


def stacked(tables: Sequence[Table]) -> Table:
    """Return the rows of tables of the same columns, one after the other; categories in the order of their first."""
    columns = {}
    check_kinds(tables)
    for name in tables[0].columns:
        parts = [table.columns[name] for table in tables]
        if isinstance(parts[0], pd.Categorical):
            parts = [part if isinstance(part, pd.Categorical) else pd.Categorical(part) for part in parts]
            order = parts[0].categories
            for part in parts[1:]:
                order = order.append(part.categories.difference(order, sort=False))
            labels = np.concatenate([np.asarray(part) for part in parts])
            columns[name] = pd.Categorical(labels, categories=order, ordered=parts[0].ordered)
        else:
            columns[name] = np.concatenate(parts)
    n = sum(map(len, tables))
    masks = {name for table in tables for name in table.missing}
    none = {id(table): np.zeros(len(table), dtype=bool) for table in tables}
    missing = {name: np.concatenate([t.missing.get(name, none[id(t)]) for t in tables]) for name in masks}
    return Table(columns, missing, pd.RangeIndex(n))


def check_kinds(tables: Sequence[Table]) -> None:
    """Raise a DataError if a column holds numbers in one table and something else in another, or the like."""
    for name in tables[0].columns:
        types = [table.columns[name].dtype for table in tables]
        if len({"number" if dtype.kind in "iuf" else dtype.kind for dtype in types}) > 1:
            held = " and ".join(dict.fromkeys(map(str, types)))
            raise DataError(f"Column {name!r} is of different types in different rows: {held}. Convert it to one type.")


def _categorical(series: nw.Series, native: Any) -> pd.Categorical:
    """Return a categorical column in the order of its categories; polars' Categorical, which has none, sorted."""
    arrow = native.array.__arrow_array__() if isinstance(native, pd.Series) else native
    if hasattr(arrow, "unify_dictionaries"):
        return arrow.unify_dictionaries().to_pandas().array
    order = list(native.dtype.categories) if isinstance(series.dtype, nw.Enum) else None
    return pd.Categorical(series.cast(nw.String).to_numpy(), categories=order)


def _widened(values: np.ndarray, what: str) -> np.ndarray:
    """Return numbers as int64 or float64, strings as objects, and objects that are numbers as such."""
    kind = values.dtype.kind
    if kind == "O":
        holds = pd.api.types.infer_dtype(values, skipna=False)
        if holds in ("mixed", "mixed-integer"):
            raise DataError(f"{what} mixes types. Convert it to one type, for example with .astype(str).")
        return values.astype(NUMBERS[holds]) if holds in NUMBERS else values
    if kind == "c":
        raise DataError(f"{what} is complex. Split it into real columns.")
    if kind in "iu" and values.dtype.itemsize < 8:
        return values.astype(np.int64)
    if kind in "fU":
        return values.astype(np.float64 if kind == "f" else object, copy=False)
    return values


def _narwhals(data: Any) -> Any:
    """Return any data frame wrapped by narwhals."""
    try:
        return nw.from_native(data)
    except TypeError:
        remedy = "Give a data frame (pandas, polars, Arrow, ...) or a dict of arrays."
        raise DataError(f"data is of type {type(data).__name__}. {remedy}") from None


def scattered(values: np.ndarray, rows: np.ndarray | None, fill: Any) -> np.ndarray:
    """Return `values` in the rows that the mask `rows` holds, `fill` in the others."""
    if rows is None:
        return values
    out = np.full((rows.size, *values.shape[1:]), fill, values.dtype)
    out[rows] = values
    return out
