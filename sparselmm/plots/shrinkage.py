"""Shrinkage: what the rows of a level say alone, and what the model makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..threads import single_threaded
from .canvas import MANY, axes_for, choose, color, ink, legend_above, points, zero_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..results import LinearMixedModelResults

ALONE, TOGETHER = "least squares", "mode"
FAR = 3.0  # interquartile ranges from the quartiles beyond which a value is far out (Tukey 1977)
SINGULAR = 1e-10  # reciprocal condition (scaled) below which the rows of a level do not determine its coefficients
ELLIPSE = 2.447746830680816  # radius that holds 95 % of a bivariate normal: (-2 log 0.05)^(1/2)


@single_threaded
def shrinkage_data(
    fit: LinearMixedModelResults, term: str | None = None, columns: str | Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the coefficients of every level by least squares on its own rows, and as the model has them.

    The first are those that minimise the level's sum of squares with all other parts of the model (fixed effects of
    other columns, other terms) at their estimates: b_j + S_jj⁻¹w_j with S_jj the level's block of Z'WZ and w = Z'We
    of the residuals e. The model draws them to the fixed effect: (S_jj + (λλ')⁻¹) b_j = S_jj (b_j + S_jj⁻¹w_j).

    Parameters
    ----------
    fit : LinearMixedModelResults
    term : str, optional
        Name of a random-effects term; may be left out if there is one.
    columns : str or list of str, optional
        Columns of the term; default: all.

    Returns
    -------
    DataFrame, shape (l, 2c)
        ``["least squares"]`` and ``["mode"]``, each a table of the columns, fixed effects included. Least squares are
        NaN where the rows of a level do not determine them.
    """
    term = choose(fit.random_effects, term, "term")
    k = list(fit.random_effects).index(term)
    modes = fit.random_effects[term]
    columns = list(modes.columns) if columns is None else [columns] if isinstance(columns, str) else list(columns)
    columns = [choose(modes.columns, column, "column") for column in columns]
    fixed = fit.fe_params.reindex(modes.columns, fill_value=0.0)
    alone = modes + _solved(_blocks(fit, k), fit.evaluation.w[fit._map.effect_slices[k]].reshape(modes.shape))
    parts = {ALONE: (alone + fixed)[columns], TOGETHER: (modes + fixed)[columns]}
    return pd.concat(parts, axis=1)


def shrinkage(
    fit: LinearMixedModelResults,
    term: str | None = None,
    columns: str | Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what least squares say about every level, and where the model draws it.

    Of two columns, arrows lead from the one to the other, around the fixed effects (cross) and the ellipse that
    holds 95 % of the levels of the population. Of one column, the model's coefficients are drawn against those of
    least squares: levels would lie on the diagonal without shrinkage, on the dashed line if nothing but the fixed
    effect counted.

    Parameters
    ----------
    fit, term, columns
        See `shrinkage_data`; one or two columns, which may be left out if the term has no more.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    term = choose(fit.random_effects, term, "term")
    table = shrinkage_data(fit, term, columns)
    names = list(table[TOGETHER].columns)
    if len(names) > 2:
        raise ValueError(f"Choose one or two of the columns of {term!r} with columns=. Available: {', '.join(names)}.")
    ax = axes_for(ax, (5.4, 4.9))
    known = table.dropna()
    alone, model = known[ALONE].to_numpy(), known[TOGETHER].to_numpy()
    fixed = fit.fe_params.reindex(names, fill_value=0.0).to_numpy()
    ellipse = _ellipse(fixed, fit.cov_re[term].loc[names, names].to_numpy())
    far = _limit(ax, alone, model, ellipse)
    if len(names) == 1:
        _scatter(ax, alone[:, 0], model[:, 0], fixed[0])
        ax.set(xlabel=f"{names[0]} of {term}: least squares", ylabel=f"{names[0]} of {term}: model")
    else:
        _arrows(ax, alone, model)
        _population(ax, fixed, ellipse)
        ax.set(xlabel=f"{names[0]} of {term}", ylabel=f"{names[1]} of {term}")
    notes = [f"{far:,} estimates by least squares are beyond the axes"] if far else []
    if len(known) < len(table):
        notes.append(f"{len(table) - len(known):,} levels are left out, which their rows do not determine")
    ax.set_xlabel("\n".join([ax.get_xlabel(), *notes]))
    legend_above(ax)
    return ax


def _scatter(ax: Axes, alone: np.ndarray, model: np.ndarray, fixed: float) -> None:
    """Draw the model's coefficients of one column against those of least squares."""
    points(ax, alone, model, color(0) if alone.size <= MANY else None, size=5.0)
    ax.axline((fixed, fixed), slope=1.0, color=ink(ax, 0.8), linewidth=0.8, label="no shrinkage", zorder=2)
    zero_line(ax, at=fixed, label="fixed effect alone")


def _arrows(ax: Axes, alone: np.ndarray, model: np.ndarray) -> None:
    """Draw an arrow of every level from least squares to the model's coefficients of two columns."""
    count = max(len(alone), 1)
    faint, size = float(np.clip(30.0 / np.sqrt(count), 0.25, 1.0)), float(np.clip(400.0 / count, 1.5, 5.0))
    style = {"linestyle": "none", "marker": "o", "markersize": size, "markeredgewidth": 0.6, "alpha": faint}
    grey, hue = ink(ax, 0.45), color(0)
    head = {"headwidth": 5.0, "headlength": 6.0, "headaxislength": 5.5, "width": 0.012 if count <= 100 else 0.006}
    exact = {"angles": "xy", "scale_units": "xy", "scale": 1.0, "units": "inches"}
    ax.quiver(*alone.T, *(model - alone).T, color=grey, alpha=faint, zorder=1.5, **exact, **head)
    ax.plot(*alone.T, color=grey, markerfacecolor="none", label="least squares on the level's rows", **style)
    ax.plot(*model.T, color=hue, label="model", **style)


def _population(ax: Axes, fixed: np.ndarray, ellipse: np.ndarray) -> None:
    """Draw the fixed effects of two columns and the ellipse."""
    ax.plot(*ellipse.T, color=color(1), linewidth=1.0, label="95 % of the population", zorder=2.5)
    ax.plot(*fixed[:, None], "x", color=color(1), markersize=8.0, markeredgewidth=2.0, label="fixed effects", zorder=3)


def _ellipse(fixed: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return points on the ellipse around the fixed effects that holds 95 % of the population, (r, c)."""
    angle = np.linspace(0.0, 2.0 * np.pi, 200)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])[:, : fixed.size]
    values, Q = np.linalg.eigh(covariance)
    return fixed + ELLIPSE * circle @ (Q * np.sqrt(values.clip(0.0))).T


def _limit(ax: Axes, alone: np.ndarray, model: np.ndarray, ellipse: np.ndarray) -> int:
    """Limit the axes to the model's view and most estimates by least squares; return how many are beyond."""
    low, high = np.quantile(alone, [0.25, 0.75], axis=0) if len(alone) else np.zeros((2, model.shape[1]))
    near = ((alone >= low - FAR * (high - low)) & (alone <= high + FAR * (high - low))).all(axis=1)
    shown = np.vstack([alone[near], model, ellipse])
    low, high = shown.min(axis=0), shown.max(axis=0)
    margin = 0.05 * np.where(high > low, high - low, 1.0)
    low, high = low - margin, high + margin
    ax.set(xlim=(low[0], high[0]), ylim=(low[-1], high[-1]))  # of one column, the same quantity on both axes
    return int(((alone < low) | (alone > high)).any(axis=1).sum())


def _blocks(fit: LinearMixedModelResults, k: int) -> np.ndarray:
    """Return the blocks S_jj of Z'WZ of term k, (l, c, c)."""
    block = fit.model.cross.diagonal[k]
    return block if isinstance(block, np.ndarray) else block.diagonal()[:, None, None]


def _solved(S: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return S_jj⁻¹w_j of every level, (l, c), NaN where S_jj is singular."""
    size = np.sqrt(np.einsum("jii->ji", S))
    size[size == 0.0] = np.inf
    values, Q = np.linalg.eigh(S / (size[:, :, None] * size[:, None, :]))
    regular = values[:, 0] > SINGULAR
    inverse = np.where(regular[:, None], 1.0 / np.where(regular[:, None], values, 1.0), np.nan)
    return np.einsum("jab,jb->ja", Q, inverse * np.einsum("jab,ja->jb", Q, w / size)) / size
