"""Marginal means, contrasts, trends and joint tests against emmeans, and what has no reference there."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sparselmm
from sparselmm import DataError, DataWarning, RandomTerm

REFERENCE = json.loads((Path(__file__).parent / "reference" / "emmeans.json").read_text())
EMMEANS = f"emmeans {REFERENCE['provenance']['emmeans']}"
NUMBERS = ["estimate", "std.error", "df", "conf.low", "conf.high", "statistic", "p.value"]


def uneven():
    cake = sparselmm.datasets.load("cake")
    cake = cake[np.arange(len(cake)) % 7 != 3]
    return cake[~((cake["recipe"] == "B") & (cake["temp"] > 200) & (cake["replicate"].astype(int) <= 9))]


def holes():
    cake = sparselmm.datasets.load("cake")
    return cake[~((cake["recipe"] == "B") & cake["temperature"].isin(["185", "205"]))]


def ham():
    data = sparselmm.datasets.load("ham")
    return data.assign(bin=(data["Age"] > 40).astype(int))


def words():
    data = sparselmm.datasets.load("fhch2010")
    return data[np.arange(len(data)) % 13 == 0]


def sleep():
    data = sparselmm.datasets.load("sleepstudy")
    return data.assign(half=1.0 + data["Days"] % 3)


MODELS = {
    "cake": ("angle ~ recipe * temperature + (1 | recipe:replicate)", "cake"),
    "cake_temp": ("angle ~ recipe * temp + (1 | recipe:replicate)", "cake"),
    "oats": ("yield ~ factor(nitro) * Variety + (1 | Block/Variety)", "Oats"),
    "machines": ("score ~ Machine + (Machine | Worker)", "Machines"),
    "ham": ("liking ~ Gender + Information * Product + Age + (1 | Consumer) + (1 | Consumer:Product)", ham),
    "ham_ml": ("liking ~ Gender * bin + Product + Age + (1 | Consumer)", ham),
    "uneven": ("angle ~ recipe + temperature + (1 | recipe:replicate)", uneven),
    "uneven_full": ("angle ~ recipe * temperature + (1 | recipe:replicate)", uneven),
    "holes": ("angle ~ recipe * temperature + (1 | recipe:replicate)", holes),
    "log_sleep": ("log(Reaction) ~ Days + (Days | Subject)", sleep),
    "sqrt_sleep": ("sqrt(Reaction) ~ Days + (1 | Subject)", sleep),
    "log10_sleep": ("log10(Reaction) ~ Days + (1 | Subject)", sleep),
    "offset_sleep": ("Reaction ~ factor(half) + offset(2 * Days) + (1 | Subject)", sleep),
    "weighted_sleep": ("Reaction ~ factor(half) * Days + (1 | Subject)", sleep),
    "words": ("rt ~ task * stimulus * frequency + length + (1 | id) + (1 | item)", words),
    "cubic": ("angle ~ recipe * poly(temp, 3) + (1 | recipe:replicate)", "cake"),
    "square": ("angle ~ recipe * temp + I(temp**2) + (1 | recipe:replicate)", "cake"),
    "spline": ("angle ~ recipe + bs(temp, df=5) + (1 | recipe:replicate)", "cake"),
}
OPTIONS = {"ham_ml": {"reml": False}, "weighted_sleep": {"weights": "half"}}
AT = {"temp": [180, 200, 215]}
DAYS = {"Days": [0, 3, 9]}
ADJUSTS = ["tukey", "holm", "none", "bonferroni", "sidak", "scheffe", "fdr", "BY", "hochberg", "hommel", "dunnettx"]


@pytest.fixture(scope="module")
def fits():
    """Return a function that fits a model of MODELS once."""
    cache = {}

    def fit(name):
        if name not in cache:
            formula, data = MODELS[name]
            data = sparselmm.datasets.load(data) if isinstance(data, str) else data()
            data = data.rename(columns={"Informed.liking": "liking"})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DataWarning)
                cache[name] = sparselmm.lmer(formula, data, **OPTIONS.get(name, {}))
        return cache[name]

    return fit


def span(x):
    return [x.min(), x.max()]


CALLS = {
    "cake_recipe": lambda m, d: m("cake").emmeans("recipe", ddf=d),
    "cake_cells": lambda m, d: m("cake").emmeans("~ recipe * temperature", ddf=d),
    "cake_pairs": lambda m, d: m("cake").emmeans("recipe | temperature", ddf=d).contrasts(),
    "cake_all_pairs": lambda m, d: (
        m("cake").emmeans(["recipe", "temperature"], at={"temperature": ["175", "205"]}, ddf=d).contrasts()
    ),
    "cake_interaction": lambda m, d: (
        m("cake").emmeans("recipe * temperature", ddf=d).contrasts(interaction=["pairwise", "poly"])
    ),
    "cake_temp_at": lambda m, d: m("cake_temp").emmeans("recipe", by="temp", at=AT, ddf=d),
    "cake_temp_averaged": lambda m, d: m("cake_temp").emmeans("recipe", cov_reduce=span, ddf=d),
    "cake_trends": lambda m, d: m("cake_temp").emtrends("recipe", "temp", ddf=d),
    "cake_trend_pairs": lambda m, d: m("cake_temp").emtrends("recipe", "temp", ddf=d).contrasts(),
    "oats": lambda m, d: m("oats").emmeans("nitro | Variety", ddf=d),
    "oats_control": lambda m, d: m("oats").emmeans("nitro | Variety", ddf=d).contrasts("trt.vs.ctrl"),
    "oats_poly": lambda m, d: m("oats").emmeans("nitro | Variety", ddf=d).contrasts("poly"),
    "oats_variety": lambda m, d: m("oats").emmeans("Variety", ddf=d).contrasts(),
    "machines": lambda m, d: m("machines").emmeans("Machine", ddf=d),
    "machines_pairs": lambda m, d: m("machines").emmeans("Machine", ddf=d).contrasts(),
    "ham": lambda m, d: m("ham").emmeans("Product | Information", ddf=d),
    "ham_gender": lambda m, d: m("ham").emmeans("Gender", weights="proportional", ddf=d),
    "ham_at": lambda m, d: m("ham").emmeans("Product * Age", at={"Age": [20, 50]}, ddf=d),
    "ham_effects": lambda m, d: m("ham").emmeans("Product", ddf=d).contrasts("eff"),
    "ham_del": lambda m, d: m("ham").emmeans("Product", ddf=d).contrasts("del.eff", adjust="none"),
    "ham_ml": lambda m, d: m("ham_ml").emmeans("Gender", ddf=d),
    "ham_ml_weighted": lambda m, d: m("ham_ml").emmeans("Gender", weights="outer", ddf=d),
    "log_sleep": lambda m, d: m("log_sleep").emmeans("Days", at=DAYS, ddf=d).response(),
    "log_sleep_pairs": lambda m, d: m("log_sleep").emmeans("Days", at=DAYS, ddf=d).contrasts().response(),
    "sqrt_sleep": lambda m, d: m("sqrt_sleep").emmeans("Days", at=DAYS, ddf=d).response(),
    "log10_sleep_pairs": lambda m, d: m("log10_sleep").emmeans("Days", at=DAYS, ddf=d).response().contrasts(),
    "offset_sleep": lambda m, d: m("offset_sleep").emmeans("half", ddf=d),
    "weighted_sleep": lambda m, d: m("weighted_sleep").emmeans("half", weights="proportional", ddf=d),
    "words": lambda m, d: m("words").emmeans("task * stimulus | frequency", ddf=d),
    "words_simple": lambda m, d: m("words").emmeans("task", ["stimulus", "frequency"], ddf=d).contrasts(),
    "words_second": lambda m, d: m("words").emmeans("task:stimulus", ddf=d).contrasts(interaction="consec"),
    "cubic_trends": lambda m, d: m("cubic").emtrends(["recipe", "temp"], "temp", at=AT, ddf=d),
    "square_trends": lambda m, d: m("square").emtrends(["recipe", "temp"], "temp", at=AT, ddf=d),
    "spline": lambda m, d: m("spline").emmeans(["recipe", "temp"], at=AT, ddf=d),
    "spline_trends": lambda m, d: m("spline").emtrends(["recipe", "temp"], "temp", at=AT, ddf=d),
    "full_cells": lambda m, d: m("uneven_full").emmeans("recipe | temperature", ddf=d),
    "holes_pairs": lambda m, d: m("holes").emmeans("recipe | temperature", ddf=d).contrasts(),
    "holes_temperatures": lambda m, d: (
        m("holes").emmeans("temperature | recipe", ddf=d).contrasts("trt.vs.ctrl", adjust="sidak")
    ),
    "consec": lambda m, d: m("uneven_full").emmeans("temperature", ddf=d).contrasts("consec", "bonferroni"),
    "mean_chg": lambda m, d: m("uneven_full").emmeans("temperature", ddf=d).contrasts("mean_chg", "holm"),
    "revpairwise": lambda m, d: m("uneven_full").emmeans("temperature", ddf=d).contrasts("revpairwise"),
    "reference": lambda m, d: (
        m("uneven_full").emmeans("temperature", ddf=d).contrasts("trt.vs.ctrl", ref=["temperature185", 3], reverse=True)
    ),
    "custom": lambda m, d: (
        m("uneven_full").emmeans("recipe", ddf=d).contrasts({"a": [1, -0.5, -0.5], "b": [0, 1, -1]}, adjust="holm")
    ),
}
for _weights in ("equal", "proportional", "outer", "cells", "flat"):
    CALLS[f"uneven_{_weights}"] = lambda m, d, w=_weights: m("uneven").emmeans("recipe", weights=w, ddf=d)
for _adjust in ADJUSTS:
    CALLS[f"adjust_{_adjust}"] = lambda m, d, a=_adjust: (
        m("uneven_full").emmeans("recipe | temperature", ddf=d).contrasts(adjust=a)
    )


def compare(agree, name, result, ddf, df_tolerance=1e-4):
    """Compare estimates, standard errors, df, statistics, limits and p-values with emmeans."""
    theirs = np.array(REFERENCE[ddf.replace("-", "_")][name], dtype=float).reshape(-1, len(NUMBERS))
    ours = pd.concat([result.confint(), result.test()[["statistic", "p.value"]]], axis=1)[NUMBERS].to_numpy(dtype=float)
    size = np.abs(theirs[:, 1:2])
    agree("marginal means: estimate / SE", name, EMMEANS, ours[:, :1] / size, theirs[:, :1] / size, atol=2e-6)
    agree("marginal means: standard error", name, EMMEANS, ours[:, 1], theirs[:, 1], rtol=1e-6)
    agree(f"marginal means: {ddf} df", name, EMMEANS, ours[:, 2], theirs[:, 2], rtol=df_tolerance)
    agree("marginal means: limits / SE", name, EMMEANS, ours[:, 3:5] / size, theirs[:, 3:5] / size, atol=1e-4)
    if not (result.back and result.kind == "means"):  # emmeans tests those against 1
        agree("marginal means: adjusted p-value", name, EMMEANS, ours[:, 6], theirs[:, 6], atol=1e-4)


@pytest.mark.parametrize("name", REFERENCE["satterthwaite"])
def test_emmeans_satterthwaite(name, fits, agree):
    compare(agree, name, CALLS[name](fits, "satterthwaite"), "satterthwaite")


@pytest.mark.parametrize("name", REFERENCE["kenward_roger"])
def test_emmeans_kenward_roger(name, fits, agree):
    compare(agree, name, CALLS[name](fits, "kenward-roger"), "kenward-roger")


def test_labels_are_those_of_emmeans(fits):
    pairs = CALLS["cake_all_pairs"](fits, "z")
    assert list(pairs.frame["contrast"]) == REFERENCE["labels"]["cake"]
    nitro = fits("oats").emmeans("nitro | Variety", ddf="z").contrasts()
    assert list(nitro.frame["contrast"][:6]) == REFERENCE["labels"]["oats"]


@pytest.mark.filterwarnings("ignore:The data do not determine all contrasts of recipe")
def test_joint_tests_equal_emmeans(fits, agree):
    """emmeans rounds F to three decimals; its denominators are the smallest of orthonormal rows, see the next test."""
    for name, theirs in REFERENCE["joint"].items():
        model, by, _ = name.partition("_by")
        table = fits(model).joint_tests(by="Variety" if by else None)
        assert list(table["term"]) == list(np.atleast_1d(theirs["term"])), name
        values = np.array(theirs["values"], dtype=float)
        agree("joint tests: numerator df", name, EMMEANS, table["NumDF"], values[:, 0])
        agree("joint tests: F", name, EMMEANS, table["statistic"], values[:, 2], atol=5.1e-4)


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_joint_tests_equal_lmertest(ddf, fits, agree):
    for name, theirs in REFERENCE["contests"][ddf.replace("-", "_")].items():
        theirs = np.array(theirs, dtype=float)
        table = fits(name).joint_tests(ddf=ddf)
        reference = f"lmerTest {REFERENCE['provenance']['lmerTest']}"
        agree(f"joint tests: {ddf} df", name, reference, table["DenDF"], theirs[:, 1], rtol=1e-4)
        agree(f"joint tests: {ddf} F", name, reference, table["statistic"], theirs[:, 2], rtol=1e-5)
        agree(f"joint tests: {ddf} p-value", name, reference, table["p.value"], theirs[:, 3], atol=1e-6)


def test_joint_test_of_rows(fits):
    fit = fits("uneven_full")
    pairs = fit.emmeans("recipe").contrasts()
    joint = pairs.test(joint=True)
    effect = fit.joint_tests().iloc[0]
    assert joint.loc[0, "NumDF"] == 2
    for name in ("DenDF", "statistic", "p.value"):
        assert joint.loc[0, name] == pytest.approx(effect[name])
    shifted = pairs.test(null=pairs.frame["estimate"], joint=True)
    assert shifted.loc[0, "statistic"] == pytest.approx(0.0, abs=1e-12)
    assert pairs.test(null=pairs.frame["estimate"])["statistic"].abs().max() < 1e-12


@pytest.mark.parametrize("name", ["words", "cubic", "holes"])
def test_means_are_averages_of_predictions(name, fits):
    """Every mean is the plain average of predictions over the grid, written out."""
    fit = fits(name)
    names, at = {
        "words": (["task", "length"], {}),
        "cubic": (["recipe"], {"temp": [180.0, 220.0]}),
        "holes": (["temperature"], {"recipe": ["A", "C"]}),
    }[name]
    table = fit.model.design.table.columns
    levels = {v: list(table[v].categories) for v in fit.model.design.spec.fixed.variables if v != "temp"} | at
    grid = pd.MultiIndex.from_product(levels.values(), names=list(levels)).to_frame(index=False)
    expected = grid.assign(y=fit.predict(grid, random=False)).groupby(names, sort=False)["y"].mean()
    means = fit.emmeans(names, at=at, ddf="z").frame.set_index(names if len(names) > 1 else names[0])["estimate"]
    for level, value in expected.items():
        assert means[level] == pytest.approx(value, rel=1e-10)


def test_slopes_equal_exact_derivatives(fits):
    fit, x = fits("square"), np.array([175.0, 180.0, 225.0])  # the ends of the data as well
    slopes = fit.emtrends("recipe * temp", "temp", at={"temp": x}).frame
    b = fit.params
    for i, recipe in enumerate("ABC"):
        interaction = b.filter(regex=rf"\[T\.{recipe}\]:temp$").sum()
        exact = b["temp"] + interaction + 2.0 * b["I(temp ** 2)"] * x
        np.testing.assert_allclose(slopes["estimate"][i::3], exact, rtol=1e-7)
    at_ends = fits("spline").emtrends("temp", "temp", at={"temp": [175.0, 225.0]})
    assert np.isfinite(at_ends.frame["estimate"]).all()


def test_contrasts_that_exist_of_means_that_do_not(fits):
    """A - C at 175 exists though the mean of A over recipes with empty cells does not."""
    means = fits("holes").emmeans("temperature")
    assert means.frame["estimate"].isna().sum() == 2 and np.isnan(means.L).any(axis=1).sum() == 2
    assert "nonEst" in str(means)
    pooled = fits("holes").emmeans("recipe", ddf="z")
    assert list(pooled.frame["estimate"].isna()) == [False, True, False]
    assert list(pooled.contrasts().frame["estimate"].isna()) == [True, False, True]
    full = fits("cake").emmeans("recipe", ddf="z")
    np.testing.assert_allclose(pooled.test()["estimate"][[0, 2]], full.frame["estimate"][[0, 2]], rtol=1e-9)


def test_cells_without_data(fits):
    fit = fits("uneven")
    weighted = fit.emmeans("recipe", at={"temperature": ["175"]}, weights="cells")
    assert weighted.frame["estimate"].notna().all()
    data = uneven()
    data = data[~((data["recipe"] == "A") & (data["temperature"] == "175"))]
    means = sparselmm.lmer("angle ~ recipe + temperature + (1 | recipe:replicate)", data).emmeans(
        "recipe * temperature", weights="cells"
    )
    empty = (means.keys["recipe"] == "A") & (means.keys["temperature"] == "175")
    assert list(means.frame["estimate"].isna()) == list(empty)


@pytest.mark.parametrize("ddf", ["z", "residual"])
def test_other_degrees_of_freedom(ddf, fits):
    fit = fits("machines")
    frame = fit.emmeans("Machine", ddf=ddf).contrasts().frame
    assert (frame["df"] == (np.inf if ddf == "z" else fit.df_resid)).all()
    assert np.isfinite(frame.drop(columns=["contrast", "df"]).to_numpy()).all()


def test_units_and_order_of_rows():
    data = sparselmm.datasets.load("cake")
    formula = "angle ~ recipe * temp + (1 | recipe:replicate)"
    plain = sparselmm.lmer(formula, data).emtrends("recipe", "temp").contrasts().frame
    other = data.assign(temp=data["temp"] * 1e-6, angle=data["angle"] * 1e3).sample(frac=1.0, random_state=1)
    scaled = sparselmm.lmer(formula, other).emtrends("recipe", "temp").contrasts().frame
    np.testing.assert_allclose(scaled["estimate"], plain["estimate"] * 1e9, rtol=1e-5)
    np.testing.assert_allclose(scaled[["df", "p.value"]], plain[["df", "p.value"]], rtol=1e-5)


def test_predictors_of_every_type():
    rng = np.random.default_rng(0)
    n = 120
    data = pd.DataFrame(
        {
            "y": rng.standard_normal(n),
            "g": np.arange(n) % 12,
            "a b": rng.choice(["u", "v", "w"], n),
            "flag": rng.random(n) > 0.5,
            "code": rng.integers(1, 4, n),
            "two": rng.integers(0, 2, n),
            "x": rng.standard_normal(n),
        }
    )
    data["y"] += data["x"]
    fit = sparselmm.lmer("y ~ `a b` * flag + C(code) + two + np.exp(x) + (1 | g)", data, context={"np": np})
    assert list(fit.emmeans("`a b` | flag").frame)[:3] == ["a b", "flag", "estimate"]
    assert len(fit.emmeans("a b", at={"code": 2, "flag": [True], "two": 1})) == 3
    assert len(fit.emmeans(["a b", "flag"], by="code", ddf="z")) == 18
    assert list(fit.emmeans("two").frame["two"]) == [0.0, 1.0]
    assert len(fit.emmeans("x", cov_reduce=False, ddf="z")) == n
    assert fit.emmeans("1").frame.loc[0, "1"] == "overall"
    slope = fit.emtrends("1", "x").frame["estimate"][0]
    assert slope == pytest.approx(fit.params["np.exp(x)"] * np.exp(data["x"].mean()), rel=1e-6)
    assert list(fit.joint_tests()["term"]) == ["a b", "flag", "code", "two", "x", "a b:flag"]
    summed = sparselmm.lmer("y ~ code + (1 | g)", data, contrasts={"code": "sum"}).emmeans("code").frame
    treated = sparselmm.lmer("y ~ factor(code) + (1 | g)", data).emmeans("code").frame
    pd.testing.assert_frame_equal(summed, treated, rtol=1e-6)


def test_hardly_any_fixed_effects():
    data = sparselmm.datasets.load("Dyestuff")
    fit = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", data)
    assert fit.emmeans("1").frame["estimate"][0] == pytest.approx(fit.params["Intercept"])
    assert fit.joint_tests().empty
    none = sparselmm.lmer("Yield ~ 0 + (1 | Batch)", data)
    assert none.emmeans("1").frame["estimate"][0] == 0.0


def test_singular_fit():
    fit = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff2"))
    assert np.isfinite(fit.emmeans("1").frame["std.error"]).all()


def test_contrasts_of_contrasts_and_custom_weights(fits):
    cells = fits("oats").emmeans("nitro * Variety", ddf="z")
    product = cells.contrasts(interaction=["consec", "pairwise"]).frame
    steps = cells.contrasts("consec", by="Variety").contrasts("pairwise", by="contrast")
    np.testing.assert_allclose(np.sort(steps.frame["estimate"]), np.sort(product["estimate"]))
    means = fits("oats").emmeans("Variety", ddf="z")
    weights = np.array([[1.0, -1.0, 0.0], [0.5, 0.5, -1.0]])
    by_array = means.contrasts(weights).frame
    by_frame = means.contrasts(pd.DataFrame(weights.T, columns=["first", "second"])).frame
    assert list(by_array["contrast"]) == ["c1", "c2"] and list(by_frame["contrast"]) == ["first", "second"]
    np.testing.assert_allclose(by_array["estimate"], by_frame["estimate"])
    identity = means.contrasts("identity")
    np.testing.assert_allclose(identity.frame["estimate"], means.frame["estimate"])
    np.testing.assert_allclose(np.sqrt(np.diag(means.covariance)), means.frame["std.error"])


def test_responses_of_every_scale(fits):
    means = fits("log_sleep").emmeans("Days", at=DAYS)
    assert list(means.contrasts().response().frame["contrast"]) == ["Days0 / Days3", "Days0 / Days9", "Days3 / Days9"]
    data = sleep()
    for name, inverse in {"np.log2": np.exp2, "log1p": np.expm1, "log": np.exp}.items():
        fit = sparselmm.lmer(f"{name}(Reaction) ~ Days + (1 | Subject)", data, context={"np": np})
        means = fit.emmeans("Days", ddf="z")
        back, there = means.response().frame, means.frame
        np.testing.assert_allclose(back["estimate"], inverse(there["estimate"]))
        step = 1e-6
        slope = (inverse(there["estimate"] + step) - inverse(there["estimate"] - step)) / (2 * step)
        np.testing.assert_allclose(back["std.error"], slope * there["std.error"], rtol=1e-6)
        assert "taken back" in str(means.response())
    assert "sqrt scale" in str(fits("sqrt_sleep").emmeans("Days", at=DAYS).response().contrasts())


def test_estimates_of_the_refit_are_said():
    fit = sparselmm.lmer("angle ~ recipe + (1 | replicate)", sparselmm.datasets.load("cake"), reml=False)
    assert "REML refit" in str(fit.emmeans("recipe", ddf="kr")) and "REML refit" not in str(fit.emmeans("recipe"))


def test_what_is_printed(fits):
    means = fits("cake").emmeans("recipe")
    text = str(means)
    assert "Averaged over temperature with equal weights." in text and "involvement in interactions" in text
    assert "Degrees of freedom: satterthwaite. Confidence level: 0.95." in text
    assert "adjusted by tukey for families of 3 means" in str(means.contrasts())
    assert "P values (intervals: bonferroni) adjusted by holm" in str(means.contrasts(adjust="holm"))
    assert "Sidak's was used instead" in str(means.contrasts("poly", adjust="tukey"))
    grouped = fits("cake").emmeans("recipe | temperature")
    assert str(grouped).startswith("temperature = 175:") and "<table" in grouped._repr_html_()
    assert "mean of the offset" in str(fits("offset_sleep").emmeans("half"))
    wide = means.confint(level=0.99)
    assert (wide["conf.low"] < means.frame["conf.low"]).all()
    frame = means.frame
    frame["estimate"] = 0.0
    assert (means.frame["estimate"] > 0).all()


def test_mistakes_are_named(fits):
    cake, oats = fits("cake"), fits("oats")
    for call, message in [
        (lambda: cake.emmeans("recipee"), "specs names 'recipee'.*Did you mean 'recipe'"),
        (lambda: cake.emmeans("replicate"), "no predictor of the fixed effects"),
        (lambda: cake.emmeans("recipe", at={"temperature": ["170"]}), "has no level 170"),
        (lambda: cake.emmeans("recipe", at={"temp": [1]}), "at names 'temp'"),
        (lambda: cake.emmeans("recipe", weights="counts"), "weights='counts'"),
        (lambda: cake.emmeans("recipe", cov_reduce="median"), "cov_reduce must be"),
        (lambda: cake.emmeans("recipe", ddf="bogus"), "ddf"),
        (lambda: cake.emmeans("recipe", level=95), "level=95"),
        (lambda: cake.emmeans("pairwise ~ recipe"), "call .contrasts"),
        (lambda: cake.emtrends("recipe", "temperature"), "has no slope"),
        (lambda: cake.emmeans("recipe").contrasts("tukey"), "method='tukey'"),
        (lambda: cake.emmeans("recipe").contrasts(adjust="fisher"), "adjust='fisher'"),
        (lambda: cake.emmeans("recipe").contrasts([[1, -1]]), "need 3 weights"),
        (lambda: cake.emmeans("recipe").contrasts("trt.vs.ctrl", ref="Z"), "ref='Z'"),
        (lambda: cake.emmeans("recipe").contrasts(by="x"), "by names 'x'"),
        (lambda: oats.emmeans("nitro * Variety").contrasts(interaction=["poly"]), "a method for each"),
        (lambda: cake.emmeans("recipe").response(), "cannot be taken back"),
        (lambda: fits("sqrt_sleep").emmeans("Days", at=DAYS).contrasts().response(), "sqrt scale"),
        (lambda: fits("cake_temp").emmeans("recipe", at={"temp": ["hot"]}), "one or more finite numbers"),
        (lambda: fits("ham").emmeans("Age", cov_reduce=lambda x: np.linspace(0, 1, 10**7)), "reference grid has"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    rng = np.random.default_rng(0)
    groups = RandomTerm(np.arange(30) % 5)
    arrays = sparselmm.LinearMixedModel(rng.standard_normal(30), np.ones((30, 1)), [groups]).fit()
    with pytest.raises(DataError, match="built from arrays"):
        arrays.emmeans("x")


def test_marginaleffects_gets_the_same(fits):
    package = pytest.importorskip("marginaleffects")
    fit = fits("cake_temp")
    model = fit.to_marginaleffects()
    theirs = package.avg_comparisons(model, variables={"recipe": "pairwise"})
    ours = fit.emmeans("recipe", ddf="z").contrasts("revpairwise", adjust="none").frame
    for name, column in [("estimate", "estimate"), ("std_error", "std.error"), ("conf_low", "conf.low")]:
        np.testing.assert_allclose(np.sort(theirs[name].to_numpy()), np.sort(ours[column]), rtol=1e-6)
    slopes = package.avg_slopes(model, variables="temp", by="recipe", eps_vcov=1.0)
    trends = fit.emtrends("recipe", "temp", ddf="z").frame
    np.testing.assert_allclose(slopes["estimate"].to_numpy(), trends["estimate"], rtol=1e-6)
    np.testing.assert_allclose(slopes["std_error"].to_numpy(), trends["std.error"], rtol=1e-6)
    oats = fits("oats")
    nitro = package.avg_comparisons(oats.to_marginaleffects(), variables="nitro")
    control = oats.emmeans("nitro", ddf="z").contrasts("trt.vs.ctrl", adjust="none").frame
    np.testing.assert_allclose(nitro["estimate"].to_numpy(), control["estimate"], rtol=1e-6)
    offset = fits("offset_sleep")
    prediction = package.avg_predictions(offset.to_marginaleffects())
    assert prediction["estimate"][0] == pytest.approx(offset.predict(random=False).mean())


def test_marginaleffects_missing(fits, monkeypatch):
    monkeypatch.setitem(sys.modules, "marginaleffects.classes", None)
    with pytest.raises(ImportError, match="pip install marginaleffects"):
        fits("cake").to_marginaleffects()
