"""Influence: how far the fixed effects move when the rows of a level are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .canvas import axes_for, choose, color, height_for, ink, name_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from ..results import LinearMixedModelResults


def influence_data(fit: LinearMixedModelResults, group: str | ArrayLike | None = None, most: int = 30) -> pd.DataFrame:
    """Return the levels of a grouping factor with the largest Cook's distances, sorted.

    Parameters
    ----------
    fit : LinearMixedModelResults
    group : str or array_like of shape (n,), optional
        Name of a random-effects term, a column that the formula uses, or labels of the rows; may be left out if
        there is one term. See `LinearMixedModelResults.influence`.
    most : int
        How many levels.

    Returns
    -------
    DataFrame, shape (most or fewer, 1)
        Column cooks_distance, ascending; the levels are the index. Levels without which the fixed effects cannot be
        estimated have no distance and are left out.
    """
    return _sorted(fit, group).iloc[-most:].to_frame()


def influence(
    fit: LinearMixedModelResults, group: str | ArrayLike | None = None, most: int = 30, ax: Axes | None = None
) -> Axes:
    """Draw Cook's distance of the most influential levels of a grouping factor.

    Parameters
    ----------
    fit, group, most
        See `influence_data`.
    ax : matplotlib.axes.Axes, optional
        Default: a new figure, its height by the number of levels.

    Returns
    -------
    matplotlib.axes.Axes
    """
    distance = _sorted(fit, group)
    drawn, what = distance.iloc[-most:], distance.index.name or "level"
    ax = axes_for(ax, (6.0, height_for(len(drawn))))
    position, width = np.arange(len(drawn)), float(np.clip(100.0 / max(len(drawn), 1), 0.25, 1.6))
    ax.hlines(position, 0.0, drawn, color=ink(ax, 0.4), linewidth=width, zorder=1)
    ax.plot(drawn, position, "o", color=color(0), markersize=5.0, markeredgewidth=0.0, zorder=2)
    ax.set_xlim(left=0.0)
    name_rows(ax, drawn.index, what)
    if len(drawn) < len(distance):
        ax.set_ylabel(f"{what}: the {len(drawn)} most influential of {len(distance):,}")
    ax.set_xlabel("Cook's distance of the fixed effects")
    return ax


def _sorted(fit: LinearMixedModelResults, group: str | ArrayLike | None) -> pd.Series:
    """Return Cook's distance of every level that has one, ascending."""
    group = choose(fit.random_effects, None, "group") if group is None else group
    return fit.influence(group).cooks_distance.rename("cooks_distance").dropna().sort_values(kind="stable")
