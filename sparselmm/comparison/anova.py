"""F tests of the terms of the fixed effects: Types I, II and III, and the deletion of single terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..submodels import with_columns
from ..variants import part
from .hypotheses import TYPES, contrasts, deletions
from .likelihood_ratio import chi_squared, row, table_of
from .table import TestTable

if TYPE_CHECKING:
    from ..inference.ddf import Inference
    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults

ROMAN = {1: "I", 2: "II", 3: "III"}
TESTS = ("F", "LRT")


def anova(fit: LinearMixedModelResults, type: int | str = 3, ddf: str = "satterthwaite") -> TestTable:
    """Return the table of F tests; see `LinearMixedModelResults.anova`."""
    hypotheses = contrasts(fit.model, type)
    inference = fit.inference(ddf)
    kind = ROMAN[TYPES[type.upper() if isinstance(type, str) else type]]
    title = f"Type {kind} analysis of variance, {_degrees(inference.ddf)}"
    return TestTable(title, _f_tests(fit, inference, hypotheses), (*inference.notes, *_left_out(fit, hypotheses)))


def drop1(fit: LinearMixedModelResults, ddf: str = "satterthwaite", test: str = "F") -> TestTable:
    """Return the tests of single deletions; see `LinearMixedModelResults.drop1`."""
    if test not in TESTS:
        raise ValueError(f"test={test!r} is not one of {', '.join(map(repr, TESTS))}.")
    hypotheses = deletions(fit.model)
    if test == "F":
        inference = fit.inference(ddf)
        title = f"Deletion of single terms, {_degrees(inference.ddf)}"
        return TestTable(title, _f_tests(fit, inference, hypotheses), inference.notes)
    full = fit.model.fit(reml=False, start=fit.theta, engine=fit._engine) if fit.reml else fit
    rows = {"<none>": row(full)}
    for name, L in hypotheses.items():
        reduced = constrained(fit.model, L).fit(reml=False, start=full.theta, engine=fit._engine)
        rows[name] = row(reduced, chi_squared(reduced, full, len(L)))
    notes = ["The model was refitted by maximum likelihood."] if fit.reml else []
    return TestTable("Deletion of single terms, likelihood ratio tests", table_of(rows)[0], tuple(notes))


def _f_tests(fit: LinearMixedModelResults, inference: Inference, hypotheses: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return a row for every hypothesis: sums of squares, degrees of freedom, F and its p-value."""
    tests = [inference.test(L) for L in hypotheses.values()]
    frame = pd.DataFrame(tests, columns=["statistic", "df_num", "df_denom", "p.value"])
    frame.index = pd.Index(list(hypotheses), name="term")
    mean = frame["statistic"] * fit.scale
    columns = {"sum_sq": mean * frame["df_num"], "mean_sq": mean}
    return frame.assign(**columns)[["sum_sq", "mean_sq", "df_num", "df_denom", "statistic", "p.value"]]


def constrained(model: LinearMixedModel, L: np.ndarray) -> LinearMixedModel:
    """Return the model without the columns of X that Lβ = 0 takes away."""
    _, _, Vt = np.linalg.svd(L @ model.cross.basis)
    if not model.keeps_rows:
        return part(model, with_columns(model.cross, Vt[len(L) :].T), model.terms, model.exog_names[len(L) :])
    X = model.exog @ model.cross.basis @ Vt[len(L) :].T
    return type(model)(
        model.endog, X, model.terms, weights=model.weights, offset=model.offset, endog_name=model.endog_name
    )


def _degrees(ddf: str) -> str:
    """Return how the title speaks of the degrees of freedom."""
    names = {"satterthwaite": "Satterthwaite's", "kenward-roger": "Kenward and Roger's", "residual": "residual"}
    return f"{names[ddf]} degrees of freedom" if ddf in names else "chi-squared over its degrees of freedom"


def _left_out(fit: LinearMixedModelResults, hypotheses: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Return a note on terms that other terms make up."""
    names = [t.name for t in fit.model.fixed_terms if t.factors and t.name not in hypotheses]
    return (f"Not estimable apart from the other terms: {', '.join(names)}.",) if names else ()
