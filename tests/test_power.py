"""power: against closed forms, one refit at a time, and by hand."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import sparselmm
from sparselmm import DataError
from sparselmm.planning import many
from sparselmm.planning.hypotheses import read_hypotheses
from sparselmm.planning.models import further_models, planned_models
from sparselmm.planning.result import Power, Runs, binomial_interval
from sparselmm.planning.sizes import resized
from sparselmm.planning.truth import read_truth
from sparselmm.resampling.refits import estimate
from sparselmm.resampling.responses import Responses

N = 4000
MONTE_CARLO = 3.5 * np.sqrt(0.25 / N)  # 3.5 standard errors of a share, at most
CROSSED = "rt ~ condition * group + (condition | subject) + (1 | item)"
TRUTH = {
    "params": {"Intercept": 500.0, "condition[T.b]": 20.0, "group[T.young]": -30.0},
    "sd": {"subject": {"Intercept": 60.0, "condition[T.b]": 25.0}, "item": 30.0},
    "corr": {"subject": 0.3},
    "sigma": 100.0,
}


def crossed_design(subjects=16, items=8, groups=("old", "young")):
    """Return subjects by items with a condition in a Latin square and groups of subjects."""
    return sparselmm.simulate_design(
        {"subject": subjects, "item": items},
        between={"subject": {"group": list(groups)}},
        within={"condition": ["a", "b"]},
        latin_square=True,
    )


def truth_of(formula, data, reml=True, **parameters):
    """Return the Truth of a formula on a design."""
    (model,) = planned_models(formula, data, [{}])
    return read_truth(model, reml, **parameters)


def power_t(effect, se, df, alpha=0.05):
    """Return the power of a two-sided t test."""
    limit = stats.t.isf(alpha / 2, df)
    return stats.nct.sf(limit, df, effect / se) + stats.nct.cdf(-limit, df, effect / se)


# Closed forms


@pytest.mark.parametrize("effect", [0.0, 0.6])
def test_paired_design_with_random_slopes_is_a_paired_t_test(agree, effect):
    S, r, sd, sigma = 14, 3, 0.8, 1.0
    data = sparselmm.simulate_design({"subject": S}, within={"x": [0, 1]}, replicates=r)
    parameters = {"params": {"x": effect}, "sd": {"subject": {"Intercept": 1.0, "x": sd}}, "sigma": sigma}
    formula = "y ~ x + (x | subject)"
    study = sparselmm.power(formula, "x", data, **parameters, n_sim=N, rng=np.random.default_rng(1))
    se = np.sqrt((sd**2 + 2 * sigma**2 / r) / S)
    exact = power_t(effect, se, S - 1)
    agree("Power", f"paired, effect {effect:g}", "noncentral t", study["power"], [exact], atol=MONTE_CARLO)
    assert study["type.s"].isna().all() if effect == 0 else study["type.s"][0] < 0.01

    Y = truth_of(formula, data, **parameters).simulate(1000, np.random.default_rng(1))  # the first lot
    means = pd.DataFrame(Y).groupby([data["subject"], data["x"]]).mean().unstack("x")
    p = stats.ttest_rel(means.xs(1, axis=1, level=1), means.xs(0, axis=1, level=1)).pvalue
    regular = ~study.runs[0].singular[:1000]
    assert regular.mean() > 0.8
    ours = study.runs[0].p_values[:1000, 0]
    agree("p-values", "paired design, 1,000 responses", "paired t test", ours[regular], p[regular], atol=2e-5)


def test_two_groups_of_subjects_are_a_t_test(agree):
    S, r, sd, sigma, effect = 16, 4, 1.0, 0.6, 1.3
    data = sparselmm.simulate_design({"subject": S}, between={"subject": {"x": [0, 1]}}, replicates=r)
    study = sparselmm.power(
        "y ~ x + (1 | subject)", None, data, params={"x": effect}, sd={"subject": sd}, sigma=sigma, n_sim=N, rng=2
    )
    se = np.sqrt(4 * (sd**2 + sigma**2 / r) / S)
    exact = power_t(effect, se, S - 2)
    agree("Power", "two groups of subjects", "noncentral t", study["power"], [exact], atol=MONTE_CARLO)
    agree("Mean standard error", "two groups of subjects", "closed form", study["std.error"], [se], rtol=0.03)


@pytest.mark.parametrize("test", ["satterthwaite", "kenward-roger"])
def test_three_groups_are_an_f_test(agree, test):
    S, sd, sigma, effects = 15, 1.0, 0.6, np.array([0.0, 0.6, 1.6])
    data = sparselmm.simulate_design({"subject": S}, between={"subject": {"g": ["a", "b", "c"]}}, replicates=2)
    params = {"g[T.b]": effects[1], "g[T.c]": effects[2]}
    n = N if test == "satterthwaite" else 600
    study = sparselmm.power(
        "y ~ g + (1 | subject)", "g", data, params=params, sd={"subject": sd}, sigma=sigma, n_sim=n, rng=3, test=test
    )
    variance = sd**2 + sigma**2 / 2
    noncentrality = S / 3 * np.sum((effects - effects.mean()) ** 2) / variance
    exact = stats.ncf.sf(stats.f.isf(0.05, 2, S - 3), 2, S - 3, noncentrality)
    atol = MONTE_CARLO * np.sqrt(N / n)
    agree("Power", f"three groups of subjects, {test}", "noncentral F", study["power"], [exact], atol=atol)
    assert study.frame.loc[0, ["effect", "type.s", "type.m", "std.error"]].isna().all()


def test_crossed_balanced_design_keeps_its_level(agree):
    data = sparselmm.simulate_design({"subject": 10, "item": 8}, within={"x": [-0.5, 0.5]}, latin_square=True)
    parameters = {"sd": {"subject": 1.0, "item": 0.7}, "sigma": 1.0}
    formula = "y ~ x + (1 | subject) + (1 | item)"
    study = sparselmm.power(formula, None, data, **parameters, n_sim=N, rng=4)
    agree(
        "False positives", "subjects x items, balanced", "alpha", study["power"], [0.05], atol=3.5 * np.sqrt(0.0475 / N)
    )
    planned = sparselmm.power(formula, None, data, params={"x": 0.7}, **parameters, n_sim=N, rng=5)
    exact = power_t(0.7, np.sqrt(4 / 80), 80 - 9 - 7 - 2)
    agree("Power", "subjects x items, balanced", "noncentral t", planned["power"], [exact], atol=MONTE_CARLO)


# What is simulated


def test_responses_have_the_moments_of_the_model(agree):
    truth = truth_of(CROSSED, crossed_design(4, 4), **TRUTH)
    model, n = truth.model, 40_000
    Y = truth.simulate(n, np.random.default_rng(1))
    V = truth.scale * np.eye(model.nobs)
    for term in model.terms:
        Z = term.Z.toarray()
        V += Z @ np.kron(np.eye(term.n_levels), truth.cov_re[term.name]) @ Z.T
    sd = np.sqrt(np.diag(V))
    agree("Mean of simulated responses", "crossed", "Xβ", Y.mean(axis=1) / sd, model.exog @ truth.beta / sd, atol=0.025)
    agree(
        "Covariance of simulated responses",
        "crossed",
        "V",
        np.cov(Y) / np.outer(sd, sd),
        V / np.outer(sd, sd),
        atol=0.03,
    )


def test_parameters_go_in_by_name():
    truth = truth_of(CROSSED, crossed_design(), **TRUTH)
    assert truth.model.exog_names == ["Intercept", "condition[T.b]", "group[T.young]", "condition[T.b]:group[T.young]"]
    assert truth.beta.tolist() == [500.0, 20.0, -30.0, 0.0]
    np.testing.assert_allclose(truth.cov_re["subject"], [[3600, 450], [450, 625]])
    for cov, factor in zip(truth.cov_re.values(), truth.model.cross.relative_factor.unpack(truth.theta), strict=True):
        np.testing.assert_allclose(truth.scale * factor @ factor.T, cov)
        assert np.triu(factor, 1).sum() == 0 and (np.diag(factor) >= 0).all()


def test_estimates_come_back(agree):
    design = crossed_design(40, 24)
    study = sparselmm.power(CROSSED, None, design, **TRUTH, test="z", n_sim=400, rng=1)
    replicates = study.replicates.groupby("term", sort=False)
    off = (replicates["estimate"].mean() - study.frame.set_index("term")["effect"]) / study["std.error"].to_numpy()
    agree("Mean estimate", "crossed, 400 responses", "truth", off, np.zeros(3), atol=3.5 / np.sqrt(400))


def test_singular_truths_are_simulated():
    sd = {"subject": {"Intercept": 60.0, "condition[T.b]": 0.0}, "item": 0.0}
    truth = truth_of(CROSSED, crossed_design(), **TRUTH | {"sd": sd, "corr": None})
    assert np.isfinite(truth.simulate(3, np.random.default_rng(1))).all()
    study = sparselmm.power(
        CROSSED, "condition", crossed_design(), **TRUTH | {"sd": sd, "corr": None}, n_sim=100, rng=1
    )
    assert study["singular"][0] > 0.5 and study["failed"][0] == 0
    assert "singular. That is no failure" in str(study)


# All at once against one after the other

HYPOTHESES = ["condition[T.b]", "group", "condition:group", "condition[T.b] - 2 * group[T.young] = 70"]


def slow_p_values(truth, Y, test, hypotheses=HYPOTHESES):
    """Return standard errors and p-values from a refit of each response with its own inference."""
    data = crossed_design()
    fit = sparselmm.lmer(CROSSED, data.assign(rt=Y[:, 0]), reml=truth.reml)
    errors, p_values = [], []
    for y in Y.T:
        one = fit.refit(y)
        named = [one.t_test(name, ddf=test).iloc[0] for name in (hypotheses[0], hypotheses[3])]
        anova = one.anova(ddf=test)["p.value"]
        p_values.append([named[0]["p.value"], anova["group"], anova["condition:group"], named[1]["p.value"]])
        errors.append([row["std.error"] for row in named])
    return np.array(errors), np.array(p_values)


@pytest.mark.parametrize(
    ("test", "reml"), [("satterthwaite", True), ("satterthwaite", False), ("z", True), ("kenward-roger", True)]
)
def test_tests_of_many_are_those_of_one(agree, test, reml, monkeypatch):
    truth = truth_of(CROSSED, crossed_design(groups=("old", "young")), reml, **TRUTH)
    Y = truth.simulate(12, np.random.default_rng(2))
    responses, hypotheses = Responses.from_rows(truth.model, Y), read_hypotheses(truth.model, HYPOTHESES)
    found = estimate(truth, responses)
    assert 0 < found.singular.sum() < 12
    error, p = many.wald_tests(truth, responses, found, hypotheses, test)
    slow_error, slow_p = slow_p_values(truth, Y, test)
    name = f"crossed, {test}, {'REML' if reml else 'ML'}"
    agree("p-values of many responses", name, "one refit each", p, slow_p, atol=1e-5)
    agree("Standard errors of many responses", name, "one refit each", error[:, [0, 3]], slow_error, rtol=1e-4)
    monkeypatch.setattr(many, "MOST", 0)  # the path of designs with many levels
    single_error, single_p = many.wald_tests(truth, responses, found, hypotheses, test)
    np.testing.assert_allclose(single_p, p, atol=1e-9)
    np.testing.assert_allclose(single_error, error, rtol=1e-9)


def test_many_columns_and_independent_ones_in_a_batch():
    data = crossed_design(12, 8, ["x", "y", "z"]).assign(v=np.tile(np.arange(4.0), 24))
    formula = "rt ~ condition + group + (condition + v || subject) + (condition | item)"
    sd = {"subject": {c: 30.0 for c in ("Intercept", "condition[T.b]", "v")}}
    sd["item"] = {"Intercept": 30.0, "condition[T.b]": 10.0}
    truth = truth_of(formula, data, sd=sd, sigma=60.0)
    responses = Responses.from_rows(truth.model, truth.simulate(20, np.random.default_rng(1)))
    found, hypotheses = estimate(truth, responses), read_hypotheses(truth.model, ["condition", "group"])
    batch = many.wald_tests(truth, responses, found, hypotheses, "satterthwaite")[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "MOST", 0)
        np.testing.assert_allclose(
            many.wald_tests(truth, responses, found, hypotheses, "satterthwaite")[1], batch, atol=1e-8
        )


def test_a_batch_that_cannot_be_factored_goes_one_by_one(monkeypatch):
    design = sparselmm.simulate_design({"subject": 8}, within={"x": [0, 1]})
    truth = truth_of("y ~ x + (1 | subject)", design, sd={"subject": 1.0}, sigma=1.0)
    responses = Responses.from_rows(truth.model, truth.simulate(5, np.random.default_rng(1)))
    found, hypotheses = estimate(truth, responses), read_hypotheses(truth.model, None)
    expected = many.wald_tests(truth, responses, found, hypotheses, "satterthwaite")

    def fails(*arguments):
        raise np.linalg.LinAlgError

    monkeypatch.setattr(many._Batch, "tests", fails)
    for ours, theirs in zip(
        many.wald_tests(truth, responses, found, hypotheses, "satterthwaite"), expected, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8)


def test_likelihood_ratio_tests_are_those_of_compare(agree):
    design = crossed_design()
    study = sparselmm.power(
        CROSSED, ["condition:group"], design, **TRUTH, test="LRT", n_sim=6, rng=np.random.default_rng(3)
    )
    Y = truth_of(CROSSED, design, **TRUTH).simulate(6, np.random.default_rng(3))
    theirs = []
    for y in Y.T:
        data = design.assign(rt=y)
        large, small = (sparselmm.lmer(f, data, reml=False) for f in (CROSSED, CROSSED.replace("*", "+")))
        theirs.append(sparselmm.compare(small, large)["p.value"].iloc[-1])
    agree(
        "p-values of many responses",
        "crossed, likelihood ratio",
        "compare",
        study.runs[0].p_values[:, 0],
        theirs,
        atol=1e-5,
    )
    with pytest.raises(ValueError, match="of effects that are zero"):
        sparselmm.power(CROSSED, "group[T.young] = 3", design, **TRUTH, test="lrt")


# From a fit


@pytest.fixture(scope="module")
def sleep():
    return sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))


def test_a_fit_gives_its_parameters(sleep):
    (model,) = further_models(sleep, None, [{"Subject": 18}])
    truth = read_truth(model, True, sleep)
    np.testing.assert_allclose(truth.theta, sleep.theta, rtol=1e-9)
    np.testing.assert_allclose(truth.beta, sleep.params)
    assert truth.scale == pytest.approx(sleep.scale)
    changed = read_truth(model, True, sleep, {"Days": 3.0}, {"Subject": {"Days": 9.0}}, {"Subject": -0.5}, 20.0)
    intercept = sleep.cov_re["Subject"].iloc[0, 0]
    assert changed.beta[1] == 3.0 and changed.scale == 400.0 and changed.cov_re["Subject"][1, 1] == pytest.approx(81)
    assert changed.cov_re["Subject"][0, 1] == pytest.approx(-0.5 * 9.0 * np.sqrt(intercept))


def test_power_of_a_fit(sleep):
    study = sleep.power("Days", n_sim=50, rng=1)
    assert study["power"][0] == 1.0 and study["effect"][0] == pytest.approx(sleep.params["Days"]) and study.observed
    assert "estimates of the fit itself" in str(study)
    curve = sparselmm.power(sleep, params={"Days": 3.0}, sizes={"Subject": [9, 36]}, n_sim=200, rng=1)
    assert curve["Subject"].tolist() == [9, 36] and curve["power"][1] > curve["power"][0] + 0.3
    assert "estimates of the fit itself" not in str(curve)


def test_a_fit_on_other_data(sleep):
    design = sparselmm.simulate_design({"Subject": 10}, within={"Days": [0, 5, 10]})
    study = sparselmm.power(sleep, "Days", design, params={"Days": 5.0}, n_sim=50, rng=1)
    assert study.runs[0].size == {} and 0 < study["power"][0] < 1
    polars = pytest.importorskip("polars").DataFrame({name: design[name].tolist() for name in design})
    again = sparselmm.power(sleep, "Days", polars, params={"Days": 5.0}, n_sim=50, rng=1)
    np.testing.assert_allclose(again.runs[0].p_values, study.runs[0].p_values)
    with pytest.raises(sparselmm.DataError, match="no column 'Days'"):
        sparselmm.power(sleep, "Days", design.drop(columns="Days"))


def test_transformed_responses_weights_and_offsets_of_a_fit():
    data = sparselmm.datasets.load("sleepstudy").assign(w=lambda d: 1.0 + d["Days"] % 2, o=1.0)
    formula = "np.log(Reaction) ~ scale(Days) + offset(o) + (1 | Subject)"
    fit = sparselmm.lmer(formula, data, weights="w", context={"np": np})
    (model,) = further_models(fit, None, [{"Subject": 36}])
    assert model.endog_name == "np.log(Reaction)" and model.nobs == 360
    assert np.array_equal(model.weights, np.tile(data["w"], 2)) and (model.offset == 1.0).all()
    arrays = sparselmm.lmer(formula, data, weights=data["w"], offset=data["o"], context={"np": np})
    (model,) = further_models(arrays, None, [{"Subject": 36}])
    assert np.array_equal(model.weights, np.tile(data["w"], 2)) and (model.offset == 2.0).all()
    with pytest.raises(sparselmm.DataError, match="given weights as an array"):
        sparselmm.power(arrays, data=data)


def test_formulas_may_use_functions_and_contrasts():
    data = crossed_design().assign(age=lambda d: 20.0 + d.groupby("subject").ngroup())
    shift = np.log
    study = sparselmm.power(
        "y ~ shift(age) + group + (1 | subject)", None, data, sd={"subject": 1.0}, sigma=1.0, n_sim=5, rng=1,
        contrasts={"group": "sum"},
    )  # fmt: skip
    assert study["term"].tolist() == ["shift(age)", "group[S.old]"] and shift


def test_rows_with_missing_predictors_are_not_copied():
    data = sparselmm.datasets.load("sleepstudy")
    data.loc[3, "Days"] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (model,) = planned_models("y ~ Days + (1 | Subject)", data, [{"Subject": 19}])
    assert model.nobs == 179 + 9


def test_a_fit_of_arrays_has_its_own_design_only(sleep):
    model = sparselmm.LinearMixedModel(sleep.model.endog, sleep.model.exog, sleep.model.terms)
    fit = model.fit()
    assert sparselmm.power(fit, "x1", n_sim=20, rng=1)["power"][0] == 1.0
    with pytest.raises(sparselmm.DataError, match="fit is of arrays"):
        sparselmm.power(fit, sizes={"Subject": 30})


# The result


def made_up():
    """Return the Power of five simulated studies with two tests, one of them failed."""
    estimates = np.array([[2.0, np.nan], [-3.0, np.nan], [1.0, np.nan], [4.0, np.nan], [np.nan, np.nan]])
    p = np.array([[0.01, 0.2], [0.02, 0.03], [0.3, 0.04], [0.049, np.nan], [np.nan, np.nan]])
    errors = np.array([[1.0, np.nan], [1.0, np.nan], [2.0, np.nan], [2.0, np.nan], [np.nan, np.nan]])
    singular, converged = np.array([True, False, False, False, False]), np.array([True, True, True, False, False])
    runs = Runs(
        {"s": 9},
        ["x", "g"],
        np.array([1.0, np.nan]),
        np.zeros(2),
        estimates,
        errors,
        p,
        singular,
        converged,
        ["why"],
        2.0,
    )
    return Power("y ~ x + g + (1 | s)", "satterthwaite", 0.05, [runs])


def test_the_table_by_hand():
    frame = made_up().to_frame()
    x, g = frame.iloc[0], frame.iloc[1]
    assert x["power"] == 0.75 and g["power"] == pytest.approx(2 / 3)
    assert (x["type.s"], x["type.m"], x["std.error"]) == (pytest.approx(1 / 3), pytest.approx(3.0), 1.5)
    assert (x["singular"], x["uncertified"], x["failed"], g["failed"], x["n_sim"]) == (0.25, 1, 1, 2, 5)
    assert made_up().to_frame(alpha=0.015)["power"].tolist() == [0.25, 0.0]
    interval = stats.binomtest(3, 4).proportion_ci(0.9, "exact")
    wide = made_up().to_frame(level=0.9).iloc[0]
    assert (wide["conf.low"], wide["conf.high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_studies_that_find_nothing_or_fail():
    run = made_up().runs[0]
    nothing = replace(run, p_values=np.full((5, 2), 0.9), failures=[], converged=np.ones(5, dtype=bool))
    frame = Power("y ~ x", "z", 0.05, [nothing]).frame
    assert frame["power"].tolist() == [0.0, 0.0] and frame[["type.s", "type.m"]].isna().all(axis=None)
    failed = replace(run, p_values=np.full((5, 2), np.nan), failures=["why"] * 5, singular=np.zeros(5, dtype=bool))
    frame = Power("y ~ x", "z", 0.05, [replace(failed, converged=np.zeros(5, dtype=bool))]).frame
    assert frame["power"].isna().all() and frame["conf.low"].isna().all() and frame["failed"].tolist() == [5, 5]
    assert "5 fits failed" in str(Power("y ~ x", "z", 0.05, [failed]))


def test_nothing_is_hidden_in_the_text():
    text = str(made_up())
    for part in ("x ", "0.750", "type S", "1 fits are counted whose optimum could not be certified"):
        assert part in text
    assert "1 fits failed and are left out: why" in text.replace("\n    ", " ")
    assert "1 tests have no p-value" in text and "25% of the fits are singular" in text
    assert "<table>" in made_up()._repr_html_() and made_up().failures.to_dict() == {"why": 1}
    assert max(map(len, text.split("\n"))) <= 100


def test_replicates_and_columns(sleep):
    study = sparselmm.power(sleep, sizes={"Subject": [9, 12]}, params={"Days": 4.0}, n_sim=30, rng=1)
    table = study.replicates
    assert (
        list(table.columns) == ["Subject", "term", "replicate", "estimate", "std.error", "p.value"] and len(table) == 60
    )
    shares = table.assign(hit=table["p.value"] < 0.05).groupby("Subject")["hit"].mean()
    np.testing.assert_allclose(shares, study["power"])
    with pytest.raises(KeyError, match="no column of this table"):
        study["p"]
    assert study.seconds > 0


def test_binomial_intervals_are_exact():
    hits, trials = np.array([0, 3, 10, 0]), np.array([10, 10, 10, 0])
    low, high = binomial_interval(hits, trials, 0.95)
    for i in range(3):
        interval = stats.binomtest(int(hits[i]), 10).proportion_ci(0.95, "exact")
        assert (low[i], high[i]) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert np.isnan([low[3], high[3]]).all()


def test_the_effect_of_a_term():
    design = sparselmm.simulate_design(
        {"subject": 12, "item": 6}, between={"subject": {"group": ["a", "b"]}}, within={"c": ["x", "y"]}
    )
    formula, sd = "y ~ group * c + (1 | subject) + (1 | item)", {"subject": 1.0, "item": 1.0}
    terms = ["group", "c", "group:c"]
    study = sparselmm.power(formula, terms, design, params={"c[T.y]": 2.0}, sd=sd, sigma=1.0, n_sim=20, rng=1)
    np.testing.assert_allclose(study["effect"], [0.0, 2.0, 0.0], rtol=1e-12)
    assert list(study["type.m"].isna()) == [True, False, True]
    assert "Where the hypothesis is true" in str(study) and "mean of its second category" in " ".join(
        str(study).split()
    )
    params = {"c[T.y]": 2.0, "group[T.b]:c[T.y]": 1.0, "group[T.b]": -4.0}
    study = sparselmm.power(formula, terms, design, params=params, sd=sd, sigma=1.0, n_sim=20, rng=1)
    np.testing.assert_allclose(study["effect"], [-3.5, 2.5, 1.0])


def test_the_same_rng_gives_the_same_numbers(sleep):
    first, second, other = (sparselmm.power(sleep, n_sim=20, rng=rng) for rng in (1, 1, 2))
    assert np.array_equal(first.runs[0].p_values, second.runs[0].p_values)
    assert not np.array_equal(first.runs[0].p_values, other.runs[0].p_values)


def test_refits_that_fail_are_counted(sleep, monkeypatch):
    from sparselmm.planning import power as module

    def failing(truth, responses):
        found = estimate(truth, responses)
        found.beta[0] = found.theta[0] = found.deviance[0] = np.nan
        found.converged[0] = found.singular[0] = False
        found.failures[0] = "no optimum"
        return found

    monkeypatch.setattr(module, "estimate", failing)
    study = sparselmm.power(sleep, n_sim=10, rng=1)
    assert study["failed"][0] == 1 and study["power"][0] == 1.0 and study["uncertified"][0] == 0
    assert "1 fits failed and are left out: no optimum" in str(study).replace("\n    ", " ")


def test_progress_is_reported(sleep, capsys):
    sparselmm.power(sleep, n_sim=10, rng=1, progress=True)
    assert "power" in capsys.readouterr().err


# Errors

SIMPLE = {"sd": {"subject": 1.0, "item": 1.0}, "sigma": 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"params": {"condition": 1.0}}, r"fixed effects are .*Did you mean 'condition\[T.b\]'"),
        ({"params": {"high": 1.0}}, "params names 'high'; the fixed effects are Intercept, condition"),
        ({"sizes": {"subject": "60"}}, "'60' is no number of levels"),
        ({"params": {"Intercept": np.inf}}, "'Intercept' is inf. Give a number"),
        ({"sigma": None}, "sigma is missing"),
        ({"sigma": -1.0}, "must be positive"),
        ({"sd": {"subject": 1.0}}, "sd of Intercept of term 'item' is missing"),
        ({"sd": {"subject": 1.0, "item": -1.0}}, "of term 'item' is -1.0"),
        ({"sd": {"subject": {"x": 1.0}, "item": 1.0}}, "names 'x'; the columns of the term are Intercept"),
        ({"sd": {"person": 1.0}}, "sd names 'person'; the random-effects terms are subject, item"),
        ({"corr": {"person": 1.0}}, "corr names 'person'"),
        ({"corr": {"subject": [[1.0, 0.3], [0.3, 1.0]]}}, "symmetric 1 x 1"),
        ({"data": None}, "data is missing"),
        ({"sizes": {"condition": [3]}}, "grouping factors of the model are item, subject"),
        ({"sizes": {"subject": []}}, "is empty"),
    ],
)
def test_errors_of_parameters(options, message):
    options = {"data": crossed_design(), **SIMPLE, **options}
    with pytest.raises(sparselmm.DataError, match=message):
        sparselmm.power("y ~ condition + (1 | subject) + (1 | item)", None, **options)


@pytest.mark.parametrize(
    ("formula", "corr", "message"),
    [
        ("y ~ condition + (condition | subject)", 2.0, "not positive semidefinite"),
        ("y ~ condition + (condition || subject)", 0.2, "columns are independent"),
        ("y ~ condition + (condition | subject)", None, "give a number for each"),
    ],
)
def test_errors_of_correlations(formula, corr, message):
    sd = 1.0 if corr is None else {"Intercept": 1.0, "condition[T.b]": 1.0}
    with pytest.raises(sparselmm.DataError, match=message):
        sparselmm.power(formula, data=crossed_design(), sd={"subject": sd}, corr={"subject": corr}, sigma=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"term": "Day"}, "There is no parameter 'Day'.*Terms: Days"),
        ({"test": "F"}, "test='F' is not one of satterthwaite, kenward-roger, z, lrt"),
        ({"alpha": 5}, "alpha=5"),
        ({"n_sim": 0}, "n_sim=0"),
    ],
)
def test_errors_of_arguments(sleep, options, message):
    with pytest.raises(ValueError, match=message):
        sparselmm.power(sleep, **options)


def test_what_is_no_fit_is_refused(sleep):
    with pytest.raises(sparselmm.DataError, match="takes a fit of lmer or a formula, not MixedLM"):
        data = sparselmm.datasets.load("sleepstudy")
        sparselmm.power(sparselmm.MixedLM.from_formula("Reaction ~ Days", data, groups="Subject").fit())
    with pytest.raises(sparselmm.DataError, match="The fit has no fixed effect 'g"):
        (model,) = planned_models("y ~ Days + g + (Days | Subject)", data.assign(g=data["Days"] > 4), [{}])
        read_truth(model, True, sleep)
    with pytest.raises(
        sparselmm.DataError, match="The fit has no random-effects term 'Subject' with columns Intercept"
    ):
        (model,) = planned_models("y ~ Days + (1 | Subject)", data, [{}])
        read_truth(model, True, sleep)
    with pytest.raises(TypeError, match="Use n_sim="):
        sparselmm.power(sleep, nsim=10)
    with pytest.raises(sparselmm.DataError, match="read in chunks"):
        sparselmm.power(sparselmm.lmer("Reaction ~ Days + (1 | Subject)", iter([data])))
    with pytest.raises(sparselmm.DataError, match="no fixed effects"):
        sparselmm.power("y ~ 0 + (1 | Subject)", data=data, sd={"Subject": 1.0}, sigma=1.0)


# Plots


def test_power_curve(sleep):
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot as plt

    design = sparselmm.simulate_design({"subject": 8, "item": 8}, within={"x": [0, 1]}, latin_square=True)
    options = {"sd": {"subject": 1.0, "item": 1.0}, "sigma": 1.0, "n_sim": 20, "rng": 1}
    formula = "y ~ x + (1 | subject) + (1 | item)"
    study = sparselmm.power(formula, None, design, sizes={"subject": [8, 16], "item": [4, 8]}, **options)
    ax = study.plot()
    assert ax.get_xlabel() == "Number of levels of subject" and [t.get_text() for t in ax.get_xticklabels()] == [
        "8",
        "16",
    ]
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert {"item 4", "item 8"} <= set(lines)
    part = study.frame[study["item"] == 4]
    np.testing.assert_allclose(lines["item 4"].get_ydata(), part["power"])
    ax = sparselmm.power(formula, ["x", "Intercept"], design, sizes={"subject": 8}, **options).plot()
    assert {"x", "Intercept"} <= {line.get_label() for line in ax.get_lines()}
    _, given = plt.subplots()
    assert sparselmm.power(formula, ["x", "Intercept"], design, **options).plot(given, target=None) is given
    assert [t.get_text() for t in given.get_xticklabels()] == ["x", "Intercept"]
    plt.close("all")


def test_sizes_keep_the_proportions_of_what_differs_between_levels():
    diets = ["a"] * 8 + ["b"] * 4 + ["c"] * 4
    data = pd.DataFrame({"rat": np.repeat(np.arange(16), 3), "time": np.tile([0.0, 1.0, 2.0], 16)})
    data = data.assign(diet=np.repeat(diets, 3), age=np.repeat(np.arange(16.0), 3))
    for size, expected in {
        3: [1, 1, 1],
        4: [2, 1, 1],
        8: [4, 2, 2],
        16: [8, 4, 4],
        24: [12, 6, 6],
        32: [16, 8, 8],
    }.items():
        rows = resized(data, {"rat": size}, ["rat"])
        assert rows.groupby("rat")["time"].apply(list).map(len).tolist() == [3] * size
        assert rows.groupby("diet")["rat"].nunique().tolist() == expected
    assert resized(data, {"rat": 16}, ["rat"]).groupby("age")["time"].count().tolist() == [3] * 16
    with pytest.raises(DataError, match=r"2 levels of 'rat' cannot hold its 3 kinds, the combinations of diet"):
        resized(data, {"rat": 2}, ["rat"])
    same = data.drop(columns="diet")
    assert resized(same, {"rat": 4}, ["rat"])["age"].tolist() == same["age"].head(12).tolist()
    numbered = data.assign(diet=data["diet"].map({"a": 1, "b": 2, "c": 3}))
    kinds = [resized(numbered, {"rat": 4}, ["rat"], coded)["diet"].nunique() for coded in ((), ["diet"])]
    assert kinds == [1, 3]
    planned = planned_models("y ~ time * C(diet) + (1 | rat)", numbered, [{"rat": 6}])
    assert len(next(planned).exog_names) == 6
    options = {"params": {"time": 1.0}, "sd": {"rat": 1.0}, "sigma": 1.0, "n_sim": 10, "rng": 1}
    study = sparselmm.power("y ~ time * diet + (1 | rat)", "time:diet", data, sizes={"rat": [6, 20]}, **options)
    assert len(study.frame) == 2
