"""Checks of what identifies the variances: terms that say the same, columns that do not vary, curvature."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..covariance import correlation
from ..engines.exact import ExactPlan
from ..engines.memory import Limit
from ..inference.variance import at_boundary, covariances, information, inverse_information
from ..labels import variance_labels
from .case import INTERCEPT, Case
from .findings import NOTE, OK, SKIPPED, WARNING, Finding, sentences
from .rewrite import Part, parts_of, without_parts

if TYPE_CHECKING:
    from ..results import LinearMixedModelResults

CONSTANT = 1e-9  # one minus the squared cosine of a column and the intercept below which it is constant in a level
RARE = 0.05  # share of the levels in which a column varies that is small
TOGETHER = 0.95  # correlation of the estimates of two variances that hardly can be told apart
PATIENCE = 10.0  # seconds that the curvature may take


def aliased_variances(case: Case) -> Iterator[Finding]:
    """Yield the variances that no response could tell apart in this design."""
    for alias in case.model.aliased:
        text, remedy = sentences(alias.message.removesuffix(" Everything but these estimates stands."))
        involved = _involved(case, alias.entries)
        if involved:
            parts = {k: parts_of(case.model, k) for k, _ in involved}
            whole = [k for k in parts if len(parts) > 1 and all((k, part) in involved for part in parts[k])]
            k, dropped = max(involved, key=lambda one: (one[0] in whole, one[1].order, one[0]))
            name = f"`{case.model.terms[k].name}`"
            what = f"the term {name}" if k in whole else f"{dropped.name} of {name}"
            formula = without_parts(case.model, k, parts[k] if k in whole else [dropped])
            remedy = f"Without {what}: {formula}" if formula else remedy
        yield Finding(WARNING, text, ", ".join(alias.terms), remedy, len(alias.entries))


def _involved(case: Case, entries: Iterable[tuple[int, int, int]]) -> list[tuple[int, Part]]:
    """Return the summands of terms whose variances are among some entries of the covariances, with their terms."""
    columns = {(k, i) for k, i, j in entries if i == j and k >= 0}
    return [
        (k, part)
        for k in sorted({k for k, _ in columns})
        for part in parts_of(case.model, k)
        if all((k, i) in columns for i in part.columns)
    ]


def rare_slopes(case: Case) -> Iterator[Finding]:
    """Yield the slopes of predictors that vary within few levels only, or within none and yet are identified."""
    aliased = {(k, i) for alias in case.model.aliased for k, i, _ in alias.entries}
    for k, term in enumerate(case.model.terms):
        one = next((i for i, name in enumerate(term.columns) if name in INTERCEPT), None)
        if one is None or term.n_columns == 1:
            continue
        S = case.model.cross.diagonal[k]
        for part in (part for part in parts_of(case.model, k) if part.order):
            i = list(part.columns)
            whole = S[:, one, one, None] * np.einsum("jii->ji", S)[:, i]
            varies = (whole - S[:, i, one] ** 2 > CONSTANT * whole).any(axis=1)
            if varies.sum() > RARE * len(varies) or any((k, column) in aliased for column in i):
                continue
            text = f"{part.name} varies within {varies.sum()} of {len(varies):,} levels of `{term.name}` only."
            if not varies.any():
                text = (
                    f"{part.name} is constant within every level of `{term.name}`: its slope is no effect that differs "
                    f"between levels, it lets the variance of the levels depend on {part.name}."
                )
            formula = without_parts(case.model, k, [part])
            remedy = f"Leave it out of the term: {formula}" if formula else "Leave it out of the term."
            yield Finding(NOTE, text, term.name, remedy, float(varies.mean()))


def curvature(case: Case) -> Iterator[Finding]:
    """Yield the variances that the curvature of the deviance hardly determines, or hardly tells apart."""
    record = case.fit.optimizer
    if record.flat_terms or case.model.aliased:
        return  # said elsewhere
    seconds = _predicted_seconds(case)
    if not case.exact or seconds > PATIENCE or not record.converged:
        why = "too long for this size" if case.exact else "the engine has no exact one"
        why = why if record.converged else "not at an optimum"
        yield Finding(SKIPPED, f"The curvature of the deviance was not computed ({why}).", value=seconds)
        return
    labels, errors, correlations = _precision(case.fit)
    names, groups = [_name(*label) for label in labels], np.array([group for group, _ in labels])
    together = np.argwhere((np.abs(np.triu(correlations, 1)) > TOGETHER) & (groups[:, None] != groups))
    for i, j in together:
        pair = f"{_capital(names[i])} and {names[j]}"
        text = f"{pair} are hardly told apart: their estimates have correlation {correlations[i, j]:.2f}."
        remedy = "Remove one of them, or look how far each could go: fit.profile().conf_int()."
        yield Finding(NOTE, text, f"{groups[i]}, {groups[j]}", remedy, float(correlations[i, j]))
    vague = [i for i in np.flatnonzero(errors > 1.0) if i not in together]
    for i in vague:
        text = f"{_capital(names[i])} is hardly determined: its sd has a standard error {errors[i]:.1f} times as large."
        yield Finding(NOTE, text, groups[i], "See how large it may be: fit.profile().conf_int().", float(errors[i]))
    if not vague and not len(together) and len(errors) > 1:
        worst = float(np.max(errors[:-1]))
        yield Finding(OK, f"Standard errors of standard deviations reach {100 * worst:.0f} % of them.", value=worst)


def _predicted_seconds(case: Case) -> float:
    """Return what the curvature takes, as the sizes of the design say: the same report every time."""
    plan, evaluations = ExactPlan(case.model.cross, Limit()), 2 * case.fit.theta.size + 2
    if plan.trivial:
        return 0.0
    least = evaluations * plan.floor.evaluation
    return least if least > PATIENCE else evaluations * plan.cost.evaluation


def _precision(fit: LinearMixedModelResults) -> tuple[list[tuple[str, str]], np.ndarray, np.ndarray]:
    """Return the variances that are not at zero (k), and what the observed information says of their estimates.

    Group and column of each, the residual's last; relative standard errors of their roots (k,); correlations (k, k).
    NaN where the information is not positive definite.
    """
    likelihood, at = fit.likelihood, fit.evaluation
    held = at_boundary(likelihood.map, fit.theta, likelihood.theta_scale)
    free = np.append(~held, True)
    inverse = inverse_information(information(likelihood, at, held)[np.ix_(free, free)])
    values, jacobian = covariances(likelihood.map, at.theta, at.scale)
    labels = [(group, term) for group, term, _ in variance_labels(fit.model, ("var", "cov"))]
    chosen = np.flatnonzero(free & [term.startswith("var__") for _, term in labels])
    jacobian = jacobian[np.ix_(chosen, free)]
    covariance = jacobian @ inverse @ jacobian.T
    errors = 0.5 * np.sqrt(np.diag(covariance)) / values[chosen]
    return [labels[i] for i in chosen], errors, correlation(covariance)[1]


def _name(group: str, term: str) -> str:
    """Return what sentences call a variance."""
    if group == "Residual":
        return "the residual variance"
    column = term.removeprefix("var__")
    return f"the variance of {'the intercept' if column in INTERCEPT else f'`{column}`'} over `{group}`"


def _capital(text: str) -> str:
    """Return the text with a capital first letter."""
    return text[:1].upper() + text[1:]
