"""Roles: what a formula asks of data, whatever their rows; and the grouping factors that it makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .caller import warn
from .columns import Columns, Expression, Scope, positions, resolve
from .data import Table, read_table, scattered
from .errors import DataError, DataWarning
from .formula import Bar, expand_dot, idle_powers, parse_formula
from .formula_text import bare, lookups, quoted
from .terms import RandomTerm, factorize, unique_names


@dataclass(frozen=True, eq=False)
class Roles:
    """The parts of a formula and the columns of the data that play them.

    Attributes
    ----------
    formula, response, fixed : str
        As given; the text of the response; that of the fixed effects, ``.`` written out.
    bars : tuple of Bar
    term_names : tuple of str
        Of the bars, unique.
    offsets : tuple of str
        Texts of the summands of the offset.
    weights : str or None
        Text of the weights.
    names : list of str
        The columns that all these use, in the order of the data.
    scope : Scope
    """

    formula: str
    response: str
    fixed: str
    bars: tuple[Bar, ...]
    term_names: tuple[str, ...]
    offsets: tuple[str, ...]
    weights: str | None
    names: list[str]
    scope: Scope

    def offsets_on(self, table: Table) -> tuple[Expression, ...]:
        """Return the summands of the offset."""
        return tuple(Expression.on(text, table, self.scope) for text in self.offsets)

    def weights_on(self, table: Table) -> Expression | None:
        """Return the expression of the weights."""
        return None if self.weights is None else Expression.on(self.weights, table, self.scope)

    def fit_term(self, k: int, table: Table) -> tuple[RandomTerm, tuple[Columns, Grouping]]:
        """Return the term of bar k on complete rows, and what builds its columns and codes from new data."""
        bar = self.bars[k]
        columns, values = Columns.fit(bar.columns, table, self.scope)
        if not columns.names:
            raise DataError(f"Term {bar.source}: '{bar.columns}' has no column in these data. Leave the term out.")
        factor = tuple(Expression.on(text, table, self.scope) for text in bar.factor)
        term = self.term(k, columns, values, factor, table)
        return term, (columns, Grouping(factor, term.levels))

    def term(
        self, k: int, columns: Columns, values: np.ndarray, factor: Sequence[Expression], table: Table
    ) -> RandomTerm:
        """Return the RandomTerm of bar k on complete rows whose columns have these values (n, c)."""
        own = None if columns.is_intercept else values
        return RandomTerm(labels_of(factor, table), own, self.term_names[k], columns.names, self.bars[k].structure)


def read_roles(
    formula: str,
    available: Sequence[Any],
    *,
    weights: str | None = None,
    offset: str | None = None,
    contrasts: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    index: Iterable[str] = (),
) -> Roles:
    """Return the roles of a formula for data of the columns `available` and an `index`; see `build_design`."""
    parsed = parse_formula(formula)
    for name in (name for text in (parsed.fixed, *(bar.columns for bar in parsed.bars)) for name in idle_powers(text)):
        message = f"'{name}' with a power is {name} itself: powers of a formula are interactions. Write I({name}**2)."
        warn(message, DataWarning)
    weights, offset = (None if name is None else quoted(name) for name in (weights, offset))
    offsets = parsed.offsets if offset is None else (*parsed.offsets, offset)
    texts = [parsed.response, *offsets, *([] if weights is None else [weights])]
    texts += [text for bar in parsed.bars for text in (bar.columns, *bar.factor)]
    others = set().union(*(names for text in texts for names in lookups(text)))
    fixed = expand_dot(parsed.fixed, [str(name) for name in available if name not in others])
    names, scope = resolve([fixed, *texts], available, context, contrasts, index)
    names.sort(key=list(available).index)
    term_names = tuple(unique_names([bar.name for bar in parsed.bars]))
    return Roles(formula, parsed.response, fixed, parsed.bars, term_names, offsets, weights, names, scope)


@dataclass(frozen=True, eq=False)
class Grouping:
    """A grouping factor that finds the level of each row of new data again.

    The levels of an interaction are texts, the labels of its components joined by ":".
    """

    factor: tuple[Expression, ...]
    levels: pd.Index

    def codes(self, table: Table) -> np.ndarray:
        """Return the level of each row (n,) int32, -1 for a missing label or a level that is not known."""
        part, rows = table.complete(self.variables)
        codes = positions(self.levels, labels_of(self.factor, part)) if len(part) else np.empty(0, dtype=int)
        return scattered(codes, rows, -1).astype(np.int32)

    def labels(self, new_data: Any) -> np.ndarray:
        """Return the label of each row of new data (n_new,): joined by ":" for an interaction, None if missing."""
        complete, rows = read_table(new_data, self.variables).complete(self.variables)
        components = [_texts(pd.Index(part.values(complete))) for part in self.factor]
        labels = [":".join(label) for label in zip(*components, strict=True)]
        return scattered(np.array(labels, dtype=object), rows, None)

    @property
    def variables(self) -> list[str]:
        """The columns of the data that it uses."""
        return sorted({name for part in self.factor for name in part.variables})


def labels_of(factor: Sequence[Expression], table: Table) -> Any:
    """Return the label of each of some complete rows, (n,): those of an interaction as a Categorical of texts."""
    labels = [expression.values(table) for expression in factor]
    if len(labels) == 1:
        return labels[0]
    names = [bare(expression.text) for expression in factor]
    codes, levels = factorize(labels[0], names[0])
    text = _texts(levels)
    for other, name in zip(labels[1:], names[1:], strict=True):
        more, levels = factorize(other, name)
        codes, occurring = factorize(codes.astype(np.int64) * len(levels) + more, name)
        first, second = np.divmod(occurring.to_numpy(), len(levels))
        text = text[first] + ":" + _texts(levels)[second]
    text = pd.Index(text)
    if not text.is_unique:
        doubled, name = text[text.duplicated()][0], ":".join(names)
        raise DataError(f"Factor {name!r}: two levels are called {doubled!r}. Remove ':' from the labels.")
    return pd.Categorical.from_codes(codes, categories=text)


def _texts(levels: pd.Index) -> np.ndarray:
    """Return labels as an array of Python strings, whole numbers without a decimal point whatever their type."""
    whole = levels.dtype.kind == "f"
    return np.array([str(int(x) if whole and x.is_integer() else x) for x in levels.tolist()], dtype=object)
