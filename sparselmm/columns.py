"""Columns of any data frame in plain types, and the sides of a formula evaluated on them by formulaic."""

from __future__ import annotations

import builtins
import difflib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import narwhals as nw
import numpy as np
import pandas as pd

from .errors import DataError, DataWarning
from .formula import FORMULAIC_MOVED, bare, column_name, lookups, spelled

try:
    from formulaic import Formula, ModelSpec
    from formulaic.errors import DataMismatchWarning
    from formulaic.materializers import PandasMaterializer
    from formulaic.materializers.types import FactorValues
    from formulaic.transforms import TRANSFORMS, C, ContrastsRegistry
    from formulaic.utils.layered_mapping import LayeredMapping
    from formulaic.utils.stateful_transforms import stateful_eval
except ImportError as error:
    raise ImportError(FORMULAIC_MOVED) from error

R_NAMES = {name: getattr(np, name) for name in ("sqrt", "log1p", "expm1", "sin", "cos", "tan", "floor")}
R_NAMES |= {"ceiling": np.ceil, "factor": C, "TRUE": True, "FALSE": False}
NUMBERS = {"boolean": bool, "integer": int, "floating": float, "mixed-integer-float": float, "decimal": float}


@dataclass(frozen=True)
class Table:
    """Columns (n,) of plain types: int64, float64, bool, dates, labels or pandas Categorical, never aligned by index.

    What stands in a missing entry is arbitrary; `missing` holds the mask (n,) of each column that has any.
    """

    columns: dict[str, object]
    missing: dict[str, np.ndarray]
    index: pd.Index

    def __len__(self) -> int:
        return len(self.index)

    def first(self, rows: np.ndarray):
        """Return the label of the first of the rows that a mask holds."""
        return self.index[np.flatnonzero(rows)[0]]

    def complete(self, names: Iterable[str]) -> tuple[Table, np.ndarray | None]:
        """Return the columns `names` in the rows where none is missing, and the mask of those (None: all rows)."""
        columns = {name: self.columns[name] for name in names}
        masks = [self.missing[name] for name in names if name in self.missing]
        if not masks:
            return Table(columns, {}, self.index), None
        rows = ~np.logical_or.reduce(masks)
        return Table({name: values[rows] for name, values in columns.items()}, {}, self.index[rows]), rows


def column_names(data) -> list[str]:
    """Return the names of the columns of any data frame."""
    if isinstance(data, Mapping):
        return list(data)
    return list(data.columns) if isinstance(data, pd.DataFrame) else _narwhals(data).collect_schema().names()


def read_table(data, names: Sequence[str]) -> Table:
    """Return the columns `names` of a pandas frame, a dict of arrays or anything narwhals takes."""
    available = column_names(data)
    names = names or available[:1]  # one column tells the number of rows
    for name in names:
        if name not in available:
            raise DataError(f"The data have no column {name!r}.{_near(name, available)}")
        if available.count(name) > 1:
            raise DataError(f"The data have {available.count(name)} columns {name!r}. Rename all but one.")
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


def plain(values, what: str) -> tuple[object, np.ndarray]:
    """Return one column of any library as an array of a plain type, and the mask (n,) of its missing entries."""
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


def _categorical(series: nw.Series, native) -> pd.Categorical:
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


def _narwhals(data):
    """Return any data frame wrapped by narwhals."""
    try:
        return nw.from_native(data)
    except TypeError:
        remedy = "Give a data frame (pandas, polars, Arrow, ...) or a dict of arrays."
        raise DataError(f"data is of type {type(data).__name__}. {remedy}") from None


def _near(name: str, available: Iterable) -> str:
    """Return a sentence with the columns named like `name`."""
    near = difflib.get_close_matches(name, [str(column) for column in available], n=3)
    return f" Did you mean {' or '.join(repr(column) for column in near)}?" if near else ""


@dataclass(frozen=True)
class Scope:
    """What a formula looks up beside columns, the contrasts of columns, and what its functions remember."""

    namespace: dict[str, object]
    contrasts: dict[str, object]
    memory: dict = field(default_factory=dict)


def resolve(
    texts: Iterable[str], available: Sequence, context: Mapping | None, contrasts: Mapping | None
) -> tuple[list[str], Scope]:
    """Return the columns that the texts of a formula use, and the Scope of everything else they look up."""
    needed, optional = (set().union(*names) for names in zip(*map(lookups, texts), strict=True))
    context = {**R_NAMES, **(context or {})}
    columns, namespace = [], {}
    for name in sorted(needed | optional):
        if name in available:
            columns.append(name)
        elif name in needed:
            raise DataError(f"The data have no column {name!r}.{_near(name, available)}")
        elif name in context:
            namespace[name] = context[name]
        elif name not in TRANSFORMS and not hasattr(builtins, name):
            remedy = _near(name, available) or " Define it before."
            raise DataError(f"{name!r} is no column, and no function or variable in scope.{remedy}")
    contrasts = contrasts or {}
    for name in set(contrasts).difference(columns):
        raise DataError(f"contrasts names {name!r}, which is no column of the formula.{_near(name, columns)}")
    return columns, Scope(namespace, {name: _contrast(name, value) for name, value in contrasts.items()})


def _variables(text: str, table: Table) -> tuple[str, ...]:
    """Return the columns of `table` that a text uses."""
    return tuple(name for name in sorted(set().union(*lookups(text))) if name in table.columns)


def _contrast(column: str, value):
    """Return formulaic's contrasts, given themselves or by their name in R."""
    if not isinstance(value, str):
        return value
    name = value.removeprefix("contr.")
    if not hasattr(ContrastsRegistry, name):
        raise DataError(f"contrasts of {column!r}: {value!r} is unknown. Use 'treatment', 'sum', 'helmert' or 'poly'.")
    return getattr(ContrastsRegistry, name)


@dataclass(frozen=True)
class Expression:
    """One factor of a formula, a column or a Python expression, with the columns it uses."""

    text: str
    variables: tuple[str, ...]
    scope: Scope

    @classmethod
    def on(cls, text: str, table: Table, scope: Scope) -> Expression:
        """Return the expression with the columns of `table` that it uses."""
        return cls(text, _variables(text, table), scope)

    def values(self, table: Table):
        """Return its values (n,) in a plain type; the rows of the table must be complete."""
        name = column_name(self.text)
        if name is not None:
            return table.columns[name]
        title = f"'{bare(self.text)}'"
        layers = {name: pd.Series(table.columns[name]) for name in self.variables}, self.scope.namespace, TRANSFORMS
        try:
            with np.errstate(all="ignore"):
                values = stateful_eval(bare(self.text), LayeredMapping(*layers), None, self.scope.memory, None)
        except Exception as error:  # user code
            raise DataError(f"{title} cannot be evaluated: {type(error).__name__}: {error}") from error
        values, missing = plain(values.__wrapped__ if isinstance(values, FactorValues) else values, title)
        if len(values) != len(table):
            raise DataError(f"{title} has {len(values)} values for {len(table)} rows. It must have one per row.")
        if missing.any():
            where = table.first(missing)
            raise DataError(f"{title} is not defined in row {where}. Correct its columns or make them missing there.")
        return values

    def numbers(self, table: Table) -> np.ndarray:
        """Return its values (n,) as a new array of float64, NaN in rows with a missing value."""
        part, rows = table.complete(self.variables)
        if not len(part):
            return np.full(len(table), np.nan)
        values = self.values(part)
        title = f"'{bare(self.text)}'"
        if values.dtype.kind not in "iufb":
            raise DataError(f"{title} is not numeric but of type {values.dtype}. Convert it to numbers first.")
        values = values.astype(np.float64)
        if np.isinf(values).any():
            where = part.first(np.isinf(values))
            raise DataError(f"{title} is infinite, first in row {where}. Correct those values or make them missing.")
        return scattered(values, rows, np.nan)


def scattered(values: np.ndarray, rows: np.ndarray | None, fill) -> np.ndarray:
    """Return `values` in the rows that the mask `rows` holds, `fill` in the others."""
    if rows is None:
        return values
    out = np.full((rows.size, *values.shape[1:]), fill, values.dtype)
    out[rows] = values
    return out


def positions(levels: pd.Index, labels) -> np.ndarray:
    """Return the position among `levels` of every label (n,), -1 for one that is not there."""
    if isinstance(labels, pd.Categorical):
        return np.append(levels.get_indexer(labels.categories), -1)[labels.codes]
    return levels.get_indexer(labels)


@dataclass(frozen=True)
class Columns:
    """The columns (n, c) of one side of a formula, named `names`; the same ones from new data."""

    text: str
    names: tuple[str, ...]
    variables: tuple[str, ...]
    scope: Scope
    spec: ModelSpec | None  # None: the intercept alone

    @classmethod
    def fit(cls, text: str, table: Table, scope: Scope) -> tuple[Columns, np.ndarray]:
        """Return the columns of a formula and their values (n, c); the rows of the table must be complete."""
        formula = Formula(text)
        if [str(term) for term in formula] == ["1"]:
            return cls(text, ("Intercept",), (), scope, None), np.ones((len(table), 1))
        variables = _variables(text, table)
        for name in {factor.expr for term in formula for factor in term.factors} & set(variables):
            if table.columns[name].dtype.kind in "mM":
                raise DataError(f"Column {name!r} holds dates or durations. Convert it to numbers, or use C({name}).")
        spec = ModelSpec(formula, ensure_full_rank=True, na_action="ignore", output="numpy")
        spec, values = _matrix(text, spec, table.complete(variables)[0], scope)
        for term, _, names in spec.structure:
            if not names:
                message = f"{term} has one level and adds no column to '{text}'. Leave it out."
                warnings.warn(message, DataWarning, stacklevel=2)
        finite = np.isfinite(values)
        if not finite.all():
            bad = " and ".join(f"'{spec.column_names[j]}'" for j in np.flatnonzero(~finite.all(axis=0)))
            where = table.first(~finite.all(axis=1))
            raise DataError(f"{bad} is not finite, first in row {where}. Correct those values or make them missing.")
        return cls(text, tuple(spec.column_names), variables, scope, spec), values

    def build(self, table: Table) -> np.ndarray:
        """Return the values (n, c) of the columns from new data, NaN in rows with a missing value."""
        if self.spec is None:
            return np.ones((len(table), 1))
        part, rows = table.complete(self.variables)
        if not len(part):
            return np.full((len(table), len(self.names)), np.nan)
        return scattered(_matrix(self.text, self.spec, self._recoded(part), self.scope)[1], rows, np.nan)

    def _recoded(self, table: Table) -> Table:
        """Return the table with the categories of the fit; raise if there are others."""
        columns = dict(table.columns)
        scope = replace(self.scope, memory=self.spec.transform_state)
        for factor in self.spec.factors:
            known = self.spec.encoder_state.get(factor.expr, (None, {}))[1].get("categories")
            if known is None:
                continue
            labels = Expression(spelled(factor), self.variables, scope).values(table)
            codes = positions(pd.Index(known), labels)
            new = sorted({str(label) for label in pd.unique(labels[codes < 0])})
            if new:
                new = ", ".join(new[:10]) + (", ..." if len(new) > 10 else "")
                raise DataError(f"'{factor.expr}' has labels the fit has not seen: {new}. Leave those rows out.")
            if factor.expr in columns:
                columns[factor.expr] = pd.Categorical.from_codes(codes, categories=known)
        return Table(columns, {}, table.index)


def _matrix(text: str, spec: ModelSpec, table: Table, scope: Scope) -> tuple[ModelSpec, np.ndarray]:
    """Return formulaic's spec of the model matrix of a formula, and its values (n, c) in float64."""
    columns = {name: pd.Series(values) for name, values in table.columns.items()}
    coded = {name: C(columns.pop(name), kind) for name, kind in scope.contrasts.items() if name in columns}
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(table)), copy=False)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error", DataMismatchWarning)
            matrix = PandasMaterializer(frame, context=scope.namespace | coded).get_model_matrix(spec)
            values = np.asarray(matrix, dtype=np.float64)
    except Exception as error:  # user code and whatever formulaic raises
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"'{text}' cannot be evaluated: {reason}") from error
    if values.shape[0] != len(table):
        raise DataError(f"'{text}' gives {values.shape[0]} rows for {len(table)}. Its functions must keep the rows.")
    return matrix.model_spec, values
