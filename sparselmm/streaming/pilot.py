"""The pilot: rows that are looked at before the pass, so that every category of the fixed effects is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..checks import check_sizes
from ..columns import Columns, Expression
from ..data import Table, read_table, stacked
from ..errors import DataError
from ..formula_text import bare, spelled
from ..frame import DesignSpec, positive, total, used
from ..rank import full_rank_basis
from ..roles import Grouping, read_roles
from .facts import no_complete_row
from .plan import Plan
from .sources import CHUNK_ROWS
from .wholeness import categories_of, check_rowwise, factors_of

if TYPE_CHECKING:
    from formulaic.parser.types import Factor

    from ..roles import Roles
    from .sources import Source

PILOT_ROWS = 10_000
SAMPLE_ROWS = 1_000
MOST_CATEGORIES = 20_000  # of a fixed effect, whose columns are dense


def make_plan(
    formula: str,
    source: Source,
    *,
    weights: str | None = None,
    offset: str | None = None,
    missing: str = "drop",
    contrasts: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
) -> Plan:
    """Return the Plan of a formula on a source, whose first rows and categories are looked at.

    The parameters are those of `stream_model`; the source must be one that can be read again, see `sources`.

    Raises
    ------
    FormulaError, DataError
        If the formula cannot be read, names columns that are missing, or needs a whole column at once.
    """
    if missing not in ("drop", "raise"):
        raise ValueError(f"missing must be 'drop' or 'raise', not {missing!r}.")
    for name, value in (("weights", weights), ("offset", offset)):
        if value is not None and not isinstance(value, str):
            raise DataError(
                f"{name} is an array, but the rows are read in chunks. Write the values into a column of the source "
                f"and give its name: {name}='column'."
            )
    columns = [str(name) for name in source.columns]
    roles = read_roles(formula, columns, weights=weights, offset=offset, contrasts=contrasts, context=context)
    head = _head(source, roles)
    sides = [roles.fixed, *(bar.columns for bar in roles.bars)]
    factors = {factor.expr: factor for side in sides for factor in factors_of(side)}
    found = [_categories(factor, roles, head, source) for factor in factors.values()]
    sample = _with_categories(head, [rows for rows in found if rows is not None])
    check_rowwise(roles, sample)
    fixed, exog = Columns.fit(roles.fixed, sample, roles.scope)
    terms = [roles.fit_term(k, sample) for k in range(len(roles.bars))]
    spec = DesignSpec(fixed, without_levels(part for _, part in terms), roles.offsets_on(sample))
    basis, center = _basis(roles, spec, sample.part(sample.columns, slice(0, len(head))), exog[: len(head)])
    return Plan(roles, spec, representatives(spec, sample), basis, center, missing)


def without_levels(random: Iterable[tuple[Columns, Grouping]]) -> tuple[tuple[Columns, Grouping], ...]:
    """Return what builds random terms, their groupings knowing no levels yet."""
    return tuple((columns, Grouping(grouping.factor, grouping.levels[:0])) for columns, grouping in random)


def _head(source: Source, roles: Roles) -> Table:
    """Return the first complete rows of a source."""
    found, rows = [], 0
    missing: Counter[str] = Counter()
    chunks = getattr(source, "head", source.chunks)(roles.names, PILOT_ROWS)
    for frame in chunks:
        table = read_table(frame, roles.names)
        rows += len(table)
        missing += Counter({name: int(mask.sum()) for name, mask in table.missing.items()})
        complete = table.complete(roles.names)[0].part(roles.names, slice(0, PILOT_ROWS))
        if len(complete):
            found.append(complete)
        if sum(map(len, found)) >= PILOT_ROWS:
            break
    if hasattr(chunks, "close"):  # a generator, which may hold a file
        chunks.close()
    if not found:
        raise no_complete_row(rows, missing)
    return stacked(found).part(roles.names, slice(0, PILOT_ROWS))


def _categories(factor: Factor, roles: Roles, head: Table, source: Source) -> Table | None:
    """Return the columns that a categorical factor uses in rows with all its categories; None if it is numeric."""
    known = categories_of(factor, roles, head)
    if known is None:
        return None
    expression = Expression.on(spelled(factor), head, roles.scope)
    names = expression.variables
    different = pd.DataFrame({name: head.columns[name] for name in names}).drop_duplicates()
    if len(different) == len(known):
        tables = iter([read_table(source.distinct(names, roles.names), names)])
    else:  # as of {x > 0}, where x has more values than can be listed
        chunks = getattr(source, "again", source.chunks)(roles.names, CHUNK_ROWS)
        tables = (read_table(frame, roles.names).complete(roles.names)[0].part(names) for frame in chunks)
    found: list[Table] = []
    seen: set[Any] = set()
    for table in tables:
        labels = pd.Series(np.asarray(expression.values(table))) if len(table) else pd.Series()
        new = ~labels.duplicated() & ~labels.isin(seen)
        seen |= set(labels[new])
        found.append(table.part(names, new.to_numpy()))
        if len(seen) > MOST_CATEGORIES:
            raise DataError(
                f"'{factor.expr}' has more than {MOST_CATEGORIES:,} categories, each a column of the fixed effects. "
                f"Use it as a grouping factor, (1 | {factor.expr}), or make it a number."
            )
    return stacked([table for table in found if len(table)])


def _with_categories(head: Table, found: Sequence[Table]) -> Table:
    """Return rows followed by others that hold all categories, in whose order these stand."""
    first = [
        Table(
            {name: part.columns.get(name, head.columns[name][[0] * len(part)]) for name in head.columns}, {}, part.index
        )
        for part in found
    ]
    whole = stacked([*first, head])
    n = len(whole) - len(head)
    order = np.r_[n : len(whole), 0:n]
    columns = {name: used(values[order]) for name, values in whole.columns.items()}
    return Table(columns, {}, pd.RangeIndex(len(whole)))


def _basis(roles: Roles, spec: DesignSpec, head: Table, exog: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the basis T (p, p) and the center (p,) of the least-squares fit to some rows."""
    weighing, offset = roles.weights_on(head), total(spec.offsets, head)
    weights = None if weighing is None else positive(weighing, head)
    y = Expression.on(roles.response, head, roles.scope).numbers(head)
    rows = ("weights", weights), ("offset", offset)
    check_sizes([(bare(roles.response), y), *rows, *zip(spec.fixed.names, exog.T, strict=True)])
    kept, T = full_rank_basis(exog, weights)
    Q = exog[:, kept] @ T if weights is None else exog[:, kept] @ T * weights[:, None]
    return widened(kept, T, Q.T @ (y if offset is None else y - offset), exog)


def widened(kept: np.ndarray, T: np.ndarray, center: np.ndarray, exog: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a basis and center of the kept columns for all columns, the others scaled only."""
    size = np.sqrt(np.mean(exog**2, axis=0))
    basis, wide = np.diag(1.0 / np.where(size > 0, size, 1.0)), np.zeros(exog.shape[1])
    basis[np.ix_(kept, kept)], wide[kept] = T, center
    return basis, wide


def representatives(spec: DesignSpec, table: Table) -> Table:
    """Return some rows of a table, every category of the columns of a formula among them."""
    rows = [np.linspace(0, len(table) - 1, min(len(table), SAMPLE_ROWS)).astype(int)]
    for columns in (spec.fixed, *(columns for columns, _ in spec.random)):
        for factor in [] if columns.spec is None else columns.spec.factors:
            if columns.categories(factor) is not None:
                labels = Expression(spelled(factor), columns.variables, columns.scope).values(table)
                rows.append(np.flatnonzero(~pd.Series(np.asarray(labels)).duplicated()))
    return table.part(table.columns, np.unique(np.concatenate(rows)))
