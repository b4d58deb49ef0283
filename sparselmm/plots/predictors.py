"""Predictors of a fit by the columns of its data: which there are, which are numbers, where they are held."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from ..terms import factorize

if TYPE_CHECKING:
    from ..columns import Columns, Expression
    from ..frame import Design
    from ..model import LinearMixedModel
    from ..streaming.design import StreamedDesign

GRID = 100  # values of a numeric predictor
FEW = 5  # distinct values of a number that have a line each
QUANTILES = (0.1, 0.5, 0.9)  # where a number with more has its lines


def predictors(model: LinearMixedModel, columns: Iterable[Columns] = ()) -> dict[str, Any]:
    """Return the columns of the data that the fixed effects, the offset and the given parts of the formula use."""
    design = design_of(model)
    spec, table = design.spec, design.table
    parts: list[Columns | Expression] = [spec.fixed, *spec.offsets, *columns]
    used = {name for part in parts for name in part.variables} - {offset_name()}
    found = {name: values for name, values in table.columns.items() if name in used}
    if not found:
        raise DataError("The fixed effects use no column of the data: there is nothing to predict along.")
    return found


def design_of(model: LinearMixedModel) -> Design | StreamedDesign:
    """Return the design of a model from a formula; a DataError for one from arrays."""
    if model.design is None:
        raise DataError("A model built from arrays has no columns to predict along. Build it from a formula.")
    return model.design


def offset_name() -> str:
    """Return the name that an offset given as an array has among the columns."""
    from ..frame import OFFSET  # brings formulaic

    return OFFSET


def is_number(model: LinearMixedModel, name: str) -> bool:
    """Return whether a column is a number, and not categorical in the fixed effects."""
    design = design_of(model)
    spec = design.spec.fixed.spec
    if design.table.columns[name].dtype.kind not in "iuf":
        return False
    if spec is None:
        return True
    state = {factor.expr: spec.encoder_state.get(factor.expr, (None, {}))[1] for factor in spec.factors}
    variables = spec.factor_variables.items()
    return not any("categories" in state[factor.expr] and name in map(str, names) for factor, names in variables)


def typical(model: LinearMixedModel, name: str, values: Any) -> Any:
    """Return the mean of numbers, or the most frequent value (the first of several)."""
    if is_number(model, name):
        return float(np.mean(values))
    codes, labels = factorize(values)
    return labels[np.bincount(codes).argmax()]


def along(model: LinearMixedModel, name: str, values: Any) -> list[Any]:
    """Return a grid over the range of numbers, or all values."""
    if is_number(model, name):
        return list(np.linspace(np.min(values), np.max(values), GRID))
    return list(factorize(values)[1])


def some(model: LinearMixedModel, name: str, values: Any) -> list[Any]:
    """Return all values, or quantiles of numbers with many of them."""
    labels = list(factorize(values)[1])
    return list(np.quantile(values, QUANTILES)) if is_number(model, name) and len(labels) > FEW else labels


def in_words(value: object) -> str:
    """Return a value of a predictor as text."""
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)
