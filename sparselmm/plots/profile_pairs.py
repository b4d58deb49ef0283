"""Pairs of profiled parameters: how each moves with the other, and the regions that they share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .canvas import DASHES, color, panel_for, pyplot
from .profiles import in_words, of_parameter, profile_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike
    from scipy.interpolate import PchipInterpolator

    from ..profile.profile import Profile
    from ..results import LinearMixedModelResults

CONTOUR_POINTS = 200
SIZE = 2.3  # inches of a panel


def profile_pairs_data(
    fit: LinearMixedModelResults,
    profile: Profile | None = None,
    which: str | int | Sequence[str | int] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return, for every pair of parameters, the traces of the profiles and the contour of the joint region.

    The trace of one parameter is where the other one is best given it. The contour holds the likelihood-ratio region
    of both, interpolated from the four points at which the traces meet it (Bates & Watts 1988, Nonlinear Regression
    Analysis and Its Applications, section 6.1.2 and appendix A.6).

    Parameters
    ----------
    fit : LinearMixedModelResults
    profile : Profile, optional
        What `fit.profile` returned before; default: it is computed.
    which : str, int or list of these, optional
        Parameters that are profiled; see `LinearMixedModelResults.profile`.
    level : float
        Of the regions.

    Returns
    -------
    DataFrame
        Columns first, second (labels of the parameters), part ("trace of first", "trace of second" or "contour"), and
        the values x of the first and y of the second. There is no contour where a curve ends before it.
    """
    radius = float(np.sqrt(-2.0 * np.log1p(-level)))
    profile = profile_of(fit, profile, which, radius)
    curves = {label: of_parameter(profile.curves, label) for label in profile.labels}
    tables = [pd.DataFrame(columns=["first", "second", "part", "x", "y"])]
    for first, second in combinations([label for label in curves if len(curves[label]) > 2], 2):
        one, other = curves[first], curves[second]
        parts = {
            "trace of first": (one["value"], one[second]),
            "trace of second": (other[first], other["value"]),
            "contour": _contour(one, other, first, second, radius),
        }
        for part, (x, y) in parts.items():
            values = {"x": np.asarray(x, dtype=float), "y": np.asarray(y, dtype=float)}
            tables.append(pd.DataFrame({"first": first, "second": second, "part": part, **values}))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def profile_pairs(
    fit: LinearMixedModelResults,
    profile: Profile | None = None,
    which: str | int | Sequence[str | int] | None = None,
    level: float = 0.95,
    axes: np.ndarray | Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw the traces of every pair of profiled parameters, and the contour of their joint region.

    Traces that cross at a right angle belong to parameters that are estimated independently of each other.

    Parameters
    ----------
    fit, profile, which, level
        See `profile_pairs_data`; choose a few parameters.
    axes : array of matplotlib.axes.Axes, optional
        One for each pair, in the order of the table.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, shape (pairs,)
    """
    pyplot()
    table = profile_pairs_data(fit, profile, which, level)
    pairs = list(table.groupby(["first", "second"], sort=False))
    own = axes is None
    axes = _triangle(len(pairs)) if own else panel_for(axes, len(pairs), 1)
    styles = {
        "contour": (color(0), DASHES[0]),
        "trace of first": (color(1), DASHES[0]),
        "trace of second": (color(2), DASHES[1]),
    }
    for ax, ((first, second), part) in zip(axes, pairs, strict=True):
        for name, (hue, dash) in styles.items():
            values = part[part["part"] == name]
            ax.plot(values["x"], values["y"], color=hue, linestyle=dash, linewidth=1.2, label=name)
        ax.set(xlabel=in_words(first), ylabel=in_words(second))
        if own:
            ax.label_outer()
    if own and len(axes) > 1:
        names = [f"{100 * level:g} % region", "row's best given the column", "column's best given the row"]
        axes[0].figure.legend(axes[0].lines, names, loc="upper right", frameon=False)
    return axes


def _triangle(pairs: int) -> np.ndarray:
    """Return the axes of a lower triangle of panels, in the order of the pairs."""
    count = round(0.5 + np.sqrt(0.25 + 2.0 * pairs))
    side = max(count - 1, 1)
    size = (SIZE * side + 0.6, SIZE * side + 0.6)
    grid = pyplot().subplots(side, side, figsize=size, layout="constrained", squeeze=False, sharex="col", sharey="row")[
        1
    ]
    for row, column in zip(*np.triu_indices(side, 1), strict=True):
        grid[row, column].remove()
    return np.array([grid[second - 1, first] for first, second in combinations(range(count), 2)], dtype=object)


def _contour(
    one: pd.DataFrame, other: pd.DataFrame, first: str, second: str, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y on the contour where the deviance of both parameters exceeds its minimum by radius².

    In zeta of both, the contour is radius (cos(τ + δ/2), cos(τ - δ/2)) with the phase δ a periodic function of τ that
    is known at the four points where a trace meets the contour; an ellipse where it is constant.
    """
    from scipy.interpolate import CubicSpline

    ends = np.array([radius, -radius])
    if any(not (rows["zeta"].min() <= -radius and rows["zeta"].max() >= radius) for rows in (one, other)):
        return np.empty(0), np.empty(0)
    zeta = {label: _monotone(rows["value"], rows["zeta"]) for label, rows in ((first, one), (second, other))}
    value = {label: _monotone(rows["zeta"], rows["value"]) for label, rows in ((first, one), (second, other))}
    on_first = (
        zeta[second](_monotone(one["zeta"], one[second])(ends)) / ends
    )  # cos δ where zeta of the first is ±radius
    on_second = zeta[first](_monotone(other["zeta"], other[first])(ends)) / ends
    phase = np.arccos(np.clip(np.concatenate([on_first, on_second]), -1.0, 1.0))
    tau = np.array([0.0, np.pi, 0.0, np.pi]) + np.array([-0.5, -0.5, 0.5, 0.5]) * phase
    order = np.argsort(tau)
    tau, phase = tau[order], phase[order]
    periodic = CubicSpline(np.append(tau, tau[0] + 2.0 * np.pi), np.append(phase, phase[0]), bc_type="periodic")
    angle = np.linspace(0.0, 2.0 * np.pi, CONTOUR_POINTS)
    half = 0.5 * periodic(angle)
    return value[first](radius * np.cos(angle + half)), value[second](radius * np.cos(angle - half))


def _monotone(x: ArrayLike, y: ArrayLike) -> PchipInterpolator:
    """Return the monotone interpolant of y on x."""
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
