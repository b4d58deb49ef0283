"""Fits by two engines: exact results after conjugate gradients, and an exact deviance beside their estimates."""

import pickle

import numpy as np
import pytest

from sparselmm import EngineError, FitInterrupted, LinearMixedModel, RandomTerm
from sparselmm.engines import choose as choosing
from sparselmm.engines import exact
from sparselmm.engines.cost import Cost
from sparselmm.engines.pcg import PcgEngine
from sparselmm.engines.schur import SchurEngine
from sparselmm.polish import Search


def crossed(slopes, n=4_000, levels=(150, 90, 8), weighted=False):
    """Return a model with three crossed factors, the first with random slopes, and the third without a variance."""
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    y, terms = X @ [1.0, 0.5] + rng.standard_normal(n), []
    for k, count in enumerate(levels):
        values = X if slopes and k == 0 else X[:, :1]
        terms.append(RandomTerm(rng.integers(0, count, n), values, f"g{k}"))
        y += terms[-1].Z @ ((0.6 if k < 2 else 0.0) * rng.standard_normal(terms[-1].n_effects))
    weights = rng.uniform(0.5, 2.0, n) if weighted else None
    return LinearMixedModel(y, X, terms, weights=weights)


@pytest.fixture(scope="module")
def model():
    return crossed(slopes=True)


@pytest.fixture(scope="module")
def best(model):
    return model.fit(engine="cholmod")


@pytest.fixture
def costs(monkeypatch):
    """Set what is predicted, so that `auto` takes a given route."""

    def set_costs(factor, inverse):
        monkeypatch.setattr(exact, "SMALL_CORE", 0)
        monkeypatch.setattr(exact, "dense_cost", lambda sizes: Cost(factor, inverse, 1e6))
        monkeypatch.setattr("sparselmm.polish.ENOUGH", 0.0)
        monkeypatch.setattr(choosing, "pcg_cost", lambda sizes: Cost(0.1, 0.1, 1e6))

    return set_costs


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("slopes", [False, True])
def test_polished_fits_are_exact(slopes, reml, agree):
    model = crossed(slopes, weighted=slopes)
    exact, fit = model.fit(reml, engine="cholmod"), model.fit(reml, engine="polish")
    name = f"crossed, slopes={slopes}, reml={reml}"
    agree("deviance, polished", name, "exact engine", fit.deviance, exact.deviance, atol=1e-8)
    agree("θ, polished", name, "exact engine", fit.theta, exact.theta, atol=1e-5)
    agree("fixed effects, polished", name, "exact engine", fit.params, exact.params, atol=1e-6 * exact.bse.max())
    record = fit.optimizer
    assert fit.converged and record.monte_carlo is None and isinstance(fit.likelihood.engine, SchurEngine)
    assert "dense Cholesky" in record.engine and fit.singular == exact.singular


def test_exact_steps_are_few(best, monkeypatch):
    model, made = crossed(False, n=20_000, levels=(300, 200)), []
    factorize = SchurEngine.factorize
    monkeypatch.setattr(SchurEngine, "factorize", lambda self, theta: made.append(theta) or factorize(self, theta))
    fit = model.fit(engine="polish")
    assert fit.converged and len(made) <= 3
    assert fit.optimizer.evaluations > len(made)
    np.testing.assert_array_equal(fit.optimizer.start, fit.optimizer.steps[0].theta)
    np.testing.assert_array_equal(fit.optimizer.steps[-len(made)].theta, made[0])


def test_auto_polishes_where_that_pays(model, best, costs):
    costs(1.0, 1.0)
    fit = model.fit()
    assert fit.deviance == pytest.approx(best.deviance, abs=1e-8)
    assert "then two exact steps" in fit.optimizer.choice and "then two exact steps" in str(fit.optimizer)
    assert fit._engine == "cholmod"


def test_auto_takes_the_exact_deviance_where_the_inverse_is_dear(model, best, costs):
    costs(1.0, 9.0)
    fit = model.fit()
    at = best.model.likelihood(engine="cholmod").evaluate(fit.evaluation.theta)
    assert fit.deviance == fit.optimizer.deviance == pytest.approx(at.deviance, abs=1e-9)
    errors = fit.optimizer.monte_carlo
    assert errors.deviance == 0.0 and 0.0 < errors.relative < 0.02
    assert "then one factorisation, 1 s" in fit.optimizer.choice
    assert isinstance(fit.likelihood.engine, PcgEngine) and fit._engine == "pcg"
    assert -2.0 * fit.llf == fit.deviance


def test_no_factorisation_for_a_deviance_that_is_good_enough(model, costs, monkeypatch):
    costs(1.0, 9.0)
    monkeypatch.setattr("sparselmm.polish.ENOUGH", 1e3)
    monkeypatch.setattr(SchurEngine, "factorize", lambda self, theta: pytest.fail("factorised"))
    assert model.fit().optimizer.monte_carlo.deviance > 0


def test_auto_goes_on_by_conjugate_gradients_alone(model, costs):
    costs(90.0, 90.0)
    fit = model.fit()
    assert fit.optimizer.monte_carlo.deviance > 0 and "would take at least 720 s" in fit.optimizer.choice
    assert fit.deviance == pytest.approx(model.fit(engine="pcg").deviance, rel=1e-12)


def test_after_a_polished_fit_all_is_exact(model, best):
    fit = model.fit(engine="polish")
    np.testing.assert_allclose(fit.inference().df, best.inference().df, rtol=1e-5)
    np.testing.assert_allclose(fit.random_effects_sd["g1"], best.random_effects_sd["g1"], rtol=1e-5)
    again = pickle.loads(pickle.dumps(fit))
    assert again.likelihood.evaluate(again.evaluation.theta).deviance == pytest.approx(fit.deviance, abs=1e-8)
    assert isinstance(again.likelihood.engine, SchurEngine)
    y = best.simulate(1, rng=1)[0]
    assert fit.refit(y).deviance == pytest.approx(best.refit(y).deviance, abs=1e-7)
    ranova, expected = fit.ranova(), best.ranova()
    np.testing.assert_allclose(ranova["chisq"].dropna(), expected["chisq"].dropna(), atol=1e-5)


def test_pickled_fits_keep_the_exact_deviance(model, costs):
    costs(1.0, 9.0)
    fit = model.fit()
    again = pickle.loads(pickle.dumps(fit))
    assert again.deviance == pytest.approx(fit.deviance, rel=1e-12) and again._engine == "pcg"
    np.testing.assert_allclose(again.inference().df, fit.inference().df, rtol=1e-6)


def test_conjugate_gradients_that_fail_leave_it_to_the_exact_engine(model, best, costs, monkeypatch):
    def fail(self, start, minimize=None):
        raise EngineError("Conjugate gradients did not converge.")

    monkeypatch.setattr(Search, "probed", fail)
    assert model.fit(engine="polish").deviance == pytest.approx(best.deviance, abs=1e-8)
    costs(1.0, 9.0)
    assert model.fit().deviance == pytest.approx(best.deviance, abs=1e-8)


def interrupt_after(monkeypatch, count):
    """Let the exact engine be stopped by Ctrl-C in a factorisation."""
    factorize, made = SchurEngine.factorize, []

    def stopped(self, theta):
        made.append(theta)
        if len(made) > count:
            raise KeyboardInterrupt
        factorize(self, theta)

    monkeypatch.setattr(SchurEngine, "factorize", stopped)


@pytest.mark.parametrize("count", [0, 1])
def test_stopped_in_the_exact_steps(count, model, best, monkeypatch):
    with monkeypatch.context() as patched:
        interrupt_after(patched, count)
        with pytest.raises(FitInterrupted, match="start=") as stop:
            model.fit(engine="polish")
    record = stop.value.record
    assert stop.value.model is model and not record.converged
    assert len(record.steps) > 2 and np.abs(record.theta - best.theta).max() < 0.05
    for start in (record, stop.value, record.theta):
        assert model.fit(start=start).deviance == pytest.approx(best.deviance, abs=1e-8)


def test_stopped_before_the_exact_deviance(model, costs, monkeypatch):
    costs(1.0, 9.0)
    interrupt_after(monkeypatch, 0)
    with pytest.raises(FitInterrupted, match="before the exact") as stop:
        model.fit()
    assert stop.value.record.monte_carlo.deviance > 0


def test_fits_go_on_from_fits(model, best):
    assert model.fit(start=best).optimizer.evaluations <= 2
    with pytest.raises(ValueError, match=r"start has shape \(3,\); this model has 5 entries"):
        model.fit(start=crossed(False, n=400).fit())
    with pytest.raises(ValueError, match="missing or infinite"):
        model.fit(start=np.full(5, np.nan))


def test_the_limit_of_evaluations_is_one_of_both_engines(model):
    with pytest.warns(UserWarning, match="limit of evaluations"):
        fit = model.fit(engine="polish", max_evaluations=3)
    assert fit.optimizer.evaluations <= 4
