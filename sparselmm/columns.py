"""The sides of a formula evaluated on a Table: by formulaic, or without it where they are plain columns."""

from __future__ import annotations

import builtins
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .caller import warn
from .coding import check_rows, contrasts_of
from .data import Table, plain, scattered
from .engines.memory import Limit, shown
from .errors import DataError, DataWarning
from .formula_text import (
    FORMULAIC_MOVED,
    bare,
    coded_column,
    column_name,
    formula_terms,
    lookups,
    numeric_candidates,
    quoted,
    spelled,
)
from .habits import near
from .threads import Shared

if TYPE_CHECKING:
    from formulaic import Formula
    from formulaic.parser.types import Factor

try:
    from formulaic import ModelSpec
    from formulaic.errors import DataMismatchWarning
    from formulaic.materializers import PandasMaterializer
    from formulaic.materializers.types import FactorValues
    from formulaic.transforms import TRANSFORMS as TRANSFORMS
    from formulaic.transforms import C
    from formulaic.utils.layered_mapping import LayeredMapping
    from formulaic.utils.stateful_transforms import stateful_eval
except ImportError as error:
    raise ImportError(FORMULAIC_MOVED) from error

R_NAMES = {name: getattr(np, name) for name in ("sqrt", "log1p", "expm1", "sin", "cos", "tan", "floor")}
R_NAMES |= {"ceiling": np.ceil, "factor": C, "TRUE": True, "FALSE": False}
COPIES = 2  # of the columns that formulaic holds while it builds them
R_FUNCTIONS = {
    "ns": "cr(x, df=4), natural cubic splines, or bs(x, df=4), B-splines",
    "s": "cr(x, df=4), natural cubic splines, or bs(x, df=4), B-splines",
    "relevel": "C(x, Treatment('level')) for another reference level",
    "cbind": "one response: fit each column by itself, or refit_many for many responses of one design",
    "ordered": "factor(x), and C(x, contr.poly) for polynomial contrasts",
}


@dataclass(frozen=True)
class Scope:
    """What a formula looks up beside columns, the contrasts of columns, and what its functions remember."""

    namespace: dict[str, object]
    contrasts: dict[str, object]
    memory: dict[Any, Any] = field(default_factory=dict)


def resolve(
    texts: Iterable[str],
    available: Sequence[str],
    context: Mapping[str, Any] | None,
    contrasts: Mapping[str, Any] | None,
    index: Iterable[str] = (),
) -> tuple[list[str], Scope]:
    """Return the columns that the texts of a formula use, and the Scope of everything else they look up."""
    needed, optional = (set().union(*names) for names in zip(*map(lookups, texts), strict=True))
    context = {**(context or {}), **R_NAMES}
    columns, namespace = [], {}
    for name in sorted(needed | optional):
        if name in available:
            columns.append(name)
        elif name in needed:
            raise DataError(f"The data have no column {name!r}.{near(name, available, index)}")
        elif name in context:
            namespace[name] = context[name]
        elif name in R_FUNCTIONS and name not in TRANSFORMS:
            raise DataError(f"{name}() is R's. Use {R_FUNCTIONS[name]}.")
        elif name not in TRANSFORMS and not hasattr(builtins, name):
            remedy = near(name, available) or " Define it before."
            raise DataError(f"{name!r} is no column, and no function or variable in scope.{remedy}")
    if not isinstance(contrasts, Mapping | None):
        raise DataError(f"contrasts is {contrasts!r}. Give a dictionary, {{'column': 'sum'}}.")
    contrasts = contrasts or {}
    for name in set(contrasts).difference(columns):
        raise DataError(f"contrasts names {name!r}, which is no column of the formula.{near(name, columns)}")
    return columns, Scope(namespace, {name: contrasts_of(name, value) for name, value in contrasts.items()})


def _variables(text: str, table: Table) -> tuple[str, ...]:
    """Return the columns of `table` that a text uses."""
    return tuple(name for name in sorted(set().union(*lookups(text))) if name in table.columns)


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

    def values(self, table: Table) -> Any:
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
            raise DataError(f"{title} cannot be evaluated: {self._reason(error, table)}") from error
        values, missing = plain(values.__wrapped__ if isinstance(values, FactorValues) else values, title)
        if len(values) != len(table):
            raise DataError(f"{title} has {len(values)} values for {len(table)} rows. It must have one per row.")
        if missing.any():
            where = table.first(missing)
            raise DataError(f"{title} is not defined in row {where}. Correct its columns or make them missing there.")
        return values

    def _reason(self, error: Exception, table: Table) -> str:
        """Return why the expression cannot be evaluated."""
        if bare(self.text).startswith("Q("):
            return "write the name of a column in backticks, `a name`, instead of Q('a name')."
        for name in self.variables:
            values = table.columns[name]
            if isinstance(error, TypeError) and (isinstance(values, pd.Categorical) or values.dtype.kind in "OUT"):
                return f"column {name!r} holds text or categories. Make it numbers, with pd.to_numeric() for example."
        return f"{type(error).__name__}: {error}"

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


def positions(levels: pd.Index, labels: Any) -> np.ndarray:
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
    spec: ModelSpec | None  # None: the intercept and numeric columns, which need no formulaic

    @classmethod
    def fit(cls, text: str, table: Table, scope: Scope) -> tuple[Columns, np.ndarray]:
        """Return the columns of a formula and their values (n, c); the rows of the table must be complete."""
        formula, variables = formula_terms(text), _variables(text, table)
        if _are_numeric(text, table, scope):
            columns = cls(
                text, tuple(name or "Intercept" for name in numeric_candidates(text) or ()), variables, scope, None
            )
            return columns, columns._finite(columns._stacked(table), table)
        for name in {factor.expr for term in formula for factor in term.factors} & set(variables):
            if table.columns[name].dtype.kind in "mM":
                remedy = f"Convert it to numbers, or use C({quoted(name)})."
                raise DataError(f"Column {name!r} holds dates or durations. {remedy}")
        _check_size(text, formula, table, scope)
        spec = ModelSpec(formula, ensure_full_rank=True, na_action="ignore", output="numpy")
        spec, values = model_matrix(text, spec, table.complete(variables)[0], scope)
        for term, _, names in spec.structure:
            if not names:
                message = f"{term} has one level and adds no column to '{text}'. Leave it out."
                warn(message, DataWarning)
        columns = cls(text, tuple(spec.column_names), variables, scope, spec)
        return columns, columns._finite(values, table)

    @property
    def is_intercept(self) -> bool:
        """True if the only column is the intercept."""
        return self.spec is None and numeric_candidates(self.text) == (None,)

    def categories(self, factor: Factor) -> list[Any] | None:
        """Return the categories that a factor of the formula had, None if it is numeric."""
        return None if self.spec is None else self.spec.encoder_state.get(factor.expr, (None, {}))[1].get("categories")

    def _finite(self, values: np.ndarray, table: Table) -> np.ndarray:
        """Return the values; raise if one is not finite."""
        finite = np.isfinite(values)
        if not finite.all():
            found = [f"'{self.names[j]}'" for j in np.flatnonzero(~finite.all(axis=0))]
            bad, be = ", ".join(found), "is" if len(found) == 1 else "are"
            where = table.first(~finite.all(axis=1))
            raise DataError(f"{bad} {be} not finite, first in row {where}. Correct those values or make them missing.")
        return values

    def _stacked(self, table: Table) -> np.ndarray:
        """Return the intercept and numeric columns (n, c) of a table."""
        values = np.empty((len(table), len(self.names)))
        for j, name in enumerate(numeric_candidates(self.text) or ()):
            values[:, j] = 1.0 if name is None else Expression(quoted(name), (name,), self.scope).numbers(table)
        return values

    def values(self, table: Table) -> np.ndarray:
        """Return the values (n, c) of the columns from further complete rows; raise if one is not finite."""
        return self._finite(self.build(table), table)

    def build(self, table: Table) -> np.ndarray:
        """Return the values (n, c) of the columns from new data, NaN in rows with a missing value."""
        if self.spec is None:
            return self._stacked(table)
        part, rows = table.complete(self.variables)
        if not len(part):
            return np.full((len(table), len(self.names)), np.nan)
        return scattered(
            model_matrix(self.text, self.spec, self._recoded(self.spec, part), self.scope)[1], rows, np.nan
        )

    def _recoded(self, spec: ModelSpec, table: Table) -> Table:
        """Return the table with the categories of the fit; raise if there are others."""
        columns = dict(table.columns)
        scope = replace(self.scope, memory=spec.transform_state)
        for factor in spec.factors:
            known = self.categories(factor)
            if known is None:
                continue
            labels = Expression(spelled(factor), self.variables, scope).values(table)
            codes = positions(pd.Index(known), labels)
            new = sorted({str(label) for label in pd.unique(labels[codes < 0])})
            if new:
                some = ", ".join(new[:10]) + (", ..." if len(new) > 10 else "")
                raise DataError(
                    f"'{factor.expr}' has labels the fit has not seen: {some}.{near(new[0], known)} "
                    "Leave those rows out."
                )
            if factor.expr in columns:
                columns[factor.expr] = pd.Categorical.from_codes(codes, categories=known)
        return Table(columns, {}, table.index)


def _are_numeric(text: str, table: Table, scope: Scope) -> bool:
    """Return whether a formula has no terms but the intercept and columns of numbers."""
    candidates = numeric_candidates(text)
    return candidates is not None and all(
        name is None or (name not in scope.contrasts and table.columns[name].dtype.kind in "iuf") for name in candidates
    )


def _check_size(text: str, formula: Formula, table: Table, scope: Scope) -> None:
    """Raise a DataError if the columns of a formula, one for every category, do not fit the memory."""
    if (limit := Limit()).admits(8.0 * COPIES * len(table) ** 2):
        return
    factors = {factor.expr for term in formula for factor in term.factors}
    counts = {text: _category_count(text, table, scope) for text in factors}
    columns = sum(math.prod(counts[factor.expr] for factor in term.factors) for term in formula)
    size = 8.0 * len(table) * columns
    if not limit.admits(COPIES * size):
        largest = max(counts, key=lambda one: counts[one])
        name = coded_column(largest) or largest  # the largest is a factor of many categories: a column
        raise DataError(
            f"'{text}' has up to {columns:,} columns for {len(table):,} rows, one for each of the {counts[largest]:,} "
            f"categories of {largest}: {shown(size)}, and twice that to build them; {limit} may be taken. Use it as a "
            f"grouping factor, (1 | {quoted(name)}), or make it a number."
        )


def _category_count(text: str, table: Table, scope: Scope) -> int:
    """Return the number of categories of a factor of a formula, one if it is not known to be categorical."""
    name = coded_column(text) or text
    if name not in table.columns:
        return 1
    values = table.columns[name]
    if name == text and values.dtype.kind in "iufb" and name not in scope.contrasts:
        return 1
    return len(values.categories if isinstance(values, pd.Categorical) else pd.unique(values))


def _filters() -> warnings.catch_warnings:
    """Return what puts the filters of warnings back."""
    filters = warnings.catch_warnings()
    filters.__enter__()
    return filters


def _refuse_unknown_labels() -> None:
    """Make formulaic's warning an error; before pandas 3 it calls all dates unknown, which `_recoded` has looked at."""
    warnings.simplefilter("error", DataMismatchWarning)
    warnings.filterwarnings("ignore", r"[^{]*\{[^}]*datetime64\(", DataMismatchWarning)


unknown_labels_are_errors = Shared(
    _filters, _refuse_unknown_labels, lambda filters: filters.__exit__()
).block  #: a context; the filters of warnings are those of all threads


def model_matrix(text: str, spec: ModelSpec, table: Table, scope: Scope) -> tuple[ModelSpec, np.ndarray]:
    """Return formulaic's spec of the model matrix of a formula, and its values (n, c) in float64."""
    columns = {name: pd.Series(values) for name, values in table.columns.items()}
    coded = {name: C(columns.pop(name), kind) for name, kind in scope.contrasts.items() if name in columns}
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(table)), copy=False)
    try:
        with np.errstate(all="ignore"), unknown_labels_are_errors():
            matrix = PandasMaterializer(frame, context=scope.namespace | coded).get_model_matrix(spec)
            values = np.asarray(matrix, dtype=np.float64)
    except Exception as error:  # user code and whatever formulaic raises
        for name in coded:
            check_rows(name, table.columns[name], scope.contrasts[name])
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        remedy = " Contrasts are an argument of C: C(f, Sum)." if "Contrasts.__init__()" in reason else ""
        raise DataError(f"'{text}' cannot be evaluated: {reason}{remedy}") from error
    if values.shape[0] != len(table):
        raise DataError(f"'{text}' gives {values.shape[0]} rows for {len(table)}. Its functions must keep the rows.")
    return matrix.model_spec, values
