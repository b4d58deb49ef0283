"""Checks of the random effects: covariances that are singular, and what the data cannot tell about them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..boundary import SINGULAR, column_scale
from ..covariance import correlation, cov_re
from ..diagnostics.pca import SHOWN
from .case import Case
from .findings import NOTE, OK, WARNING, Finding, listed, plural
from .rewrite import Part, parts_of, uncorrelated, with_bar, without_parts

LONGEST = 200  # characters of a combination that is written out
FEW = 5  # levels below which a variance is a guess


def singular_terms(case: Case) -> Iterator[Finding]:
    """Yield the directions in which random effects do not vary, in the words of the formula."""
    map_, names = case.fit.likelihood.map, set(case.fit.singular_terms)
    for k, factor in enumerate(map_.unpack(case.fit.theta)):
        if case.model.terms[k].name in names:
            yield from _singular(case, k, factor / column_scale(map_, case.fit.likelihood.theta_scale, k)[:, None])
    if not names:
        yield Finding(OK, "Every covariance is regular.")


def _singular(case: Case, k: int, scaled: np.ndarray) -> Iterator[Finding]:
    """Yield the columns of term k without variance and the combinations of the others that have none.

    `scaled` is λ_k, its columns of the design in units of their root mean squares.
    """
    parts, name = parts_of(case.model, k), case.model.terms[k].name
    sds = np.linalg.norm(scaled, axis=1)
    zero = sds < SINGULAR
    still = [part for part in parts if zero[list(part.columns)].all()]
    if still:
        what = "" if len(still) == len(parts) else f" of {' and '.join(part.name for part in still)}"
        text = f"No variance{what} between the levels of `{name}`."
        formula = without_parts(case.model, k, still)
        remedy = f"The same fit: {formula}" if formula else _in_words(case, k, still)
        yield Finding(NOTE, text, name, remedy, float(sds[zero].max()))
    left, values, _ = np.linalg.svd(scaled[~zero])
    null = left[:, : values.size][:, values < SINGULAR]
    if not null.size or case.model.cross.shapes[k].structure == "diagonal":
        return
    shares = np.zeros(len(scaled))
    shares[~zero] = np.abs(null * sds[~zero, None]).max(axis=1)
    involved = [part for part in parts if shares[list(part.columns)].max() > SHOWN * shares.max()]
    dropped = max(involved, key=lambda part: (part.order, -np.sum(sds[list(part.columns)] ** 2)))
    formula = without_parts(case.model, k, [dropped])
    remedy = f"Without {dropped.name}: {formula}" if formula else _in_words(case, k, [dropped])
    yield Finding(NOTE, _combination(case, k, involved, null.shape[1]), name, remedy, float(values.min()))


def _combination(case: Case, k: int, involved: list[Part], count: int) -> str:
    """Return the sentence on the columns of term k of which `count` combinations do not vary."""
    name, columns = case.model.terms[k].name, [i for part in involved for i in part.columns]
    if len(involved) == len(columns) == 2:
        G = cov_re(case.fit.likelihood.map.unpack(case.fit.theta)[k])
        first, second = sorted(involved, key=lambda part: part.order)
        other = f"that of {first.name}" if first.order else first.name
        corr = correlation(G)[1][columns[0], columns[1]]
        return f"The effect of {second.name} varies together with {other} over `{name}`: correlation {corr:.0f}."
    sentence: str = case.fit.re_pca().singular[name]
    if len(sentence) <= LONGEST:
        return sentence
    total, texts = len(case.model.terms[k].columns), listed(part.text.strip("`") for part in involved)
    what = "one combination" if count == 1 else f"{count} combinations"
    return f"Of the {total} effects over `{name}`, {what} of {texts} do not vary: fit.re_pca() writes them out."


def _in_words(case: Case, k: int, parts: list[Part]) -> str:
    """Return the remedy for a model of which there is no smaller formula."""
    if len(parts) == len(parts_of(case.model, k)):
        alone = len(case.model.terms) == 1
        return (
            "Keep it: estimates are those of least squares without random effects."
            if alone
            else "The same fit without the term."
        )
    return f"Leave {' and '.join(part.name for part in parts)} out of the term."


def flat_directions(case: Case) -> Iterator[Finding]:
    """Yield the terms along whose variances the likelihood is flat."""
    names, least = case.fit.optimizer.flat_terms, case.fit.optimizer.smallest_eigenvalue
    if case.model.aliased:
        return  # said with its reason elsewhere
    if len(names) > 1:
        text = f"The data do not tell the variances of {listed(names, most=len(names))} apart: the likelihood is flat."
    elif names:
        text = f"The data say nothing about a variance of `{names[0]}`: the likelihood is flat in it."
    else:
        yield Finding(OK, "The likelihood is curved in every variance.", value=least)
        return
    yield Finding(WARNING, text, ", ".join(names), "Remove a term, or a column of one.", least)


def few_levels(case: Case) -> Iterator[Finding]:
    """Yield the terms whose variances are estimated from few levels."""
    for k, (name, count) in enumerate(case.model.groups.items()):
        if count >= FEW or case.model.terms[k].matrix is not None:
            continue
        text = f"`{name}` has {plural(count, 'level')}: a variance estimated from so few is a guess."
        remedy = "Make it a fixed effect"
        factor = case.model.design is not None and parts_of(case.model, k)[0].text == "1" and ":" not in name
        if factor and len(case.model.terms) > 1 and len(parts_of(case.model, k)) == 1:
            remedy += f": {with_bar(case.model, k, None, fixed=f'factor({name})')}"
        else:
            remedy += ", and speak of these levels only."
        yield Finding(WARNING if count == 2 else NOTE, text, name, remedy, count)


def many_parameters(case: Case) -> Iterator[Finding]:
    """Yield the terms whose covariance has more parameters than there are levels."""
    for k, shape in enumerate(case.model.cross.shapes):
        count = shape.entries[0].size
        if shape.n_columns > 1 and shape.n_levels < count:
            text = f"The covariance of `{shape.name}` has {count} parameters for {plural(shape.n_levels, 'level')}."
            formula = uncorrelated(case.model, k) if shape.structure == "unstructured" else ""
            remedy = f"Without correlations: {formula}" if formula else "Leave columns of the term out."
            yield Finding(NOTE, text, shape.name, remedy, count)
