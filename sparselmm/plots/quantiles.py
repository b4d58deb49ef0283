"""Quantile plots: standardised residuals and random effects against the normal distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..diagnostics.residuals import divided_residuals, has_leverages
from ..threads import single_threaded
from .canvas import MANY, axes_for, choose, color, ink, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..results import LinearMixedModelResults

NO_VARIANCE = 1e-6  # standard deviation of a mode, relative to that of the effect, that counts as zero


def qq_data(
    fit: LinearMixedModelResults, term: str | None = None, column: str | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Return standardised residuals or random effects with what a normal sample of their size would be.

    A residual is divided by its standard deviation, which takes the leverage of its row; where there are more than
    200,000 rows, or the fit has Monte-Carlo errors, by σ/√weight. A random effect is divided by the standard deviation
    that the model gives its conditional mode (levels with many rows vary more), estimation of β included: the diagonal
    of σ²λ(I - [M⁻¹]_jj - U_j(R'R)⁻¹U_j')λ'.

    Parameters
    ----------
    fit : LinearMixedModelResults
    term : str, optional
        Name of a random-effects term; default: the residuals.
    column : str, optional
        Name of a column of the term; may be left out if there is one.
    level : float
        Level of the pointwise band.

    Returns
    -------
    DataFrame, shape (n, 4) or (l, 4)
        Columns value, sorted, and normal, low and high: median and quantiles of the order statistic of a standard
        normal sample. The index is that of the rows or levels; those without variance are left out.
    """
    value = _standardized(fit, term, column)
    return _beside_normal(value, np.arange(value.size), level)


def qq(
    fit: LinearMixedModelResults,
    term: str | None = None,
    column: str | None = None,
    ax: Axes | None = None,
    level: float = 0.95,
) -> Axes:
    """Draw standardised residuals or random effects against normal quantiles, with a pointwise band.

    Parameters
    ----------
    fit, term, column, level
        See `qq_data`.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes_for(ax, (4.8, 4.4))
    value = _standardized(fit, term, column)
    what = residual_over(fit)
    if term is not None:
        column = choose(fit.random_effects[term].columns, column, "column")
        what = f"{short(term)}, {short(column)}: standardized effect"
    ax.set(xlabel="Normal quantile", ylabel=what)
    if value.empty:
        ax.text(0.5, 0.5, "The variance is zero", ha="center", va="center", transform=ax.transAxes)
        return ax
    line = _beside_normal(value, _spread(value.size), level)
    band = {"color": ink(ax, 0.15), "linewidth": 0.0, "label": f"{100 * level:g} % band"}
    ax.fill_between(line["normal"], line["low"], line["high"], zorder=1, **band)
    ax.axline((0.0, 0.0), slope=1.0, color=ink(ax, 0.8), linewidth=0.8, zorder=2, label="normal")
    size = 4.5 if len(line) <= 200 else 2.5
    ax.plot(line["normal"], line["value"], "o", color=color(0), markersize=size, markeredgewidth=0.0, zorder=3)
    ax.legend(loc="upper left", frameon=False)
    return ax


def residual_over(fit: LinearMixedModelResults) -> str:
    """Return the label of residuals over standard deviations."""
    return "Standardized residual" if has_leverages(fit) else "Residual over σ"


def _spread(count: int) -> np.ndarray:
    """Return the ranks that are drawn: all, or both tails and an even choice between them."""
    if count <= MANY:
        return np.arange(count)
    tail = MANY // 8
    return np.unique(np.r_[:tail, np.linspace(tail, count - tail - 1, MANY // 2).astype(int), count - tail : count])


def _beside_normal(value: pd.Series, ranks: np.ndarray, level: float) -> pd.DataFrame:
    """Return the sorted values of some ranks with the quantiles of the order statistics of a normal sample."""
    from scipy.special import betaincinv, ndtri  # 50 ms that importing the package need not take

    tail = 0.5 - level / 2.0
    quantiles = {"normal": 0.5, "low": tail, "high": 1.0 - tail}
    bands = {name: ndtri(betaincinv(ranks + 1.0, value.size - ranks, p)) for name, p in quantiles.items()}
    return pd.DataFrame({"value": value.iloc[ranks], **bands})


@single_threaded
def _standardized(fit: LinearMixedModelResults, term: str | None, column: str | None) -> pd.Series:
    """Return standardised residuals or random effects, sorted; those without variance are left out."""
    value = divided_residuals(fit) if term is None else _effects(fit, choose(fit.model.groups, term, "term"), column)
    return value.dropna().sort_values(kind="stable")


def _effects(fit: LinearMixedModelResults, term: str, column: str | None) -> pd.Series:
    """Return the random effects of one column over the standard deviations of conditional modes."""
    modes = fit.random_effects[term]
    column = choose(modes.columns, column, "column")
    k, a = list(fit.random_effects).index(term), modes.columns.get_loc(column)
    row = fit._map.unpack(fit.evaluation.theta)[k][a]
    U = fit.evaluation.U[fit._map.effect_slices[k]].reshape(*modes.shape, -1)
    of_beta = np.linalg.solve(fit.evaluation.R.T, np.einsum("a,jap->pj", row, U))
    variance = fit.scale * (row @ row - np.einsum("pj,pj->j", of_beta, of_beta)) - fit.random_effects_cov[term][:, a, a]
    sd = np.sqrt(variance.clip(0.0))
    return modes[column] / np.where(sd > NO_VARIANCE * fit.sigma * np.sqrt(row @ row), sd, np.nan)
