"""Which columns of a formula are no functions of their own row: ``x - x.mean()``, ``pd.qcut(x, 4)``, ``x.rank()``.

Formulas may call anything, so this is asked of the functions themselves: some rows of the fit are built again, one at a
time. What then differs depends on other rows; what agrees in every probe is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..data import Table
from ..errors import DataError
from ..formula_text import bare, column_name

if TYPE_CHECKING:
    from ..columns import Columns
    from ..frame import Design
    from ..streaming.design import StreamedDesign

PROBES = (0.0, 0.37, 0.71, 1.0)  # where among the rows of the fit they are taken
EQUAL = 1e-6  # of the largest value of a column


def spanning_columns(design: Design | StreamedDesign) -> list[str]:
    """Return the names of columns and expressions of a design that change with the other rows of the data."""
    rows = np.unique([int(share * (len(design.index) - 1)) for share in PROBES])
    found = []
    for columns, values in _sides(design):
        if _calls(columns):
            differ = _differ(columns.build, design.table, rows, values)
            found += [columns.text] if differ is None else [n for n, d in zip(columns.names, differ, strict=True) if d]
    for (_, grouping), term in zip(design.spec.random, design.terms, strict=True):
        if any(column_name(part.text) is None for part in grouping.factor):
            differ = _differ(grouping.codes, design.table, rows, term.codes)
            found += [term.name] if differ is None or differ.any() else []
    if design.offset is not None and any(column_name(part.text) is None for part in design.spec.offsets):
        differ = _differ(
            lambda table: np.sum([p.numbers(table) for p in design.spec.offsets], axis=0),
            design.table,
            rows,
            design.offset,
        )
        found += [" + ".join(bare(part.text) for part in design.spec.offsets)] if differ is None or differ.any() else []
    return list(dict.fromkeys(found))


def _sides(design: Design | StreamedDesign) -> Iterator[tuple[Columns, np.ndarray]]:
    """Yield the columns of the fixed effects and of every term with their values (n, c) in the fit."""
    yield design.spec.fixed, design.exog
    for (columns, _), term in zip(design.spec.random, design.terms, strict=True):
        yield columns, term.values


def _calls(columns: Columns) -> bool:
    """Return whether one side of a formula has a factor that is more than a column."""
    return columns.spec is not None and any(factor.expr not in columns.variables for factor in columns.spec.factors)


def _differ(
    build: Callable[[Table], np.ndarray], table: Table, rows: np.ndarray, values: np.ndarray
) -> np.ndarray | None:
    """Return which columns (c,) have another value if a row is built alone; None if it cannot be."""
    values = values if values.ndim == 2 else values[:, None]
    size = np.abs(values).max(axis=0, initial=0.0)
    differ = np.zeros(values.shape[1], dtype=bool)
    for row in rows:
        alone = Table({name: column[[row]] for name, column in table.columns.items()}, {}, table.index[[row]])
        try:
            built = np.asarray(build(alone), dtype=float).reshape(-1)
        except DataError:
            return None
        differ |= ~(np.abs(built - values[row]) <= EQUAL * size)
    return differ
