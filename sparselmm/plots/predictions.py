"""Predictions of the population along one predictor, with confidence bands, over the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import DataError
from .canvas import DASHES, MANY, MARKERS, axes_for, choose, color, faded, ink, name_columns, points, short, shortened
from .predictors import along, design_of, in_words, is_number, offset_name, predictors, some, typical

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults

MOST_LINES = 12
JITTER, DODGE = 0.5, 0.6  # parts of the distance of two labels
GOLDEN = 0.6180339887498949  # its multiples fill an interval evenly


def predictions_data(
    fit: LinearMixedModelResults,
    x: str | None = None,
    by: str | None = None,
    at: Mapping[str, Any] | None = None,
    level: float = 0.95,
    ddf: str = "satterthwaite",
) -> pd.DataFrame:
    """Return the mean response of the population along a predictor, with confidence limits.

    Other predictors are held at their mean, or at their most frequent value if they are no numbers; the columns of
    the table say where. Random effects are zero.

    Parameters
    ----------
    fit : LinearMixedModelResults
        Of a formula.
    x : str, optional
        Column of the data that the fixed effects use; may be left out if there is one.
    by : str, optional
        A second one, whose values have a line each; of many numbers the 10, 50 and 90 % quantiles.
    at : dict, optional
        Column to value, or to a list of values for `x` and `by`: where predictors are held instead.
    level : float
    ddf : str
        Degrees of freedom; see `LinearMixedModelResults.inference`.

    Returns
    -------
    DataFrame
        The predictors, estimate, std.error, df, conf.low and conf.high.
    """
    model, at = fit.model, dict(at or {})
    columns = predictors(model)
    x = choose(columns, x, "x")
    shown = [x] if by is None else [x, choose([name for name in columns if name != x], by, "by")]
    for name in at:
        choose(columns, name, "at")
    values = {name: [typical(model, name, columns[name])] for name in columns}
    values |= {name: spread(model, name, columns[name]) for name, spread in zip(shown, (along, some), strict=False)}
    values |= {name: list(np.atleast_1d(given)) for name, given in at.items()}
    several = [name for name in values if name not in shown and len(values[name]) > 1]
    if several:
        raise ValueError(f"at gives several values of {', '.join(several)}: only x and by can have several.")
    if by is not None and len(values[by]) > MOST_LINES:
        raise ValueError(f"{by} has {len(values[by]):,} values. Choose up to {MOST_LINES} with at={{{by!r}: [...]}}.")
    order = [*shown[::-1], *(name for name in columns if name not in shown)]
    position = pd.MultiIndex.from_product([range(len(values[name])) for name in order])
    rows = {name: pd.Series(values[name]).array[position.get_level_values(i)] for i, name in enumerate(order)}
    table = pd.DataFrame(rows)[[*shown, *order[len(shown) :]]]
    offset = design_of(model).table.columns.get(offset_name())
    offset = None if offset is None else np.full(len(table), np.mean(offset))
    predicted = fit.predict(table, random=False, interval="mean", level=level, ddf=ddf, offset=offset)
    return pd.concat([table, predicted], axis=1)


def predictions(
    fit: LinearMixedModelResults,
    x: str | None = None,
    by: str | None = None,
    at: Mapping[str, Any] | None = None,
    level: float = 0.95,
    ddf: str = "satterthwaite",
    data: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean response of the population along a predictor, with a confidence band, over the data.

    Parameters
    ----------
    fit, x, by, at, level, ddf
        See `predictions_data`.
    data : bool
        Whether the response is drawn behind, at every row; other predictors are not what they are held at there.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    DataError
        If the rows of the data were not kept.
    """
    if data and not fit.model.keeps_rows:
        raise DataError(
            "predictions draws the rows of the data, which were read in chunks and not kept. Use data=False for the "
            "means alone."
        )
    table = predictions_data(fit, x, by, at, level, ddf)
    x = table.columns[0]
    ax = axes_for(ax)
    labels = None if is_number(fit.model, x) else list(dict.fromkeys(table[x]))
    groups = [table] if by is None else [part for _, part in table.groupby(by, sort=False, observed=True)]
    values = [None] if by is None else [part[by].iloc[0] for part in groups]
    names = shortened(map(in_words, values))
    if data:
        _draw_data(ax, fit.model, x, by, labels, values)
    for number, (part, name) in enumerate(zip(groups, names, strict=True)):
        if labels is None:
            _draw_line(ax, part, x, number, name, 0.25 / len(groups) ** 0.5)
        else:
            position = np.array([labels.index(label) for label in part[x]])
            _draw_intervals(ax, part, position + DODGE * ((number + 0.5) / len(groups) - 0.5), number, name)
    if labels is not None:
        name_columns(ax, list(map(in_words, labels)))
    held = [name for name in table.columns[: table.columns.get_loc("estimate")] if name not in (x, by)]
    where = ", ".join(f"{name} = {short(in_words(table[name].iloc[0]))}" for name in held)
    ax.set(xlabel=f"{x}\nat {where}" if held else x, ylabel=fit.model.endog_name)
    if by is not None:
        ax.legend(title=by, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _draw_line(ax: Axes, part: pd.DataFrame, x: str, number: int, name: str, strength: float) -> None:
    """Draw a line with its band."""
    hue, dash = color(number), DASHES[(number + number // len(DASHES)) % len(DASHES)]
    ax.fill_between(part[x], part["conf.low"], part["conf.high"], color=hue, alpha=strength, linewidth=0.0, zorder=2)
    ax.plot(part[x], part["estimate"], color=hue, linestyle=dash, linewidth=1.8, label=name, zorder=3)


def _draw_intervals(ax: Axes, part: pd.DataFrame, position: np.ndarray, number: int, name: str) -> None:
    """Draw points with intervals."""
    hue, mark = color(number), MARKERS[(number + number // len(MARKERS)) % len(MARKERS)]
    ax.vlines(position, part["conf.low"], part["conf.high"], color=hue, linewidth=1.8, zorder=2)
    edge = {"markeredgecolor": ax.get_facecolor(), "markeredgewidth": 0.8}
    ax.plot(position, part["estimate"], mark, color=hue, markersize=7.0, label=name, zorder=3, **edge)


def _draw_data(
    ax: Axes, model: LinearMixedModel, x: str, by: str | None, labels: list[Any] | None, values: list[Any]
) -> None:
    """Draw the response at every row, in the colours of the values of `by` where all have one."""
    columns, y = design_of(model).table.columns, model.endog
    group, hued = np.zeros(y.size, dtype=int), False
    if by is not None and y.size <= MANY:
        group = pd.Index(values).get_indexer(pd.Index(columns[by]))
        hued = bool((group >= 0).all())
    if labels is None:
        place = columns[x]
    else:
        place = pd.Index(labels).get_indexer(pd.Index(columns[x])).astype(float)
        place += JITTER / (len(values) if hued else 1) * ((np.arange(y.size) * GOLDEN) % 1.0 - 0.5)
        place += DODGE * ((group + 0.5) / len(values) - 0.5) if hued else 0.0
    for number in range(len(values)) if hued else [None]:
        rows = slice(None) if number is None else group == number
        points(ax, place[rows], y[rows], ink(ax, 0.5) if number is None else faded(ax, color(number)), size=3.0)
