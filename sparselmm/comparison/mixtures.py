"""Mixtures of chi-squared distributions: the null distribution of a likelihood ratio where variances are zero."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

CLOSED = 3  # variances up to which the probability of an orthant has a closed form
DRAWS, SEED = 200_000, 20_240_229
ZERO = 1e-8  # likelihood ratio that is zero but for the rounding of two deviances


def mixture_tail(statistic: float, weights: Sequence[float] | np.ndarray, free: int = 0) -> float:
    """Return P(Σ_j weights_j χ²_{free+j} >= statistic); χ²_0 is the point zero."""
    from scipy.special import chdtrc  # a tenth of a second at import

    tails = [float(chdtrc(free + j, statistic)) if free + j else 0.0 for j in range(len(weights))]
    return 1.0 if statistic <= ZERO else float(np.dot(weights, tails))


def cone_weights(covariance: np.ndarray) -> np.ndarray:
    """Return the probabilities (r+1,) that the projection of z ~ N(0, covariance) on z >= 0 has j positive elements.

    The projection is in the metric of the inverse covariance. Weights sum over the faces of the orthant:
    w_j = Σ_|A|=j P(z_A > 0 | z_rest = 0) P(dual of the rest) (Shapiro 1985).

    Parameters
    ----------
    covariance : ndarray (r, r)
    """
    r = len(covariance)
    precision = np.linalg.inv(covariance)
    weights = np.zeros(r + 1)
    for size in range(r + 1):
        for face in combinations(range(r), size):
            rest = [i for i in range(r) if i not in face]
            inside = np.linalg.inv(precision[np.ix_(face, face)])
            outside = np.linalg.inv(covariance[np.ix_(rest, rest)])
            weights[size] += orthant_probability(inside) * orthant_probability(outside)
    return weights / weights.sum()


def orthant_probability(covariance: np.ndarray) -> float:
    """Return P(z > 0) for z ~ N(0, covariance): closed form up to three elements, else simulated with a fixed seed."""
    r = len(covariance)
    if r <= CLOSED:
        sd = np.sqrt(np.diag(covariance))
        correlations = (covariance / np.outer(sd, sd))[np.tril_indices(r, -1)]
        return 0.5**r + float(np.arcsin(np.clip(correlations, -1.0, 1.0)).sum()) / (2.0 ** (r - 1) * np.pi)
    draws = np.random.default_rng(SEED).standard_normal((DRAWS, r)) @ np.linalg.cholesky(covariance).T
    return float((draws > 0).all(axis=1).mean())
