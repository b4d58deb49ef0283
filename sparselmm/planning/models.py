"""Models of designs that were not observed: the formula on the rows of a design, at every size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..caller import caller_variables
from ..data import column_names, read_table
from ..errors import DataError
from ..formula import parse_formula
from ..formula_text import bare, coded_column, formula_terms, lookups, quoted
from ..frame import OFFSET, WEIGHTS
from ..model import LinearMixedModel
from ..results import LinearMixedModelResults
from ..roles import read_roles
from .sizes import resized


def planned_models(
    formula: str, data: object, sizes: Sequence[Mapping[str, int]], contrasts: Mapping[str, object] | None = None
) -> Iterator[LinearMixedModel]:
    """Yield the model of a formula on a design at every one of the sizes; see `resized`."""
    if data is None:
        raise DataError("data is missing: a formula needs the rows of a design, see simulate_design.")
    yield from _on_rows(formula, data, sizes, {"contrasts": contrasts, "context": caller_variables()})


def further_models(
    fit: LinearMixedModelResults, data: object, sizes: Sequence[Mapping[str, int]]
) -> Iterator[LinearMixedModel]:
    """Yield the model of a fit on its own or other data at every one of the sizes."""
    model = fit.model
    if data is None and list(sizes) == [{}]:
        yield model
        return
    if model.design is None or model.formula is None:
        raise DataError("The fit is of arrays: sizes= and data= need a fit of a formula.")
    roles, table = model.design.roles, model.design.table
    options: dict[str, Any] = {"contrasts": roles.scope.contrasts, "context": roles.scope.namespace}
    for name, column in {"weights": WEIGHTS, "offset": OFFSET}.items():
        if column in table.columns:
            options[name] = column
            if data is not None:
                raise DataError(
                    f"The fit was given {name} as an array, which data= does not have. Name a column instead."
                )
    if roles.weights is not None:
        options["weights"] = bare(roles.weights)
    yield from _on_rows(model.formula, table if data is None else data, sizes, options)


def _on_rows(
    formula: str, data: object, sizes: Sequence[Mapping[str, int]], options: dict[str, Any]
) -> Iterator[LinearMixedModel]:
    """Yield the models on the complete rows of a design, with a response that does not matter."""
    parsed = parse_formula(formula)
    response, replaced = bare(parsed.response), set().union(*lookups(parsed.response))
    formula = f"{quoted(response)} ~{formula.split('~', 1)[1]}"
    available = [name for name in column_names(data) if name not in replaced]
    roles = read_roles(formula, [*available, response], **options)
    names = [name for name in roles.names if name != response]
    table, _ = read_table(data, names).complete(names)
    frame = pd.DataFrame(table.columns)
    groups = {name for bar in parsed.bars for text in bar.factor for name in set().union(*lookups(text))}
    sides = [parsed.fixed, *(bar.columns for bar in parsed.bars)]
    factors = {factor.expr for side in sides for term in formula_terms(side) for factor in term.factors}
    coded = {name for name in map(coded_column, factors) if name is not None}
    for size in sizes:
        rows = resized(frame, size, groups.intersection(names), coded)
        noise = np.random.default_rng(0).standard_normal(len(rows))
        yield LinearMixedModel.from_formula(formula, rows.assign(**{response: noise}), **options)
