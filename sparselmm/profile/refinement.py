"""Points between those of a curve, where zeta bends more than a cubic does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .curve import Point, ProfileError, cubic_path, scored, settle
from .interpolation import cubic

if TYPE_CHECKING:
    from .held import Held

BENT, ROUNDS = 1e-3, 4  # difference in zeta that calls for points between, and how often


def refine(held: Held, points: list[Point], best: Point) -> list[Point]:
    """Return the points, with others half-way on either side of each that the cubic through its neighbours misses.

    The cubic over two intervals errs sixteen times as much as those over one, and four times where the curvature
    jumps, as where another variance becomes zero.
    """
    fresh = set(map(id, points))
    for _ in range(ROUNDS):
        triples = ((i, points[i - 1 : i + 2]) for i in range(1, len(points) - 1))
        bent = [i for i, triple in triples if fresh & set(map(id, triple)) and _misfit(*triple) > BENT]
        intervals = {j for i in bent for j in (i - 1, i)}
        added = {j: _between(held, points[j], points[j + 1], best) for j in intervals}
        fresh = set(map(id, added.values()))
        pairs = ((point, added.get(j)) for j, point in enumerate(points))
        points = [point for pair in pairs for point in pair if point is not None]
    return points


def _misfit(before: Point, point: Point, after: Point) -> float:
    """Return how far the cubic through the neighbours of a point misses its zeta."""
    width = after.t - before.t
    share = (point.t - before.t) / width
    zeta, _ = cubic(before.zeta, after.zeta, before.steepness, after.steepness, width, share)
    return abs(zeta - point.zeta)


def _between(held: Held, left: Point, right: Point, best: Point) -> Point | None:
    """Return the point half-way between two, None where the curve is flat or it cannot be found."""
    if left.zeta == right.zeta:
        return None
    t = 0.5 * (left.t + right.t)
    y = cubic_path(left, right, t)
    y[held.slot] = t
    try:
        point = scored(settle(held, y), best, np.sign(t - best.t))
    except ProfileError:
        return None
    monotone = left.zeta <= point.zeta <= right.zeta and point.steepness >= 0.0
    return point if monotone and held.admits(point.y) else None
