"""MixedLM's likelihood, score and Hessian at arbitrary parameters: against statsmodels and against differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixedlm_designs import classical, classical_params, crossed_frame, grouped_frame, prepared, quiet

from sparselmm.mixedlm import MixedLM, MixedLMParams
from sparselmm.mixedlm import blocks as blocks_module

pytest.importorskip("statsmodels")

STRUCTURES = {
    "intercept": {},
    "slopes": {"re_formula": "~x"},
    "slope only": {"re_formula": "0 + x"},
    "components": {"vc_formula": {"s": "0 + C(s)", "z": "0 + z"}},
    "both": {"re_formula": "~x", "vc_formula": {"s": "0 + s"}},
    "shared": {"re_formula": "1", "vc_formula": {"xz": "0 + x + z"}},
}


def random_packed(model, rng):
    """Return fixed effects, a covariance and components, as `params` packs them."""
    root = np.tril(rng.normal(size=(model.k_re, model.k_re)))
    cov = root @ root.T + 0.05 * np.eye(model.k_re)
    lower = cov[np.tril_indices(model.k_re)]
    return np.concatenate([rng.normal(size=model.k_fe), lower, rng.uniform(0.05, 2.0, model.k_vc)])


def with_reml(model, reml):
    model.reml = reml
    return model


STATSMODELS = "statsmodels 0.15"


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    structure=st.sampled_from(sorted(STRUCTURES)),
    reml=st.booleans(),
    use_sqrt=st.booleans(),
    groups=st.integers(2, 9),
)
def test_agrees_with_statsmodels(agree, seed, structure, reml, use_sqrt, groups):
    data = grouped_frame(seed, n=10 * groups, groups=groups)
    ours = with_reml(
        MixedLM.from_formula("y ~ x + z", data, groups="g", use_sqrt=use_sqrt, **STRUCTURES[structure]), reml
    )
    theirs = prepared(classical("y ~ x + z", data, groups="g", use_sqrt=use_sqrt, **STRUCTURES[structure]), reml)
    packed = random_packed(ours, np.random.default_rng(seed))
    params = MixedLMParams.from_packed(packed, ours.k_fe, ours.k_re, False, True)
    same = classical_params(theirs, packed)
    with quiet():
        for profile in (False, True):
            expected = theirs.loglike(same.copy(), profile)
            agree("MixedLM.loglike", structure, STATSMODELS, ours.loglike(params, profile), expected, atol=1e-6)
            expected = theirs.score(same.copy(), profile)
            agree("MixedLM.score", structure, STATSMODELS, ours.score(params, profile), expected, rtol=1e-6, atol=1e-6)
        for name in ("score_full", "score_sqrt"):
            expected = np.concatenate(getattr(theirs, name)(same, True))
            np.testing.assert_allclose(np.concatenate(getattr(ours, name)(params, True)), expected, 1e-6, 1e-6)
        same.fe_params, _ = theirs.get_fe_params(same.cov_re, same.vcomp)
        params.fe_params, _ = ours.get_fe_params(params.cov_re, params.vcomp)
        np.testing.assert_allclose(params.fe_params, same.fe_params, 1e-8, 1e-8)
        scale = theirs.get_scale(same.fe_params, same.cov_re, same.vcomp)
        assert ours.get_scale(params.fe_params, params.cov_re, params.vcomp) == pytest.approx(scale, rel=1e-8)
        expected = theirs.hessian(same)[0]
        size = np.abs(expected).max()
        agree(
            "MixedLM.hessian, scaled",
            structure,
            STATSMODELS,
            ours.hessian(params)[0] / size,
            expected / size,
            atol=2e-6,
        )


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10_000), structure=st.sampled_from(sorted(STRUCTURES)), reml=st.booleans())
def test_predictions_agree_with_statsmodels(agree, seed, structure, reml):
    from statsmodels.regression.mixed_linear_model import MixedLMResults

    data = grouped_frame(seed, n=60, groups=5)
    ours = MixedLM.from_formula("y ~ x", data, groups="g", **STRUCTURES[structure])
    theirs = prepared(classical("y ~ x", data, groups="g", **STRUCTURES[structure]), reml)
    packed = random_packed(ours, np.random.default_rng(seed))
    fit = ours.fit(MixedLMParams.from_packed(packed, ours.k_fe, ours.k_re, False, True), reml, do_cg=False)
    expected = MixedLMResults(theirs, np.asarray(fit.params), np.eye(len(packed)))
    expected.fe_params, expected.cov_re, expected.vcomp = np.asarray(fit.fe_params), np.asarray(fit.cov_re), fit.vcomp
    expected.scale, expected.k_fe, expected.k_re, expected.k_vc = fit.scale, ours.k_fe, ours.k_re, ours.k_vc
    fitted = expected.fittedvalues
    agree("MixedLM fitted values", structure, STATSMODELS, fit.fittedvalues, fitted, rtol=1e-6, atol=1e-6)
    assert list(fit.random_effects) == list(expected.random_effects)
    for group, effects in expected.random_effects.items():
        assert list(fit.random_effects[group].index) == list(effects.index)
        np.testing.assert_allclose(fit.random_effects[group], effects, 1e-6, 1e-6)
        covariance = expected.random_effects_cov[group]
        assert list(fit.random_effects_cov[group].columns) == list(covariance.columns)
        np.testing.assert_allclose(fit.random_effects_cov[group], covariance, 1e-6, 1e-6)


def differences(function, at, step=1e-5):
    """Return central differences of a function, a column for each element of `at`."""
    return np.array([(function(at + e) - function(at - e)) / (2 * step) for e in step * np.eye(at.size)]).T


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("use_sqrt", [True, False])
@pytest.mark.parametrize("structure", ["slopes", "both", "shared"])
def test_score_and_hessian_are_derivatives(structure, use_sqrt, reml):
    data = grouped_frame(3, n=90, groups=8)
    model = with_reml(
        MixedLM.from_formula("y ~ x + z", data, groups="g", use_sqrt=use_sqrt, **STRUCTURES[structure]), reml
    )
    packed = random_packed(model, np.random.default_rng(5))
    params = MixedLMParams.from_packed(packed, model.k_fe, model.k_re, False, True)
    at = params.get_packed(use_sqrt, has_fe=True)
    if use_sqrt:
        at[model.k_fe] *= -1  # a factor may have any sign
    score = differences(lambda p: model.loglike(p, profile_fe=False), at)
    np.testing.assert_allclose(model.score(at, profile_fe=False), score, rtol=1e-5, atol=1e-5)
    covariance = at[model.k_fe :]
    np.testing.assert_allclose(model.score(covariance), differences(model.loglike, covariance), rtol=1e-5, atol=1e-5)

    def full_score(p):
        return np.concatenate(
            model.score_full(MixedLMParams.from_packed(p, model.k_fe, model.k_re, False, True), calc_fe=True)
        )

    expected = differences(full_score, packed)
    hessian, singular = model.hessian(params)
    assert not singular
    np.testing.assert_allclose(hessian, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("reml", [True, False])
def test_hessian_of_large_groups_by_differences(monkeypatch, reml):
    data = crossed_frame(1)
    model = with_reml(
        MixedLM.from_formula("y ~ 1", data, groups="one", vc_formula={"a": "0 + C(a)", "b": "0 + C(b)"}), reml
    )
    params = MixedLMParams.from_packed(np.array([3.0, 1.1, 0.4]), 1, 0, False, True)
    exact, _ = model.hessian(params)
    monkeypatch.setattr(blocks_module, "LARGEST_WORK", 0.0)
    np.testing.assert_allclose(model.hessian(params)[0], exact, rtol=1e-6)
    params.vcomp[1] = 0.0
    hessian, singular = model.hessian(params)
    assert singular and np.isnan(hessian[2, 2]) and np.isfinite(hessian[:2, :2]).all()


def test_penalties_enter_likelihood_and_score():
    from statsmodels.base._penalties import L2, PSD

    data = grouped_frame(2)
    for use_sqrt in (True, False):
        model = MixedLM.from_formula("y ~ x + z", data, groups="g", re_formula="~x", use_sqrt=use_sqrt)
        theirs = prepared(classical("y ~ x + z", data, groups="g", re_formula="~x", use_sqrt=use_sqrt), True)
        packed = random_packed(model, np.random.default_rng(1))
        params = MixedLMParams.from_packed(packed, model.k_fe, model.k_re, False, True)
        model.cov_pen, model.fe_pen = theirs.cov_pen, theirs.fe_pen = PSD(0.7), L2(np.ones(3))
        same = classical_params(theirs, packed)
        assert model.loglike(params, False) == pytest.approx(theirs.loglike(same.copy(), False), abs=1e-8)
        np.testing.assert_allclose(model.score(params, False), theirs.score(same.copy(), False), rtol=1e-8, atol=1e-8)
        at = params.get_packed(use_sqrt)  # the best fixed effects follow the covariance: statsmodels leaves that out
        np.testing.assert_allclose(model.score(at), differences(model.loglike, at), rtol=1e-5, atol=1e-5)


def test_what_is_no_covariance_has_no_likelihood():
    model = MixedLM.from_formula("y ~ x", grouped_frame(), groups="g", re_formula="~x", use_sqrt=False)
    indefinite = np.array([1.0, 2.0, 1.0])
    assert model.loglike(indefinite) == -np.inf
    assert np.isnan(model.score(indefinite)).all()
    assert np.isnan(model.hessian(np.r_[0.0, 0.0, indefinite])[0]).all()
    with pytest.raises(ValueError, match="2 \\+ 3 parameters"):
        model.loglike(np.ones(4))


def test_singular_covariance_has_a_likelihood():
    model = MixedLM.from_formula("y ~ x", grouped_frame(), groups="g", re_formula="~x", use_sqrt=False)
    values = [model.loglike(np.array([1.0, 0.5, 0.25 + excess])) for excess in (0.0, 1e-7)]
    assert values[0] == pytest.approx(values[1], abs=1e-4)
    assert model.loglike(np.zeros(3)) < values[0]
