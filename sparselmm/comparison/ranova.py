"""Tests of the random effects: every term, or column of a term, left out in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..submodels import with_effects
from ..terms import RandomTerm
from ..variants import part, variant
from .likelihood_ratio import likelihood_ratio_test, row, table_of
from .linear import LinearFit
from .table import TestTable

if TYPE_CHECKING:
    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults


def ranova(fit: LinearMixedModelResults, reduce_terms: bool = True) -> TestTable:
    """Return the table of single deletions; see `LinearMixedModelResults.ranova`."""
    rows, notes = {"<none>": row(fit)}, []
    for k in range(len(fit.model.terms)):
        for name, term in _reductions(fit.model, k) if reduce_terms else [(term_label(fit.model, k), None)]:
            reduced = replaced(fit, k, term)
            test, further = likelihood_ratio_test(reduced, fit, f"the model without {name}", "the model")
            rows[name] = row(reduced, test)
            notes += [note for note in further if note not in notes]
    frame, boundary = table_of(rows)
    title = f"Deletion of random effects, models fitted by {'REML' if fit.reml else 'maximum likelihood'}"
    return TestTable(title, frame, (*notes, *boundary))


def replaced(fit: LinearMixedModelResults, k: int, term: RandomTerm | None) -> LinearFit | LinearMixedModelResults:
    """Return the fit with another term in the place of term k, or without it if `term` is None."""
    terms = [*fit.model.terms[:k], *([] if term is None else [term]), *fit.model.terms[k + 1 :]]
    if not terms:
        return LinearFit(fit.model, fit.reml)
    if fit.model.keeps_rows:
        reduced = variant(fit.model, terms=terms)
    else:
        columns = {one.name: one.columns for one in terms}
        kept = {
            i: [j for j, name in enumerate(one.columns) if name in columns[one.name]]
            for i, one in enumerate(fit.model.terms)
            if one.name in columns
        }
        reduced = part(fit.model, with_effects(fit.model.cross, kept), terms, fit.model.exog_names)
    return reduced.fit(reml=fit.reml, engine=fit._engine)


def without_columns(term: RandomTerm, left_out: Sequence[int]) -> RandomTerm | None:
    """Return the term without some of its columns, None if it has no others.

    An intercept stays that the columns together span, as those of ``0 + factor`` do.
    """
    kept = [i for i in range(term.n_columns) if i not in set(left_out)]
    if hasattr(term, "without_rows"):
        return term.without_rows(kept)
    values, columns = term.values[:, kept], [term.columns[i] for i in kept]
    if term.structure != "diagonal" and _spans_ones(term.values) and not _spans_ones(values):
        values, columns = np.column_stack([np.ones(term.nobs), values]), ["Intercept", *columns]
    if not columns:
        return None
    return RandomTerm(term.codes, values, term.name, tuple(columns), term.structure)


def _spans_ones(values: np.ndarray) -> bool:
    """Return whether a combination of the columns is one in every row."""
    ones = np.ones(len(values))
    return bool(np.abs(values @ np.linalg.lstsq(values, ones, rcond=None)[0] - ones).max() < 1e-8)


def term_label(model: LinearMixedModel, k: int) -> str:
    """Return a term as it stands in a formula, such as ``(1 + x | g)``."""
    term = model.terms[k]
    bar = "||" if term.structure == "diagonal" and term.n_columns > 1 else "|"
    columns = " + ".join(term.columns) if model.design is None else model.design.spec.random[k][0].text
    return f"({'1' if columns == 'Intercept' else columns} {bar} {term.name})"


def _reductions(model: LinearMixedModel, k: int) -> list[tuple[str, RandomTerm | None]]:
    """Return (label, term that stays or None) for everything that can be left out of term k alone."""
    term, label = model.terms[k], term_label(model, k)
    if term.n_columns == 1:
        return [(label, None)]
    if term.structure == "diagonal":
        return [(f"{name} in {label}", without_columns(term, [i])) for i, name in enumerate(term.columns)]
    parts = _parts(model, k)
    factors = [set(factors) for _, factors, _ in parts]
    last = [part for part, mine in zip(parts, factors, strict=True) if mine and not any(mine < f for f in factors)]
    return [(f"{name} in {label}", without_columns(term, columns)) for name, _, columns in last]


def _parts(model: LinearMixedModel, k: int) -> list[tuple[str, tuple[str, ...], Sequence[int]]]:
    """Return (name, factors, columns) of the parts of the formula of term k; an intercept has no factors."""
    spec = None if model.design is None else model.design.spec.random[k][0].spec
    if spec is None:
        return [(name, () if name == "Intercept" else (name,), [i]) for i, name in enumerate(model.terms[k].columns)]
    parts: list[tuple[str, tuple[str, ...], Sequence[int]]] = []
    start = 0
    for term, _, names in spec.structure:
        factors = tuple(factor.expr for factor in term.factors if factor.expr != "1")
        parts.append((":".join(factors), factors, range(start, start + len(names))))
        start += len(names)
    return parts
