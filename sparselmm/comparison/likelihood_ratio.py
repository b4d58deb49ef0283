"""Likelihood ratio tests between models of the same data: `compare`, and the rows of every such table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import DataError
from ..threads import single_threaded
from .boundary import boundary_tail
from .linear import comparable_deviance
from .mixtures import mixture_tail
from .nesting import nesting, spans
from .table import TestTable

if TYPE_CHECKING:
    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults
    from .linear import LinearFit

NOT_NESTED = "No test: {small} is no special case of {large}. Information criteria compare them."
SAME = "No test: {small} and {large} are the same model in different parameters."
BOUND = "p.boundary of {large} is an upper bound: a covariance matrix grows by several columns."
AT_BOUNDARY = (
    "p.boundary: variances that are zero in the smaller model cannot be negative in the larger one, so that the "
    "likelihood ratio is a mixture of chi-squared distributions (Stram and Lee 1994){}."
)
CODED = "The columns of X differ between the models, which moves AIC, BIC and logLik of REML by a constant, not chisq."
SINGULAR = "p.boundary of {large} is approximate: the fit of {small} is singular itself."


@single_threaded
def compare(*fits: LinearMixedModelResults, names: Sequence[str] | None = None, refit: bool = True) -> TestTable:
    """Compare models of the same data by information criteria and likelihood ratio tests.

    Parameters
    ----------
    *fits : LinearMixedModelResults
        Two or more. They are put in the order of their number of parameters, and each is tested against the one before.
    names : sequence of str, optional
        Default: m1, m2, ... in the order given.
    refit : bool
        Refit by maximum likelihood where fits by REML have different fixed effects, or not all fits are by REML:
        REML criteria are comparable only with fixed effects of the same span. If False, that is an error.

    Returns
    -------
    TestTable
        Columns nobs, n_parameters, AIC, BIC, logLik, deviance, chisq, df and p.value (chi-squared). Where the smaller
        model holds variances at zero also p.boundary, from a mixture of chi-squared distributions: such variances
        cannot be negative, and p.value is too large. Tests are NaN between models of which neither is a special
        case of the other.

    Raises
    ------
    DataError
        If response, rows, weights or offset differ.
    ValueError
        If there is a single fit, or a REML criterion that does not compare and ``refit=False``.

    References
    ----------
    Stram & Lee (1994), Variance components testing in the longitudinal mixed effects model, Biometrics 50.
    Self & Liang (1987), Asymptotic properties of maximum likelihood estimators and likelihood ratio tests under
    nonstandard conditions, J. Am. Stat. Assoc. 82.

    Examples
    --------
    >>> import sparselmm
    >>> data = sparselmm.datasets.load("sleepstudy")
    >>> small = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", data)
    >>> large = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
    >>> table = sparselmm.compare(small, large)
    >>> round(float(table["chisq"].iloc[1]), 2)
    42.84
    """
    if len(fits) == 1 and isinstance(fits[0], (list, tuple)):
        fits = tuple(fits[0])
    if len(fits) < 2:
        raise ValueError("compare needs two fits or more: compare(small, large). For one fit see its anova and ranova.")
    for fit in fits:
        if not hasattr(fit, "evaluation"):
            raise ValueError(f"compare takes fits of lmer or LinearMixedModel, not {type(fit).__name__}.")
    names = [f"m{i + 1}" for i in range(len(fits))] if names is None else [str(name) for name in names]
    if len(names) != len(fits):
        raise ValueError(f"{len(names)} names for {len(fits)} fits.")
    for name, fit in zip(names[1:], fits[1:], strict=True):
        _check_same_data(fits[0].model, fit.model, names[0], name)
    notes = [f"{name}: {fit.model.formula}" for name, fit in zip(names, fits, strict=True) if fit.model.formula]
    reml = all(fit.reml for fit in fits) and all(_same_span(fits[0].model, fit.model) for fit in fits[1:])
    by_reml = [name for name, fit in zip(names, fits, strict=True) if fit.reml]
    if by_reml and not reml:
        if not refit:
            raise ValueError(
                f"{', '.join(by_reml)} are fits by REML, whose criteria compare only with others by REML and the same "
                "fixed effects. Leave out refit=False, or fit with reml=False."
            )
        fits = tuple(
            fit.model.fit(reml=False, start=fit.theta, engine=fit._engine) if fit.reml else fit for fit in fits
        )
        notes.append(f"Refitted by maximum likelihood: {', '.join(by_reml)}.")
    if reml and np.ptp([fit.model.cross.basis_logdet for fit in fits]) > 1e-8:
        notes.append(CODED)
    errors = [fit.optimizer.monte_carlo for fit in fits]
    if any(error is not None and error.deviance > 0.0 for error in errors):
        texts = ", ".join(f"{0.0 if error is None else error.deviance:.2g}" for error in errors)
        notes.append(
            f"Deviances by engine='pcg' are estimates, with standard deviations {texts}: so is their difference."
        )
    order = sorted(range(len(fits)), key=lambda i: fits[i].n_parameters)
    rows = {names[order[0]]: row(fits[order[0]])}
    for before, i in pairwise(order):
        test, further = likelihood_ratio_test(fits[before], fits[i], names[before], names[i])
        rows[names[i]] = row(fits[i], test)
        notes += further
    frame, boundary = table_of(rows)
    title = f"Comparison of models fitted by {'REML' if reml else 'maximum likelihood'}"
    return TestTable(title, frame, (*notes, *boundary))


def row(fit: LinearMixedModelResults | LinearFit, test: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the row of one fit and its test."""
    criteria: dict[str, Any] = {"nobs": fit.nobs, "n_parameters": fit.n_parameters, "AIC": fit.aic, "BIC": fit.bic}
    criteria |= {"logLik": fit.llf, "deviance": fit.deviance}
    return criteria | {"chisq": np.nan, "df": np.nan, "p.value": np.nan, "p.boundary": np.nan} | (test or {})


def likelihood_ratio_test(
    small: LinearFit | LinearMixedModelResults, large: LinearMixedModelResults, small_name: str, large_name: str
) -> tuple[dict[str, Any], list[str]]:
    """Return chisq, df, p.value and p.boundary of two fits, both by REML or both by ML, and notes on them."""
    nested = nesting(small, large) if spans(large.model, small.model) else None
    fixed = len(large.model.exog_names) - len(small.model.exog_names)
    if nested is None:
        return {}, [NOT_NESTED.format(small=small_name, large=large_name)]
    df = nested.df + fixed
    if df == 0:
        return {}, [SAME.format(small=small_name, large=large_name)]
    test, notes = chi_squared(small, large, df), []
    if nested.n_variances:
        test["p.boundary"] = boundary_tail(test["chisq"], df, nested, large)
        if nested.is_bounded(large.model.cross.shapes):
            notes.append(BOUND.format(large=large_name))
        if small.singular:
            notes.append(SINGULAR.format(small=small_name, large=large_name))
    return test, notes


def chi_squared(small: LinearFit | LinearMixedModelResults, large: LinearMixedModelResults, df: int) -> dict[str, Any]:
    """Return the likelihood ratio of two nested fits, not below zero, with its chi-squared p-value."""
    statistic = max(0.0, comparable_deviance(small) - comparable_deviance(large))
    return {"chisq": statistic, "df": df, "p.value": mixture_tail(statistic, [1.0], df)}


def table_of(rows: Mapping[str, dict[str, Any]]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the rows as a table, and the note on p.boundary; without that column if no variance is at its boundary."""
    frame = pd.DataFrame(rows).T.astype({"nobs": int, "n_parameters": int})
    if frame["p.boundary"].isna().all():
        return frame.drop(columns="p.boundary"), ()
    frame = frame.fillna({"p.boundary": frame["p.value"]})
    larger = frame["p.value"] > frame["p.boundary"]
    return frame, (AT_BOUNDARY.format("; p.value is too large" if larger.any() else ""),)


def _same_span(one: LinearMixedModel, other: LinearMixedModel) -> bool:
    """Return whether the fixed effects of two models span the same space."""
    return len(one.exog_names) == len(other.exog_names) and spans(one, other)


def _check_same_data(one: LinearMixedModel, other: LinearMixedModel, name: str, other_name: str) -> None:
    """Raise a DataError that names what differs in the data of two models."""
    pair = f"{name} and {other_name}"
    if one.nobs != other.nobs:
        raise DataError(
            f"{pair} have {one.nobs} and {other.nobs} rows: rows with missing values may have been left out of one. "
            "Fit both to the same rows, data.dropna(subset=[...]) with the columns of both."
        )
    if not (one.keeps_rows and other.keeps_rows):
        return _check_same_marginals(one, other, pair)
    if not np.array_equal(one.endog, other.endog):
        raise DataError(f"{pair} have different responses, or rows in another order. Fit both to the same data.")
    for what in ("weights", "offset"):
        left, right = getattr(one, what), getattr(other, what)
        neutral = np.full(one.nobs, 1.0 if what == "weights" else 0.0)
        if not np.array_equal(neutral if left is None else left, neutral if right is None else right):
            raise DataError(f"{pair} have different {what}. Fit both with the same.")


def _check_same_marginals(one: LinearMixedModel, other: LinearMixedModel, pair: str) -> None:
    """Raise a DataError if mean or range of response, weights or offset differ: all that is known without the rows."""
    for what in ("response", "weights", "offset"):
        left, right = (model.marginals.get(what) for model in (one, other))
        same = left is right if left is None or right is None else np.allclose(left, right, rtol=1e-9)
        if not same:
            raise DataError(f"{pair} have different {what}. Fit both to the same data.")
