"""The profile of one parameter: a path of constrained optima, each predicted from those before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..descent import trust_region_step
from ..errors import DataError, EngineError
from .interpolation import BISECTIONS, cubic

if TYPE_CHECKING:
    from .held import Held
    from .joint import Expansion

STEPS = 5  # from the optimum to the cutoff, on either side
OVERSHOOT = 1.02  # of the cutoff, so that the last step reaches it
TOLERANCE = 1e-6  # predicted decrease of the deviance at which the free coordinates are at their optimum
SHORT = 0.05  # length of a last step that the quadratic model is trusted for; a longer one is along a flat direction
FAR = 0.5  # of the natural size of a coordinate: a cubic this far from the tangent is not trusted
MAX_EVALUATIONS, MAX_POINTS, MAX_HALVINGS = 60, 60, 6
BETTER = 1e-4  # a deviance lower than the optimum's by this shows that it is none
NEAR_BOUND = 0.2  # of the step before: a step that ends this close to a boundary goes there
SMALLEST_SHARE = 1e-6  # of the distance between two points, between others
FLAT = 1e-10  # eigenvalue, relative to the largest, of a direction in which the deviance does not change
COLLINEAR = 1e-7  # curvature along the profile, relative to that with the others fixed, that rounding decides
LEAP = 3.0  # times the zeta that a step was to add: such a step is halved
NO_MINIMUM = "the fit is not the maximum of the likelihood"


class ProfileError(Exception):
    """Why a curve could not be followed."""


@dataclass(frozen=True, eq=False)
class Point:
    """One constrained optimum.

    Attributes
    ----------
    t : float
        The held coordinate.
    y, tangent : ndarray
        All coordinates and their derivatives in t.
    deviance, slope : float
        And its derivative in t.
    beta : ndarray (p,)
        In the pilot basis.
    zeta, steepness : float
        sign(t - t̂) √(deviance - minimum), and its derivative in t.
    """

    t: float
    y: np.ndarray
    tangent: np.ndarray
    deviance: float
    slope: float
    beta: np.ndarray
    zeta: float = 0.0
    steepness: float = 0.0


def settle(held: Held, y: np.ndarray, free: np.ndarray | None = None) -> Point:
    """Return the Point of lowest deviance with y[held.slot] as it is, by Newton steps in the free coordinates.

    The last step is not evaluated: its decrease is below the tolerance and its quadratic model exact to third order.

    Raises
    ------
    ProfileError
        If the optimum is not reached.
    """
    free = held.free if free is None else free
    units, radius = held.units[free], 1.0
    at = _try(held, y)
    for _ in range(MAX_EVALUATIONS):
        if at is None:
            break
        g = at.gradient[free] * units
        H = at.hessian[np.ix_(free, free)] * np.outer(units, units)
        step = trust_region_step(g, H, radius) if free.size else g
        decrease = -(g @ step + 0.5 * step @ H @ step)
        if decrease < max(TOLERANCE, 4.0 * np.finfo(float).eps * abs(at.deviance)):
            short = np.linalg.norm(step) < SHORT
            return _finish(held, y, at, free, step * short, decrease * short)
        moved = y.copy()
        moved[free] += units * step
        trial = _try(held, moved)
        gain = -1.0 if trial is None else (at.deviance - trial.deviance) / decrease
        if gain < 0.25:
            radius = 0.25 * float(np.linalg.norm(step))
        elif gain > 0.75:
            radius = max(radius, 2.0 * float(np.linalg.norm(step)))
        if gain > 0.0:
            y, at = moved, trial
        elif radius < 1e-10:
            break
    raise ProfileError("the other parameters could not be optimised")


def _try(held: Held, y: np.ndarray) -> Expansion | None:
    """Return the expansion at y, or None where there is no likelihood."""
    try:
        return held.expand(y)
    except (EngineError, DataError):
        return None


def _finish(
    held: Held,
    y: np.ndarray,
    at: Expansion,
    free: np.ndarray,
    step: np.ndarray,
    decrease: float,
) -> Point:
    """Return the Point at the end of the last step, with the derivatives (L6)."""
    i, units = held.slot, held.units[free]
    y, tangent = y.copy(), np.zeros(y.size)
    y[free] += units * step
    mixed = at.hessian[i, free]
    tangent[i] = 1.0
    tangent[free] = -units * _pseudo_solve(at.hessian[np.ix_(free, free)] * np.outer(units, units), units * mixed)
    slope = at.gradient[i] + mixed @ (units * step)
    return Point(float(y[i]), y, tangent, at.deviance - decrease, float(slope), at.beta)


def _pseudo_solve(H: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Return H⁺g for a positive semidefinite H."""
    if not g.size:
        return g
    values, Q = np.linalg.eigh(H)
    keep = values > FLAT * values[-1]
    return Q[:, keep] @ ((Q[:, keep].T @ g) / values[keep])


def optimum(held: Held) -> Point:
    """Return the Point at the optimum, where the steepness is that of the quadratic: √(d''/2).

    Raises
    ------
    ProfileError
        If the deviance is flat in the parameter, or not at its minimum.
    """
    at, i, free = held.expand(held.start), held.slot, held.free
    units = held.units[free]
    H, mixed = at.hessian[np.ix_(free, free)] * np.outer(units, units), at.hessian[i, free]
    tangent = np.zeros(held.start.size)
    tangent[i], tangent[free] = 1.0, -units * _pseudo_solve(H, units * mixed)
    curvature = at.hessian[i, i] + mixed @ tangent[free]
    g, steepest = at.gradient[free] * units, at.gradient[i] + at.gradient[free] @ tangent[free]
    if 0.5 * g @ _pseudo_solve(H, g) > BETTER or 0.5 * steepest**2 > BETTER * abs(curvature):
        raise ProfileError(NO_MINIMUM)
    if not curvature > COLLINEAR * at.hessian[i, i]:
        raise ProfileError("the deviance is flat in it")
    t = float(held.start[i])
    return Point(t, held.start, tangent, at.deviance, 0.0, at.beta, 0.0, float(np.sqrt(0.5 * curvature)))


def follow(held: Held, best: Point, sign: float, cutoff: float, before: Point | None = None) -> tuple[list[Point], str]:
    """Return the points on one side of the optimum, outwards, and why they end before |zeta| = cutoff ("" if not).

    Ending at a boundary of the parameter is no failure.

    Parameters
    ----------
    held : Held
    best : Point
        The optimum.
    sign : {-1, 1}
    cutoff : float
    before : Point, optional
        A point on the other side.
    """
    bound = held.high if sign > 0 else held.low
    path = [point for point in (before, best) if point is not None]
    begin, failure = len(path), ""
    try:
        while abs(path[-1].zeta) < cutoff and path[-1].t != bound:
            path += _next_points(held, path, best, sign, cutoff, bound)
            if len(path) > MAX_POINTS:
                raise ProfileError("its deviance does not reach the level")
    except ProfileError as error:
        failure = str(error)
    return path[begin:], failure


def _next_points(
    held: Held, path: Sequence[Point], best: Point, sign: float, cutoff: float, bound: float
) -> list[Point]:
    """Return the next point, or the two points that end a correlation's curve: equation (L7)."""
    last, point = path[-1], _next(held, path, best, sign, cutoff, bound)
    gone = next((i for i in held.signs if last.y[i] * point.y[i] <= 0.0), None)
    if gone is not None:
        share = max(last.y[gone] / (last.y[gone] - point.y[gone]), SMALLEST_SHARE)
        return _plateau(held, last, point, share, gone, 0.0, bound, best, sign)
    point = scored(point, best, sign)
    gone = min(held.caps, key=lambda slot: held.caps[slot], default=None)
    if gone is not None and abs(point.zeta) > held.caps[gone]:
        share, slope = _share(last, point, sign * held.caps[gone])
        return _plateau(held, last, point, share, gone, slope, bound, best, sign)
    if sign * (point.zeta - last.zeta) < 0.0 or (point.steepness <= 0.0 and point.t != bound):
        raise ProfileError("its profile is not monotone")
    return [point]


def _share(last: Point, point: Point, zeta: float) -> tuple[float, float]:
    """Return where between two points the curve is zeta, as a share of their distance, and its slope there."""
    low, high, width = 0.0, 1.0, point.t - last.t
    for _ in range(BISECTIONS):
        share = 0.5 * (low + high)
        value, slope = cubic(last.zeta, point.zeta, last.steepness, point.steepness, width, share)
        low, high = (share, high) if abs(value) < abs(zeta) else (low, share)
    return share, slope


def _next(held: Held, path: Sequence[Point], best: Point, sign: float, cutoff: float, bound: float) -> Point:
    """Return the next point of a path, the step halved where it fails or leads too far."""
    last, failure = path[-1], ProfileError("its deviance rises too fast")
    missing = cutoff * OVERSHOOT - abs(last.zeta)
    zeta = missing / max(1, round(STEPS * missing / cutoff))
    step = _step(path, sign * zeta)
    for _ in range(MAX_HALVINGS):
        t = last.t + step
        if sign * (t + NEAR_BOUND * step - bound) > 0.0:
            t = bound
        try:
            point = settle(held, _predict(held, path, t))
            if point.deviance < best.deviance + (abs(last.zeta) + LEAP * zeta) ** 2:
                return point
        except ProfileError as error:
            failure = error
        step = 0.5 * (t - last.t)
    raise failure


def _step(path: Sequence[Point], zeta: float) -> float:
    """Return the step in t that adds `zeta`, from the inverse curve's first two derivatives at its end."""
    last = path[-1]
    rate = 1.0 / last.steepness
    first = zeta * rate
    if len(path) == 1 or not path[-2].steepness > 0.0:
        return first
    bend = (rate - 1.0 / path[-2].steepness) / (last.zeta - path[-2].zeta)
    return first * np.clip(1.0 + 0.5 * zeta * bend / rate, 0.5, 2.0)


def _predict(held: Held, path: Sequence[Point], t: float) -> np.ndarray:
    """Return y at t, on the cubic through the last two points and their tangents if it stays near the tangent."""
    last = path[-1]
    y = last.y + (t - last.t) * last.tangent
    if len(path) > 1:
        curved = cubic_path(path[-2], last, t)
        if np.abs((curved - y) / held.units).max() < FAR:
            y = curved
    y[held.slot] = t
    return y


def cubic_path(a: Point, b: Point, t: float) -> np.ndarray:
    """Return y at t on the cubic that has the values and tangents of two points."""
    width = b.t - a.t
    return cubic(a.y, b.y, a.tangent, b.tangent, width, (t - a.t) / width)[0]


def scored(point: Point, best: Point, sign: float) -> Point:
    """Return the point with zeta and steepness."""
    excess = point.deviance - best.deviance
    if excess < -BETTER:
        raise ProfileError(NO_MINIMUM)
    zeta = sign * np.sqrt(max(excess, 0.0))
    return replace(point, zeta=float(zeta), steepness=float(point.slope / (2.0 * zeta)) if zeta else best.steepness)


def _plateau(
    held: Held,
    last: Point,
    point: Point,
    share: float,
    gone: int,
    slope: float,
    bound: float,
    best: Point,
    sign: float,
) -> list[Point]:
    """Return the end of a correlation's curve from a share of the way between two points, its slope there given.

    From there the deviance is least where the standard deviation y[gone] is zero, whatever the correlation is.
    """
    y = last.y + share * (point.y - last.y)
    y[gone] = 0.0
    start = scored(settle(held, y, np.setdiff1d(held.free, gone)), best, sign)
    level = max(abs(start.zeta), abs(last.zeta))
    if level - abs(start.zeta) > BETTER:
        raise ProfileError("its profile is not monotone")
    start = replace(start, zeta=sign * level, steepness=slope)
    y = start.y.copy()
    y[held.slot] = bound
    return [start, replace(start, t=bound, y=y, steepness=0.0)]
