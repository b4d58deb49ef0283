"""Every model of tests/reference/lme4.json against R, at stated tolerances."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sparselmm
from sparselmm import DataWarning

FOLDER = Path(__file__).parent / "reference"
MODELS = {record["id"]: record for record in json.loads((FOLDER / "lme4.json").read_text())["models"]}


def load(record):
    """Return the data of a record, the rows of its rule left out."""
    name = record["dataset"]
    if name.startswith("synthetic:"):
        data = pd.read_csv(FOLDER / "data" / f"{name.removeprefix('synthetic:')}.csv.gz")
    else:
        data = sparselmm.datasets.load(name)
    rule = record["drop_rows"]
    if rule:
        data = data[np.arange(len(data)) % rule["modulus"] != rule["remainder"]]
    return data


@pytest.fixture(scope="module")
def fitted():
    """Return a function that fits the model of a record once."""
    fits = {}

    def fit(record):
        if record["id"] not in fits:
            fits.clear()  # the tests of one record run one after the other
            with warnings.catch_warnings():
                if record["fixef"]["dropped"]:
                    warnings.simplefilter("ignore", DataWarning)
                fits[record["id"]] = sparselmm.lmer(
                    record["formula"],
                    load(record),
                    reml=record["reml"],
                    weights=record["weights"],
                    offset=record["offset"],
                )
        return fits[record["id"]]

    return fit


def lme4_order(model, record):
    """Return the (term, columns) of our terms that are lme4's terms, in lme4's order.

    lme4 orders terms by levels and splits a double bar; terms of one factor keep their order.
    """
    ours = []
    for k, term in enumerate(model.terms):
        name = re.sub(r"\.\d+$", "", term.name)
        split = term.structure == "diagonal"
        columns = [[c] for c in range(term.n_columns)] if split else [list(range(term.n_columns))]
        ours += [(set(name.split(":")), k, c) for c in columns]
    order = []
    for term in record["terms"]:
        match = next(i for i, (factors, *_) in enumerate(ours) if factors == set(term["factors"]))
        order.append(ours.pop(match)[1:])
    return order


def rows_of_levels(term, ours):
    """Return the positions of the record's levels among ours; lme4 names nested factors in reverse."""
    if len(term["factors"]) == 1:
        return list(ours.levels.astype(str).get_indexer(term["levels"]))
    positions = {tuple(str(level).split(":")): i for i, level in enumerate(ours.levels)}
    order = [term["factors"].index(name) for name in re.sub(r"\.\d+$", "", ours.name).split(":")]
    return [positions[tuple(level.split(":")[i] for i in order)] for level in term["levels"]]


LME4, SECOND = "lme4 1.1.31", "nlme 3.1.162"

each = pytest.mark.parametrize("record", MODELS.values(), ids=MODELS)


@each
def test_fit_equals_lme4(record, fitted, agree):
    fit, model = fitted(record), record["id"]
    assert fit.converged
    assert fit.deviance <= record["deviance"] + 1e-6
    agree("deviance or REML criterion", model, LME4, fit.deviance, record["deviance"], atol=1e-5)
    assert fit.nobs == record["nobs"]
    criteria = [record[name] for name in ("loglik", "aic", "bic")]
    agree("log-likelihood, AIC, BIC", model, LME4, [fit.llf, fit.aic, fit.bic], criteria, atol=1e-5)

    fixef = record["fixef"]
    se = np.array(fixef["se"])
    assert len(fit.params) == len(se)
    agree("fixed effects, in SEs", model, LME4, fit.params / se, np.array(fixef["values"]) / se, atol=1e-4)
    agree("SEs of fixed effects", model, LME4, fit.bse, se, rtol=1e-4)
    if fixef["vcov"]:
        size = np.outer(se, se)
        np.testing.assert_allclose(fit.cov_params() / size, np.array(fixef["vcov"]) / size, atol=2e-4)
    agree("residual SD", model, LME4, fit.sigma, record["sigma"], rtol=1e-5)
    assert fit.singular == record["singular"]

    fitted_values, resid = fit.fittedvalues.to_numpy(), fit.resid.to_numpy()
    for name, values in (("fitted", fitted_values), ("resid", resid)):
        ours, theirs = values[:10] / record["sigma"], np.array(record[name]["head"]) / record["sigma"]
        agree("fitted values and residuals, in residual SDs", model, LME4, ours, theirs, atol=1e-4)
    assert np.sum(fitted_values**2) == pytest.approx(record["fitted"]["sumsq"], rel=1e-6)
    assert np.sum(resid**2) == pytest.approx(record["resid"]["sumsq"], rel=1e-5)


@each
def test_theta_and_random_effects_equal_lme4(record, fitted, agree):
    fit = fitted(record)
    factors = fit.model.cross.relative_factor.unpack(fit.theta)
    scales = [fit.model.cross.column_scale(k) for k in range(len(factors))]
    theirs = iter(record["theta"]["values"])
    for (k, columns), term in zip(lme4_order(fit.model, record), record["terms"], strict=True):
        our_term, c = fit.model.terms[k], len(columns)
        ours = factors[k][np.ix_(columns, columns)]
        expected = np.zeros((c, c))
        for column in range(c):
            for row in range(column, c):
                expected[row, column] = next(theirs)
        scale = scales[k][columns][:, None]
        agree("θ, columns of Z scaled to RMS 1", record["id"], LME4, ours * scale, expected * scale, atol=1e-4)
        assert our_term.n_levels == term["n_levels"]

        rows = rows_of_levels(term, our_term)
        names = [our_term.columns[i] for i in columns]
        size = np.maximum(np.sqrt(np.diag(np.array(term["cov"]))), 0.1 * record["sigma"] / scale.ravel())
        effects = fit.random_effects[our_term.name][names].to_numpy()[rows]
        sds = fit.random_effects_sd[our_term.name][names].to_numpy()[rows]
        modes, cond_sd = np.array(term["ranef"]) / size, np.array(term["cond_sd"]) / size
        agree("conditional modes, in their SD", record["id"], LME4, effects / size, modes, atol=1e-5)
        agree("conditional SDs, in the SD of the modes", record["id"], LME4, sds / size, cond_sd, atol=1e-5)


@each
def test_objective_at_fixed_theta_equals_lme4(record, agree):
    with warnings.catch_warnings():
        if record["fixef"]["dropped"]:
            warnings.simplefilter("ignore", DataWarning)
        model = sparselmm.LinearMixedModel.from_formula(
            record["formula"], load(record), weights=record["weights"], offset=record["offset"]
        )
    likelihood = model.likelihood(record["reml"])
    for probe in record["probes"]:
        theirs, factors = iter(probe["theta"]), [np.zeros((t.n_columns,) * 2) for t in model.terms]
        for k, columns in lme4_order(model, record):
            for at, column in enumerate(columns):
                for row in columns[at:]:
                    factors[k][row, column] = next(theirs)
        deviance = likelihood.evaluate(likelihood.map.pack(factors)).deviance
        agree("deviance at given θ", record["id"], LME4, deviance, probe["deviance"], atol=2e-6)


NLME = {name: record for name, record in MODELS.items() if record["nlme"]}


@pytest.mark.parametrize("record", NLME.values(), ids=NLME)
def test_fit_equals_nlme(record, fitted, agree):
    """The second opinion, to the tolerance of its optimiser."""
    fit, nlme = fitted(record), record["nlme"]
    model, se = record["id"], np.array(nlme["se"])
    agree("log-likelihood", model, SECOND, fit.llf, nlme["loglik"], atol=1e-4)
    agree("fixed effects, in SEs", model, SECOND, fit.params / se, np.array(nlme["fixef"]) / se, atol=1e-3)
    agree("residual SD", model, SECOND, fit.sigma, nlme["sigma"], rtol=1e-3)


def test_enough_models_of_every_kind():
    assert len(MODELS) >= 40
    assert sum(record["singular"] for record in MODELS.values()) >= 8
    assert {record["reml"] for record in MODELS.values()} == {True, False}
