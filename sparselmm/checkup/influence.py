"""Checks of influence: levels that move the fixed effects, and random effects far from the others."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import pandas as pd

from ..diagnostics.influence import Influence
from .case import INTERCEPT, Case
from .findings import NOTE, OK, SKIPPED, WARNING, Finding, listed

MOST_ROWS, MOST_LEVELS = 20_000, 5_000  # up to which levels are deleted one by one: some seconds
FAR = 1.0  # Cook's distance: the fixed effects move as far as the edge of a joint interval of some 50 %
NOTICEABLE = 0.5  # change of a fixed effect, in its standard errors, that matters to who reads it
WITHIN = 0.1  # share of a predictor's variance within levels from which its effect can vary between them
UNLIKELY = 0.005  # probability that the largest of as many levels is as large by chance


def influential_levels(case: Case) -> Iterator[Finding]:
    """Yield the levels of the grouping factors without which the fixed effects would be others."""
    if not case.model.exog_names:
        return
    large = case.model.nobs > MOST_ROWS
    skipped = [name for name, (_, levels) in case.grouping.items() if large or len(levels) > MOST_LEVELS]
    for name, (codes, levels) in case.grouping.items():
        if name not in skipped:
            yield _of_levels(case, name, case.fit.influence(pd.Categorical.from_codes(codes, levels)))
    if skipped:
        text = f"What each level of {listed(skipped)} does would take long: fit.influence({skipped[0]!r}) computes it."
        yield Finding(SKIPPED, text, ", ".join(skipped))


def _of_levels(case: Case, name: str, influence: Influence) -> Finding:
    """Return what the influence of the levels of one factor amounts to."""
    from scipy.special import chdtri  # 50 ms that importing the package need not take

    distance = influence.cooks_distance.dropna().sort_values(ascending=False)
    if distance.empty:
        return Finding(SKIPPED, f"No level of `{name}` can be left out: the fixed effects need them all.", name)
    changes = influence.dfbetas.loc[distance.index]
    largest = changes.abs().max(axis=1)
    l, p = len(distance), changes.shape[1]
    chance = chdtri(p, UNLIKELY / l) / (l * p)  # l p D is about chi-squared, as β is a mean over levels
    found = distance.index[(largest > NOTICEABLE) & (distance > chance)]
    if found.empty:
        text = f"No level of `{name}` moves a fixed effect by more than {largest.max():.2g} standard errors."
        return Finding(OK, text, name, value=float(distance.iloc[0]))
    top = found[0]
    column = changes.loc[top].abs().idxmax()
    what = "the intercept" if column in INTERCEPT else f"the effect of `{column}`"
    change = f"{largest[top]:.2g} standard errors (Cook's distance {distance[top]:.2g})"
    text = f"Without {listed(found[:1])} of `{name}` {what} changes by {change}"
    text += f"; {listed(found[1:])} matter{'s' if len(found) == 2 else ''} as well." if len(found) > 1 else "."
    slope = f", or let `{column}` vary over `{name}`" if _varies_unmodelled(case, name, column) else ""
    remedy = f"Look at these rows, fit without them{slope}. All levels: fit.influence({name!r})."
    return Finding(WARNING if distance[top] > FAR else NOTE, text, name, remedy, float(distance[top]))


def _varies_unmodelled(case: Case, name: str, column: str) -> bool:
    """Return whether a fixed-effects column varies within levels of a factor and has no random effects over it."""
    terms = [term for k, term in enumerate(case.model.terms) if term.codes is not None and case.factor_name(k) == name]
    if any(column in term.columns for term in terms):
        return False
    codes, x = case.grouping[name][0], case.model.exog[:, case.model.exog_names.index(column)]
    means = np.bincount(codes, x) / np.bincount(codes)
    return bool(np.sum((x - means[codes]) ** 2) > WITHIN * np.sum((x - x.mean()) ** 2))


def outlying_effects(case: Case) -> Iterator[Finding]:
    """Yield the levels whose random effects lie far from those of the others."""
    if not case.exact:
        yield Finding(SKIPPED, "Random effects were not standardised: that takes an exact engine.")
        return
    furthest = 0.0
    for term in case.model.terms:
        for column in term.columns:
            effects = case.fit.plot.data("qq", term.name, column)["value"]
            if effects.empty:
                continue
            limit = max(3.5, NormalDist().inv_cdf(1.0 - 0.5 * UNLIKELY / len(effects)))
            found = effects[effects.abs() > limit].sort_values(key=np.abs, ascending=False)
            furthest = max(furthest, float(effects.abs().max()))
            if found.empty:
                continue
            what = "the intercept" if column in INTERCEPT else f"`{column}`"
            text = (
                f"{listed(found.index)} of `{term.name}`: {what} is {abs(found.iloc[0]):.1f} standard deviations out."
            )
            remedy = (
                f"Look at {'its' if len(found) == 1 else 'their'} rows: a heavy tail shrinks the others too little."
            )
            yield Finding(NOTE, text, term.name, remedy, float(found.iloc[0]))
    if furthest:
        yield Finding(OK, f"Random effects reach {furthest:.1f} standard deviations.", value=furthest)
