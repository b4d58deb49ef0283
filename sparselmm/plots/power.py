"""Power curve: the power of simulated studies against their size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .canvas import MARKERS, axes_for, color, legend_above, name_columns, zero_line

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ..planning.result import Power

DODGE = 0.06  # part of the smallest step between sizes by which lines stand apart


def power(study: Power, ax: Axes | None = None, target: float | None = 0.8) -> Axes:
    """Draw power and intervals against the first of the sizes; against the terms where there are none.

    Parameters
    ----------
    study : Power
    ax : matplotlib.axes.Axes, optional
    target : float or None
        Power that a line marks.

    Returns
    -------
    matplotlib.axes.Axes
    """
    frame, sizes, ax = study.to_frame(), list(study.runs[0].size), axes_for(ax)
    if not sizes:
        _draw(ax, np.arange(len(frame)), frame, 0, "none")
        name_columns(ax, list(frame["term"]))
    else:
        names = [*sizes[1:], "term"]
        parts = list(frame.groupby(names, sort=False))
        steps = np.diff(np.unique(frame[sizes[0]]))
        for number, (keys, part) in enumerate(parts):
            shift = DODGE * (number - (len(parts) - 1) / 2.0) * (steps.min() if steps.size else 0.0)
            described = [f"{name} {key}" for name, key in zip(names, keys, strict=True) if name != "term"]
            label = ", ".join([keys[-1], *described] if frame["term"].nunique() > 1 or not described else described)
            part = part.sort_values(sizes[0])
            _draw(ax, part[sizes[0]] + shift, part, number, "-", label)
        ax.set_xticks(sorted(set(frame[sizes[0]])))
        ax.set_xlabel(f"Number of levels of {sizes[0]}")
        legend_above(ax)
    if target is not None:
        zero_line(ax, at=target)
    ax.set(ylim=(-0.02, 1.02), ylabel=f"Power at alpha = {study.alpha:g}")
    return ax


def _draw(ax: Axes, place: np.ndarray, part: pd.DataFrame, number: int, line: str, label: str | None = None) -> None:
    """Draw the powers of one line with their intervals."""
    ax.vlines(place, part["conf.low"], part["conf.high"], color=color(number), linewidth=1.6)
    style = {"marker": MARKERS[number % len(MARKERS)], "linestyle": line, "linewidth": 1.2, "markersize": 5.0}
    ax.plot(place, part["power"], color=color(number), label=label, **style)
