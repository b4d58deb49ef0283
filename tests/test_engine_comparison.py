"""compare_engines: a row for each engine."""

from types import SimpleNamespace

import numpy as np
import pytest

from sparselmm import LinearMixedModel, RandomTerm, datasets
from sparselmm.engine_comparison import compare_engines

COLUMNS = [
    "deviance",
    "fe_difference",
    "theta_difference",
    "re_difference",
    "evaluations",
    "seconds",
    "peak_mb",
    "engine",
]
FORMULAS = {
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "Pastes": "strength ~ 1 + (1 | batch/cask)",
    "Penicillin": "diameter ~ 1 + (1 | plate) + (1 | sample)",
    "Dyestuff2": "Yield ~ 1 + (1 | Batch)",
}


def crossed(size):
    """Return a model of two crossed factors with one observation in each cell."""
    rng = np.random.default_rng(0)
    rows, columns = np.divmod(np.arange(size * size), size)
    y = rng.standard_normal(size)[rows] + rng.standard_normal(size)[columns] + rng.standard_normal(size * size)
    return LinearMixedModel(y, np.ones(y.size), [RandomTerm(rows, name="row"), RandomTerm(columns, name="column")])


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", FORMULAS)
def test_engines_agree(name, reml):
    model = LinearMixedModel.from_formula(FORMULAS[name], datasets.load(name))
    table = compare_engines(model, reml, repeats=1)
    assert list(table.columns) == COLUMNS and list(table.index) == ["cholmod", "dense"]
    assert table["deviance"]["dense"] == pytest.approx(table["deviance"]["cholmod"], abs=1e-8)
    differences = table.filter(like="_difference")
    assert (differences.loc["cholmod"] == 0.0).all() and (differences.loc["dense"] < 1e-4).all()
    assert (table[["evaluations", "seconds", "peak_mb"]] > 0).all(axis=None)
    assert table["engine"]["dense"].startswith("dense Cholesky")


def test_dense_costs_the_square_of_the_rows_in_memory():
    small, large = (compare_engines(crossed(size), repeats=1)["peak_mb"] for size in (15, 30))
    assert large["dense"] > 8.0 * 900**2 / 1e6
    assert large["dense"] > 8 * small["dense"]
    assert large["cholmod"] < 8 * small["cholmod"]


def test_engines_in_the_order_asked_for():
    table = compare_engines(crossed(6), engines=("dense", "cholmod", "auto"), repeats=2)
    assert list(table.index) == ["dense", "cholmod", "auto"]
    assert table["engine"]["auto"] == table["engine"]["cholmod"]
    assert (table.filter(like="_difference").loc["dense"] == 0.0).all()


def test_a_class_that_wraps_a_linear_mixed_model():
    model = crossed(6)
    wrapped, plain = (compare_engines(m, repeats=1)["deviance"] for m in (SimpleNamespace(lmm=model), model))
    np.testing.assert_array_equal(wrapped, plain)


def test_unknown_engine():
    with pytest.raises(ValueError, match="not one of auto, cholmod, pcg, dense"):
        compare_engines(crossed(4), engines=("cholmod", "gpu"))


def test_the_classical_class_has_both_engines():
    from sparselmm import MixedLM

    data = datasets.load("sleepstudy").astype({"Subject": str})
    model = MixedLM.from_formula("Reaction ~ Days", data, groups="Subject", re_formula="~Days")
    table = compare_engines(model, repeats=1)
    assert np.ptp(table["deviance"]) < 1e-8
    fits = {engine: model.fit(engine=engine) for engine in ("cholmod", "dense")}
    assert fits["dense"].llf == pytest.approx(fits["cholmod"].llf, abs=1e-9)
    assert -2 * fits["dense"].llf == pytest.approx(table.loc["dense", "deviance"], abs=1e-8)
    np.testing.assert_allclose(fits["dense"].params, fits["cholmod"].params, rtol=1e-6)
    assert "18 groups" in model.likelihood().profiled.engine.description
    with pytest.raises(ValueError, match="not one of"):
        model.fit(engine="quick")
