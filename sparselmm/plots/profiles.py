"""Profile likelihood: the signed-root curves of the parameters, and their densities."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..labels import parameter_name
from .canvas import color, ink, panel_for, short, wrapped, zero_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..profile.profile import Profile
    from ..results import LinearMixedModelResults

ACROSS, SIZE = 3, (3.3, 2.7)  # panels side by side, inches of each
FINE = 120  # points of a curve as drawn
KINDS = {"sd": "Standard deviation of", "cor": "Correlation"}


def profile_data(
    fit: LinearMixedModelResults,
    profile: Profile | None = None,
    which: str | int | Sequence[str | int] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the profile curves of the parameters: columns group, term, value and zeta.

    Parameters
    ----------
    fit : LinearMixedModelResults
    profile : Profile, optional
        What `fit.profile` returned before; default: it is computed.
    which : str, int or list of these, optional
        Parameters that are profiled; see `LinearMixedModelResults.profile`.
    level : float
        Of the intervals that are marked.
    """
    return profile_of(fit, profile, which, _limit(level)).curves[["group", "term", "value", "zeta"]]


def profile(
    fit: LinearMixedModelResults,
    profile: Profile | None = None,
    which: str | int | Sequence[str | int] | None = None,
    level: float = 0.95,
    axes: np.ndarray | Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw zeta, the signed root of the deviance, against each parameter.

    The interval of a parameter is where zeta is between the dotted lines. The curve lies on the dashed line, its
    tangent at the estimate, where Wald intervals are right.

    Parameters
    ----------
    fit, profile, which, level
        See `profile_data`.
    axes : array of matplotlib.axes.Axes, optional
        One for each parameter.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, shape (parameters,)
    """
    profile = profile_of(fit, profile, which, _limit(level))
    z, limits = _limit(level), profile.conf_int(1.0 - level).to_numpy()
    axes = panel_for(axes, len(profile.labels), ACROSS, SIZE)
    for ax, label, interval in zip(axes, profile.labels, limits, strict=True):
        part = of_parameter(profile.curves, label)
        value, zeta = part["value"].to_numpy(), part["zeta"].to_numpy()
        ax.set_xlabel(in_words(label))
        ax.set_ylabel("ζ", rotation=0)
        if not value.size:
            continue
        ax.plot(*_smooth(value, zeta), color=color(0), linewidth=1.6, zorder=3)
        view = ax.get_xlim(), ax.get_ylim()
        best = np.abs(zeta).argmin()
        beside = slice(max(best - 1, 0), best + 2)
        if np.ptp(value[beside]) > 0:
            slope = np.ptp(zeta[beside]) / np.ptp(value[beside])
            ax.axline((value[best], zeta[best]), slope=slope, color=ink(ax, 0.6), linewidth=0.8, linestyle="--")
        ax.set(xlim=view[0], ylim=view[1])
        zero_line(ax)
        ends = np.array([-z, z])
        ax.hlines(ends, *view[0], color=ink(ax, 0.6), linewidth=0.8, linestyle=":")
        ax.vlines(interval, view[1][0], np.interp(interval, value, zeta), color=color(1), linewidth=1.2, zorder=2)
    return axes


def profile_density_data(
    fit: LinearMixedModelResults,
    profile: Profile | None = None,
    which: str | int | Sequence[str | int] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the profile densities of the parameters: columns group, term, value and density.

    Parameters
    ----------
    fit, profile, which, level
        See `profile_data`.
    """
    return profile_of(fit, profile, which, _limit(level)).density()


def profile_density(
    fit: LinearMixedModelResults,
    profile: Profile | None = None,
    which: str | int | Sequence[str | int] | None = None,
    level: float = 0.95,
    axes: np.ndarray | Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw the profile density of each parameter, for which zeta would be standard normal, with its interval.

    Parameters
    ----------
    fit, profile, which, level
        See `profile_data`.
    axes : array of matplotlib.axes.Axes, optional
        One for each parameter.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, shape (parameters,)
    """
    profile = profile_of(fit, profile, which, _limit(level))
    table, limits = profile.density(), profile.conf_int(1.0 - level).to_numpy()
    axes = panel_for(axes, len(profile.labels), ACROSS, SIZE)
    for ax, label, (low, high) in zip(axes, profile.labels, limits, strict=True):
        part = of_parameter(table, label)
        value, density = part["value"].to_numpy(dtype=float), part["density"].to_numpy(dtype=float)
        ax.plot(value, density, color=color(0), linewidth=1.6, zorder=3)
        inside = (value >= low) & (value <= high)
        ax.fill_between(value, density, where=inside, color=color(0), alpha=0.2, linewidth=0.0, zorder=2)
        ax.set(xlabel=in_words(label), ylabel="Profile density")
        ax.set_ylim(bottom=0.0)
    return axes


def _limit(level: float) -> float:
    """Return zeta at the ends of an interval."""
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def profile_of(
    fit: LinearMixedModelResults, profile: Profile | None, which: str | int | Sequence[str | int] | None, z: float
) -> Profile:
    """Return the profile given, or that of the parameters that are wanted, followed to zeta = ±z at least."""
    level = max(0.99, 2.0 * NormalDist().cdf(z) - 1.0)
    return fit.profile(which=which, level=level) if profile is None else profile


def of_parameter(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return the rows of a parameter."""
    pairs = zip(table["group"], table["term"], strict=True)
    same = [parameter_name(group if isinstance(group, str) else None, term) == label for group, term in pairs]
    return table[np.array(same, dtype=bool)]


def _smooth(value: np.ndarray, zeta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points of the monotone curve through the given ones."""
    from scipy.interpolate import PchipInterpolator

    if value.size < 3 or (np.diff(value) <= 0).any():
        return value, zeta
    fine = np.linspace(value[0], value[-1], FINE)
    return fine, PchipInterpolator(value, zeta)(fine)


def in_words(label: str) -> str:
    """Return the label of a parameter in words, on lines of some length, the group on one of its own."""
    term, _, group = label.partition("|")
    kind, found, name = term.partition("__")
    if label == "sigma":
        return "Residual standard deviation"
    return f"{wrapped(f'{KINDS[kind]} {name}')}\n{short(group)}" if found and kind in KINDS else wrapped(label)
