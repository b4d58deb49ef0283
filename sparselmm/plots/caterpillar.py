"""Caterpillar plot: the random effects of a term, sorted, with conditional intervals."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pandas as pd

MOST_LABELS = 60  # levels named on the axis; beyond that they would overlap


def caterpillar_data(fit, term=None, column=None, level=0.95) -> pd.DataFrame:
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
    term = _one_of(fit.random_effects, term, "term")
    modes = fit.random_effects[term]
    column = _one_of(modes.columns, column, "column")
    mode, sd = modes[column], fit.random_effects_sd[term][column]
    margin = NormalDist().inv_cdf(0.5 + level / 2.0) * sd
    table = pd.DataFrame({"mode": mode, "sd": sd, "low": mode - margin, "high": mode + margin})
    return table.sort_values("mode", kind="stable")


def caterpillar(fit, term=None, column=None, ax=None, level=0.95):
    """Draw the random effects of one column of a term, sorted, with conditional intervals.

    Levels whose interval covers zero are grey. With many levels the axis counts them instead of naming them.

    Parameters
    ----------
    fit, term, column, level
        See `caterpillar_data`.
    ax : matplotlib.axes.Axes, optional
        Default: a new figure, its height by the number of levels.

    Returns
    -------
    matplotlib.axes.Axes
    """
    term = _one_of(fit.random_effects, term, "term")
    column = _one_of(fit.random_effects[term].columns, column, "column")
    table = caterpillar_data(fit, term, column, level)
    count = len(table)
    if ax is None:
        height = 1.2 + 0.22 * max(count, 3) if count <= MOST_LABELS else 6.0
        _, ax = _pyplot().subplots(figsize=(6.0, height), layout="constrained")
    position = np.arange(count)
    covers = ((table["low"] <= 0.0) & (table["high"] >= 0.0)).to_numpy()
    width, size = (1.6, 5.0) if count <= MOST_LABELS else (max(0.25, 100.0 / count), 1.5)
    for rows, color in ((covers, "0.7"), (~covers, "C0")):
        part = table[rows]
        ax.hlines(position[rows], part["low"], part["high"], color=color, linewidth=width, zorder=1)
    ax.plot(table["mode"], position, "o", color="0.15", markersize=size, zorder=3)
    ax.axvline(0.0, color="0.15", linewidth=0.8, linestyle="--", zorder=2)
    ax.set_ylim(-0.7, count - 0.3)
    if count <= MOST_LABELS:
        ax.set_yticks(position, [str(label) for label in table.index])
        ax.set_ylabel(term)
    else:
        ax.set_ylabel(f"{term}: {count:,} levels, sorted")
    ax.set_xlabel(f"{column}: random effect and {100 * level:g} % interval")
    return ax


def _one_of(names, name, what):
    """Return `name`, or the only one of `names`."""
    names = list(names)
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        problem = f"{what}={name!r} is not there" if name is not None else f"There are several; choose one with {what}="
        raise ValueError(f"{problem}. Available: {', '.join(map(repr, names))}.")
    return name


def _pyplot():
    """Return matplotlib.pyplot, or raise with the remedy."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install 'sparselmm[plot]'.") from error
    return pyplot
