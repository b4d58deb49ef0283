"""Caterpillar plot: the random effects of a term, sorted, with conditional intervals."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .canvas import axes_for, choose, color, height_for, ink, name_rows, panel_for, zero_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..results import LinearMixedModelResults


def caterpillar_data(
    fit: LinearMixedModelResults, term: str | None = None, column: str | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Return the random effects of one column of a term with conditional intervals, sorted.

    Parameters
    ----------
    fit : LinearMixedModelResults
    term : str, optional
        Name of a random-effects term; may be left out if there is one.
    column : str, optional
        Name of a column of the term; may be left out if there is one.
    level : float
        Level of the intervals, mode ± z sd from `random_effects_sd`.

    Returns
    -------
    DataFrame, shape (l, 4)
        Columns mode, sd, low and high; the levels are the index.
    """
    term = choose(fit.random_effects, term, "term")
    modes = fit.random_effects[term]
    column = choose(modes.columns, column, "column")
    mode, sd = modes[column], fit.random_effects_sd[term][column]
    margin = NormalDist().inv_cdf(0.5 + level / 2.0) * sd
    table = pd.DataFrame({"mode": mode, "sd": sd, "low": mode - margin, "high": mode + margin})
    return table.sort_values("mode", kind="stable")


def caterpillar(
    fit: LinearMixedModelResults,
    term: str | None = None,
    column: str | None = None,
    ax: Axes | Sequence[Axes] | np.ndarray | None = None,
    level: float = 0.95,
) -> Axes | np.ndarray:
    """Draw the random effects of a term, sorted, with conditional intervals.

    Levels whose interval covers zero are grey. With many levels the axis counts them instead of naming them.

    Parameters
    ----------
    fit, term, level
        See `caterpillar_data`.
    column : str, optional
        Name of a column of the term; default: each column on axes of its own.
    ax : matplotlib.axes.Axes, or an array of them, optional
        Default: a new figure, its height by the number of levels.

    Returns
    -------
    matplotlib.axes.Axes, or an array of them if there are several columns
    """
    term = choose(fit.random_effects, term, "term")
    names = list(fit.random_effects[term].columns)
    if column is not None or len(names) == 1:
        return _caterpillar(fit, term, choose(names, column, "column"), ax, level)
    axes = panel_for(ax, len(names), len(names), (4.2, height_for(len(fit.random_effects[term]))))
    return np.array([_caterpillar(fit, term, name, ax, level) for name, ax in zip(names, axes, strict=True)])


def _caterpillar(fit: LinearMixedModelResults, term: str, column: str, ax: Any, level: float) -> Axes:
    """Draw one column of a term and return the axes."""
    table = caterpillar_data(fit, term, column, level)
    count = len(table)
    ax = axes_for(ax, (6.0, height_for(count)))
    position = np.arange(count)
    covers = ((table["low"] <= 0.0) & (table["high"] >= 0.0)).to_numpy()
    width, size = float(np.clip(100.0 / count, 0.25, 1.6)), float(np.clip(250.0 / count, 1.2, 5.0))
    for rows, hue in ((covers, ink(ax, 0.3)), (~covers, color(0))):
        part = table[rows]
        ax.hlines(position[rows], part["low"], part["high"], color=hue, linewidth=width, zorder=1)
    ax.plot(table["mode"], position, "o", color=ink(ax, 0.85), markersize=size, markeredgewidth=0.0, zorder=3)
    zero_line(ax, "x")
    name_rows(ax, table.index, term)
    ax.set_xlabel(f"{column}, {100 * level:g} % interval")
    return ax
