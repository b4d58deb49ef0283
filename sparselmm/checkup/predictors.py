"""Checks of the predictors: units, origins, overlap."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from ..covariance import correlation
from .case import INTERCEPT, Case
from .findings import NOTE, OK, SKIPPED, Finding, listed, plural
from .rewrite import parts_of, sum_of, with_bar

RATIO, ALIKE = 1e3, 1.05  # of the largest to the smallest standard deviation of a column: to note, not worth a word
INFLATED = 10.0  # variance of a coefficient over that without the other terms
STEEP, MODERATE = 0.9, 0.7  # correlations of intercept and slope at the origin, and at the mean of the predictor
BESIDE = 1e-6  # share of a column that the fixed effects do not make up, beyond rounding
MOST_COLUMNS = 500  # up to which variance inflation is computed


def scales(case: Case) -> Iterator[Finding]:
    """Yield columns of the fixed effects of very different size."""
    sd = case.moments["sd"]
    if len(sd) < 2:
        return
    ratio, large, small = float(sd.max() / sd.min()), sd.idxmax(), sd.idxmin()
    if ratio < ALIKE:
        return
    if ratio < RATIO:
        yield Finding(OK, f"Standard deviations of the columns lie within a factor of {ratio:.2g}.", value=ratio)
        return
    sizes = f"`{large}` has standard deviation {sd[large]:.2g}, `{small}` {sd[small]:.2g}"
    text = f"{sizes}: coefficients of very different size."
    far = large if abs(np.log10(sd[large])) > abs(np.log10(sd[small])) else small
    unit = f"{10.0 ** np.round(np.log10(sd[far])):g}"
    yield Finding(NOTE, text, f"{large}, {small}", f"The fit stands; to read it, divide `{far}` by {unit}.", ratio)


def origins(case: Case) -> Iterator[Finding]:
    """Yield slopes whose correlation with the intercept is near one only as the predictor is far from zero."""
    for name, cov in case.fit.cov_re.items():
        one = next((column for column in cov.columns if column in INTERCEPT), None)
        if one is None or name in case.fit.singular_terms:
            continue
        for column in cov.columns.intersection(case.moments.index):
            mean = float(case.moments.loc[column, "mean"])
            shift = np.array([[1.0, mean], [0.0, 1.0]])
            G = cov.loc[[one, column], [one, column]].to_numpy()
            here, there = (float(correlation(part)[1][0, 1]) for part in (G, shift @ G @ shift.T))
            if abs(here) > STEEP and abs(there) < MODERATE:
                text = (
                    f"The correlation {here:.2f} of intercept and `{column}` over `{name}` is that at {column} = 0; at "
                    f"its mean, {mean:.4g}, it is {there:.2f}."
                )
                yield Finding(NOTE, text, column, f"Centre it: subtract {mean:.4g} from `{column}`.", here)


def collinearity(case: Case) -> Iterator[Finding]:
    """Yield terms of the fixed effects that others nearly make up."""
    p = len(case.model.exog_names)
    if p > MOST_COLUMNS:
        yield Finding(SKIPPED, f"Variance inflation of {p:,} columns was not computed: fit.vif() does it.")
        return
    vif = case.fit.vif()["gvif^(1/(2 df))"] ** 2
    if len(vif) < 2:
        return
    inflated = vif[vif > INFLATED].sort_values(ascending=False)
    if inflated.empty:
        yield Finding(OK, f"Variance inflation is at most {vif.max():.2g}.", value=float(vif.max()))
        return
    upto = "up to " if len(inflated) > 1 else ""
    text = (
        f"{listed(inflated.index)}: the other terms overlap so much that variances of coefficients are {upto}"
        f"{inflated.iloc[0]:.3g} times larger."
    )
    products = any(
        len(term.factors) > 1 or "**" in term.name for term in case.model.fixed_terms if term.name in inflated.index
    )
    cause = "Centre the predictors of interactions and powers first" if products else "Leave one of them out"
    yield Finding(NOTE, text, ", ".join(inflated.index), f"{cause}; see fit.vif().", float(inflated.iloc[0]))


def slopes_without_mean(case: Case) -> Iterator[Finding]:
    """Yield the predictors with a random slope that the fixed effects lack: their mean slope is taken to be zero."""
    cross = case.model.cross
    for k, (term, S) in enumerate(zip(case.model.terms, cross.diagonal, strict=True)):
        if sp.issparse(S):  # the user's block of Z, not columns times levels
            continue
        part = cross.ZX[cross.relative_factor.effect_slices[k]].reshape(len(S), term.n_columns, -1).sum(axis=0)
        explained = np.einsum("ip,pi->i", part, np.linalg.solve(cross.XX, part.T))
        left = 1.0 - explained / np.einsum("jii->i", S)
        parts = parts_of(case.model, k)
        for slope in (one for one in parts if one.order and left[list(one.columns)].max() > BESIDE):
            text = f"{slope.name} has slopes over `{term.name}` but no fixed effect: their mean is taken to be zero."
            formula = with_bar(case.model, k, sum_of(parts), fixed=slope.text)
            remedy = f"Unless that is meant: {formula}" if formula else "Unless that is meant, add it to exog."
            yield Finding(NOTE, text, term.name, remedy, float(left[list(slope.columns)].max()))


def dropped_columns(case: Case) -> Iterator[Finding]:
    """Yield the fixed-effects columns that depend on others."""
    dropped = case.model.dropped
    if dropped:
        text = f"{listed(dropped)} depend{'s' if len(dropped) == 1 else ''} linearly on the other fixed effects."
        remedy = (
            f"{plural(len(dropped), 'column')} were left out: leave the terms out that make them, or fill empty cells."
        )
        yield Finding(NOTE, text, ", ".join(dropped), remedy.replace("column were", "column was"), len(dropped))
