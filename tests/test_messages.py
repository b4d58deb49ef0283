"""Messages that no test of their subject reaches: each names the column or term and the remedy; see reached.py."""

import pickle
import sys
from dataclasses import replace
from importlib.util import find_spec, module_from_spec
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from formulaic.transforms.contrasts import CustomContrasts
from pcg_designs import ratings
from scipy.linalg import lapack

import sparselmm
from sparselmm import DataError, EngineError, FormulaError, LinearMixedModel, MixedLM, RandomTerm, lmer
from sparselmm.engines.cholmod import Cholesky
from sparselmm.marginal_means.contrasts import products
from sparselmm.mixedlm.design import VCSpec
from sparselmm.profile import curve
from sparselmm.profile.curve import Point
from sparselmm.streaming.lazy import LazyFrame

N = 60


@pytest.fixture(scope="module")
def rows():
    """Rows with two crossed factors, a number and a factor."""
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"g": np.arange(N) % 6, "h": np.arange(N) // 6, "x": rng.standard_normal(N)})
    data["k"] = np.array(list("abc"))[rng.integers(0, 3, N)]
    return data.assign(y=data.x + rng.standard_normal(6)[data.g] + rng.standard_normal(N))


@pytest.fixture(scope="module")
def fit(rows):
    """A fit of the rows."""
    return lmer("y ~ x + k + (1 | g)", rows)


TERMS = {
    "structure": (
        lambda: RandomTerm([1, 2], structure="banded", name="g"),
        r"'g': structure must be one of .*'banded'",
    ),
    "values": (
        lambda: RandomTerm([1, 2], np.ones((3, 1)), name="g"),
        r"'g': values have shape \(3, 1\), expected \(2, c",
    ),
    "missing": (lambda: RandomTerm([1, 2], [1.0, np.nan], name="g"), "'g': .* missing or infinite values. Drop"),
    "names": (lambda: RandomTerm([1, 2], [1.0, 2.0], "g", columns=("a", "b")), "'g': 2 column names for 1 columns"),
    "name": (lambda: RandomTerm("g", [1, 2], np.ones(2)), r"name of a term is a string, not ndarray"),
    "shape": (lambda: RandomTerm(np.ones((2, 2)), name="g"), r"'g' has shape \(2, 2\); it must be one column"),
    "block": (lambda: RandomTerm.from_matrix(np.ones((3, 0)), "ped"), r"'ped': the block of Z has shape \(3, 0\)"),
    "block values": (lambda: RandomTerm.from_matrix([[np.inf]], "ped"), "'ped': the block of Z holds missing or inf"),
    "block labels": (
        lambda: RandomTerm.from_matrix(np.eye(2), "ped", levels=[1]),
        "'ped': 1 level labels for 2 columns",
    ),
}


@pytest.mark.parametrize("make, message", TERMS.values(), ids=TERMS)
def test_terms(make, message):
    with pytest.raises(DataError, match=message):
        make()


def arrays(y=None, X=None, groups=(0, 0, 1, 1), **options):
    """Return a model of four rows."""
    y = [1.0, 2.0, 4.0, 3.0] if y is None else y
    return LinearMixedModel(y, np.ones((4, 1)) if X is None else X, [RandomTerm(list(groups))], **options)


ARRAYS = {
    "dimensions": (lambda: arrays(y=np.ones((2, 2))), "endog has 2 dimensions; it needs 1"),
    "names": (lambda: arrays(exog_names=["a", "b"]), "2 exog_names for 1 columns of exog"),
    "no rows": (lambda: LinearMixedModel([], np.ones((0, 1)), [RandomTerm([1])]), "The data have no rows"),
    "large": (lambda: arrays(X=[[1e90]] * 4, exog_names=["x"]), r"x is of the size of 1e\+90.* another unit"),
    "small": (
        lambda: lmer("y ~ 1 + (x | g)", {"y": [1.0, 2, 4, 3, 5, 1], "g": list("aaabbb"), "x": [1e-90] * 6}),
        "x of",
    ),
}


@pytest.mark.parametrize("make, message", ARRAYS.values(), ids=ARRAYS)
def test_arrays(make, message):
    with pytest.raises(DataError, match=message):
        make()


def test_blocks_of_the_users_have_sizes():
    block = sp.csr_array(np.eye(4)[:, :2] * 1e-90)
    with pytest.raises(DataError, match="The block of Z of 'ped' is of the size of 1e-90"):
        LinearMixedModel([1.0, 2, 4, 3], np.ones((4, 1)), [RandomTerm.from_matrix(block, "ped")])


FITS = {
    "table": (lambda fit: fit.anova()["p"], KeyError, "'p' is no column of this table; its columns are .*p.value"),
    "weights": (
        lambda fit: fit.predict(interval="prediction", weights="w"),
        DataError,
        "weights is the name of a column, but there are no new data. Give the values",
    ),
    "pairs": (lambda fit: fit.emmeans("k").pairs, AttributeError, r"no attribute 'pairs'. Use contrasts\(\)"),
    "update": (lambda fit: fit.update("y ~ x"), ValueError, r"update\(new_rows\) adds rows.*lmer\(\)"),
    "level": (
        lambda fit: fit.emmeans("k").confint(level=95),
        ValueError,
        "level=95 is not between 0 and 1; level=0.95",
    ),
    "refit": (lambda fit: fit.refit(np.ones(3)), DataError, r"has shape \(3, 1\); the fit has 60 rows"),
}


@pytest.mark.parametrize("call, kind, message", FITS.values(), ids=FITS)
def test_results(call, kind, message, fit):
    with pytest.raises(kind, match=message):
        call(fit)


def test_tables_print_all_their_columns(fit):
    for table in (fit.tidy(conf_int=True), fit.glance(), fit.t_test("x = 0")):
        assert all(name in repr(table) for name in table.columns) and "..." not in repr(table)
        assert type(table[table.columns[:2]]) is type(table.copy()) is pd.DataFrame
        pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(table)), table)


def test_what_objects_print(fit):
    model = fit.model
    assert repr(model) == "<LinearMixedModel: y ~ x + k + (1 | g), 60 observations, 6 levels of g>"
    assert repr(model.terms[0]) == "<RandomTerm g: 6 levels of Intercept>"
    assert repr(model.cross) == "<CrossProducts of 60 rows, 4 fixed-effects columns and 6 random effects>"
    assert repr(model.design) == "<Design: y ~ x + k + (1 | g), 60 rows, 0 left out>"


def test_tables_become_frames(fit):
    for table in (fit.anova(), fit.emmeans("k")):
        pd.testing.assert_frame_equal(table.to_frame(), table.frame)


def test_data_sets():
    with pytest.raises(KeyError, match=r"No data set 'sleep'. Available: sleepstudy"):
        sparselmm.datasets.load("sleep")


def test_exact_test_of_many_levels(fit, monkeypatch):
    monkeypatch.setattr("sparselmm.comparison.exact.MOST", 2)
    with pytest.raises(DataError, match=r"needs the 4 eigenvalues.*ranova"):
        fit.exact_test()


def test_contrasts_of_interactions_need_every_combination():
    keys = pd.DataFrame({"k": list("aab"), "l": list("cdc")})
    with pytest.raises(ValueError, match="every combination of the factors"):
        products("pairwise", keys)


@pytest.mark.parametrize(
    "size, kind, message",
    [
        (1e8, EngineError, "The Cholesky factorisation failed at column .* θ is out of range"),
        (1e12, DataError, "The fixed effects are not estimable: X'V⁻¹X is singular"),
    ],
)
def test_variances_without_bounds(size, kind, message, rows):
    model = lmer("y ~ x + (x | g) + (1 | h)", rows).model
    with pytest.raises(kind, match=message):
        model.likelihood().evaluate(np.full(4, size))


def test_factorisations_fail(monkeypatch):
    with pytest.raises(EngineError, match=r"The Cholesky factorisation failed: .* θ is out of range"):
        Cholesky(np.array([0, 1], dtype=np.int32), np.array([0], dtype=np.int32)).factorize(np.array([0.0]))
    monkeypatch.setattr(lapack, "dpotrf", lambda K, **_: (K, 1))
    users, items = ratings(np.random.default_rng(0), n=3_000, users=300, items=200)
    model = LinearMixedModel(np.arange(3_000.0) % 7, np.ones((3_000, 1)), [RandomTerm(users), RandomTerm(items)])
    with pytest.raises(EngineError, match=r"coarse matrix .* is not positive definite"):
        model.likelihood(engine="pcg").evaluate(np.ones(2))


FORMULAS = {
    "backtick": ({"a`b": [1.0]}, "y ~ . + (1 | g)", DataError, "Column 'a`b': no formula can hold"),
    "powers": ({}, "y ~ (a + b + c + d)**12 + (1 | g)", FormulaError, "multiplies out to more than"),
    "powers of all columns": (
        {f"x{i}": [float(i)] for i in range(12)},
        "y ~ .**10 + (1 | g)",
        FormulaError,
        "multiplies out to more than",
    ),
    "dates": (
        {"flight day": pd.date_range("2020-01-01", periods=N)},
        "y ~ `flight day` + (1 | g)",
        DataError,
        r"use C\(`flight day`\)",
    ),
}


@pytest.mark.parametrize("columns, formula, kind, message", FORMULAS.values(), ids=FORMULAS)
def test_formulas(columns, formula, kind, message, rows):
    columns = {name: values if len(values) == N else values * N for name, values in columns.items()}
    with pytest.raises(kind, match=message):
        lmer(formula, rows[["y", "g"]].assign(**columns))


def test_formulaic_that_has_moved(monkeypatch):
    monkeypatch.setitem(sys.modules, "formulaic.parser.algos.tokenize", None)
    spec = find_spec("sparselmm.formula_text")
    with pytest.raises(ImportError, match=r"pip install 'formulaic>=1\.2,<1\.3'"):
        spec.loader.exec_module(module_from_spec(spec))


def mixed(rows, **options):
    """Return statsmodels' model of arrays."""
    return MixedLM(rows.y.to_numpy(), np.ones((N, 1)), rows.g.to_numpy(), **options)


COMPONENTS = {"names": ["v"], "colnames": [[["a"]] * 6], "mats": [[np.ones((3, 1))] * 6]}
CLASSICAL = {
    "numeric": (lambda rows: MixedLM(rows.k, rows.x, rows.g), DataError, "endog is not numeric: .*"),
    "missing": (lambda rows: mixed(rows, missing="skip"), ValueError, r"missing must be one of .* not 'skip'"),
    "rows of components": (
        lambda rows: mixed(rows, exog_vc=VCSpec(**COMPONENTS)),
        DataError,
        "'v' has .* 3 rows in a group",
    ),
    "dropped": (
        lambda rows: MixedLM(
            rows.y.mask(rows.index == 3), rows.x, rows.g, exog_vc=VCSpec(**COMPONENTS), missing="drop"
        ),
        DataError,
        "cannot be dropped from exog_vc. Drop them before",
    ),
    "nothing left": (
        lambda rows: MixedLM.from_formula("y ~ x", rows.assign(x=np.nan), groups="g", missing="drop"),
        DataError,
        "Every row has a missing value, by column: 'x' ",
    ),
    "response": (
        lambda rows: MixedLM.from_formula("k ~ x", rows, groups="g"),
        FormulaError,
        "The response 'k' has 3 columns; a model has one",
    ),
    "start": (
        lambda rows: MixedLM.from_formula("y ~ x", rows, groups="g", use_sqrt=False).fit(start_params=[-1.0]),
        ValueError,
        "start_params: a covariance is not positive semidefinite",
    ),
}


@pytest.mark.parametrize("call, kind, message", CLASSICAL.values(), ids=CLASSICAL)
def test_classical_interface(call, kind, message, rows):
    pytest.importorskip("statsmodels")
    with pytest.raises(kind, match=message):
        call(rows)


def test_clusters_need_a_factor(rows):
    block = RandomTerm.from_matrix(np.eye(N)[:, :5] + 1.0, "block")
    fit = LinearMixedModel(rows.y, rows[["x"]], [block]).fit()
    with pytest.raises(DataError, match="no grouping factor: give cluster="):
        fit.bootstrap(2, kind="cluster")


def test_predictions_into_files(rows, fit, tmp_path):
    arrays = LinearMixedModel(rows.y, rows[["x"]], [RandomTerm(rows.g)]).fit()
    with pytest.raises(DataError, match=r"Give the rows to predict.*of a model from a formula"):
        arrays.predict(rows, sink=tmp_path / "p.parquet")
    with pytest.raises(DataError, match=r"The data have no rows. Check the source"):
        rows[:0].to_parquet(tmp_path / "none.parquet")
        fit.predict(tmp_path / "none.parquet", sink=tmp_path / "p.parquet")


PROFILES = {
    "far": ("MAX_POINTS", 0, "does not reach the level"),
    "falls": ("scored", lambda point, best, sign: replace(point, zeta=-9.0 * sign, steepness=1.0), "is not monotone"),
}


@pytest.mark.parametrize("name, value, message", PROFILES.values(), ids=PROFILES)
def test_profiles_that_end_early(name, value, message, fit, monkeypatch):
    monkeypatch.setattr(f"sparselmm.profile.curve.{name}", value)
    with pytest.warns(sparselmm.ConvergenceWarning, match=f"The profile of x .*{message}.*bootstrap"):
        fit.profile(which="x")


def test_profiles_below_the_fit():
    point = Point(0.5, np.zeros(2), None, 1.0, 0.0, None, 2.0, 1.0)
    with pytest.raises(curve.ProfileError, match="the fit is not the maximum of the likelihood"):
        curve.scored(point, replace(point, deviance=2.0), 1)


def test_files_without_duckdb(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    (tmp_path / "rows.csv").write_text("y,x,g\n1,2,3\n")
    with pytest.raises(ImportError, match=r"needs DuckDB and pyarrow: pip install 'sparselmm\[stream\]'"):
        lmer("y ~ x + (1 | g)", tmp_path / "rows.csv")


def test_a_correlations_end_is_above_its_path(monkeypatch):
    point = Point(0.5, np.zeros(2), None, 0.0, 0.0, None, 2.0, 1.0)
    monkeypatch.setattr(curve, "settle", lambda *_: point)
    monkeypatch.setattr(curve, "scored", lambda point, *_: replace(point, zeta=1.0))
    with pytest.raises(curve.ProfileError, match="not monotone"):
        curve._plateau(SimpleNamespace(free=np.arange(2)), point, point, 0.5, 1, 1.0, 1.0, point, 1)


def test_lazy_frames_of_old_polars(rows):
    frame = SimpleNamespace(collect_schema=lambda: SimpleNamespace(names=lambda: ["y"]), select=lambda _: None)
    with pytest.raises(ImportError, match=r"Polars 1\.34 or later: pip install"):
        next(LazyFrame(frame).chunks(["y"], 10))


def test_formulas_that_no_file_keeps(rows, tmp_path):
    model = lmer("y ~ C(`a b`) + (1 | g)", iter([rows.rename(columns={"k": "a b"})])).model
    with pytest.raises(
        DataError, match=r"'C\(`a b`\)' of the formula cannot be kept in a file. Compute it in the data"
    ):
        model.save(tmp_path / "m.npz")
    model = lmer("y ~ k + (1 | g)", iter([rows]), contrasts={"k": CustomContrasts(np.eye(3)[:, :2])}).model
    with pytest.raises(DataError, match=r"The contrasts of 'k' have no name. Give them by one: "):
        model.save(tmp_path / "m.npz")
