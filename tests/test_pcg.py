"""PcgEngine against the exact engine, and fits by it."""

import pickle
from contextlib import suppress

import numpy as np
import pytest
from oracles import random_design

from sparselmm import EngineError, LinearMixedModel, RandomTerm
from sparselmm.crossproducts import CrossProducts
from sparselmm.engines import pcg
from sparselmm.engines.choose import choose_engine
from sparselmm.inference.quadratic import ConditionalCovariance
from sparselmm.prediction.variance import _variances as relative

DESIGNS = [
    ("scalar", "scalar"),
    ("slope", "three"),
    ("scalar", "diagonal", "matrix"),
    ("three", "scalar", "slope"),
]


@pytest.fixture(params=DESIGNS, ids="-".join)
def engines(request, monkeypatch):
    """The exact engine and pcg with many probes, nothing exact but one mode a term, at one θ."""
    monkeypatch.setattr(pcg, "FEW", 0)
    rng = np.random.default_rng(3)
    y, X, terms = random_design(rng, n=400, kinds=request.param)
    cross = CrossProducts.from_arrays(y, X, terms, rng.uniform(0.5, 2.0, 400))
    exact, stochastic = choose_engine(cross), choose_engine(cross, "pcg")
    stochastic.add_probes(2_000)
    theta = rng.uniform(0.2, 1.2, cross.relative_factor.n_theta)
    for engine in (exact, stochastic):
        engine.factorize(theta)
    return exact, stochastic


def test_solutions_are_exact(engines):
    exact, stochastic = engines
    V = np.random.default_rng(0).standard_normal((exact.map.n_effects, 3))
    np.testing.assert_allclose(stochastic.gram_dot(V), exact.gram_dot(V), atol=1e-10)
    np.testing.assert_allclose(stochastic.solve(V), exact.solve(V), atol=1e-8)
    np.testing.assert_allclose(stochastic.solve(V, rough=True), exact.solve(V), atol=1e-3)
    for k in range(len(exact.map.shapes)):
        np.testing.assert_allclose(stochastic.inverse_blocks(k), exact.inverse_blocks(k), atol=1e-8)


def test_estimates_are_within_their_errors(engines, agree):
    exact, stochastic = engines
    model = "-".join(f"{shape.n_levels}x{shape.n_columns}" for shape in exact.map.shapes)
    error = stochastic.logdet_error()
    assert error < 0.02
    agree(
        "log|M| by probes, in errors",
        model,
        "exact engine",
        stochastic.logdet() / error,
        exact.logdet() / error,
        atol=4,
    )
    for k, samples in enumerate(stochastic._trace_samples()):
        ours, theirs = samples.mean(axis=0), exact.inverse_blocks(k).sum(axis=0)
        error = samples.std(axis=0) / np.sqrt(len(samples)) + 1e-9
        agree("T by probes, in errors", model, "exact engine", ours / error, theirs / error, atol=4.5)
    for ours, theirs in zip(stochastic.marginal_block_sums(), exact.marginal_block_sums(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.02, atol=0.01 * np.abs(theirs).max())


def crossed(seed=0, n=4_000, levels=(150, 90, 8), slopes=False):
    """Return a model with three crossed factors, the first with random slopes."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    y, terms = X @ [1.0, 0.5] + rng.standard_normal(n), []
    for k, count in enumerate(levels):
        values = X if slopes and k == 0 else X[:, :1]
        terms.append(RandomTerm(rng.integers(0, count, n), values, f"g{k}"))
        y += terms[-1].Z @ (0.6 * rng.standard_normal(terms[-1].n_effects))
    return LinearMixedModel(y, X, terms)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("slopes", [False, True])
def test_fits_reach_the_exact_optimum_within_their_error(slopes, reml, agree):
    model = crossed(slopes=slopes)
    exact, fit = model.fit(reml), model.fit(reml, engine="pcg", rng=1)
    errors = fit.optimizer.monte_carlo
    assert fit.converged and errors.relative < 0.02
    hessian = exact.likelihood.derivatives(exact.evaluation).hessian
    se = np.sqrt(2.0 * np.diag(np.linalg.inv(hessian)))
    ours, theirs = fit.theta / se, exact.theta / se
    agree(
        "θ by probes, in SEs",
        f"crossed, slopes={slopes}",
        "exact engine",
        ours,
        theirs,
        atol=4 * errors.relative + 4e-3,
    )
    np.testing.assert_allclose(fit.params, exact.params, atol=0.02 * exact.bse.max())
    assert fit.deviance == pytest.approx(exact.deviance, abs=4 * errors.deviance)
    assert "Monte-Carlo error" in str(fit.optimizer)
    assert "random probes: the variance parameters have a Monte-Carlo error" in " ".join(str(fit.summary()).split())


def test_given_rng_the_fit_is_the_same():
    model = crossed()
    fits = [model.fit(engine="pcg", rng=rng) for rng in (1, 1, 2)]
    assert fits[0].deviance == pytest.approx(fits[1].deviance, rel=1e-12)
    assert abs(fits[0].theta - fits[1].theta).max() < 1e-12 < abs(fits[0].theta - fits[2].theta).max()


def test_variance_of_zero():
    rng = np.random.default_rng(5)
    g, h = rng.integers(0, 100, (2, 3_000))
    y = 0.7 * rng.standard_normal(100)[g] + rng.standard_normal(3_000)
    model = LinearMixedModel(y, np.ones(3_000), [RandomTerm(g, name="g"), RandomTerm(h, name="h")])
    exact, fit = model.fit(), model.fit(engine="pcg")
    np.testing.assert_allclose(fit.theta, exact.theta, atol=0.01)


def test_one_term_needs_no_probes():
    rng = np.random.default_rng(5)
    g = rng.integers(0, 100, 500)
    model = LinearMixedModel(rng.standard_normal(100)[g] + rng.standard_normal(500), np.ones(500), RandomTerm(g))
    assert model.fit(engine="pcg").deviance == pytest.approx(model.fit().deviance, rel=1e-12)


def test_too_many_iterations_are_an_error(monkeypatch):
    monkeypatch.setattr("sparselmm.engines.conjugate.MOST_ITERATIONS", 2)
    with pytest.raises(EngineError, match="engine='cholmod'"):
        crossed().likelihood(engine="pcg").evaluate(crossed().fit().theta)
    assert crossed().fit(engine="pcg").optimizer.monte_carlo is None  # whose factor is cheap: the exact engine instead


@pytest.fixture(scope="module")
def fit():
    return crossed(slopes=True).fit(engine="pcg", rng=3)


def test_pickled_fits_keep_their_probes(fit):
    again = pickle.loads(pickle.dumps(fit))
    assert again.likelihood.evaluate(fit.evaluation.theta).deviance == pytest.approx(fit.deviance, abs=1e-8)
    assert again.likelihood.engine.probes == fit.optimizer.monte_carlo.probes
    np.testing.assert_allclose(again.inference().df, fit.inference().df, rtol=1e-6)


def test_probes_do_not_depend_on_how_many_are_drawn_at_a_time(fit):
    one, two = (choose_engine(fit.model.cross, "pcg", rng=4) for _ in range(2))
    one.add_probes(10)
    for _ in range(5):
        two.add_probes(2)
    np.testing.assert_array_equal(one._signs, two._signs)


def test_further_fits_use_the_engine_of_the_fit(fit, monkeypatch):
    y, exact = fit.simulate(1, rng=1)[0], fit.model.fit()
    expected = exact.refit(y)

    def refuse(cross):
        raise AssertionError("the exact engine")

    monkeypatch.setattr("sparselmm.engines.choose.schur_engine", refuse)
    refits = [fit.refit(y) for _ in range(2)]
    assert refits[0].deviance == pytest.approx(refits[1].deviance, rel=1e-12)
    assert refits[0].optimizer.monte_carlo.relative < 0.05
    np.testing.assert_allclose(refits[0].params, expected.params, atol=0.02 * exact.bse.max())
    assert "conjugate gradients" in refits[0].likelihood.engine.description
    labels = np.arange(fit.nobs) % 2
    assert np.isfinite(fit.influence(labels, refit=True).scale).all()
    assert np.isfinite(fit.influence(labels).scale).all()
    assert not fit.bootstrap(2, kind="cluster", cluster="g0", rng=1).failures.size


def test_profiles_need_an_exact_deviance(fit):
    with pytest.raises(EngineError, match="engine='cholmod'"):
        fit.profile()


def test_too_many_solutions_are_an_error(fit, monkeypatch):
    monkeypatch.setattr(pcg, "MOST_SOLVING", 1e4)
    with pytest.raises(EngineError, match=r"solutions by conjugate gradients.*engine='cholmod'"):
        fit.model.fit(engine="pcg").random_effects_sd  # noqa: B018


def test_standard_errors_of_predictions_by_rows_and_by_columns(fit):
    K, exact = (ConditionalCovariance(f.likelihood, fit.evaluation) for f in (fit, fit.model.fit()))
    X, Z = fit.model.exog, fit.model.Z
    by_rows, by_columns = relative(K, X[:70], Z[:70]), relative(K, X, Z)[:70]
    np.testing.assert_allclose(by_rows, by_columns, rtol=1e-7)
    np.testing.assert_allclose(by_rows, exact.prediction_variances(X[:70], Z[:70]), rtol=1e-7)


def test_interrupted_solutions_leave_the_factor_of_theta():
    engine = choose_engine(crossed().cross, "pcg")
    engine.factorize(np.array([0.5, 0.0, 0.5]))
    before, counts = engine.marginal_block_sums(), []

    def interrupt(count):
        counts.append(count)
        raise KeyboardInterrupt

    engine.report = interrupt
    for work in (lambda: engine.factorize(np.ones(3)), engine.logdet):
        with suppress(KeyboardInterrupt):
            work()
    engine.report = counts.append
    engine.factorize(np.array([0.5, 0.0, 0.5]))
    for ours, theirs in zip(engine.marginal_block_sums(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert counts[:2] == [0, 0] and max(counts) <= engine.iterations
