"""Faults of the original that MixedLM does not have, one test each."""

import numpy as np
import pytest
from mixedlm_designs import crossed_frame, grouped_frame, quiet

import sparselmm
from sparselmm.mixedlm import MixedLM, MixedLMParams

pytest.importorskip("statsmodels")


def flat_frame():
    """Return data in which the variance of the groups is zero."""
    data = grouped_frame(4)
    data["y"] = np.random.default_rng(4).normal(size=len(data))
    data["y"] -= data.groupby("g")["y"].transform("mean")
    return data


@pytest.mark.parametrize("reml", [True, False])
def test_standard_errors_of_variances_are_in_natural_units(reml):
    data = sparselmm.datasets.load("sleepstudy")
    fit = MixedLM.from_formula("Reaction ~ Days", data, groups="Subject", re_formula="~Days").fit(reml=reml)
    errors = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data, reml).variance_params["std.error"][:3]
    np.testing.assert_allclose(fit.bse_re, errors, rtol=1e-4)
    if reml:
        assert fit.bse_re["Subject Var"] == pytest.approx(288.8, abs=0.1)


def test_standard_errors_of_variances_scale_with_the_units_of_y():
    arguments = {"groups": "g", "re_formula": "1", "vc_formula": {"s": "0 + C(s)"}}
    fits = [MixedLM.from_formula("y ~ x", grouped_frame(7, scale=scale), **arguments).fit() for scale in (1.0, 10.0)]
    np.testing.assert_allclose(100 * fits[0].bse_re, fits[1].bse_re, rtol=1e-5)
    np.testing.assert_allclose(fits[0].bse.iloc[2:], fits[1].bse.iloc[2:], rtol=1e-5)


def test_use_sparse_leaves_fitted_values():
    data = grouped_frame(7)
    arguments = {"groups": "g", "re_formula": "1", "vc_formula": {"s": "0 + C(s)"}}
    fits = [MixedLM.from_formula("y ~ x", data, use_sparse=sparse, **arguments).fit() for sparse in (True, False)]
    np.testing.assert_array_equal(fits[0].fittedvalues, fits[1].fittedvalues)
    assert hasattr(fits[0].model.exog_vc.mats[0][0], "toarray")


def test_singular_fits_have_random_effects():
    with quiet():
        fit = MixedLM.from_formula("y ~ x", flat_frame(), groups="g").fit()
    assert fit.cov_re.iloc[0, 0] == 0.0
    assert all((effects == 0.0).all() for effects in fit.random_effects.values())
    assert all((cov == 0.0).all(axis=None) for cov in fit.random_effects_cov.values())
    np.testing.assert_allclose(fit.fittedvalues, fit.predict())
    assert np.isnan(fit.bse_re).all() and np.isfinite(fit.bse_fe).all()
    assert "g Var " in str(fit.summary())


def test_variances_that_the_data_do_not_determine_have_no_standard_errors():
    data = grouped_frame(7).assign(row=np.arange(160))
    with quiet():
        fit = MixedLM.from_formula("y ~ x", data, groups="row").fit()
    assert np.isnan(fit.bse_re).all() and np.isfinite(fit.bse_fe).all()
    total = fit.scale + fit.cov_re.iloc[0, 0]
    assert total == pytest.approx(np.sum(np.polyfit(data["x"], data["y"], 1, full=True)[1]) / 158)


def test_subset_selects_rows():
    data = grouped_frame(7)
    mask = data["x"] > 0
    fit = MixedLM.from_formula("y ~ x", data, groups="g", subset=mask).fit()
    expected = MixedLM.from_formula("y ~ x", data[mask], groups="g").fit()
    assert fit.nobs == mask.sum() and fit.llf == expected.llf
    assert list(fit.fittedvalues.index) == list(data.index[mask])
    by_label = MixedLM.from_formula("y ~ x", data, groups=data["g"], subset=data.index[mask])
    assert by_label.fit().llf == expected.llf


def test_boundary_warnings_do_not_depend_on_units():
    arguments = {"groups": "g", "re_formula": "~x"}
    MixedLM.from_formula("y ~ x", grouped_frame(7, scale=1e-4), **arguments).fit()  # warnings are errors
    data = flat_frame()
    for scale in (1e-3, 1.0, 1e6):
        with pytest.warns(sparselmm.ConvergenceWarning, match="boundary"), pytest.warns(match="singular"):
            MixedLM.from_formula("y ~ x", data.assign(y=scale * data["y"]), groups="g").fit()


def test_t_test_takes_strings():
    fit = MixedLM.from_formula("y ~ x + z", grouped_frame(7), groups="g").fit()
    test = fit.t_test("x = 0")
    assert test.effect[0] == fit.fe_params["x"] and test.pvalue == pytest.approx(fit.pvalues["x"])
    assert fit.t_test("x = 1, z = x").effect.size == 2
    assert fit.t_test("x = 1").tvalue[0] == pytest.approx((fit.fe_params["x"] - 1) / fit.bse_fe["x"])
    np.testing.assert_allclose(fit.t_test(np.eye(3)).tvalue, fit.tvalues.iloc[:3])
    assert fit.t_test([0, 1, 0]).tvalue[0] == pytest.approx(test.tvalue[0])
    with pytest.raises(ValueError, match="should have 3 columns"):
        fit.t_test(np.eye(4))


def test_bootstrap_is_parametric():
    fit = MixedLM.from_formula("y ~ x", grouped_frame(7, n=240), groups="g", re_formula="~x").fit()
    mean, sd, replicates = fit.bootstrap(nrep=60, rng=1)
    assert replicates.shape == (60, 5) and fit.bootstrap_results is replicates
    np.testing.assert_allclose(mean[:2], fit.fe_params, atol=0.25)
    np.testing.assert_allclose(sd[:2], fit.bse_fe, rtol=0.35)
    np.testing.assert_array_equal(fit.bootstrap(nrep=3, rng=1)[2], replicates[:3])
    assert fit.model.fit(reml=True).llf == pytest.approx(fit.llf)


def test_bootstrap_refits_the_simulated_response():
    data = grouped_frame(7)
    fit = MixedLM.from_formula("y ~ x", data, groups="g", re_formula="1", vc_formula={"s": "0 + C(s)"}).fit()
    replicate = fit.bootstrap(nrep=1, rng=5)[2][0]
    y = fit.model.get_distribution(np.asarray(fit.params), fit.scale, None).rvs(1, rng=5)
    again = MixedLM.from_formula("y ~ x", data.assign(y=y), groups="g", re_formula="1", vc_formula={"s": "0 + C(s)"})
    np.testing.assert_allclose(replicate, again.fit().params, rtol=1e-4, atol=1e-6)


def test_start_values_can_be_evaluated():
    fit = MixedLM.from_formula("y ~ x", grouped_frame(7), groups="g").fit(do_cg=False)
    assert not fit.converged and np.isfinite(fit.llf) and np.isfinite(fit.bse).all()


def test_regularized_on_labelled_data():
    fit = MixedLM.from_formula("y ~ x + z", grouped_frame(7), groups="g").fit_regularized(alpha=30.0)
    assert fit.fe_params["z"] == 0.0 and fit.fe_params["x"] > 0.0
    assert "z" in str(fit.summary())


def test_labels_of_variance_errors_include_components():
    fit = MixedLM.from_formula("y ~ x", grouped_frame(7), groups="g", re_formula="1", vc_formula={"s": "0 + s"}).fit()
    assert list(fit.bse_re.index) == ["g Var", "s Var"]


def test_missing_rows_are_dropped_with_their_groups():
    data = grouped_frame(7)
    y = data["y"].to_numpy().copy()
    y[::9] = np.nan
    X = np.column_stack([np.ones(len(data)), data["x"]])
    fit = MixedLM(y, X, data["g"], missing="drop").fit()
    kept = ~np.isnan(y)
    assert fit.llf == MixedLM(y[kept], X[kept], data["g"][kept]).fit().llf
    with pytest.raises(sparselmm.DataError, match="endog 18"):
        MixedLM(y, X, data["g"])
    formula = MixedLM.from_formula("y ~ x", data.assign(y=y), groups="g", missing="drop").fit()
    assert formula.llf == pytest.approx(fit.llf, abs=1e-8)
    with pytest.raises(sparselmm.DataError, match="missing='drop'"):
        MixedLM.from_formula("y ~ x", data.assign(y=y), groups="g")


def test_matrices_that_are_no_covariance_are_refused():
    model = MixedLM.from_formula("y ~ x", grouped_frame(7), groups="g", re_formula="x")
    indefinite = np.array([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="not positive semidefinite"):
        model.get_fe_params(indefinite, [])
    with pytest.raises(ValueError, match="not positive semidefinite"):
        model.get_scale(np.zeros(2), indefinite, [])
    with pytest.raises(ValueError, match="not positive semidefinite"):
        model.get_distribution([0.0, 0.0, 1.0, 2.0, 1.0], 1.0, None).rvs(rng=1)


def test_score_does_not_change_its_argument():
    model = MixedLM.from_formula("y ~ x", grouped_frame(7), groups="g")
    params = MixedLMParams.from_components(np.ones(2), np.eye(1))
    model.score(params)
    np.testing.assert_array_equal(params.fe_params, [1.0, 1.0])


def test_results_keep_their_criterion_when_the_model_is_fitted_again():
    model = MixedLM.from_formula("y ~ x", crossed_frame().assign(x=np.arange(108.0)), groups="a")
    fit = model.fit(reml=True)
    llf, bse = fit.llf, model.fit(reml=True).bse
    model.fit(reml=False)
    assert fit.llf == llf
    np.testing.assert_array_equal(fit.bse, bse)


def test_joint_tests_do_not_depend_on_units():
    data = grouped_frame(7)
    fits = [MixedLM.from_formula("y ~ x + z", data.assign(z=data["z"] * unit), groups="g").fit() for unit in (1, 1e9)]
    ours, expected = (fit.wald_test("x = 0, z = 0") for fit in fits[::-1])
    assert (ours.statistic, ours.pvalue) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-6)


def test_joint_tests_of_what_has_no_standard_error_are_undefined():
    data = grouped_frame(7)
    fit = MixedLM.from_formula("y ~ x + z", data, groups="g").fit_regularized(alpha=[0.0, 1e6, 0.0])
    assert (
        fit.fe_params["x"] == 0.0 and np.isnan(fit.f_test("x = 0").pvalue) and np.isnan(fit.wald_test("x = 0").pvalue)
    )


def test_variances_that_no_response_tells_apart_are_named():
    data = grouped_frame(7).assign(batch=lambda data: data["g"])
    with pytest.warns(sparselmm.DataWarning, match="variance of Intercept in g and variance of Intercept in batch"):
        model = MixedLM.from_formula("y ~ x", data, groups="g", re_formula="1", vc_formula={"batch": "0 + C(batch)"})
    assert [alias.terms for alias in model.aliased] == [("g", "batch")]
    assert model.lmm.nobs == len(data)  # and does not warn again
