"""The numbers and labels of LinearMixedModelResults, its tables and pickles."""

import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import DenseModel, random_design

import sparselmm
from sparselmm import DataError, LinearMixedModel, RandomTerm

SLOPES = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleepstudy():
    return sparselmm.datasets.load("sleepstudy")


@pytest.fixture(scope="module")
def fit(sleepstudy):
    return sparselmm.lmer(SLOPES, sleepstudy)


def test_fixed_effects(fit):
    # R: summary(lmer(Reaction ~ Days + (Days | Subject), sleepstudy)); vcov(); confint(method = "Wald")
    assert list(fit.params.index) == ["Intercept", "Days"]
    np.testing.assert_allclose(fit.params, [251.405105, 10.467286], rtol=1e-7)
    np.testing.assert_allclose(fit.bse, [6.824597, 1.545790], rtol=1e-5)
    np.testing.assert_allclose(fit.cov_params(), [[46.57512, -1.451088], [-1.451088, 2.389466]], rtol=2e-5)
    np.testing.assert_allclose(fit.tvalues, [36.83809, 6.771481], rtol=1e-5)
    np.testing.assert_allclose(fit.conf_int(ddf="z").loc["Days"], [7.437594, 13.496978], rtol=1e-5)
    np.testing.assert_allclose(fit.conf_int(0.5, ddf="z").loc["Days"], [9.424667, 11.509905], rtol=1e-5)


def test_fixed_effects_with_degrees_of_freedom(fit):
    # R: summary(lmerTest::lmer(Reaction ~ Days + (Days | Subject), sleepstudy))
    np.testing.assert_allclose(fit.pvalues, [1.171561e-17, 3.263786e-06], rtol=1e-3)
    np.testing.assert_allclose(fit.conf_int().loc["Days"], [7.205956, 13.728615], rtol=1e-5)
    options = {"wald": {}, "profile": {}, "bootstrap": {"n": 50, "rng": 1}}
    for method, arguments in options.items():
        table = fit.conf_int(method=method, **arguments)
        assert list(table.columns)[:2] == ["lower", "upper"], method
    with pytest.raises(ValueError, match="'wald', 'profile' or 'bootstrap'"):
        fit.conf_int(method="exact")


def test_criteria(fit, sleepstudy):
    # R: AIC, BIC, logLik, df.residual of the REML and the ML fit
    assert (fit.nobs, fit.df_resid, fit.method) == (180, 178, "REML")
    np.testing.assert_allclose([fit.deviance, fit.llf], [1743.628272, -871.814136], rtol=1e-9)
    np.testing.assert_allclose([fit.aic, fit.bic], [1755.628272, 1774.786013], rtol=1e-9)
    ml = sparselmm.lmer(SLOPES, sleepstudy, reml=False)
    np.testing.assert_allclose([ml.aic, ml.bic, ml.llf], [1763.939344, 1783.097086, -875.969672], rtol=1e-9)
    assert ml.method == "ML"


def test_variances(fit):
    # R: VarCorr
    assert list(fit.cov_re) == ["Subject"]
    np.testing.assert_allclose(fit.cov_re["Subject"], [[612.1002, 9.6044], [9.6044, 35.0717]], rtol=2e-4)
    np.testing.assert_allclose([fit.sigma, fit.scale], [25.591796, 654.94001], rtol=3e-6)
    assert list(fit.vcomp.columns) == ["group", "name", "variance", "sd"]
    assert list(fit.vcomp["group"]) == ["Subject", "Subject", "Residual"]
    np.testing.assert_allclose(fit.vcomp["sd"], [24.74066, 5.922138, 25.591796], rtol=1e-5)


def test_random_effects(fit):
    # R: ranef(condVar = TRUE), coef
    effects = fit.random_effects["Subject"]
    assert effects.shape == (18, 2) and effects.index.name == "Subject" and list(effects) == ["Intercept", "Days"]
    np.testing.assert_allclose(effects.loc["308"], [2.25855, 9.198976], rtol=1e-4)
    np.testing.assert_allclose(
        fit.random_effects_cov["Subject"][0], [[145.70559, -21.444504], [-21.444504, 5.312283]], rtol=1e-5
    )
    np.testing.assert_allclose(fit.random_effects_sd["Subject"].loc["309", "Intercept"], 12.070857, rtol=1e-5)
    np.testing.assert_allclose(fit.coefficients["Subject"].loc["308"], [253.663656, 19.666262], rtol=1e-6)


def test_coefficients_of_other_columns(sleepstudy):
    fit = sparselmm.lmer("Reaction ~ 1 + (0 + Days | Subject)", sleepstudy)
    coefficients = fit.coefficients["Subject"]
    assert list(coefficients) == ["Intercept", "Days"]
    assert (coefficients["Intercept"] == fit.params["Intercept"]).all()
    pd.testing.assert_series_equal(coefficients["Days"], fit.random_effects["Subject"]["Days"])


def test_fitted_and_resid(fit, sleepstudy):
    # R: fitted, residuals
    np.testing.assert_allclose(fit.fittedvalues[:3], [253.663656, 273.329918, 292.996179], rtol=1e-6)
    np.testing.assert_allclose(fit.resid[:3], [-4.103656, -14.625218, -42.195579], rtol=1e-5)
    assert fit.resid.index.equals(sleepstudy.index)


def test_offset_and_weights(sleepstudy):
    # R: lmer(Reaction ~ Days + offset(Days^2 / 10) + (Days | Subject), REML = FALSE); weights = rep(c(1, 2, 4), 60)
    fit = sparselmm.lmer(SLOPES, sleepstudy, reml=False, offset=sleepstudy["Days"] ** 2 / 10.0)
    np.testing.assert_allclose(fit.params, [252.605105, 9.567286], rtol=1e-7)
    np.testing.assert_allclose(fit.fittedvalues[:3], [255.363046, 274.118674, 293.074302], rtol=1e-5)
    np.testing.assert_allclose(fit.resid[:3], [-5.803046, -15.413974, -42.273702], rtol=1e-4)
    fit = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", sleepstudy, weights=np.tile([1.0, 2.0, 4.0], 60))
    np.testing.assert_allclose(fit.bse, [9.908502709, 0.854669441], rtol=1e-6)
    np.testing.assert_allclose([fit.sigma, fit.llf], [50.253781396, -916.861909709], rtol=1e-6)
    np.testing.assert_allclose(fit.resid[:3], [-45.8866018, -46.92684458, -65.01588736], rtol=1e-6)
    np.testing.assert_allclose(fit.random_effects_sd["Subject"].iloc[:2, 0], [10.2980555, 10.08841424], rtol=1e-6)


def test_singular_fit():
    # R: lmer(Yield ~ 1 + (1 | Batch), Dyestuff2)
    fit = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff2"))
    assert fit.singular and fit.converged and fit.singular_terms == ["Batch"]
    np.testing.assert_allclose([fit.llf, fit.bse["Intercept"], fit.sigma], [-80.9141389061, 0.6783880312, 3.7156842745])
    np.testing.assert_allclose(fit.random_effects["Batch"], 0.0, atol=1e-6)
    assert fit.variance_params["std.error"].isna().tolist() == [True, False, True, False]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(["scalar", "slope", "diagonal", "three", "matrix"]), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_matches_dense_algebra(kinds, reml, seed):
    y, X, terms = random_design(np.random.default_rng(seed), kinds=kinds)
    likelihood = LinearMixedModel(y, X, terms).likelihood(reml)
    theta = np.random.default_rng(seed).uniform(-1.0, 1.0, likelihood.map.n_theta)
    fit = LinearMixedModel(y, X, terms).fit(reml, start=theta, tolerance=np.inf, max_evaluations=1)
    dense = DenseModel(y, X, terms, theta, reml)
    D = dense.Lambda @ dense.Lambda.T
    conditional = dense.scale * (D - D @ dense.Z.T @ dense.Vinv @ dense.Z @ D)
    np.testing.assert_allclose(fit.cov_params(), dense.scale * np.linalg.inv(dense.XVX), rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(fit.fittedvalues, X @ dense.beta + dense.Z @ dense.b, rtol=1e-7, atol=1e-8)
    for (name, effects), part in zip(fit.random_effects.items(), likelihood.map.effect_slices, strict=True):
        shape, levels = effects.shape, np.arange(len(effects))
        np.testing.assert_allclose(effects.to_numpy().ravel(), dense.b[part], rtol=1e-7, atol=1e-8)
        blocks = conditional[part, part].reshape(*shape, *shape)[levels, :, levels]
        np.testing.assert_allclose(fit.random_effects_cov[name], blocks, rtol=1e-6, atol=1e-8)


def test_units_of_response(fit, sleepstudy):
    large = sparselmm.lmer(SLOPES, sleepstudy.assign(Reaction=10.0 * sleepstudy["Reaction"]))
    for name in ("params", "bse", "fittedvalues", "sigma"):
        np.testing.assert_allclose(getattr(large, name), 10.0 * np.asarray(getattr(fit, name)), rtol=1e-6)
    for name in ("tvalues", "theta"):
        np.testing.assert_allclose(getattr(large, name), getattr(fit, name), rtol=1e-5)
    np.testing.assert_allclose(large.resid, 10.0 * fit.resid, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(
        large.random_effects_cov["Subject"], 100.0 * fit.random_effects_cov["Subject"], rtol=1e-5
    )
    assert large.deviance == pytest.approx(fit.deviance + 178 * np.log(100.0), rel=1e-9)


def test_row_order(fit, sleepstudy):
    shuffled = sparselmm.lmer(SLOPES, sleepstudy.sample(frac=1.0, random_state=1))
    pd.testing.assert_series_equal(shuffled.params, fit.params, rtol=1e-7)
    pd.testing.assert_frame_equal(shuffled.random_effects["Subject"], fit.random_effects["Subject"], atol=1e-5)
    pd.testing.assert_series_equal(shuffled.resid.loc[sleepstudy.index], fit.resid, atol=1e-4)


def test_tidy(fit):
    # R: broom.mixed::tidy(fit, conf.int = TRUE)
    table = fit.tidy(conf_int=True)
    columns = ["effect", "group", "term", "estimate", "std.error", "df", "statistic", "p.value"]
    assert list(table.columns) == [*columns, "conf.low", "conf.high"]
    assert list(table["effect"]) == ["fixed"] * 2 + ["ran_pars"] * 4
    assert list(table["group"][2:]) == ["Subject", "Subject", "Subject", "Residual"]
    random = ["sd__Intercept", "cor__Intercept.Days", "sd__Days", "sd__Observation"]
    assert list(table["term"]) == ["Intercept", "Days", *random]
    np.testing.assert_allclose(table["estimate"][2:], [24.740658, 0.0655512, 5.922138, 25.591796], rtol=1e-4)
    np.testing.assert_allclose(table["conf.low"][:2], [237.006508, 7.205956], rtol=1e-5)
    assert list(fit.tidy("fixed").columns) == columns and len(fit.tidy("fixed")) == 2
    assert list(fit.tidy("random")["term"]) == random
    assert fit.tidy("fixed", conf_int=True, conf_level=0.5, ddf="z")["conf.low"][1] == pytest.approx(9.424667, rel=1e-5)
    with pytest.raises(ValueError, match="effects must be one or more of"):
        fit.tidy("modes")


def test_tidy_of_several_columns_and_terms(sleepstudy):
    # broom.mixed's order: the lower triangle, column after column; its name of a second term of the same factor
    fit = sparselmm.lmer("score ~ Machine + (Machine | Worker)", sparselmm.datasets.load("Machines"))
    kinds = ["sd", "cor", "cor", "sd", "cor", "sd", "sd"]
    assert fit.tidy("random")["term"].str.split("__").str[0].tolist() == kinds
    fit = sparselmm.lmer("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", sleepstudy)
    assert list(fit.tidy("random")["group"]) == ["Subject", "Subject.1", "Residual"]
    np.testing.assert_allclose(fit.tidy("random")["estimate"], [25.051328, 5.988187, 25.565279], rtol=1e-5)


def test_glance(fit, sleepstudy):
    # R: broom.mixed::glance(fit)
    table = fit.glance()
    columns = ["nobs", "sigma", "logLik", "AIC", "BIC", "REMLcrit", "df.residual", "converged", "singular"]
    assert list(table.columns) == columns and table.shape == (1, 9)
    np.testing.assert_allclose(
        table.iloc[0, :7].astype(float),
        [180, 25.591796, -871.814136, 1755.628272, 1774.786013, 1743.628272, 174],
        rtol=1e-5,
    )
    assert "deviance" in sparselmm.lmer(SLOPES, sleepstudy, reml=False).glance()


def test_augment(fit, sleepstudy):
    table = fit.augment(sleepstudy)
    assert list(table.columns) == [*sleepstudy.columns, ".fitted", ".resid", ".fixed"]
    np.testing.assert_allclose(table[".fitted"] + table[".resid"], sleepstudy["Reaction"])
    np.testing.assert_allclose(table[".fixed"], fit.params["Intercept"] + fit.params["Days"] * sleepstudy["Days"])
    lists = {name: list(sleepstudy[name]) for name in sleepstudy}
    np.testing.assert_array_equal(fit.augment(lists)[".fitted"], table[".fitted"])
    own = fit.augment()
    assert list(own.columns) == ["Reaction", "Intercept", "Days", "Subject", ".fitted", ".resid", ".fixed"]
    assert list(own["Subject"]) == list(sleepstudy["Subject"])
    with pytest.raises(DataError, match="179 rows; the fit was given 180"):
        fit.augment(sleepstudy[1:])


def test_augment_leaves_incomplete_rows_out(sleepstudy):
    data = sleepstudy.set_index(np.arange(180) * 2)
    data.loc[[4, 10], "Days"] = np.nan
    fit = sparselmm.lmer(SLOPES, data)
    assert fit.resid.index.equals(data.index.drop([4, 10]))
    assert fit.augment(data).index.equals(fit.resid.index)


def test_arrays(fit, sleepstudy):
    X = np.column_stack([np.ones(180), sleepstudy["Days"]])
    term = RandomTerm(sleepstudy["Subject"], X, "Subject", ("Intercept", "Days"))
    plain = LinearMixedModel(sleepstudy["Reaction"].to_numpy(), X, term).fit()
    assert list(plain.params.index) == ["const", "x1"] and list(plain.resid.index) == list(range(180))
    np.testing.assert_allclose(plain.bse.to_numpy(), fit.bse.to_numpy(), rtol=1e-8)
    assert "y from arrays" in repr(plain) and list(plain.augment())[:2] == ["y", "const"]


def outputs(fit):
    """Return everything a fit says, as text and arrays."""
    return [
        str(fit.summary()),
        fit.variance_params.to_string(),
        fit.fittedvalues.to_numpy(),
        *fit.random_effects_cov.values(),
    ]


@pytest.mark.parametrize(
    "duplicate", [lambda fit: pickle.loads(pickle.dumps(fit)), copy.deepcopy], ids=["pickle", "copy"]
)
@pytest.mark.parametrize("kind", ["formula", "arrays"])
def test_pickles(kind, duplicate):
    if kind == "formula":
        fit = sparselmm.lmer("score ~ Machine + (1 | Worker/Machine)", sparselmm.datasets.load("Machines"))
    else:
        fit = LinearMixedModel(*random_design(np.random.default_rng(3), kinds=("slope", "scalar", "matrix"))).fit()
    again = duplicate(fit)
    assert set(vars(again)) == {"model", "reml", "optimizer", "evaluation"}
    for one, two in zip(outputs(fit), outputs(again), strict=True):
        assert one == two if isinstance(one, str) else np.array_equal(one, two)


def test_pickled_fit_predicts(fit, sleepstudy):
    again = pickle.loads(pickle.dumps(fit))
    pd.testing.assert_series_equal(again.predict(sleepstudy), fit.predict(sleepstudy))


def test_pickles_without_prior_outputs_are_small(fit):
    assert len(pickle.dumps(fit)) < 100_000


def test_read_only(fit):
    with pytest.raises(AttributeError, match="read-only"):
        fit.params = 1.0
    with pytest.raises(ValueError, match="read-only"):
        fit.theta[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        fit.random_effects_cov["Subject"][0] = 1.0


def test_in_place_calls_of_the_user_stay_the_users(sleepstudy):
    fit = sparselmm.lmer(SLOPES, sleepstudy)
    names, predicted = list(fit.params.index), fit.predict(sleepstudy)
    params, effects = fit.params, fit.random_effects["Subject"]
    params.index = params.index[::-1]
    effects.index = effects.index[::-1]
    effects["new"] = 1.0
    assert list(fit.params.index) == names
    assert list(fit.random_effects["Subject"].columns) == ["Intercept", "Days"]
    pd.testing.assert_series_equal(fit.predict(sleepstudy), predicted)
    np.testing.assert_allclose(predicted, fit.fittedvalues)


def test_outputs_do_not_depend_on_their_order(sleepstudy):
    one, two = (sparselmm.lmer(SLOPES, sleepstudy) for _ in range(2))
    first = one.variance_params, one.random_effects_cov["Subject"]
    last = two.random_effects_cov["Subject"], two.variance_params
    pd.testing.assert_frame_equal(first[0], last[1])
    assert np.array_equal(first[1], last[0])


def test_nothing_is_computed_before_it_is_asked_for(sleepstudy):
    fit = sparselmm.lmer(SLOPES, sleepstudy)
    assert set(vars(fit)) == {"model", "reml", "optimizer", "evaluation", "_threads"}


def test_threads_that_share_a_fit_do_not_disturb_each_other(sleepstudy):
    fit = sparselmm.lmer(SLOPES, sleepstudy)
    Y = fit.simulate(8, rng=1)

    def work(column):
        return fit.refit(Y[column]).deviance, fit.predict(se=True, interval="mean", ddf="satterthwaite")["df"].sum()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, Y.columns)) == [work(column) for column in Y.columns]


def test_fitting_does_not_import_matplotlib_or_scipy_stats():
    code = (
        "import sys, sparselmm; d = sparselmm.datasets.load('sleepstudy');"
        "str(sparselmm.lmer('Reaction ~ Days + (1 | Subject)', d).summary());"
        "sys.exit(' '.join({'matplotlib', 'scipy.stats'} & set(sys.modules)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
