"""MixedLM.fit: the optimum, optimisers, masks, penalties, start values, warnings."""

import numpy as np
import pytest
from mixedlm_designs import classical, crossed_frame, grouped_frame, quiet

import sparselmm
from sparselmm.mixedlm import MixedLM, MixedLMParams

sm_warnings = pytest.importorskip("statsmodels.tools.sm_exceptions")

KINDS = [
    {},
    {"re_formula": "~x"},
    {"re_formula": "1", "vc_formula": {"s": "0 + C(s)"}},
]


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("arguments", KINDS)
def test_optimum_is_statsmodels(arguments, reml):
    data = grouped_frame(7, n=300)
    fit = MixedLM.from_formula("y ~ x + z", data, groups="g", **arguments).fit(reml=reml)
    with quiet():
        expected = classical("y ~ x + z", data, groups="g", **arguments).fit(reml=reml)
    assert fit.llf >= expected.llf - 1e-9 and fit.llf == pytest.approx(expected.llf, abs=1e-4)
    for name in ("params", "bse", "fe_params", "bse_fe", "cov_re", "cov_re_unscaled", "tvalues", "pvalues"):
        ours, theirs = getattr(fit, name), getattr(expected, name)
        assert type(ours) is type(theirs) and list(ours.index) == list(theirs.index), name
        np.testing.assert_allclose(ours, theirs, rtol=2e-2, atol=2e-3, err_msg=name)
    np.testing.assert_allclose(fit.vcomp, expected.vcomp, rtol=1e-2)
    np.testing.assert_allclose(fit.conf_int(), expected.conf_int(), rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose([fit.aic, fit.bic], [expected.aic, expected.bic], atol=1e-3)
    assert fit.converged and fit.method == expected.method


def test_singular_optimum_beats_a_failing_search():
    data = grouped_frame(0, n=240)
    arguments = {"groups": "g", "re_formula": "~x", "vc_formula": {"s": "0 + s", "z": "0 + z"}}
    with quiet():
        fit = MixedLM.from_formula("y ~ x + z", data, **arguments).fit()
        expected = classical("y ~ x + z", data, **arguments).fit()
    assert fit.converged and fit.llf >= expected.llf - 1e-9


def test_crossed_components_of_one_group_are_lmer():
    data = crossed_frame()
    fit = MixedLM.from_formula("y ~ 1", data, groups="one", vc_formula={"a": "0 + C(a)", "b": "0 + C(b)"}).fit()
    expected = sparselmm.lmer("y ~ 1 + (1 | a) + (1 | b)", data)
    assert fit.llf == pytest.approx(expected.llf, abs=1e-9)
    np.testing.assert_allclose(fit.vcomp, expected.vcomp["variance"].iloc[:2], rtol=1e-5)
    effects = fit.random_effects[1]
    np.testing.assert_allclose(effects.iloc[:12], expected.random_effects["a"]["Intercept"], rtol=1e-4, atol=1e-6)
    assert list(effects.index[:2]) == ["a[C(a)[0]]", "a[C(a)[1]]"]


@pytest.mark.parametrize("method", ["bfgs", "lbfgs", "cg", "powell", "nm", "basinhopping", ["nm", "bfgs"], "ncg"])
def test_classical_optimisers_find_the_optimum(method):
    model = MixedLM.from_formula("y ~ x", grouped_frame(7), groups="g", re_formula="~x")
    best = model.fit().llf
    fit = model.fit(method=method, full_output=True, gtol=1e-7)
    assert fit.converged and fit.llf == pytest.approx(best, abs=1e-5)
    assert fit.hist[-1]["converged"] and len(fit.hist[-1]["allvecs"]) >= 2
    assert model.fit().hist is None


def test_optimiser_without_use_sqrt():
    data = grouped_frame(7)
    fits = [
        MixedLM.from_formula("y ~ x", data, groups="g", re_formula="~x", use_sqrt=s).fit(method="bfgs") for s in (0, 1)
    ]
    assert fits[0].llf == pytest.approx(fits[1].llf, abs=1e-6)


def test_a_method_that_fails_is_retried():
    model = MixedLM.from_formula("y ~ x", grouped_frame(7), groups="g", re_formula="~x")
    with pytest.warns(sm_warnings.ConvergenceWarning, match="Retrying MixedLM optimization with lbfgs"):
        assert model.fit(method=["nm", "lbfgs"], maxiter=8).hist is None
    with pytest.warns(sparselmm.ConvergenceWarning, match=r"\|grad\|"):
        assert not model.fit(method="nm", maxiter=2).converged
    with pytest.raises(ValueError, match="Unknown fit method"):
        model.fit(method="magic")


def test_free_identity_makes_effects_independent():
    data = grouped_frame(7)
    free = MixedLMParams.from_components(np.ones(2), np.eye(2))
    model = MixedLM.from_formula("y ~ x", data, groups="g", re_formula="~x")
    fit = model.fit(free=free)
    expected = sparselmm.lmer("y ~ x + (x || g)", data)
    assert fit.llf == pytest.approx(expected.llf, abs=1e-9)
    assert fit.cov_re.iloc[0, 1] == 0.0 and fit.bse.iloc[3] == 0.0
    assert fit.to_lmer()[0] == "y ~ x + (1 + x || g)"
    assert model.fit(free=free, method="bfgs").llf == pytest.approx(fit.llf, abs=1e-6)
    ml = model.fit(free=free, reml=False)
    assert ml.aic == pytest.approx(-2 * ml.llf + 2 * 5)


def test_free_holds_parameters_at_their_start():
    data = grouped_frame(7)
    model = MixedLM.from_formula("y ~ x", data, groups="g", re_formula="1", vc_formula={"s": "0 + C(s)"})
    start = MixedLMParams.from_components(np.zeros(2), np.array([[0.5]]), vcomp=np.array([0.7]))
    free = MixedLMParams.from_components(np.ones(2), np.ones((1, 1)), vcomp=np.zeros(1))
    fit = model.fit(start, free=free)
    assert fit.params_object.vcomp[0] == pytest.approx(0.7)
    assert fit.params_object.cov_re[0, 0] != pytest.approx(0.5, abs=1e-3)
    beta = MixedLMParams.from_components(np.array([1.0, 0.0]), np.ones((1, 1)), vcomp=np.ones(1))
    held = model.fit(free=beta)
    assert held.fe_params.iloc[1] == 0.0 and held.bse.iloc[1] == 0.0
    score = model.score(held.params_object, profile_fe=False)
    assert abs(score[0]) < 1e-2 and abs(score[1]) > 1.0


def test_start_params_in_three_forms():
    model = MixedLM.from_formula("y ~ x", grouped_frame(7), groups="g", re_formula="~x")
    best = model.fit()
    start = best.params_object
    for form in (start, start.get_packed(True, has_fe=True), start.get_packed(True)):
        fit = model.fit(form, do_cg=False)
        np.testing.assert_allclose(fit.params, best.params, rtol=1e-6)
        assert not fit.converged and fit.llf == pytest.approx(best.llf, abs=1e-9)
        assert model.fit(form).converged
    with pytest.raises(ValueError, match="parameters"):
        model.fit(np.ones(2))


def test_penalties_are_honoured():
    from statsmodels.base._penalties import L2, PSD

    data = grouped_frame(7)
    model = MixedLM.from_formula("y ~ x", data, groups="g", re_formula="~x")
    with quiet():
        expected = classical("y ~ x", data, groups="g", re_formula="~x").fit(cov_pen=PSD(2.0))
    fit = model.fit(cov_pen=PSD(2.0))
    assert fit.llf == pytest.approx(expected.llf, abs=1e-4)
    np.testing.assert_allclose(fit.params, expected.params, rtol=1e-2, atol=1e-3)
    penalty = L2(np.array([0.0, 5.0]))
    shrunk = model.fit(fe_pen=penalty)
    assert abs(shrunk.fe_params["x"]) < abs(model.fit().fe_params["x"])
    model.fe_pen = penalty
    np.testing.assert_allclose(model.score(shrunk.params_object, profile_fe=False), 0.0, atol=1e-2)


def test_keywords_without_use_warn_once():
    model = MixedLM.from_formula("y ~ x", grouped_frame(7), groups="g")
    with pytest.warns(FutureWarning, match="Arguments bogus, other not used") as caught:
        model.fit(bogus=1, other=2)
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(sm_warnings.ValueWarning, match="niter_sa is currently ignored"):
        model.fit(niter_sa=3)


def test_newton_obeys_maxiter_and_disp(capsys):
    model = MixedLM.from_formula("y ~ x", grouped_frame(7), groups="g", re_formula="~x")
    with pytest.warns(sparselmm.ConvergenceWarning, match="limit of evaluations"):
        assert not model.fit(maxiter=1, disp=True).converged
    assert "limit of evaluations" in capsys.readouterr().out


def test_boundary_warns_in_both_names():
    data = crossed_frame()
    data["y"] -= data.groupby("a")["y"].transform("mean")
    model = MixedLM.from_formula("y ~ 1", data, groups="a")
    with pytest.warns() as caught:
        fit = model.fit()
    assert fit.boundary.all() and fit.cov_re.iloc[0, 0] == 0.0
    categories = [warning.category for warning in caught]
    assert any(issubclass(c, sm_warnings.ConvergenceWarning) for c in categories)
    assert any(issubclass(c, sm_warnings.SingularMatrixWarning) for c in categories)
    assert all(warning.filename == __file__ for warning in caught)


def test_regularized_is_the_classical_one():
    from statsmodels.regression.mixed_linear_model import MixedLM as Classical

    data = grouped_frame(7)
    X = np.column_stack([np.ones(len(data)), data["x"], data["z"]])
    with quiet():
        expected = Classical(data["y"].to_numpy(), X, data["g"].to_numpy()).fit_regularized(alpha=[0.0, 20.0, 40.0])
    model = MixedLM(data["y"].to_numpy(), X, data["g"].to_numpy())
    fit = model.fit_regularized(alpha=[0.0, 20.0, 40.0])
    np.testing.assert_allclose(fit.fe_params, expected.fe_params, atol=1e-4)
    assert fit.fe_params[2] == 0.0 and np.isnan(fit.bse_fe[2]) and np.isfinite(fit.bse_fe[:2]).all()
    with pytest.raises(ValueError, match="Invalid regularization"):
        model.fit_regularized(method="l3")


def test_regularized_by_a_smooth_penalty():
    from statsmodels.base._penalties import L2

    model = MixedLM.from_formula("y ~ x", grouped_frame(7), groups="g")
    fit = model.fit_regularized(method=L2(np.ones(2)), alpha=50.0)
    assert np.abs(fit.fe_params).sum() < np.abs(model.fit().fe_params).sum()
