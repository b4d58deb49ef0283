"""New data as rows to predict, checked for what would be predicted wrongly without an error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..caller import warn
from ..checks import check_sizes
from ..data import column_names, read_table
from ..errors import DataError, DataWarning
from ..fixed_terms import INESTIMABLE, beyond_kept
from ..habits import near
from .rows import Part, Rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..data import Table
    from ..model import LinearMixedModel
    from ..terms import TermSizes

SHOWN = 5  # labels named in an error


def new_rows(
    model: LinearMixedModel,
    new: Any,
    included: Sequence[int],
    fresh: Sequence[int] = (),
    new_levels: str = "raise",
    offset: ArrayLike | None = None,
) -> Rows:
    """Return new rows with the columns that the formula makes of them; see `rows_of_fit`."""
    assert model.design is not None, "see `predict`"
    spec, parts = model.design.spec, {}
    available = column_names(new)
    for name in sorted({name for k in included for name in spec.random[k][1].variables}.difference(available)):
        raise DataError(
            f"The data have no column {name!r}, whose levels are predicted.{near(name, available)} random=False "
            "predicts the mean over all levels, without it."
        )
    sides = [spec.fixed, *(spec.random[k][0] for k in {*included, *fresh})]
    _check_types(model.design.table, new, {name for side in sides for name in side.variables})
    exog, random, index, offsets = spec.build(new, terms=included, offset=offset)
    check_sizes(zip(spec.fixed.names, exog.T, strict=True), smallest=0.0)
    for k, (codes, values) in zip(included, random, strict=True):
        unknown = codes < 0
        if unknown.any():
            labels = spec.random[k][1].labels(new)
            missing = pd.isna(labels)
            values[missing] = np.nan
            missing |= np.isnan(exog).any(axis=1) | np.isnan(values).any(axis=1)  # predicted as NaN, whatever the level
            _check_unseen(model.terms[k], pd.unique(labels[unknown & ~missing]), new_levels)
        check_sizes(zip(model.terms[k].columns, values.T, strict=True), smallest=0.0)
        parts[k] = Part(codes, values)
    unknown = (np.abs(beyond_kept(model, exog)) > INESTIMABLE).any(axis=1)
    if unknown.any():
        warn(
            f"{unknown.sum()} rows have combinations of predictors whose mean the data of the fit do not determine "
            f"(the fixed effects {', '.join(model.dropped)} were dropped): they are predicted as NaN.",
            DataWarning,
        )
        exog[unknown] = np.nan
    columns = {k: spec.random[k][0].build(_read(new, spec.random[k][0].variables)) for k in fresh}
    return Rows(exog[:, model.kept], offsets, parts, columns, index)


def warn_of(names: Sequence[str]) -> None:
    """Warn of columns that are no functions of their own row: new data change them."""
    if names:
        warn(
            f"{', '.join(names)}: the value of a row depends on the other rows, so new data give it another one than "
            "the fit's. Use a function that remembers the fit, such as center(x), scale(x), poly(x, 2) or bs(x, df=4), "
            "or compute the column before.",
            DataWarning,
        )


def _read(new: Any, names: Iterable[str]) -> Table:
    """Return the named columns of new data."""
    return read_table(new, sorted(names))


def _check_types(table: Table, new: Any, names: Iterable[str]) -> None:
    """Raise a DataError if a column held numbers or booleans in the fit and holds text now."""
    numeric = [name for name in names if _kind(table.columns.get(name)) in "biuf"]
    for name, values in _read(new, numeric).columns.items() if numeric else ():
        if _kind(values) in "OU":
            held = "True and False" if _kind(table.columns[name]) == "b" else "numbers"
            raise DataError(
                f"Column {name!r} held {held} in the data of the fit and holds text, such as {str(values[0])!r}, in "
                "the new data. Convert it."
            )


def _kind(values: object) -> str:
    """Return NumPy's kind of a column's values, "O" for a Categorical or none."""
    return getattr(getattr(values, "dtype", None), "kind", "O")


def _check_unseen(term: TermSizes, labels: np.ndarray, new_levels: str) -> None:
    """Raise a DataError for labels (texts) that are no levels of the fit, unless they may be new."""
    if not labels.size:
        return
    more = f" and {labels.size - SHOWN} more" if labels.size > SHOWN else ""
    shown = f"{', '.join(labels[:SHOWN])}{more}"
    if np.isin(labels, term.levels.astype(str)).any():
        raise DataError(
            f"Factor {term.name!r}: {shown} are levels of the fit, but of another type in the new data. Convert the "
            "column to the type it had in the data of the fit."
        )
    if new_levels == "raise":
        raise DataError(
            f"Factor {term.name!r} has levels that the fit has not seen: {shown}. Use new_levels='zero' to predict "
            "them at the population mean, or leave those rows out."
        )
