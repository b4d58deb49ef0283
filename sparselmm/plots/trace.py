"""Trace of the optimiser: how the deviance fell and where θ went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .canvas import DASHES, MARKERS, color, ink, legend_above, panel_for, short, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..results import LinearMixedModelResults

MOST_NAMED = 8  # entries of θ that a legend names


def trace_data(fit: LinearMixedModelResults) -> pd.DataFrame:
    """Return the record of the optimiser, a row for every evaluation.

    Parameters
    ----------
    fit : LinearMixedModelResults

    Returns
    -------
    DataFrame, shape (evaluations, 4 + m)
        Columns deviance, excess (over the smallest of the run), gradient (its norm in scaled θ, NaN where it was
        not computed), accepted, and the entries of θ by name, as `fit.theta` has their signs.
    """
    steps = fit.optimizer.steps
    deviance = np.array([step.deviance for step in steps])
    theta = np.array([fit._map.canonical(step.theta) for step in steps])
    table = pd.DataFrame(
        {
            "deviance": deviance,
            "excess": deviance - deviance.min(),
            "gradient": [step.gradient_norm for step in steps],
            "accepted": [step.accepted for step in steps],
        },
        index=pd.RangeIndex(len(steps), name="evaluation"),
    )
    return table.join(pd.DataFrame(theta, columns=_names(fit)))


def trace(fit: LinearMixedModelResults, axes: np.ndarray | Sequence[Axes] | None = None) -> np.ndarray:
    """Draw the run of the optimiser: the deviance above its minimum and the gradient (log), and the path of θ.

    Open marks are steps that were rejected.

    Parameters
    ----------
    fit : LinearMixedModelResults
    axes : array of 2 matplotlib.axes.Axes, optional

    Returns
    -------
    ndarray of matplotlib.axes.Axes, shape (2,)
    """
    table = trace_data(fit)
    axes = panel_for(axes, 2, 2, (4.6, 3.8))
    _descent(axes[0], table)
    _path(axes[1], table, _names(fit))
    for ax in axes:
        ax.set_xlabel("Evaluation")
        whole_numbers(ax.xaxis)
    return axes


def _descent(ax: Axes, table: pd.DataFrame) -> None:
    """Draw deviance above the minimum and gradient norm, log scale, down to the rounding of the deviance."""
    rounding = 4.0 * np.finfo(float).eps * max(1.0, abs(table["deviance"].min()))
    for number, (name, label) in enumerate((("excess", "deviance above minimum"), ("gradient", "gradient norm"))):
        values = table[name][np.isfinite(table[name])].clip(lower=rounding)
        taken = table["accepted"].loc[values.index]
        style = {"color": color(number), "marker": MARKERS[number], "markersize": 5.0}
        if values.size:
            ax.plot(values[taken], linestyle=DASHES[number], label=label, **style)
            ax.plot(values[~taken], linestyle="none", markerfacecolor="none", **style)
    ax.axhline(rounding, color=ink(ax, 0.6), linewidth=0.8, linestyle=":", label="rounding of the deviance")
    ax.set_yscale("log")
    ax.set_ylabel("Deviance, gradient" if table["gradient"].notna().any() else "Deviance")
    legend_above(ax, 1)


def _path(ax: Axes, table: pd.DataFrame, names: Sequence[str]) -> None:
    """Draw the entries of θ of the accepted steps."""
    path = table.loc[table["accepted"], names]
    few = len(names) <= MOST_NAMED
    for number, name in enumerate(names):
        style = {"color": ink(ax, 0.45), "linewidth": 0.7}
        if few:
            mark, dash = MARKERS[number % len(MARKERS)], DASHES[number // len(MARKERS)]
            style = {"color": color(number), "linewidth": 1.2, "marker": mark, "linestyle": dash, "markersize": 4.0}
        ax.plot(path[name], label=short(name), **style)
    ax.set_ylabel("θ" if few else f"θ, {len(names)} entries", rotation=0 if few else 90)
    if few:
        legend_above(ax)


def _names(fit: LinearMixedModelResults) -> list[str]:
    """Return a name for every entry of θ: its term, and its column or two of them."""
    names = []
    for term, shape in zip(fit.model.terms, fit._map.shapes, strict=True):
        for i, j in zip(*shape.entries, strict=True):
            columns = term.columns[i] if i == j else f"{term.columns[i]}.{term.columns[j]}"
            names.append(f"{term.name}: {columns}")
    return names
