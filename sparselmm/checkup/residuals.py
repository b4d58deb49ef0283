"""Checks of the residuals, each by the size of what it finds; tests only keep chance from being reported."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

from ..diagnostics.residuals import has_leverages
from .case import Case
from .findings import NOTE, OK, WARNING, Finding, listed, plural

SKEWED, VERY_SKEWED, HEAVY = 1.0, 2.0, 2.0  # skewness of a note and of a warning, excess kurtosis of a note
UNEQUAL, VERY_UNEQUAL = 1.5, 3.0  # ratio of the sizes of residuals at both ends of the fitted values
VARYING, VERY_VARYING = 0.25, 0.6  # coefficient of variation of the sizes of residuals between levels
ALIKE, VERY_ALIKE = 0.2, 0.5  # correlation of neighbouring residuals, beyond that of the fit
CLEAR = 3.3  # standard errors by which it must differ from none (p = 0.001)
FEWEST = 20  # rows from which the shape of a distribution can be told
UNLIKELY = 0.005  # probability that a row is called an outlier if all are normal
MOST_PAIRS = 100  # neighbouring rows whose correlation under the model is computed
PER_LEVEL = 4  # rows of a level, on average, from which levels are compared


def two_values(case: Case) -> Iterator[Finding]:
    """Yield whether the response takes two values only, as successes and failures do."""
    name, y = case.model.endog_name, case.model.endog
    low, high = y.min(), y.max()
    if np.any((y != low) & (y != high)):
        return
    text = f"`{name}` takes two values, {low:g} and {high:g}: fitted values lie between them and beyond."
    remedy = "Effects are differences of probabilities here; odds need a logistic mixed model (glmer of lme4)."
    yield Finding(NOTE, text, name, remedy, 2)


def normality(case: Case) -> Iterator[Finding]:
    """Yield skewness and excess kurtosis of the residuals, and their correlation with normal quantiles."""
    from scipy.special import ndtri  # 50 ms that importing the package need not take

    e = case.residuals - case.residuals.mean()
    n = e.size
    if n < FEWEST:
        return
    skew, excess = _skewness(e), float(np.mean(e**4) / np.mean(e**2) ** 2 - 3.0)
    straight = float(np.corrcoef(np.sort(e), ndtri((np.arange(1, n + 1) - 0.375) / (n + 0.25)))[0, 1])
    is_skewed = abs(skew) > max(SKEWED, CLEAR * np.sqrt(6.0 / n))
    is_heavy = excess > max(HEAVY, CLEAR * np.sqrt(24.0 / n))
    numbers = f"skewness {skew:.2f}, excess kurtosis {excess:.2f}, correlation with normal quantiles {straight:.3f}"
    if not is_skewed and not is_heavy:
        yield Finding(OK, f"Residuals are near normal ({numbers}).", value=straight)
        return
    what = f"skewed to the {'right' if skew > 0 else 'left'}" if is_skewed else "heavier in the tails than normal ones"
    text, remedy = f"Residuals are {what}: {numbers}.", _remedy(case, e, is_skewed)
    yield Finding(WARNING if abs(skew) > VERY_SKEWED else NOTE, text, case.model.endog_name, remedy, straight)


def _skewness(e: np.ndarray) -> float:
    return float(np.mean(e**3) / np.mean(e**2) ** 1.5)


def _remedy(case: Case, e: np.ndarray, is_skewed: bool) -> str:
    """Return what to do about residuals e that are not normal."""
    name, rest = case.model.endog_name, e[np.abs(case.residuals) <= _limit(e.size)]
    if is_skewed and rest.size < e.size and abs(_skewness(rest - rest.mean())) <= 0.5 * SKEWED:
        return "It is a few rows that skew them: see the outliers."
    if is_skewed and _skewness(e) > 0 and case.model.endog.min() > 0 and "(" not in name:
        return f"Try the logarithm, log({name}); intervals without normality: fit.bootstrap('residual')."
    return (
        "Tests of fixed effects bear this; intervals of variances less: fit.bootstrap('residual'). See fit.plot.qq()."
    )


def spread_along_fitted(case: Case) -> Iterator[Finding]:
    """Yield whether residuals grow or shrink with the fitted values: their size in the outer thirds."""
    fitted, size = case.fit.fittedvalues.to_numpy(), np.abs(case.residuals)
    if fitted.size < FEWEST or np.ptp(fitted) == 0:
        return
    low, high = np.quantile(fitted, [1.0 / 3.0, 2.0 / 3.0])
    bottom, top = size[fitted <= low].mean(), size[fitted >= high].mean()
    ratio = float(top / bottom) if bottom > 0 else 1.0
    trend = np.corrcoef(_ranks(fitted), _ranks(size))[0, 1] * np.sqrt(fitted.size - 1.0)
    extent = max(ratio, 1.0 / ratio) if ratio > 0 else 1.0
    if extent < UNEQUAL or abs(trend) < CLEAR:
        yield Finding(OK, f"Their size at high fitted values is {ratio:.2f} times that at low ones.", value=ratio)
        return
    where = "highest" if ratio > 1 else "lowest"
    text = f"Residuals of the {where} third of fitted values are {extent:.1f} times as large as at the other end."
    logs = f"log({case.model.endog_name}), " if ratio > 1 and case.model.endog.min() > 0 else ""
    remedy = f"Try {logs}weights= or fit.robust(). See fit.plot.scale_location()."
    yield Finding(WARNING if extent > VERY_UNEQUAL else NOTE, text, "fitted values", remedy, ratio)


def spread_between_levels(case: Case) -> Iterator[Finding]:
    """Yield the factors between whose levels residuals differ in size: Brown and Forsythe's analysis of variance."""
    from scipy.special import fdtrc, ndtr

    for name, (codes, levels) in {**case.grouping, **case.fixed_factors}.items():
        counts, size = np.bincount(codes, minlength=len(levels)), np.abs(case.residuals)
        n, l = size.size, len(levels)
        if not 2 <= l <= n / PER_LEVEL:
            continue
        means = np.bincount(codes, size, minlength=l) / counts
        between = np.sum(counts * (means - size.mean()) ** 2) / (l - 1)
        within = np.sum((size - means[codes]) ** 2) / (n - l)
        if not within > 0:
            continue
        usual = (n - np.sum(counts**2) / n) / (l - 1)
        variation = float(np.sqrt(max(between - within, 0.0) / usual) / size.mean())
        chance = fdtrc(l - 1, n - l, between / within)
        if variation < VARYING or chance > 2.0 * ndtr(-CLEAR):
            extent = f"by {100 * variation:.0f} %" if variation >= 0.005 else "no more than by chance"
            yield Finding(OK, f"Between levels of `{name}` it varies {extent}.", name, value=variation)
            continue
        typical = counts >= PER_LEVEL
        ranked = np.flatnonzero(typical)[np.argsort(means[typical])]
        largest, smallest = levels[ranked[-1]], levels[ranked[0]]
        text = (
            f"Residuals differ in size between levels of `{name}`, by {100 * variation:.0f} %: largest in `{largest}`, "
            f"smallest in `{smallest}`."
        )
        remedy = f"Standard errors that bear it: fit.robust(groups={name!r}). See fit.plot.residuals_by_group()."
        if name in case.fixed_factors:
            remedy = "Give weights=, or compare with fit.bootstrap('wild')."
        yield Finding(WARNING if variation > VERY_VARYING else NOTE, text, name, remedy, variation)


def outliers(case: Case) -> Iterator[Finding]:
    """Yield the rows whose residuals would be too large for normal ones."""
    size = np.abs(case.residuals)
    found = np.argsort(-size)[: int((size > _limit(size.size)).sum())]
    if not found.size:
        yield Finding(OK, f"The largest residual is {size.max():.1f} standard deviations.", value=float(size.max()))
        return
    index = np.arange(size.size) if case.model.index is None else case.model.index
    verb = "is" if found.size == 1 else "are up to"
    rows = f"Row{'s' if found.size > 1 else ''} {listed(index[found])}"
    text = f"{rows} {verb} {size[found[0]]:.1f} standard deviations off."
    share = "" if found.size < 0.001 * size.size or found.size < 3 else f" ({plural(found.size, 'row')})"
    them = "it" if found.size == 1 else "them"
    remedy = f"Check {them}{share} for errors; compare the fit without {them}. See fit.augment(influence=True)."
    yield Finding(NOTE, text, ", ".join(map(str, index[found[:3]])), remedy, float(size[found[0]]))


def _limit(n: int) -> float:
    """Return the size above which one of n residuals is an outlier."""
    return max(4.0, NormalDist().inv_cdf(1.0 - 0.5 * UNLIKELY / n))


def neighbours(case: Case) -> Iterator[Finding]:
    """Yield the factors within whose levels residuals of rows that follow each other are alike."""
    for name, (codes, _) in case.grouping.items():
        order = np.argsort(codes, kind="stable")
        same = np.diff(codes[order]) == 0
        first, second = order[:-1][same], order[1:][same]
        if first.size < FEWEST or first.size < 0.5 * codes.size:
            continue
        e = case.residuals
        r, by_fit = float(np.mean(e[first] * e[second]) / np.mean(e**2)), _expected(case, first, second)
        excess = r - by_fit
        if abs(excess) < ALIKE or abs(excess) * np.sqrt(first.size) < CLEAR:
            text = f"Neighbours within `{name}` have correlation {r:.2f}; the fit alone makes it {by_fit:.2f}."
            yield Finding(OK, text, name, value=r)
            continue
        text = (
            f"Rows that follow each other within `{name}` have residuals with correlation {r:.2f}; the fit alone makes"
        )
        remedy = f"If rows are in order of time, let it vary over `{name}`, or take fit.robust(groups={name!r})."
        verdict = WARNING if abs(excess) > VERY_ALIKE else NOTE
        yield Finding(verdict, f"{text} it {by_fit:.2f}.", name, remedy, r)


def _expected(case: Case, first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean correlation of residuals of pairs of rows if errors are independent; zero if that takes long.

    Conditional residuals have covariance σ²(I - H), H the conditional hat matrix (its quadratic form of z_i + z_j gives
    h_ij); of very many pairs, some are taken.
    """
    if not has_leverages(case.fit):
        return 0.0
    some = np.unique(np.linspace(0, first.size - 1, min(first.size, MOST_PAIRS)).astype(int))
    i, j = first[some], second[some]
    Z, X, h = case.model.Z, case.model.exog, case.fit.leverage().to_numpy()
    w = np.ones(case.model.nobs) if case.model.weights is None else case.model.weights
    K = case.conditional
    mixed = 0.5 * (K.prediction_variances(X[i] + X[j], Z[i] + Z[j]) - h[i] / w[i] - h[j] / w[j]) * np.sqrt(w[i] * w[j])
    left = (1.0 - h[i]) * (1.0 - h[j])
    return float(-np.mean(mixed[left > 0] / np.sqrt(left[left > 0])))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values (n,), ties by their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - 0.5 * (counts - 1))[inverse]
