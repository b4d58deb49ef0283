"""Coefficient plot: fixed effects with intervals, of several fits side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .canvas import MARKERS, axes_for, color, height_for, legend_above, name_rows, width_for, zero_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..results import LinearMixedModelResults

SPREAD = 0.6  # part of a row that the fits share


def coefficients_data(
    fit: LinearMixedModelResults,
    others: Mapping[str, LinearMixedModelResults] | None = None,
    terms: Sequence[str] | None = None,
    name: str = "fit",
    intercept: bool = False,
    level: float = 0.95,
    ddf: str = "satterthwaite",
) -> pd.DataFrame:
    """Return the fixed effects of one or several fits with their intervals.

    Parameters
    ----------
    fit : LinearMixedModelResults
    others : dict of str to LinearMixedModelResults, optional
        Fits to compare with, by the name of each.
    terms : list of str, optional
        Fixed-effects columns, in the order they are wanted; default: all.
    name : str
        Name of `fit` beside others.
    intercept : bool
        Whether the intercept is among the default terms; its size says little beside the others.
    level : float
    ddf : str
        Degrees of freedom; see `LinearMixedModelResults.inference`.

    Returns
    -------
    DataFrame
        Columns model, term, estimate, std.error, df, conf.low and conf.high; a fit without a term has no row for it.
    """
    fits = {name: fit, **(others or {})}
    found = list(dict.fromkeys(column for one in fits.values() for column in one.model.exog_names))
    if terms is None:
        slopes = [column for column in found if column not in ("Intercept", "const")]
        terms = found if intercept or not slopes else slopes
    unknown = [term for term in terms if term not in found]
    if unknown:
        raise ValueError(f"terms names {unknown}, which no fit has. Available: {', '.join(map(repr, found))}.")
    tables = []
    for label, one in fits.items():
        columns = one.model.exog_names
        wanted = [term for term in terms if term in columns]
        L = np.eye(len(columns))[[columns.index(term) for term in wanted]]
        table = one.inference(ddf).estimates(L, level=level).drop(columns=["statistic", "p.value"])
        table.insert(0, "term", wanted)
        table.insert(0, "model", label)
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    return table.sort_values("term", key=lambda column: column.map(list(terms).index), kind="stable", ignore_index=True)


def coefficients(
    fit: LinearMixedModelResults,
    others: Mapping[str, LinearMixedModelResults] | None = None,
    terms: Sequence[str] | None = None,
    name: str = "fit",
    intercept: bool = False,
    level: float = 0.95,
    ddf: str = "satterthwaite",
    ax: Axes | None = None,
) -> Axes:
    """Draw the fixed effects with their intervals, those of several fits side by side.

    Parameters
    ----------
    fit, others, terms, name, intercept, level, ddf
        See `coefficients_data`.
    ax : matplotlib.axes.Axes, optional
        Default: a new figure, its height by the number of terms.

    Returns
    -------
    matplotlib.axes.Axes
    """
    table = coefficients_data(fit, others, terms, name, intercept, level, ddf)
    terms, models = list(dict.fromkeys(table["term"]))[::-1], [name, *(others or {})]
    ax = axes_for(ax, (width_for(terms), height_for(max(len(terms) * (len(models) + 1) / 2, 4))))
    for number, model in enumerate(models):
        part = table[table["model"] == model]
        shift = SPREAD * ((len(models) - 1) / 2.0 - number) / len(models)
        position = np.array([terms.index(term) for term in part["term"]]) + shift
        width, size = np.clip([100.0 / max(len(terms), 1), 300.0 / max(len(terms), 1)], [0.4, 1.5], [1.6, 6.0])
        ax.hlines(position, part["conf.low"], part["conf.high"], color=color(number), linewidth=width, zorder=2)
        mark = MARKERS[number % len(MARKERS)]
        ax.plot(part["estimate"], position, mark, color=color(number), markersize=size, label=model, zorder=3)
    zero_line(ax, "x")
    name_rows(ax, terms, "Fixed effect", "in the order of the model")
    ax.set_xlabel(f"Estimate and {100 * level:g} % interval")
    if len(models) > 1:
        legend_above(ax, min(len(models), 3))
    return ax
