"""Generators of random numbers from seeds."""

from __future__ import annotations

import numpy as np


def generator(rng: int | np.random.Generator | None, purpose: str) -> np.random.Generator:
    """Return a Generator; a seed gives each purpose a stream of its own.

    Data are often made with ``np.random.default_rng(1)``: from that stream, responses simulated with ``rng=1`` would
    have a predictor of these data as residuals.
    """
    if isinstance(rng, (int, np.integer)):
        return np.random.default_rng([int(rng), *purpose.encode()])
    return np.random.default_rng(rng)
