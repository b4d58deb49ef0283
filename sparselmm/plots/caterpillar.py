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

ACROSS = 4  # axes side by side


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
    """Draw the random effects of all terms or of one, sorted, with conditional intervals.

    Levels whose interval covers zero are grey. With many levels the axis counts them instead of naming them.

    Parameters
    ----------
    fit, level
        See `caterpillar_data`.
    term : str, optional
        Name of a random-effects term; default: all.
    column : str, optional
        Name of a column; default: all, each on axes of its own.
    ax : matplotlib.axes.Axes, or an array of them, optional
        Default: a new figure, its height by the number of levels.

    Returns
    -------
    matplotlib.axes.Axes, or an array of them if there are several columns
    """
    modes = fit.random_effects
    terms = modes if term is None else {term: modes[choose(modes, term, "term")]}
    pairs = [(term, name) for term, effects in terms.items() for name in effects]
    if column is not None:
        choose(dict.fromkeys(name for _, name in pairs), column, "column")
        pairs = [(term, name) for term, name in pairs if name == column]
    if len(pairs) == 1:
        return _caterpillar(fit, *pairs[0], ax, level)
    size = 4.2, height_for(max(len(terms[term]) for term, _ in pairs))
    axes = panel_for(ax, len(pairs), min(len(pairs), ACROSS), size)
    return np.array([_caterpillar(fit, *pair, ax, level) for pair, ax in zip(pairs, axes, strict=True)])


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
    ax.locator_params(axis="x", nbins=6)
    name_rows(ax, table.index, term)
    ax.set_xlabel(f"{column}, {100 * level:g} % interval")
    return ax
