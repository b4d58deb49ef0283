"""Shares of variance, conditional AIC, variance inflation and principal components of the random effects."""

import numpy as np
import pandas as pd
import pytest
from diagnostic_fits import MODELS, VERSIONS, random_fit, reference_fit

import sparselmm
from sparselmm import LinearMixedModel, RandomTerm

PERFORMANCE = f"performance {VERSIONS['performance']}"


def having(key):
    return [name for name, record in MODELS.items() if key in record]


def sleepstudy(formula="Reaction ~ Days + (Days | Subject)", **options):
    return sparselmm.lmer(formula, sparselmm.datasets.load("sleepstudy"), **options)


@pytest.mark.parametrize("name", having("r2"))
def test_performance(name, agree):
    fit, record = reference_fit(name), MODELS[name]
    agree("R², marginal and conditional", name, PERFORMANCE, fit.r2()["estimate"], record["r2"], rtol=1e-7, atol=1e-12)
    agree("ICC, adjusted and unadjusted", name, PERFORMANCE, fit.icc()["estimate"], record["icc"], rtol=1e-7)
    if "icc_by_group" in record:
        groups, ours = record["icc_by_group"], fit.icc(by_group=True)["estimate"]
        theirs = [groups.get(name, groups.get(":".join(reversed(name.split(":"))))) for name in ours.index]
        agree("ICC by group", name, PERFORMANCE, ours, theirs, rtol=1e-7)


def test_shares_are_variances_over_the_rows():
    fit, dense = random_fit(4, ("scalar", "diagonal", "matrix"))
    random = fit.scale * np.diag(dense.Z @ dense.Lambda @ dense.Lambda.T @ dense.Z.T).mean()
    fixed = np.var(fit.model.exog @ fit.beta, ddof=1)
    residual = fit.scale * np.mean(1.0 / fit.model.weights)
    total = fixed + random + residual
    assert np.allclose(fit.r2()["estimate"], [fixed / total, (fixed + random) / total])
    assert np.allclose(fit.icc()["estimate"], [random / (random + residual), random / total])
    assert np.isclose(fit.icc(by_group=True)["estimate"].sum(), random / (random + residual))


def test_shares_do_not_depend_on_units():
    data = sparselmm.datasets.load("sleepstudy").assign(w=np.arange(180) % 3 + 1.0)
    one = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data, weights="w")
    formula = "Reaction ~ Hours + (Hours | Subject)"
    two = sparselmm.lmer(formula, data.assign(Hours=24 * data["Days"], w=7 * data["w"]), weights="w")
    assert np.allclose(one.r2(), two.r2(), rtol=1e-5) and np.allclose(one.icc(), two.icc(), rtol=1e-5)


def test_bootstrap_intervals():
    fit = sleepstudy()
    table = fit.r2(bootstrap=200, rng=1)
    assert list(table.columns) == ["estimate", "conf.low", "conf.high"]
    assert (table["conf.low"] < table["estimate"]).all() and (table["estimate"] < table["conf.high"]).all()
    assert table.equals(fit.r2(bootstrap=200, rng=1))
    narrow = fit.icc(bootstrap=200, level=0.5, rng=1)
    wide = fit.icc(bootstrap=200, rng=1)
    assert (wide["conf.high"] - wide["conf.low"] > narrow["conf.high"] - narrow["conf.low"]).all()
    with pytest.raises(ValueError, match="level=95"):
        fit.r2(bootstrap=10, level=95)


@pytest.mark.parametrize("name", having("vif"))
def test_car(name, agree):
    table = reference_fit(name).vif()
    agree("variance inflation", name, f"car {VERSIONS['car']}", table["gvif"], MODELS[name]["vif"], rtol=1e-6)
    assert np.allclose(table.iloc[:, 2], table["gvif"] ** (0.5 / table["df"]))


def test_generalised_vif_does_not_depend_on_the_coding():
    data = sparselmm.datasets.load("cake")
    tables = [
        sparselmm.lmer(f"angle ~ {recipe} + temp + (1 | recipe:replicate)", data.iloc[:250]).vif()
        for recipe in ("recipe", "C(recipe, contr.sum)", "C(recipe, contr.treatment('C'))")
    ]
    for table in tables[1:]:
        assert np.allclose(table, tables[0])
    assert tables[0]["df"].to_list() == [2, 1]


def test_vif_of_few_terms():
    assert np.allclose(sleepstudy().vif()["gvif"], 1.0)
    assert sleepstudy("Reaction ~ 1 + (1 | Subject)").vif().empty


@pytest.mark.parametrize("name", having("effective_df"))
def test_effective_degrees_of_freedom(name, agree):
    fit, record = reference_fit(name), MODELS[name]
    caic = fit.caic()
    refits = f"differences of lme4 {VERSIONS['lme4']} fits"
    agree("effective df of Greven & Kneib", name, refits, caic.df - 1.0, record["effective_df"], rtol=1e-5)
    cAIC4 = f"cAIC4 {VERSIONS['cAIC4']}"
    agree("conditional log-likelihood", name, cAIC4, caic.llf, record["conditional_loglik"], rtol=1e-6)
    assert np.isclose(float(caic), 2 * caic.df - 2 * caic.llf)
    assert np.isclose(caic.leverage, fit.leverage().sum())
    assert caic.correction > 0 and abs(caic.df - record["caic4_df"]) < 0.1  # cAIC4 does not differentiate exactly


def derivative_of_fitted_values(fit, step):
    """Return tr ∂ŷ/∂y by central differences of refits."""
    model, total = fit.model, 0.0
    for i in range(model.nobs):
        fitted = []
        for sign in (1.0, -1.0):
            y = model.endog + sign * step * (np.arange(model.nobs) == i)
            other = LinearMixedModel(y, model.exog, model.terms, weights=model.weights)
            fitted.append(other.fit(reml=fit.reml, start=fit.theta, tolerance=1e-14).fittedvalues.iloc[i])
        total += (fitted[0] - fitted[1]) / (2.0 * step)
    return total


@pytest.mark.parametrize("seed", [0, 10])
def test_effective_degrees_of_freedom_of_singular_fits(seed, agree):
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(8), 6), rng.standard_normal(48)
    y = x + rng.standard_normal(8)[g] * (1.0 + 0.8 * x) + rng.standard_normal(48)
    terms = [RandomTerm(g, np.column_stack([np.ones(48), x]), name="g")]
    fit = LinearMixedModel(y, np.column_stack([np.ones(48), x]), terms).fit()
    assert fit.singular == (seed == 0)
    name = "singular slopes" if fit.singular else "slopes"
    expected = derivative_of_fitted_values(fit, 0.03)
    agree("effective df of Greven & Kneib", name, "differences of refits", fit.caic().df - 1.0, expected, rtol=1e-4)


def test_caic_of_a_variance_of_zero_counts_fixed_effects():
    fit = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff2"))
    caic = fit.caic()
    assert fit.singular and caic.correction == 0.0 and np.isclose(caic.df, 2.0)


@pytest.mark.parametrize("name", having("pca"))
def test_re_pca(name, agree):
    fit, record = reference_fit(name), MODELS[name]
    pca, theirs, lme4 = fit.re_pca(), record["pca"], f"lme4 {VERSIONS['lme4']}"
    for term in fit.model.terms:
        sd = theirs.get(term.name, theirs.get(":".join(reversed(term.name.split(":")))))
        ours = pca.importance[term.name]["sd"]
        agree("sd of random-effects components", name, lme4, ours, np.atleast_1d(sd), rtol=1e-8)
        G = fit.cov_re[term.name].to_numpy() / fit.scale
        L = pca.loadings[term.name].to_numpy()
        assert np.allclose(L * pca.importance[term.name]["sd"].to_numpy() ** 2 @ L.T, G)
    assert not pca.singular and "proportion" in repr(pca)


def test_re_pca_says_what_does_not_vary():
    rng = np.random.default_rng(0)
    g, x = np.repeat(np.arange(8), 6), rng.standard_normal(48)
    y = x + rng.standard_normal(8)[g] * (1.0 + 0.8 * x) + rng.standard_normal(48)
    for unit in (1.0, 1e4):
        data = pd.DataFrame({"y": y, "x": x * unit, "g": g})
        fit = sparselmm.lmer("y ~ x + (x | g)", data)
        pca = fit.re_pca()
        assert pca.importance["g"]["singular"].to_list() == [False, True]
        effects = fit.random_effects["g"]
        weight = float(pca.singular["g"].split(" - ")[1].split("·")[0])
        assert np.allclose(effects["Intercept"], weight * effects["x"], rtol=1e-2)
        assert "Singular: Intercept - " in repr(pca)
    scaled = fit.re_pca(scaled=True).importance["g"]
    assert np.isclose(scaled["sd"].iloc[0], np.sqrt(2.0)) and np.isclose(scaled["proportion"].iloc[0], 1.0)


def test_re_pca_of_variances_at_zero():
    data = sparselmm.datasets.load("Dyestuff2")
    pca = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", data).re_pca()
    assert pca.singular == {"Batch": "no column of Batch varies between its levels."}
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(12), 8), rng.standard_normal(96)
    y = rng.standard_normal(12)[g] + rng.standard_normal(96)
    terms = [RandomTerm(g, np.column_stack([np.ones(96), x]), "g", ("one", "x"), structure="diagonal")]
    fit = LinearMixedModel(y, np.ones((96, 1)), terms).fit()
    if fit.singular:
        assert fit.re_pca().singular == {"g": "x does not vary between the levels of g."}
