"""PcgEngine against the exact engine, and fits by it."""

import numpy as np
import pytest
from oracles import random_design

from sparselmm import EngineError, LinearMixedModel, RandomTerm
from sparselmm.crossproducts import CrossProducts
from sparselmm.engines import pcg
from sparselmm.engines.choose import choose_engine

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
    T = stochastic.inverse_block_sums()
    for ours, samples, theirs in zip(T, stochastic._trace_samples(), exact.inverse_block_sums(), strict=True):
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
        atol=4 * errors.relative + 2e-3,
    )
    np.testing.assert_allclose(fit.params, exact.params, atol=0.02 * exact.bse.max())
    assert fit.deviance == pytest.approx(exact.deviance, abs=4 * errors.deviance)
    assert "Monte-Carlo error" in str(fit.optimizer)


def test_given_rng_the_fit_is_the_same():
    model = crossed()
    fits = [model.fit(engine="pcg", rng=rng) for rng in (1, 1, 2)]
    assert fits[0].deviance == fits[1].deviance != fits[2].deviance


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
    assert model.fit(engine="pcg").deviance == model.fit().deviance


def test_too_many_iterations_are_an_error(monkeypatch):
    monkeypatch.setattr("sparselmm.engines.conjugate.MOST_ITERATIONS", 2)
    with pytest.raises(EngineError, match="engine='cholmod'"):
        crossed().fit(engine="pcg")
