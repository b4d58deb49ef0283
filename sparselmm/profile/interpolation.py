"""The curve of one parameter between its points: zeta by cubics with the exact slopes, and its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from .curve import Point
    from .held import Held

BISECTIONS = 60
STEEPEST = 3.0  # times the secant: cubics with smaller slopes are monotone (Fritsch & Carlson 1980)

N = TypeVar("N", float, np.ndarray)


def cubic(left: N, right: N, left_slope: N, right_slope: N, width: N | float, share: N | float) -> tuple[N, N]:
    """Return the cubic with the given end values and slopes, and its slope, at a share of the width from the left."""
    secant = (right - left) / width
    cube = left_slope + right_slope - 2.0 * secant
    square = secant - left_slope - cube
    value = left + share * width * (left_slope + share * (square + share * cube))
    return value, left_slope + share * (2.0 * square + 3.0 * share * cube)


class Curve:
    """The signed root zeta of one parameter as a monotone function of it.

    Parameters
    ----------
    held : Held
        Whose `value` takes t to natural units.
    points : list of Point
        At least two, in the order of t.
    complete : tuple of bool
        Whether the curve goes as far as it should below and above the estimate.
    parameters : ndarray (points, parameters)
        All parameters at the points.

    Attributes
    ----------
    t, values, zeta, deviance : ndarray (points,)
        The points; `values` in natural units.
    """

    def __init__(
        self,
        held: Held,
        points: Sequence[Point],
        complete: tuple[bool, bool],
        parameters: np.ndarray,
    ) -> None:
        self._scale, self.complete, self.parameters = type(held), complete, parameters
        self.t, self.zeta, self.deviance, steepness = np.array(
            [(point.t, point.zeta, point.deviance, point.steepness) for point in points]
        ).T
        self.values = self._scale.value(self.t)
        secants = np.diff(self.zeta) / np.diff(self.t)
        self._left = np.clip(steepness[:-1], 0.0, STEEPEST * secants)
        self._right = np.clip(steepness[1:], 0.0, STEEPEST * secants)

    def at(self, t: N) -> tuple[N, N]:
        """Return zeta and its derivative in t."""
        i = np.clip(np.searchsorted(self.t, t, side="right") - 1, 0, self.t.size - 2)
        width = self.t[i + 1] - self.t[i]
        return cubic(self.zeta[i], self.zeta[i + 1], self._left[i], self._right[i], width, (t - self.t[i]) / width)

    def limits(self, z: float) -> np.ndarray:
        """Return the values where zeta is -z and z, (2,): a boundary where it is not reached, NaN where unknown."""
        limits = np.full(2, np.nan)
        for i, target in enumerate((-z, z)):
            if self.zeta[0] < target < self.zeta[-1]:
                limits[i] = self._scale.value(self._inverse(target))
            elif self.complete[i]:
                limits[i] = self.values[-i]
        return limits

    def _inverse(self, zeta: float) -> float:
        """Return t where the curve is zeta."""
        i = int(np.searchsorted(self.zeta, zeta)) - 1
        low, high = self.t[i], self.t[i + 1]
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.at(middle)[0] < zeta else (low, middle)
        return 0.5 * (low + high)

    def density(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return values of the parameter, evenly spaced between the ends, and φ(zeta) dzeta/dvalue there.

        The ends are left out where the scale of the parameter has no slope there.
        """
        t = np.linspace(self.t[0], self.t[-1], count)
        rate = self._scale.rate(t)
        t, rate = t[rate > 1e-8], rate[rate > 1e-8]
        zeta, slope = self.at(t)
        return self._scale.value(t), np.exp(-0.5 * zeta**2) / np.sqrt(2.0 * np.pi) * slope / rate
