"""Many responses at once: the same optima as one by one."""

import numpy as np
import pandas as pd
import pytest
from oracles import DenseModel, random_design
from scipy.special import ndtr

import sparselmm
from sparselmm import DataError, LinearMixedModel, RandomTerm
from sparselmm.descent import trust_region_step
from sparselmm.likelihood import ProfiledLikelihood
from sparselmm.resampling import refits
from sparselmm.resampling.batched import BatchedLikelihood
from sparselmm.resampling.newton import trust_region_steps
from sparselmm.resampling.responses import Responses
from sparselmm.start import moment_start, moment_starts
from sparselmm.tables import variance_parameters

DESIGNS = [
    ("scalar",),
    ("slope",),
    ("scalar", "scalar"),
    ("slope", "scalar"),
    ("three", "slope", "scalar"),
    ("diagonal", "scalar"),
    ("matrix",),
    ("matrix", "slope"),
]


def design(seed, kinds, weighted=False, n=60):
    """Return a model of a random design."""
    rng = np.random.default_rng(seed)
    y, X, terms = random_design(rng, n, kinds)
    return LinearMixedModel(y, X, terms, weights=rng.uniform(0.5, 2.0, n) if weighted else None)


def responses(rng, model, k):
    """Return responses whose random effects are strong, weak or absent, term by term, (n, k)."""
    columns = []
    for _ in range(k):
        y = model.exog @ rng.standard_normal(model.exog.shape[1]) + rng.standard_normal(model.nobs)
        for term in model.terms:
            y += term.Z @ rng.standard_normal(term.n_effects) * rng.choice([0.0, 0.1, 1.0, 3.0])
        columns.append(y)
    return np.column_stack(columns)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kinds", DESIGNS, ids="-".join)
def test_batched_likelihood_is_the_likelihood(kinds, reml):
    rng = np.random.default_rng(1)
    model = design(2, kinds, weighted=True)
    Y = responses(rng, model, 4)
    batched = BatchedLikelihood(model.cross, reml)
    theta = rng.standard_normal((4, batched.map.n_theta))
    theta[0], theta[1, 0] = 0.0, 0.0
    many = Responses.from_rows(model, Y)
    own, common = batched.evaluate(theta, many), batched.evaluate(theta[2:3], many)
    for i in range(4):
        cross = model.cross.with_response(Y[:, i], model.exog, model.terms, model.weights)
        one = ProfiledLikelihood(cross, reml)
        for points, at in ((own, theta[i]), (common, theta[2])):
            expected = one.evaluate(at)
            derivatives = one.derivatives(expected)
            assert points.deviance[i] == pytest.approx(expected.deviance, rel=1e-11)
            assert points.scale[i] == pytest.approx(expected.scale, rel=1e-9)
            np.testing.assert_allclose(points.beta[i], expected.beta, rtol=1e-7, atol=1e-9)
            np.testing.assert_allclose(points.gradient[i], derivatives.gradient, rtol=1e-7, atol=1e-7)
            np.testing.assert_allclose(points.hessian[i], derivatives.hessian, rtol=1e-6, atol=1e-6)
            for ours, theirs in zip(points.A, derivatives.A, strict=True):
                np.testing.assert_allclose(ours[i], theirs, rtol=1e-7, atol=1e-7)


def test_batched_likelihood_is_the_dense_one(agree):
    model = design(3, ("slope", "scalar"), weighted=True)
    rng = np.random.default_rng(4)
    Y, theta = responses(rng, model, 5), rng.standard_normal((5, 4))
    ours = BatchedLikelihood(model.cross, True).evaluate(theta, Responses.from_rows(model, Y))
    dense = [DenseModel(y, model.exog, model.terms, at, True, model.weights) for y, at in zip(Y.T, theta, strict=True)]
    theirs = [d.deviance for d in dense]
    where = "random design, slope and scalar terms"
    agree("batched REML criterion", where, "dense computation", ours.deviance, theirs, rtol=1e-10)
    gradients = [d.gradient(at) for d, at in zip(dense, theta, strict=True)]
    agree("batched gradient", where, "dense computation", ours.gradient, gradients, rtol=1e-7, atol=1e-8)


def test_steps_equal_the_single_step():
    rng = np.random.default_rng(0)
    H = rng.standard_normal((300, 3, 3))
    H = H + H.transpose(0, 2, 1)
    H[:100] = H[:100] @ H[:100] + 0.1 * np.eye(3)
    g, radius = rng.standard_normal((300, 3)), rng.choice([0.01, 1.0, 100.0], 300)
    g[::7] = 0.0
    g[::5, 0], H[::5, 0, 1:], H[::5, 1:, 0] = 0.0, 0.0, 0.0  # the hard case
    steps = trust_region_steps(g, H, radius)
    for i in range(300):
        single = trust_region_step(g[i], H[i], radius[i])
        values = [g[i] @ s + 0.5 * s @ H[i] @ s for s in (steps[i], single)]
        assert values[0] == pytest.approx(values[1], rel=1e-5, abs=1e-12)
        assert np.linalg.norm(steps[i]) <= radius[i] * (1 + 1e-5)


def test_starts_equal_the_single_start():
    model = design(6, ("three", "scalar"))
    Y = responses(np.random.default_rng(7), model, 6)
    many = Responses.from_rows(model, Y)
    expected = [moment_start(many.cross_of(i)) for i in range(6)]
    np.testing.assert_allclose(moment_starts(many.cross, many.Zy, many.yy), expected, rtol=1e-8)


@pytest.mark.parametrize("kinds", DESIGNS, ids="-".join)
def test_same_optima_as_one_by_one(kinds):
    model = design(8, kinds, weighted=kinds == ("scalar", "scalar"))
    fit = model.fit(reml=kinds != ("slope",))
    Y = responses(np.random.default_rng(9), model, 30)
    many = fit.refit_many(Y)
    scale, single = fit.likelihood.theta_scale, [fit.refit(y) for y in Y.T]
    assert many.converged.all() and many.singular.any()
    np.testing.assert_allclose(many.deviance, [one.deviance for one in single], atol=1e-7, rtol=0)
    difference = np.abs(many.theta.to_numpy() - [one.theta for one in single]) / scale
    assert np.quantile(difference, 0.95) < 1e-6 and difference.max() < 2e-5  # both end within 1e-11 of deviance
    assert list(many.singular) == [one.singular for one in single]
    se = np.array([one.bse for one in single])
    np.testing.assert_allclose((many.params - np.array([one.params for one in single])) / se, 0.0, atol=1e-5)
    np.testing.assert_allclose(many.bse, se, rtol=1e-5)
    random = np.array([variance_parameters(one)["estimate"] for one in single])
    assert np.array_equal(np.isnan(many.variance_params), np.isnan(random))
    np.testing.assert_allclose(many.variance_params, random, rtol=1e-4, atol=1e-4)


def test_large_cores_are_fitted_one_by_one(monkeypatch):
    model = design(8, ("slope", "scalar"))
    fit, Y = model.fit(), responses(np.random.default_rng(9), model, 10)
    batched = fit.refit_many(Y)
    monkeypatch.setattr(refits.BatchedLikelihood, "suits", staticmethod(lambda cross: False))
    single = fit.refit_many(Y)
    assert single.converged.all()
    np.testing.assert_allclose(batched.deviance, single.deviance, atol=1e-7, rtol=0)
    np.testing.assert_allclose(batched.bse, single.bse, rtol=1e-5)


def test_chunks_do_not_matter(monkeypatch):
    model = design(8, ("slope", "scalar"))
    fit, Y = model.fit(), responses(np.random.default_rng(9), model, 23)
    whole = fit.refit_many(Y)
    monkeypatch.setattr("sparselmm.resampling.batched.CHUNK", 1)
    monkeypatch.setattr("sparselmm.resampling.responses.CHUNK", 1)
    np.testing.assert_allclose(fit.refit_many(Y).deviance, whole.deviance, rtol=1e-12)


def test_a_mean_that_is_no_fixed_effect():
    data = sparselmm.datasets.load("sleepstudy")
    fit = sparselmm.lmer("Reaction ~ 1 + (Days | Subject)", data, reml=False)
    Y = np.random.default_rng(2).standard_normal((180, 60)) + 10.0 * np.arange(0, 180)[:, None] / 180.0
    many = fit.refit_many(Y)
    assert many.converged.all()
    single = [fit.refit(y).deviance for y in Y.T]
    np.testing.assert_allclose(many.deviance, single, atol=1e-7, rtol=0)


def test_units_do_not_matter():
    data = sparselmm.datasets.load("sleepstudy")
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
    Y = fit.simulate(20, rng=4).to_numpy()
    first, scaled = fit.refit_many(Y), fit.refit_many(1e6 + 1e3 * Y)
    np.testing.assert_allclose(scaled.params["Days"], 1e3 * first.params["Days"], rtol=1e-6)
    np.testing.assert_allclose(scaled.theta, first.theta, atol=1e-6)
    np.testing.assert_allclose(scaled.bse, 1e3 * first.bse, rtol=1e-6)


def test_no_fixed_effects():
    rng = np.random.default_rng(3)
    model = LinearMixedModel(rng.standard_normal(40), np.zeros((40, 0)), [RandomTerm(np.arange(40) % 8)])
    fit, Y = model.fit(), rng.standard_normal((40, 5))
    many = fit.refit_many(Y)
    assert many.params.shape == (5, 0)
    np.testing.assert_allclose(many.deviance, [fit.refit(y).deviance for y in Y.T], atol=1e-8)
    assert set(many.tidy()["effect"]) == {"ran_pars"}


def test_tables():
    data = sparselmm.datasets.load("sleepstudy")
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
    Y = fit.simulate(3, rng=1).set_axis(["a", "b", "c"], axis=1)
    many, one = fit.refit_many(Y), fit.refit(Y["b"])
    assert len(many) == 3 and many.failures.empty
    assert list(many.variance_params.columns) == [
        "sd__Intercept|Subject",
        "cor__Intercept.Days|Subject",
        "sd__Days|Subject",
        "sigma",
    ]
    for table in (many.params, many.bse, many.variance_params, many.theta, many.llf, many.scale, many.converged):
        assert list(table.index) == ["a", "b", "c"]
    assert many.llf["b"] == pytest.approx(one.llf)
    tidy = many.tidy()
    assert list(tidy["response"]) == ["a"] * 6 + ["b"] * 6 + ["c"] * 6
    expected = one.tidy()
    mine = tidy[tidy["response"] == "b"].reset_index(drop=True)
    columns = ["effect", "group", "term", "estimate", "std.error", "statistic"]
    mine["group"], expected["group"] = mine["group"].fillna(""), expected["group"].fillna("")
    pd.testing.assert_frame_equal(mine[columns], expected[columns], rtol=1e-5, check_dtype=False)
    normal = 2.0 * ndtr(-np.abs(mine["statistic"].to_numpy()))
    np.testing.assert_allclose(mine["p.value"], normal)
    assert "3 responses on Reaction ~ Days" in repr(many)


def test_refuses():
    data = sparselmm.datasets.load("sleepstudy")
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
    Y = fit.simulate(8, rng=1)
    with pytest.raises(DataError, match=r"Response\(s\) 2, 5 are constant"):
        fit.refit_many(Y.mask(np.tile(Y.columns.isin([2, 5]), (180, 1)), 1.0))
    with pytest.raises(DataError, match=r"Response\(s\) 0 hold missing"):
        fit.refit_many(Y.mask(Y.isin([Y.iloc[0, 0]])))
    with pytest.raises(DataError, match="another index"):
        fit.refit_many(Y.iloc[::-1])
    with pytest.raises(DataError, match=r"shape \(180, 0\)"):
        fit.refit_many(Y.iloc[:, :0])
    with pytest.raises(DataError, match="180 rows"):
        fit.refit_many(Y.to_numpy().T)


def test_failures_have_a_row_and_a_reason(monkeypatch):
    model = design(8, ("slope", "scalar"))
    fit, Y = model.fit(), responses(np.random.default_rng(9), model, 4)
    calls = iter(range(4))

    def best_fit(*arguments):
        if next(calls) == 2:
            raise DataError("The residual variance is zero.")
        return whole(*arguments)

    whole = refits.best_fit
    monkeypatch.setattr(refits, "best_fit", best_fit)
    monkeypatch.setattr(refits.BatchedLikelihood, "suits", staticmethod(lambda cross: False))
    many = fit.refit_many(pd.DataFrame(Y, columns=list("abcd")))
    assert dict(many.failures) == {"c": "The residual variance is zero."}
    assert many.params.loc["c"].isna().all() and not many.converged["c"] and np.isnan(many.deviance["c"])
    assert many.variance_params.drop("c").notna().to_numpy()[:, -1].all() and "1 failed" in repr(many)
