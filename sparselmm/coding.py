"""Contrasts of categorical columns: by R's names, or as codes of their categories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .errors import DataError
from .formula_text import FORMULAIC_MOVED

try:
    from formulaic.transforms import ContrastsRegistry as ContrastsRegistry
except ImportError as error:
    raise ImportError(FORMULAIC_MOVED) from error


def contrasts_of(column: str, value: Any) -> Any:
    """Return formulaic's contrasts, given themselves, by their name in R, or as codes of the categories."""
    if isinstance(value, (Mapping, list, tuple, np.ndarray)):
        return _own_contrasts(column, value)
    if not isinstance(value, str):
        return value
    name = value.removeprefix("contr.")
    if not hasattr(ContrastsRegistry, name):
        raise DataError(f"contrasts of {column!r}: {value!r} is unknown. Use 'treatment', 'sum', 'helmert' or 'poly'.")
    return getattr(ContrastsRegistry, name)


def _own_contrasts(column: str, codes: Any) -> Any:
    """Return contrasts of a code for each category, in their order, or of several, (categories, contrasts)."""
    given = codes
    try:
        if isinstance(codes, Mapping):
            codes = {name: np.asarray(one, dtype=float) for name, one in codes.items()}
            matrix = np.column_stack([one[:, None] for one in codes.values()])
        else:
            codes = matrix = np.asarray(codes, dtype=float).reshape(len(codes), -1)
    except (TypeError, ValueError, IndexError):
        matrix = np.empty((0, 0))
    if not matrix.size or not np.isfinite(matrix).all():
        raise DataError(
            f"contrasts of {column!r}: {given!r} is neither a code for each category in their order, [-0.5, 0.5], nor "
            "a dictionary of such lists by name, {'new - old': [-0.5, 0.5]}."
        )
    return ContrastsRegistry.custom(codes)


def check_rows(column: str, values: Any, contrasts: Any) -> None:
    """Raise a DataError if contrasts of a column do not have a row for each of its categories."""
    rows = getattr(contrasts, "contrasts", None)
    categories = values.categories if isinstance(values, pd.Categorical) else pd.factorize(values, sort=True)[1]
    if rows is not None and len(rows) != len(categories):
        order = ", ".join(map(str, categories[:6])) + (", ..." if len(categories) > 6 else "")
        raise DataError(
            f"contrasts of {column!r} have codes for {len(rows)} categories, not for {len(categories)}. Give one for "
            f"each, in their order: {order}."
        )
