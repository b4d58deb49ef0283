"""Marginal means, contrasts and slopes with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..marginal_means.printing import KINDS_OF_NUMBERS, families, label_texts
from .canvas import axes_for, color, height_for, name_rows, panel_for, zero_line

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ..marginal_means.means import MarginalMeans

WORDS = {"means": "Mean", "contrasts": "Contrast", "slopes": "Slope"}
ACROSS = 3  # families side by side


def means(table: MarginalMeans, ax: Axes | Sequence[Axes] | np.ndarray | None = None) -> Axes | np.ndarray:
    """Draw the estimates of every family with their intervals; see `MarginalMeans.plot`."""
    parts = list(families(table.frame, table.by))
    if len(parts) == 1:
        ax = axes_for(ax, (7.0, height_for(len(table))))
        _draw(ax, table, parts[0][1])
        return ax
    axes = panel_for(ax, len(parts), ACROSS, (3.8, height_for(max(len(part) for _, part in parts))))
    for one, (title, part) in zip(axes, parts, strict=True):
        _draw(one, table, part)
        one.set_title(title.removesuffix(":"), fontsize="medium")
    low, high = np.transpose([one.get_xlim() for one in axes])
    for one in axes:
        one.set_xlim(low.min(), high.max())
    return axes


def _draw(ax: Axes, table: MarginalMeans, part: pd.DataFrame) -> None:
    """Draw one family, its first row on top."""
    part = part[::-1]
    texts = [label_texts(part[name].tolist()) for name in part if name not in KINDS_OF_NUMBERS]
    place = np.arange(len(part))
    ax.hlines(place, part["conf.low"], part["conf.high"], color=color(0), linewidth=1.6, zorder=2)
    ax.plot(part["estimate"], place, "o", color=color(0), markersize=5.0, zorder=3)
    if table.kind != "means":
        zero_line(ax, "x", at=1.0 if table.back else 0.0)
    labels = [", ".join(row) for row in zip(*texts, strict=True)]
    if name_rows(ax, labels, ""):
        ax.set_yticklabels(labels)  # contrasts are told apart by their ends: none is cut
    ax.locator_params(axis="x", nbins=6)
    ax.set_xlabel(f"{WORDS[table.kind]}, {100 * table.level:g} % interval")
