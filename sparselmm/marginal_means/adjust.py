"""Multiplicity: adjusted p-values of t tests, and critical values of simultaneous intervals.

Methods of one step are upper tails P(M > t) of some M that bounds max |t| over the family: the p-values are the
tails, the critical values their inverses. The others work on the p-values of a family together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln, lambertw, ndtr, ndtri

from ..inference.distributions import f_tail, t_quantile, two_sided

DIRECTIONS = 32_768  # quasi-random points on the sphere, multivariate t
DEPENDENT = 1e-10  # eigenvalue of a correlation that is zero


@dataclass(frozen=True, eq=False)
class Family:
    """Tests that are adjusted together.

    Attributes
    ----------
    n : int
        Number of tests.
    n_means : float
        Number of means of which they are all pairwise comparisons, 0 if they are not.
    covariance : ndarray (n, n)
        Of the estimates that exist.
    """

    n: int
    n_means: float
    covariance: np.ndarray

    @cached_property
    def root(self) -> np.ndarray:
        """B of full column rank with BB' the correlation of the estimates."""
        sd = np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        scaled = self.covariance[np.ix_(sd > 0, sd > 0)] / np.outer(sd[sd > 0], sd[sd > 0])
        values, Q = np.linalg.eigh(scaled)
        kept = values > DEPENDENT * max(len(values), 1)
        return Q[:, kept] * np.sqrt(values[kept])

    @property
    def rank(self) -> int:
        """Number of linearly independent estimates."""
        return self.root.shape[1]

    @cached_property
    def reach(self) -> np.ndarray:
        """max_i |b_i'v| for directions v spread evenly over the sphere, b_i the rows of `root`."""
        if self.rank <= 1:
            return np.ones(1)
        i = np.arange(1, DIRECTIONS + 1)[:, None]
        fractions = (i * np.sqrt(_primes(self.rank))) % 1.0  # Richtmyer's sequence
        v = ndtri(np.clip(fractions, 1e-15, 1.0 - 1e-15))
        return np.abs(v / np.linalg.norm(v, axis=1)[:, None] @ self.root.T).max(axis=1)


def none(t: np.ndarray, df: np.ndarray, family: Family) -> np.ndarray:
    """Return the tails of |t| itself."""
    return two_sided(t, df)


def bonferroni(t: np.ndarray, df: np.ndarray, family: Family) -> np.ndarray:
    """Return Bonferroni's bound, n times the tail."""
    return np.minimum(family.n * two_sided(t, df), 1.0)


def sidak(t: np.ndarray, df: np.ndarray, family: Family) -> np.ndarray:
    """Return the tail of the largest of n independent |t| (Šidák 1967)."""
    with np.errstate(divide="ignore"):
        return -np.expm1(family.n * np.log1p(-two_sided(t, df)))


def scheffe(t: np.ndarray, df: np.ndarray, family: Family) -> np.ndarray:
    """Return the tail of the largest |t| of all combinations (Scheffé 1953)."""
    return f_tail(np.square(t) / max(family.rank, 1), family.rank, df)


def tukey(t: np.ndarray, df: np.ndarray, family: Family) -> np.ndarray:
    """Return the tail of the studentized range of the means (Tukey 1953, Kramer 1956)."""
    return studentized_range_tail(np.sqrt(2.0) * np.abs(t), family.n_means, df)


def dunnettx(t: np.ndarray, df: np.ndarray, family: Family) -> np.ndarray:
    """Return an approximation to Dunnett's tail, a mixture of Tukey's for n pairs and Šidák's (Lenth's emmeans)."""
    n = family.n
    means, share = 0.5 * (1.0 + np.sqrt(1.0 + 8.0 * n)), (n - 1.0) / n
    return share * studentized_range_tail(np.sqrt(2.0) * np.abs(t), means, df) + (1.0 - share) * sidak(t, df, family)


def mvt(t: np.ndarray, df: np.ndarray, family: Family) -> np.ndarray:
    """Return the tail of max |t_i| of the multivariate t distribution, the mean over directions of the radial tail.

    In a direction v the largest |t_i| is R max|b_i'v|, and R²/rank has an F distribution (Genz & Bretz 2009, 4.1.2).
    """
    squares = np.square(t) / max(family.rank, 1)
    return np.array(
        [f_tail(square / family.reach**2, family.rank, nu).mean() for square, nu in zip(squares, df, strict=True)]
    )


def holm(p: np.ndarray, n: int) -> np.ndarray:
    """Return the p-values of Holm (1979), in ascending order."""
    return np.minimum(np.maximum.accumulate((n - np.arange(p.size)) * p), 1.0)


def hochberg(p: np.ndarray, n: int) -> np.ndarray:
    """Return the p-values of Hochberg (1988), in ascending order."""
    return np.minimum(_step_up((n - np.arange(p.size)) * p), 1.0)


def fdr(p: np.ndarray, n: int) -> np.ndarray:
    """Return the p-values of Benjamini & Hochberg (1995), in ascending order."""
    return np.minimum(_step_up(n / np.arange(1, p.size + 1) * p), 1.0)


def by(p: np.ndarray, n: int) -> np.ndarray:
    """Return the p-values of Benjamini & Yekutieli (2001), in ascending order."""
    return np.minimum(_step_up(n / np.arange(1, p.size + 1) * p * np.sum(1.0 / np.arange(1, n + 1))), 1.0)


def hommel(p: np.ndarray, n: int) -> np.ndarray:
    """Return the p-values of Hommel (1988) by Wright's algorithm (1992), in ascending order."""
    p = np.append(p, np.ones(n - p.size))
    adjusted = np.full(n, np.min(n * p / np.arange(1, n + 1)))
    for m in range(n - 1, 1, -1):
        first, last = np.arange(n - m + 1), np.arange(n - m + 1, n)
        smallest = np.min(m * p[last] / np.arange(2, m + 1))
        adjusted[first] = np.maximum(adjusted[first], np.minimum(m * p[first], smallest))
        adjusted[last] = np.maximum(adjusted[last], adjusted[n - m])
    return np.minimum(np.maximum(adjusted, p), 1.0)


ONE_STEP = {f.__name__: f for f in (none, bonferroni, sidak, scheffe, tukey, dunnettx, mvt)}
STEPWISE = {f.__name__: f for f in (holm, hochberg, hommel, fdr, by)}
ALIASES = {"bh": "fdr", "bonf": "bonferroni"}


def method_name(adjust: str) -> str:
    """Return the method of that name in any case, or raise a ValueError that lists them."""
    name = str(adjust).lower()
    name = ALIASES.get(name, name)
    if name not in ONE_STEP | STEPWISE:
        raise ValueError(f"adjust={adjust!r} is not one of {', '.join([*ONE_STEP, *STEPWISE])}.")
    return name


def p_values(adjust: str, t: np.ndarray, df: np.ndarray, family: Family) -> np.ndarray:
    """Return the adjusted p-values of the t statistics of a family; NaN where t is."""
    p, there = np.full(t.shape, np.nan), np.isfinite(t)
    if not there.any():
        return p
    if family.n == 1:
        adjust = "none"
    if adjust in ONE_STEP:
        p[there] = np.clip(ONE_STEP[adjust](t[there], df[there], family), 0.0, 1.0)
        return p
    raw = two_sided(t[there], df[there])
    order = np.argsort(raw, kind="stable")
    sorted_p = STEPWISE[adjust](raw[order], family.n)[: raw.size]
    p[np.flatnonzero(there)[order]] = sorted_p
    return p


def critical_values(adjust: str, level: float, df: np.ndarray, family: Family) -> np.ndarray:
    """Return the critical values of |t| for simultaneous intervals; stepwise methods have Bonferroni's."""
    adjust = "none" if family.n == 1 else adjust if adjust in ONE_STEP else "bonferroni"
    critical = np.full(df.shape, np.nan)
    for nu in np.unique(df[~np.isnan(df)]):
        low = float(t_quantile(0.5 + 0.5 * level, nu))
        critical[df == nu] = low if adjust == "none" else _inverse(ONE_STEP[adjust], 1.0 - level, nu, family, low)
    return critical


def _inverse(
    tail: Callable[[np.ndarray, np.ndarray, Family], np.ndarray],
    probability: float,
    df: float,
    family: Family,
    low: float,
) -> float:
    """Return t with tail(t) = probability by the secant method with bracket (Illinois), in normal quantiles.

    `low` is a t whose tail is not smaller. (scipy.optimize is not used: its import loads a second BLAS.)
    """

    def excess(t: float) -> float:
        value = float(tail(np.array([t]), np.array([df]), family)[0])
        return float(ndtri(np.clip(value, 1e-300, 1.0 - 1e-16)) - ndtri(probability))

    at_low, high = excess(low), 2.0 * low
    while (at_high := excess(high)) > 0:
        low, at_low, high = high, at_high, 2.0 * high
    side = 0
    while high - low > 1e-12 * high and at_low > at_high:
        t = high - at_high * (high - low) / (at_high - at_low)
        at_t = excess(t)
        if abs(at_t) < 1e-12:
            return t
        if at_t > 0:  # the same end moves again: the other end's value is halved
            low, at_low, at_high, side = t, at_t, at_high * (0.5 if side > 0 else 1.0), 1
        else:
            high, at_high, at_low, side = t, at_t, at_low * (0.5 if side < 0 else 1.0), -1
    return 0.5 * (low + high)


def studentized_range_tail(q: np.ndarray, k: float, df: np.ndarray) -> np.ndarray:
    """Return P(Q > q) for the range of k normal means over an independent s, (m,).

    Both integrals of the distribution by the trapezoidal rule, whose error is of the order of rounding for analytic
    integrands that vanish at the ends (Trefethen & Weideman 2014). k need not be an integer.

    Parameters
    ----------
    q : ndarray (m,)
    k : float
        At least 2.
    df : ndarray (m,)
        May be infinite.
    """
    q, df = np.broadcast_arrays(np.asarray(q, dtype=float), np.asarray(df, dtype=float))
    z = np.linspace(-8.5, 8.5, 171)
    density, lower = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi) * (z[1] - z[0]), ndtr(z)
    tails = np.empty(q.shape)
    for i, (range_, nu) in enumerate(zip(q, df, strict=True)):
        s, weight = _scale_nodes(nu)
        between = np.maximum(lower - ndtr(z - range_ * s[:, None]), 0.0)
        covered = k * between ** (k - 1.0) @ density
        tails[i] = np.clip(1.0 - weight @ covered, 0.0, 1.0)
    return tails


def _scale_nodes(df: float) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes s and weights of the distribution of √(χ²/df): log s equally spaced where its density counts."""
    if np.isinf(df):
        return np.ones(1), np.ones(1)
    drop = -np.exp(-1.0 - 74.0 / df)  # the log density of log s is 37 below its peak at the two ends
    low, high = (0.5 * np.log(-lambertw(drop, branch).real) for branch in (0, -1))
    x = np.linspace(low, high, 256)
    log_density = df * (x - 0.5 * np.exp(2.0 * x)) + 0.5 * df * np.log(0.5 * df) + np.log(2.0) - gammaln(0.5 * df)
    return np.exp(x), np.exp(log_density) * (x[1] - x[0])


def _step_up(values: np.ndarray) -> np.ndarray:
    """Return the cumulative minimum from the last to the first."""
    return np.minimum.accumulate(values[::-1])[::-1]


def _primes(count: int) -> np.ndarray:
    """Return the first primes."""
    primes: list[int] = []
    candidate = 2
    while len(primes) < count:
        if all(candidate % prime for prime in primes):
            primes.append(candidate)
        candidate += 1
    return np.array(primes, dtype=float)
