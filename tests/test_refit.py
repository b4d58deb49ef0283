"""Simulation, and refits of one response."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles import dense_Lambda, dense_Z, random_design
from test_reference import load

import sparselmm
from sparselmm import DataError, LinearMixedModel
from sparselmm.resampling.simulate import simulate

REFERENCE = json.loads((Path(__file__).parent / "reference" / "resampling.json").read_text())
LME4 = "lme4 1.1.31"


@pytest.fixture(scope="module")
def sleepstudy():
    return sparselmm.datasets.load("sleepstudy")


@pytest.fixture(scope="module")
def fit(sleepstudy):
    return sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sleepstudy)


def fit_of(record):
    """Return the fit that a record of resampling.json started from."""
    data = load({"dataset": record["dataset"], "drop_rows": None})
    arguments = {name: record.get(name) for name in ("weights", "offset")}
    return sparselmm.lmer(record["formula"], data, reml=record["reml"], **arguments)


def in_our_order(fit, record):
    """Return lme4's θ of every response in the order of the terms here, (k, m)."""
    owners = [name.split(".")[0] for name in record["theta_names"]]
    names = [":".join(reversed(owner.split(":"))) if owner not in fit.model.groups else owner for owner in owners]
    order = [i for name in fit.model.groups for i, owner in enumerate(names) if owner == name]
    return np.array([estimates["theta"] for estimates in record["estimates"].values()])[:, order]


@pytest.mark.parametrize("record", REFERENCE["refits"], ids=lambda record: record["id"])
def test_refits_equal_lme4(record, agree):
    first, model = fit_of(record), record["id"]
    Y, theirs = np.array(list(record["responses"].values())), list(record["estimates"].values())
    many = first.refit_many(Y.T)
    se = np.array([estimates["se"] for estimates in theirs])
    params = np.array([estimates["fixef"] for estimates in theirs])
    scale = first.likelihood.theta_scale
    for kind, fits in (("refit", [first.refit(y) for y in Y]), ("refit_many", many)):
        names = ("params", "bse", "scale", "deviance", "theta")
        if kind == "refit":
            values = ([np.asarray(getattr(one, name)) for one in fits] for name in names)
        else:
            values = (getattr(fits, name).to_numpy() for name in names)
        ours, bse, variance, deviance, theta = map(np.array, values)
        agree(f"{kind}: fixed effects, in SEs", model, LME4, ours / se, params / se, atol=1e-5)
        agree(f"{kind}: SEs", model, LME4, bse, se, rtol=1e-5)
        agree(f"{kind}: residual SD", model, LME4, np.sqrt(variance), [e["sigma"] for e in theirs], rtol=1e-6)
        agree(f"{kind}: deviance", model, LME4, deviance, [e["deviance"] for e in theirs], atol=1e-6)
        agree(f"{kind}: θ", model, LME4, theta / scale, in_our_order(first, record) / scale, atol=2e-5)


def test_a_refit_is_a_fit(fit, sleepstudy):
    y = fit.simulate(1, rng=3)[0]
    again = fit.refit(y)
    whole = sparselmm.lmer("y ~ Days + (Days | Subject)", sleepstudy.assign(y=y))
    assert again.converged and again.reml
    np.testing.assert_allclose(again.params, whole.params, rtol=1e-8)
    np.testing.assert_allclose(again.theta, whole.theta, atol=1e-6)
    assert again.deviance == pytest.approx(whole.deviance, abs=1e-9)
    np.testing.assert_allclose(again.resid, whole.resid, atol=1e-4)
    new = sleepstudy.iloc[:5]
    np.testing.assert_allclose(again.predict(new), whole.predict(new), rtol=1e-6)
    np.testing.assert_allclose(again.variance_params["std.error"], whole.variance_params["std.error"], rtol=1e-4)
    for name, sds in whole.random_effects_sd.items():
        np.testing.assert_allclose(again.random_effects_sd[name], sds, rtol=1e-4)
    assert pickle.loads(pickle.dumps(again)).deviance == again.deviance


def test_a_refit_leaves_the_fit_alone(sleepstudy):
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sleepstudy)
    expected = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sleepstudy).random_effects_cov["Subject"]
    fit.refit(sleepstudy["Reaction"].to_numpy()[::-1])
    np.testing.assert_array_equal(fit.random_effects_cov["Subject"], expected)
    np.testing.assert_array_equal(fit.model.endog, sleepstudy["Reaction"])
    assert fit.refit(fit.model.endog).deviance == pytest.approx(fit.deviance, abs=1e-9)


def test_rows_that_the_fit_left_out(sleepstudy):
    data = sleepstudy.astype({"Days": float})
    data.loc[[3, 77], "Days"] = np.nan
    fit = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", data)
    y = sleepstudy["Reaction"] * 2.0
    assert fit.refit(y).deviance == pytest.approx(fit.refit(y.drop([3, 77])).deviance)
    assert fit.refit(y).sigma == pytest.approx(2.0 * fit.sigma, rel=1e-6)
    assert list(fit.simulate(2, rng=0).index) == list(fit.resid.index)


def test_refit_refuses(fit, sleepstudy):
    y = sleepstudy["Reaction"]
    with pytest.raises(DataError, match="constant or an exact linear function"):
        fit.refit(np.full(180, 3.0))
    with pytest.raises(DataError, match="'Days' are constant or an exact linear function"):
        fit.refit(1e6 + 2.0 * sleepstudy["Days"])
    with pytest.raises(DataError, match="missing or infinite"):
        fit.refit(y.where(y.index != 4))
    with pytest.raises(DataError, match="shape"):
        fit.refit(y[:-1])
    with pytest.raises(DataError, match="another index"):
        fit.refit(y.iloc[::-1])
    with pytest.raises(DataError, match="refit_many"):
        fit.refit(fit.simulate(2, rng=0))
    with pytest.raises(DataError, match="not numeric"):
        fit.refit(["a"] * 180)


def test_simulated_responses_have_the_moments_of_the_model():
    rng = np.random.default_rng(5)
    y, X, terms = random_design(rng, 24, ("slope", "scalar"))
    weights, offset = rng.uniform(0.5, 3.0, 24), rng.standard_normal(24)
    model = LinearMixedModel(y, X, terms, weights=weights, offset=offset)
    beta, theta, scale, n = np.array([1.0, -2.0]), np.array([1.0, 0.5, 0.0, 0.7]), 2.0, 40_000
    cov_re = {"g0": scale * np.array([[1.0, 0.5], [0.5, 0.25]]), "g1": scale * 0.49}  # λλ' of θ, the first singular
    Y = simulate(model, beta, cov_re, scale, n, rng=1).to_numpy()
    Lambda, Z = dense_Lambda(terms, theta), dense_Z(terms)
    cov = scale * (Z @ Lambda @ Lambda.T @ Z.T + np.diag(1.0 / weights))
    sd = np.sqrt(np.diag(cov))
    np.testing.assert_allclose((Y.mean(axis=1) - X @ beta - offset) / sd, 0.0, atol=4.5 / np.sqrt(n))
    np.testing.assert_allclose((np.cov(Y) - cov) / np.outer(sd, sd), 0.0, atol=6.0 / np.sqrt(n))


def test_simulate_refuses(fit):
    model, cov = fit.model, fit.cov_re
    assert simulate(model, fit.params, cov, 1.0, 2, rng=1).index.equals(model.index)
    with pytest.raises(ValueError, match="2 fixed effects"):
        simulate(model, [1.0], cov, 1.0)
    with pytest.raises(ValueError, match="terms of the model are"):
        simulate(model, fit.params, {"Days": 1.0}, 1.0)
    with pytest.raises(ValueError, match="the term has 2 columns"):
        simulate(model, fit.params, {"Subject": 1.0}, 1.0)
    with pytest.raises(ValueError, match="positive semidefinite"):
        simulate(model, fit.params, {"Subject": [[1.0, 2.0], [2.0, 1.0]]}, 1.0)
    with pytest.raises(ValueError, match="residual variance"):
        simulate(model, fit.params, cov, 0.0)


def test_simulate_a_fit(fit):
    first, again = fit.simulate(3, rng=7), fit.simulate(3, rng=7)
    pd.testing.assert_frame_equal(first, again)
    assert not np.isclose(first, fit.simulate(3, rng=np.random.default_rng(7))).any()  # seeds have their own stream
    assert first.shape == (180, 3) and first.index.equals(fit.model.index)
    kept = fit.simulate(20_000, rng=8, random="conditional").to_numpy()
    limit = 5.0 * fit.sigma / np.sqrt(20_000)
    np.testing.assert_allclose(kept.mean(axis=1), fit.fittedvalues, atol=limit)
    np.testing.assert_allclose(kept.std(axis=1), fit.sigma, rtol=0.03)
    with pytest.raises(ValueError, match="random must be"):
        fit.simulate(random="old")
    with pytest.raises(ValueError, match="at least one"):
        fit.simulate(0)
