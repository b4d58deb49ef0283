"""Residual plots: against fitted values, their spread, by group, and the panel of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..diagnostics.residuals import divided_residuals
from .canvas import axes_for, choose, color, height_for, ink, name_rows, panel_for, points, smooth, zero_line
from .quantiles import qq, qq_data, residual_over

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..results import LinearMixedModelResults
    from ..terms import RandomTerm

QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def residuals_data(fit: LinearMixedModelResults) -> pd.DataFrame:
    """Return fitted values and Pearson residuals, (n, 2): columns fitted and resid.

    A Pearson residual is the residual times √weight, in the units of the response.

    Parameters
    ----------
    fit : LinearMixedModelResults
    """
    weights = fit.model.weights
    resid = fit.resid if weights is None else fit.resid * np.sqrt(weights)
    return pd.DataFrame({"fitted": fit.fittedvalues, "resid": resid})


def residuals(fit: LinearMixedModelResults, ax: Axes | None = None) -> Axes:
    """Draw Pearson residuals against fitted values, with a smooth; see `residuals_data`.

    Parameters
    ----------
    fit : LinearMixedModelResults
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    table = residuals_data(fit)
    ax = axes_for(ax)
    zero_line(ax)
    _scatter(ax, fit, table["fitted"], table["resid"])
    ax.set_ylabel(_residual_of(fit))
    return ax


def scale_location_data(fit: LinearMixedModelResults) -> pd.DataFrame:
    """Return fitted values and √|standardised residual|, (n, 2): columns fitted and spread; see `qq_data`.

    Parameters
    ----------
    fit : LinearMixedModelResults
    """
    return pd.DataFrame({"fitted": fit.fittedvalues, "spread": np.sqrt(np.abs(divided_residuals(fit)))})


def scale_location(fit: LinearMixedModelResults, ax: Axes | None = None) -> Axes:
    """Draw √|standardised residual| against fitted values, with a smooth: level where the variance is constant.

    Parameters
    ----------
    fit : LinearMixedModelResults
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    table = scale_location_data(fit)
    ax = axes_for(ax)
    _scatter(ax, fit, table["fitted"], table["spread"])
    ax.set_ylabel(f"√|{residual_over(fit).lower()}|")
    return ax


def residuals_by_group_data(fit: LinearMixedModelResults, term: str | None = None) -> pd.DataFrame:
    """Return the quartiles of the Pearson residuals of every level, sorted by the median.

    Parameters
    ----------
    fit : LinearMixedModelResults
    term : str, optional
        Name of a random-effects term; may be left out if there is one.

    Returns
    -------
    DataFrame, shape (l, 6)
        Columns min, lower, median, upper, max and rows (how many the level has).
    """
    factor = _grouping(fit, term)
    resid = residuals_data(fit)["resid"].to_numpy()
    order = np.lexsort((resid, factor.codes))
    rows = np.bincount(factor.codes, minlength=factor.n_levels)
    first, values = np.cumsum(rows) - rows, resid[order]
    quartiles = {}
    for name, p in zip(("min", "lower", "median", "upper", "max"), QUARTILES, strict=True):
        place = first + p * (rows - 1)
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, first + rows - 1)
        quartiles[name] = values[below] + (place - below) * (values[above] - values[below])
    table = pd.DataFrame({**quartiles, "rows": rows}, index=factor.levels.rename(factor.name))
    return table.sort_values("median", kind="stable")


def residuals_by_group(fit: LinearMixedModelResults, term: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the Pearson residuals of every level, sorted: median, quartiles (thick) and range (thin).

    Parameters
    ----------
    fit, term
        See `residuals_by_group_data`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    table, name = residuals_by_group_data(fit, term), _grouping(fit, term).name
    count = len(table)
    ax = axes_for(ax, (6.0, height_for(count)))
    position, width = np.arange(count), float(np.clip(180.0 / count, 0.25, 5.0))
    ax.hlines(position, table["min"], table["max"], color=ink(ax, 0.3), linewidth=min(width, 0.8), zorder=1)
    ax.hlines(position, table["lower"], table["upper"], color=color(0), linewidth=width, zorder=2)
    size = float(np.clip(250.0 / count, 1.2, 5.0))
    ax.plot(table["median"], position, "o", color=ink(ax, 0.85), markersize=size, markeredgewidth=0.0, zorder=3)
    zero_line(ax, "x")
    name_rows(ax, table.index, name, "sorted by the median")
    ax.set_xlabel(_residual_of(fit))
    return ax


def residual_panel_data(fit: LinearMixedModelResults, term: str | None = None) -> pd.DataFrame:
    """Return what `residual_panel` draws, a row for each of the data.

    Parameters
    ----------
    fit : LinearMixedModelResults
    term : str, optional
        Name of a random-effects term; default: the first.

    Returns
    -------
    DataFrame, shape (n, 6)
        Columns fitted, resid, spread (see `scale_location_data`), standardized and normal (see `qq_data`) and group,
        the level (None where the blocks of Z are the user's).
    """
    table = scale_location_data(fit)
    table.insert(1, "resid", residuals_data(fit)["resid"])
    standardized = divided_residuals(fit).to_numpy()
    normal, quantiles = np.full(standardized.size, np.nan), qq_data(fit)["normal"]
    normal[np.argsort(standardized, kind="stable")[: quantiles.size]] = quantiles
    factor = _first_grouping(fit, term)
    group = None if factor is None else factor.levels.take(factor.codes)
    return table.assign(standardized=standardized, normal=normal, group=group)


def residual_panel(
    fit: LinearMixedModelResults, term: str | None = None, axes: np.ndarray | Sequence[Axes] | None = None
) -> np.ndarray:
    """Draw the residuals in four views: against fitted values, normal quantiles, spread, and by level.

    Parameters
    ----------
    fit, term
        See `residual_panel_data`.
    axes : array of matplotlib.axes.Axes, optional
        Four, or three where no term groups the rows.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, shape (4,) or (3,)
    """
    factor = _first_grouping(fit, term)
    axes = panel_for(axes, 3 if factor is None else 4, 2, (4.6, 3.7))
    residuals(fit, ax=axes[0]).set_title("Residuals and fitted values")
    qq(fit, ax=axes[1]).set_title("Normal quantiles")
    scale_location(fit, ax=axes[2]).set_title("Spread and fitted values")
    if factor is not None:
        residuals_by_group(fit, factor.name, ax=axes[3]).set_title("Residuals by level")
    return axes


def _scatter(ax: Axes, fit: LinearMixedModelResults, x: pd.Series, y: pd.Series) -> None:
    """Draw points and their smooth against fitted values."""
    points(ax, x, y)
    ax.plot(*smooth(x.to_numpy(), y.to_numpy()), color=color(1), linewidth=1.8, zorder=3)
    ax.set_xlabel(f"Fitted {fit.model.endog_name}")


def _residual_of(fit: LinearMixedModelResults) -> str:
    """Return the label of Pearson residuals."""
    return f"Residual of {fit.model.endog_name}" + ("" if fit.model.weights is None else " × √weight")


def _first_grouping(fit: LinearMixedModelResults, term: str | None) -> RandomTerm | None:
    """Return the term of that name, or the first that groups the rows, or None."""
    if term is not None:
        return _grouping(fit, term)
    return next((part for part in fit.model.terms if part.matrix is None), None)


def _grouping(fit: LinearMixedModelResults, term: str | None) -> RandomTerm:
    """Return a random-effects term that groups the rows."""
    terms = {part.name: part for part in fit.model.terms if part.matrix is None}
    if not terms:
        raise ValueError("No term of this model groups its rows: the blocks of Z are the user's.")
    return terms[choose(terms, term, "term")]
