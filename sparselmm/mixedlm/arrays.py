"""What users give as arrays: their names and missing rows as statsmodels has them, and predictions of new ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import DataError

if TYPE_CHECKING:
    from .frame import Ordered

MISSING = ("none", "drop", "raise")


def names_of(values: object) -> list[str] | None:
    """Return the names of the columns of a Series or a DataFrame; None for an array."""
    if isinstance(values, pd.DataFrame):
        return [str(name) for name in values.columns]
    return [str(values.name)] if isinstance(values, pd.Series) and values.name is not None else None


def default_names(exog: np.ndarray) -> list[str]:
    """Return const for the first constant column, of ones or not, and x1, x2, ... for the others."""
    names = [f"x{i + 1}" for i in range(exog.shape[1])]
    constant = np.flatnonzero(np.ptp(exog, axis=0) == 0) if len(exog) else np.empty(0)
    if constant.size:
        names = names[:-1]
        names.insert(constant[0], "const")
    return names


def check_missing(missing: str) -> None:
    """Raise a ValueError for another treatment of missing values than there are."""
    if missing not in MISSING:
        raise ValueError(f"missing must be one of {MISSING}, not {missing!r}.")


def complete_rows(arrays: Mapping[str, np.ndarray], missing: str) -> np.ndarray:
    """Return the mask of the rows that are kept, (n,); raise for missing values that are not to be dropped."""
    check_missing(missing)
    rows = {name: len(values) for name, values in arrays.items()}
    if len(set(rows.values())) > 1:
        raise DataError(f"The arrays differ in their numbers of rows: {rows}. Give as many of each.")
    bad = {name: pd.isna(values).any(axis=tuple(range(1, values.ndim))) for name, values in arrays.items()}
    counts = ", ".join(f"{name} {mask.sum()}" for name, mask in bad.items() if mask.any())
    if counts and missing != "drop":
        raise DataError(f"Rows with missing values: {counts}. Use missing='drop' or fill them.")
    return ~np.logical_or.reduce(list(bad.values()))


def predicted(columns: Ordered | None, beta: np.ndarray, exog: Any) -> np.ndarray | pd.Series:
    """Return Xβ of new data (passed through the formula that `columns` holds), labelled like them."""
    index = exog.index if isinstance(exog, (pd.Series, pd.DataFrame)) else None
    if columns is not None:
        from ..data import read_table

        table = read_table(exog, columns.variables)
        values, index = columns.build(table) @ beta, table.index if index is None else index
    else:
        exog = np.asarray(exog, dtype=float)
        values = (exog[:, None] if exog.ndim == 1 and len(beta) == 1 else np.atleast_2d(exog)) @ beta
    return values if index is None else pd.Series(values, index=index)
