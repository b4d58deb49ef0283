"""Checks of the amount of data: what levels, rows and predictors there are to learn from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from .case import Case
from .findings import NOTE, OK, WARNING, Finding, listed, plural

MANY, MOST = 0.5, 0.9  # share of levels without repetition: note and warning
ROWS_PER_COLUMN = 5  # rows for each fixed effect below which estimates are worth little
FEW_ROWS, SMALL = 3, 0.01  # rows of a category, and share of all, that look like an error in the data
MISSING = 0.1  # share of rows left out that one should think about


def thin_levels(case: Case) -> Iterator[Finding]:
    """Yield the terms most of whose levels have no more rows than they have random effects."""
    for k, (name, l) in enumerate(case.model.groups.items()):
        counts, c = case.level_counts(k), case.model.terms[k].n_columns
        if counts is None:
            continue
        share = float(np.mean(counts <= c))
        if share <= MANY:
            text = f"`{name}`: {plural(l, 'level')} of {counts.min():,} to {counts.max():,} rows."
            yield Finding(
                OK,
                text.replace(f"{counts.min():,} to {counts.min():,} rows", plural(counts.min(), "row")),
                name,
                value=share,
            )
            continue
        few = "a single row" if c == 1 else f"no more than {c} rows for {c} random effects"
        text = f"{100 * share:.0f} % of the {l:,} levels of `{name}` have {few}: they hardly tell it from the residual."
        profiled = "Trust its variance only as far as profile intervals go: fit.profile()."
        remedy = "Ask whether it needs the slopes: fit.ranova()." if c > 1 else profiled
        yield Finding(WARNING if share > MOST else NOTE, text, name, remedy, share)


def rare_categories(case: Case) -> Iterator[Finding]:
    """Yield the categories of fixed effects with very few rows: errors in the data, more often than not."""
    n = case.model.nobs
    for factor, (fixed, categories) in case.fixed_factors.items():
        counts = np.bincount(fixed, minlength=len(categories))
        rare = _are_rare(counts)
        if not rare.any():
            continue
        some, others = [categories[i] for i in np.flatnonzero(rare)], [categories[i] for i in np.flatnonzero(~rare)]
        one = len(some) == 1
        text = f"{listed(some)} of `{factor}` {'has' if one else 'have'} {counts[rare].sum():,} of {plural(n, 'row')}"
        reference = _reference(case, factor, categories)
        if reference in some:
            text += f", and every coefficient of `{factor}` is a difference from {'it' if one else f'`{reference}`'}"
        meant = list(dict.fromkeys(match for name in some for match in _close(name, others)))
        guess = f"{'A misspelling' if one else 'Misspellings'} of {listed(meant)}? " if meant else ""
        otherwise = "" if meant else f", if {'it is an error' if one else 'they are errors'}, or join categories"
        remedy = f"{guess}Correct {'it' if one else 'them'}{otherwise}: data[{factor!r}].value_counts()."
        yield Finding(WARNING, f"{text}.", factor, remedy, float(counts[rare].min()))


def _are_rare(counts: np.ndarray) -> np.ndarray:
    """Return which categories have very few rows, (m,) bool; none if most of them do, as then that is the design."""
    rare = (counts <= FEW_ROWS) & (counts < SMALL * counts.sum())
    return rare & (2 * rare.sum() <= len(counts))


def _reference(case: Case, factor: str, categories: Sequence[object]) -> object:
    """Return the category of a factor from which all its coefficients are differences, None without one."""
    coded = re.compile(rf"(C\()?`?{re.escape(factor)}`?(?(1)(, .*)?\))\[T\.(?P<category>.*)\]")
    found = {match["category"] for match in map(coded.fullmatch, case.model.exog_names) if match}
    left = [category for category in categories if str(category) not in found]
    return left[0] if found and len(left) == 1 else None


def _close(name: object, others: Sequence[object]) -> list[str]:
    """Return the label that a label looks like a misspelling of, if any; a number is not one of another."""
    shape = re.sub(r"\d+", "0", str(name))
    texts = [str(other) for other in others if re.sub(r"\d+", "0", str(other)) != shape]
    return difflib.get_close_matches(str(name), texts, n=1)


def confined_levels(case: Case) -> Iterator[Finding]:
    """Yield the categories of fixed effects all of whose rows, more than one, are in one level of a grouping factor."""
    for factor, (fixed, categories) in case.fixed_factors.items():
        counts = np.bincount(fixed, minlength=len(categories))
        several = (counts > 1) & ~_are_rare(counts)
        for name, (codes, levels) in case.grouping.items():
            if name == factor or len(levels) < 2 or len(categories) < 2:
                continue
            pairs = np.unique(fixed.astype(np.int64) * len(levels) + codes) // len(levels)
            alone = np.bincount(pairs, minlength=len(categories)) == 1
            alone &= several
            if not alone.any():
                continue
            some = [categories[i] for i in np.flatnonzero(alone)]
            text = f"{listed(some)} of `{factor}` occur{'s' if len(some) == 1 else ''} in one level of `{name}` each"
            text = f"{text.removesuffix(' each') if len(some) == 1 else text} only: the two effects are one."
            remedy = f"Their differences rest on the variance of `{name}`: have more of its levels, or join categories."
            yield Finding(WARNING if alone[several].all() else NOTE, text, factor, remedy, len(some))


def rows_per_fixed_effect(case: Case) -> Iterator[Finding]:
    """Yield whether there are few rows for each fixed effect."""
    p = len(case.model.exog_names)
    ratio = case.model.nobs / max(p, 1)
    if ratio < ROWS_PER_COLUMN:
        text = f"There are {plural(case.model.nobs, 'row')} for {plural(p, 'fixed effect')}."
        yield Finding(NOTE, text, remedy="Leave terms out, those of highest order first.", value=ratio)


def missing_rows(case: Case) -> Iterator[Finding]:
    """Yield how many rows were left out for missing values."""
    design = case.model.design
    if design is None:
        return
    share = design.n_missing / (case.model.nobs + design.n_missing)
    if share > MISSING:
        columns = ", ".join(f"`{name}` {number:,}" for name, number in design.missing.items())
        text = f"{100 * share:.0f} % of the rows were left out for missing values: {columns}."
        remedy = "Complete rows stand for all only if values are missing at random; impute, or say so."
        yield Finding(NOTE, text, ", ".join(design.missing), remedy, share)
