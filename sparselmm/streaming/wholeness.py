"""Which functions of a formula need the whole column: ``scale(x)``, ``poly(x, 2)``, ``x.rank()``, ``x - x.mean()``.

Formulas may call anything, so this is asked of the functions themselves: they are evaluated, knowing nothing, on some
rows, on every other of these in the opposite order, and on single ones. What then differs depends on other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..columns import Columns, Expression
from ..data import Table
from ..errors import DataError
from ..formula_text import bare, column_name, formula_terms, spelled
from ..roles import Roles

if TYPE_CHECKING:
    from formulaic.parser.types import Factor

    from ..columns import Scope

PROBES = (0.0, 0.37, 0.71, 1.0)  # where among the rows single ones are taken
ROUNDING = 1e-9  # of the largest value of a column


def check_rowwise(roles: Roles, table: Table) -> None:
    """Raise a DataError that names the first function whose value in a row depends on other rows of the table."""
    n = len(table)
    subsets = [np.arange(n)[1::2][::-1], *(np.array([int(share * (n - 1))]) for share in PROBES)]
    subsets = [rows for rows in subsets if 0 < len(rows) < n]
    texts = [roles.response, *roles.offsets, *(text for bar in roles.bars for text in bar.factor)]
    for text in dict.fromkeys(texts):
        if column_name(text) is None:
            _compare(text, _labels, roles, table, subsets)
    for side in dict.fromkeys([roles.fixed, *(bar.columns for bar in roles.bars)]):
        for factor in factors_of(side):
            if factor.expr not in table.columns:
                categorical = categories_of(factor, roles, table) is not None
                _compare(spelled(factor), _labels if categorical else _matrix, roles, table, subsets)


def factors_of(text: str) -> list[Factor]:
    """Return the different factors of one side of a formula, the intercept left out."""
    factors = {factor.expr: factor for term in formula_terms(text) for factor in term.factors if factor.expr != "1"}
    return list(factors.values())


def categories_of(factor: Factor, roles: Roles, table: Table) -> Sequence[Any] | None:
    """Return the categories that a factor of the formula has in a table, None if it is numeric."""
    return Columns.fit(f"0 + {spelled(factor)}", table, _fresh(roles))[0].categories(factor)


def _compare(
    text: str,
    evaluated: Callable[[str, Roles, Table], np.ndarray],
    roles: Roles,
    table: Table,
    subsets: list[np.ndarray],
) -> None:
    """Raise a DataError if an expression has other values in subsets of the rows of a table."""
    whole = evaluated(text, roles, table)
    for rows in subsets:
        try:
            values = evaluated(text, roles, table.part(table.columns, rows))
        except DataError:
            values = None
        if values is None or not _equal(values, whole[rows]):
            raise DataError(
                f"'{bare(text)}' needs the whole column: its value in a row depends on the other rows, and these are "
                "not in memory together. Write the numbers in, such as (x - 3.2) / 1.1 for scale(x) or knots and "
                "bounds of a spline, or compute the column in the source."
            )


def _labels(text: str, roles: Roles, table: Table) -> np.ndarray:
    """Return the values of an expression (n, 1)."""
    return np.asarray(Expression.on(text, table, _fresh(roles)).values(table))[:, None]


def _matrix(text: str, roles: Roles, table: Table) -> np.ndarray:
    """Return the columns that a factor adds to a model matrix, (n, c)."""
    return Columns.fit(f"0 + {text}", table, _fresh(roles))[1]


def _equal(values: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether values are equal, numbers up to rounding."""
    if values.shape != expected.shape:
        return False
    if values.dtype.kind in "iufb" and expected.dtype.kind in "iufb":
        values, expected = values.astype(float), expected.astype(float)
        size = np.abs(np.where(np.isfinite(expected), expected, 0.0)).max(axis=0, initial=0.0)
        return bool(np.isclose(values, expected, rtol=0.0, atol=ROUNDING * size, equal_nan=True).all())
    return bool((pd.DataFrame(values).astype(str) == pd.DataFrame(expected).astype(str)).all(axis=None))


def _fresh(roles: Roles) -> Scope:
    """Return the scope of the formula without what its functions remember."""
    return replace(roles.scope, memory={})
