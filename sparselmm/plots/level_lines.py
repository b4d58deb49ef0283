"""Lines of the levels: what the model predicts for every level of a term along a predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .canvas import axes_for, choose, ink, name_columns, points
from .predictors import design_of, is_number, offset_name, predictors

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..results import LinearMixedModelResults

POINTS = 21  # values of a number on the line of a level


def level_lines_data(fit: LinearMixedModelResults, term: str | None = None, x: str | None = None) -> pd.DataFrame:
    """Return the prediction for every level of a term along a predictor, over what the level has of it in the data.

    Fixed effects and the random effects of the term are included, those of other terms are zero. Other predictors
    are those of the level's first row.

    Parameters
    ----------
    fit : LinearMixedModelResults
        Of a formula.
    term : str, optional
        Name of a random-effects term; may be left out if there is one.
    x : str, optional
        Column of the data that the fixed effects or the term use; may be left out if there is one.

    Returns
    -------
    DataFrame
        Columns level, x by its name, and estimate; level after level.
    """
    model, (term, x) = fit.model, _chosen(fit, term, x)
    part = next(part for part in model.terms if part.name == term)
    table = pd.DataFrame(dict(design_of(model).table.columns))
    _, first = np.unique(part.codes, return_index=True)
    if is_number(model, x):
        limits = table[x].groupby(part.codes).agg(["min", "max"]).to_numpy(dtype=float)
        values = np.linspace(limits[:, 0], limits[:, 1], POINTS, axis=1).ravel()
        level = np.repeat(np.arange(first.size), POINTS)
    else:
        codes, values = pd.factorize(table[x], sort=True)
        level, position = np.unique(np.column_stack([part.codes, codes]), axis=0).T
        values = values.take(position)
    rows = table.iloc[first].take(level).reset_index(drop=True).assign(**{x: values})
    estimate = fit.predict(rows, random=term, offset=rows.get(offset_name()))
    return pd.DataFrame({"level": part.levels.take(level), x: rows[x], "estimate": estimate.to_numpy()})


def level_lines(
    fit: LinearMixedModelResults, term: str | None = None, x: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw a line for every level of a term along a predictor, thinner and paler the more there are.

    A level with a single value of the predictor is a point.

    ``fit.plot.predictions(x, data=False, ax=ax)`` adds the line of the population.

    Parameters
    ----------
    fit, term, x
        See `level_lines_data`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    from matplotlib.collections import LineCollection

    table = level_lines_data(fit, term, x)
    x = table.columns[1]
    ax = axes_for(ax)
    if is_number(fit.model, x):
        place = table[x].to_numpy(dtype=float)
    else:
        codes, labels = pd.factorize(table[x], sort=True)
        place = codes.astype(float)
        name_columns(ax, labels)
    vertices = np.column_stack([place, table["estimate"]])
    ends = np.flatnonzero(table["level"].to_numpy()[1:] != table["level"].to_numpy()[:-1]) + 1
    lines = np.split(vertices, ends)
    single = np.array([line[0] for line in lines if line[0, 0] == line[-1, 0]]).reshape(-1, 2)
    few = len(lines) <= 100
    style = {"linewidths": 1.0 if few else 0.5, "alpha": float(np.clip(10.0 / np.sqrt(len(lines)), 0.15, 0.8))}
    ax.add_collection(LineCollection(lines, colors=[ink(ax, 0.5)], zorder=1.4, rasterized=not few, **style))
    points(ax, single[:, 0], single[:, 1], size=3.0)
    ax.autoscale_view()
    ax.set(xlabel=x, ylabel=fit.model.endog_name)
    return ax


def _chosen(fit: LinearMixedModelResults, term: str | None, x: str | None) -> tuple[str, str]:
    """Return the term and the predictor."""
    term = choose(fit.random_effects, term, "term")
    k = list(fit.random_effects).index(term)
    parts = () if fit.model.design is None else (fit.model.design.spec.random[k][0],)
    return term, choose(predictors(fit.model, parts), x, "x")
