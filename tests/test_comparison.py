"""Likelihood ratio tests against lme4 and lmerTest (tests/reference/comparison.R), nesting, and the boundary."""

import numpy as np
import pytest
from scipy.special import chdtrc
from test_anova import LMERTEST, REFERENCE, load, python

import sparselmm
from sparselmm import DataError, RandomTerm
from sparselmm.comparison.boundary import _directions, information, theta_of
from sparselmm.comparison.likelihood_ratio import compare
from sparselmm.comparison.linear import LinearFit, comparable_deviance
from sparselmm.comparison.mixtures import cone_weights, mixture_tail, orthant_probability
from sparselmm.comparison.nesting import nesting

RANDOM = {record["id"]: record for record in REFERENCE["random"]}
COMPARED = {record["id"]: record for record in REFERENCE["compare"]}


@pytest.fixture(scope="module")
def sleep():
    """Return a function that fits a model of the sleep study once."""
    data, done = sparselmm.datasets.load("sleepstudy"), {}

    def fit(right, reml=True):
        if (right, reml) not in done:
            done[right, reml] = sparselmm.lmer(f"Reaction ~ {right}", data, reml=reml)
        return done[right, reml]

    return fit


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("which", ["reduced", "whole"])
def test_ranova_is_lmertests(agree, name, which):
    record = RANDOM[name]
    theirs = record[which]
    if theirs is None:
        return
    frame = (
        sparselmm.lmer(python(record["formula"]), load(record), reml=record["reml"]).ranova(which == "reduced").frame
    )
    assert [label.replace(" ", "").replace("**", "^") for label in frame.index] == [
        label.replace(" ", "") for label in theirs["term"]
    ]
    assert list(frame["n_parameters"]) == theirs["npar"]
    assert list(frame["df"].iloc[1:]) == theirs["df"][1:]
    for ours, key in (("logLik", "loglik"), ("AIC", "aic"), ("chisq", "chisq")):
        values = np.array(theirs[key], dtype=float)
        agree(f"ranova ({which}): {ours}", name, LMERTEST, frame[ours], values, atol=1e-6)
    agree(f"ranova ({which}): p", name, LMERTEST, frame["p.value"], np.array(theirs["p"], dtype=float), rtol=1e-3)


def test_ranova_of_a_double_bar_drops_column_by_column(sleep, agree):
    frame = sleep("Days + (Days || Subject)").ranova().frame
    assert list(frame.index) == ["<none>", "Intercept in (Days || Subject)", "Days in (Days || Subject)"]
    expected = [sleep("Days + (0 + Days | Subject)").llf, sleep("Days + (1 | Subject)").llf]
    agree("ranova: logLik", "sleepstudy double bar", "the smaller fits", frame["logLik"].iloc[1:], expected, atol=1e-7)


@pytest.mark.parametrize("name", COMPARED)
def test_compare_is_lme4s_anova(agree, name):
    record = COMPARED[name]
    fits = [sparselmm.lmer(python(formula), load(record)) for formula in record["formulas"]]
    table = compare(*reversed(fits)).frame
    assert list(table["n_parameters"]) == record["npar"]
    for ours, key in (("logLik", "loglik"), ("AIC", "aic"), ("BIC", "bic"), ("chisq", "chisq")):
        agree(f"compare: {ours}", name, "lme4", table[ours], np.array(record[key], dtype=float), atol=1e-6)
    agree("compare: p", name, "lme4", table["p.value"], np.array(record["p"], dtype=float), rtol=1e-3)


def test_compare_refits_only_where_criteria_do_not_compare(sleep):
    small, large = sleep("Days + (1 | Subject)"), sleep("Days + (Days | Subject)")
    assert "REML" in compare(small, large).title
    other = sparselmm.lmer("Reaction ~ {Days + 1} + (1 | Subject)", sparselmm.datasets.load("sleepstudy"))
    same = compare(other, large)
    assert "REML" in same.title and "which moves AIC" not in str(same)
    scaled = sparselmm.lmer("Reaction ~ {60 * Days} + (1 | Subject)", sparselmm.datasets.load("sleepstudy"))
    assert "which moves AIC" in str(compare(scaled, large))
    assert compare(scaled, large)["chisq"].iloc[1] == pytest.approx(same["chisq"].iloc[1], abs=1e-6)
    assert same["chisq"].iloc[1] == pytest.approx(compare(small, large)["chisq"].iloc[1], abs=1e-6)
    fixed = compare(sleep("1 + (Days | Subject)"), large, names=["mean", "trend"])
    assert "maximum likelihood" in fixed.title
    assert "Refitted by maximum likelihood: mean, trend." in str(fixed)
    with pytest.raises(ValueError, match="mean, trend are fits by REML"):
        compare(sleep("1 + (Days | Subject)"), large, names=["mean", "trend"], refit=False)


def test_compare_names_what_differs(sleep):
    data = sparselmm.datasets.load("sleepstudy")
    fit, weights = sleep("Days + (1 | Subject)"), np.linspace(1, 2, len(data))
    cases = {
        "have 180 and 179 rows": sparselmm.lmer("Reaction ~ Days + (1 | Subject)", data.iloc[1:]),
        "different responses": sparselmm.lmer("log(Reaction) ~ Days + (1 | Subject)", data),
        "different weights": sparselmm.lmer("Reaction ~ Days + (1 | Subject)", data, weights=weights),
        "different offset": sparselmm.lmer("Reaction ~ Days + offset(Days) + (1 | Subject)", data),
    }
    for message, other in cases.items():
        with pytest.raises(DataError, match=message):
            compare(fit, other)
    with pytest.raises(ValueError, match="two fits or more"):
        compare(fit)
    with pytest.raises(ValueError, match="not DataFrame"):
        compare(fit, data)
    with pytest.raises(ValueError, match="1 names for 2 fits"):
        compare(fit, fit, names=["one"])


NESTED = [  # smaller, larger, further entries of the covariances, variances at zero
    ("(1 | Worker)", "(Machine | Worker)", 5, 2),
    ("(1 | Worker)", "(0 + Machine | Worker)", 5, 2),
    ("(1 | Worker)", "(1 | Worker) + (1 | Worker:Machine)", 1, 1),
    ("(1 | Worker:Machine)", "(1 | Worker) + (1 | Worker:Machine)", 1, 1),
    ("(1 | Worker) + (1 | Worker:Machine)", "(0 + Machine | Worker)", 4, 0),
    ("(1 | Worker:Machine)", "(0 + Machine | Worker)", 5, 0),
    ("(1 | Machine:Worker)", "(0 + Machine || Worker)", 2, 0),
    ("(0 + Machine || Worker)", "(0 + Machine | Worker)", 3, 0),
    ("(0 + Machine | Worker)", "(1 + Machine | Worker)", 0, 0),
]
NOT_NESTED = [
    ("(1 | Worker)", "(1 | Worker:Machine)"),
    ("(1 | Worker)", "(0 + Machine || Worker)"),
    ("(0 + Machine | Worker)", "(1 | Worker) + (1 | Worker:Machine)"),
    ("(1 | Machine)", "(1 | Worker)"),
]


@pytest.fixture(scope="module")
def machines():
    """Return a function that fits a random part to the Machines data once."""
    data, done = sparselmm.datasets.load("Machines"), {}

    def fit(random):
        if random not in done:
            done[random] = sparselmm.lmer(f"score ~ 1 + {random}", data)
        return done[random]

    return fit


@pytest.mark.parametrize("small, large, df, variances", NESTED)
def test_nested_random_parts(machines, small, large, df, variances):
    nested = nesting(machines(small), machines(large))
    assert (nested.df, nested.n_variances) == (df, variances)
    likelihood = machines(large).likelihood
    same = likelihood.evaluate(theta_of(likelihood.map, nested.gamma)).deviance
    assert same == pytest.approx(machines(small).deviance, abs=1e-6)


@pytest.mark.parametrize("small, large", NOT_NESTED)
def test_random_parts_that_are_not_nested(machines, small, large):
    assert nesting(machines(small), machines(large)) is None
    if machines(small).n_parameters > machines(large).n_parameters:
        return
    table = compare(machines(small), machines(large), names=["a", "b"])
    assert table.frame["p.value"].isna().all() and "is no special case of" in str(table)


def test_fixed_effects_that_are_not_nested(sleep):
    table = compare(sleep("Days + (1 | Subject)"), sleep("{Days**2} + {Days**3} + (1 | Subject)"))
    assert table.frame["chisq"].isna().all() and table.frame["AIC"].notna().all()
    assert "No test: m1 and m2 are the same" in str(
        compare(sleep("Days + (1 | Subject)"), sleep("Days + (1 | Subject)"))
    )


def test_user_supplied_blocks_are_compared_too():
    data = sparselmm.datasets.load("Pastes")
    y, X = data["strength"].to_numpy(), np.ones((len(data), 1))
    batch, sample = RandomTerm(data["batch"]), RandomTerm(data["sample"])
    block = RandomTerm.from_matrix(batch.Z, name="batch")
    large = sparselmm.LinearMixedModel(y, X, [block, sample]).fit()
    small = sparselmm.LinearMixedModel(y, X, [sample]).fit()
    table = compare(small, large)
    assert table["df"].iloc[1] == 1
    assert table["p.boundary"].iloc[1] == pytest.approx(0.5 * table["p.value"].iloc[1])
    assert large.ranova()["chisq"].iloc[1] == pytest.approx(table["chisq"].iloc[1], abs=1e-7)
    assert large.exact_test("batch", rng=0).statistic == pytest.approx(table["chisq"].iloc[1], abs=1e-7)


def test_one_correlated_effect_more_is_a_mixture_half_and_half(sleep):
    table = sleep("Days + (Days | Subject)").ranova()
    chisq = table["chisq"].iloc[1]
    expected = 0.5 * (chdtrc(1, chisq) + chdtrc(2, chisq))
    assert table["p.boundary"].iloc[1] == pytest.approx(expected, rel=1e-10)
    assert "Stram and Lee" in str(table)


def test_mixture_tail_and_the_point_zero():
    assert mixture_tail(0.0, [0.5, 0.5]) == 1.0
    assert mixture_tail(1.3, [0.5, 0.5]) == pytest.approx(0.5 * chdtrc(1, 1.3))
    assert mixture_tail(4.0, [0.25, 0.5, 0.25], 2) == pytest.approx(np.dot([0.25, 0.5, 0.25], chdtrc([2, 3, 4], 4.0)))


@pytest.mark.parametrize("r", [1, 2, 3, 4])
def test_cone_weights_are_those_of_projections(r):
    """Against non-negative least squares on simulated vectors."""
    from scipy.optimize import nnls

    rng = np.random.default_rng(r)
    root = rng.standard_normal((r, r)) + 0.5
    covariance = root @ root.T
    half = np.linalg.cholesky(np.linalg.inv(covariance)).T
    counts = np.zeros(r + 1)
    for z in rng.standard_normal((4000, r)) @ np.linalg.cholesky(covariance).T:
        counts[(nnls(half, half @ z)[0] > 1e-10).sum()] += 1
    np.testing.assert_allclose(cone_weights(covariance), counts / 4000, atol=0.03)
    binomial = 0.5**r * np.polynomial.polynomial.polypow([1, 1], r)
    np.testing.assert_allclose(cone_weights(np.eye(r)), binomial, atol=0.003)
    assert orthant_probability(np.eye(r)) == pytest.approx(0.5**r, abs=0.003)


def dense_information(fit, theta):
    """Return the information of γ with dense n x n matrices."""
    from oracles import DenseModel

    model = fit.model
    dense = DenseModel(model.endog, model.exog, model.terms, theta, fit.reml, model.weights)
    V = np.diag(1.0 / (np.ones(model.nobs) if model.weights is None else model.weights))
    V = V + dense.Z @ dense.Lambda @ dense.Lambda.T @ dense.Z.T
    Q = np.linalg.inv(V)
    if fit.reml:
        QX = Q @ model.exog
        Q = Q - QX @ np.linalg.solve(model.exog.T @ QX, QX.T)
    kernels = []
    for k, D in _directions(fit.likelihood.map):
        Z = model.terms[k].Z.toarray()
        kernels.append(Q @ Z @ np.kron(np.eye(model.terms[k].n_levels), D) @ Z.T)
    traces = np.array([np.trace(K) for K in kernels])
    pairs = np.array([[np.trace(K @ other) for other in kernels] for K in kernels])
    return 0.5 * (pairs - np.outer(traces, traces) / fit.likelihood.n_effective)


@pytest.mark.parametrize("reml", [True, False])
def test_information_of_covariances(agree, reml):
    data = sparselmm.datasets.load("sleepstudy")
    fit = sparselmm.lmer(
        "Reaction ~ Days + (Days | Subject)", data, reml=reml, weights=np.linspace(0.5, 2.0, len(data))
    )
    for theta in (fit.theta, np.array([0.9, 0.0, 0.0])):
        ours, dense = information(fit.likelihood, theta), dense_information(fit, theta)
        agree("information of covariances", "sleepstudy weights", "dense computation", ours, dense, rtol=1e-7)


def test_average_information_replaces_the_expected_one(monkeypatch):
    """Their mean over simulated responses is the same."""
    from sparselmm.comparison import boundary

    data = sparselmm.datasets.load("Penicillin")
    fit = sparselmm.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", data)
    expected = information(fit.likelihood, fit.theta)
    monkeypatch.setattr(boundary, "MOST_DENSE", 0)
    rng, model = np.random.default_rng(0), fit.model
    total = np.zeros((2, 2))
    for _ in range(200):
        b = [fit.theta[k] * rng.standard_normal(term.n_levels)[term.codes] for k, term in enumerate(model.terms)]
        y = sum(b) + rng.standard_normal(model.nobs)
        likelihood = sparselmm.LinearMixedModel(y, model.exog, model.terms).likelihood()
        total += information(likelihood, fit.theta) / 200
    np.testing.assert_allclose(total, expected, rtol=0.15, atol=0.1 * np.abs(expected).min())


def test_two_independent_variances_have_cone_weights():
    """Two crossed factors in balance are nearly independent: 1/4, 1/2, 1/4."""
    rng = np.random.default_rng(3)
    a, b, c = (x.ravel() for x in np.meshgrid(range(6), range(6), range(6), indexing="ij"))
    data = {"y": rng.standard_normal(216) + 0.7 * rng.standard_normal(6)[a], "a": a, "b": b, "c": c}
    data["y"] += 0.4 * rng.standard_normal(6)[b]
    small = sparselmm.lmer("y ~ 1 + (1 | a)", data)
    large = sparselmm.lmer("y ~ 1 + (1 | a) + (1 | b) + (1 | c)", data)
    table = compare(small, large)
    chisq = table["chisq"].iloc[1]
    expected = 0.5 * chdtrc(1, chisq) + 0.25 * chdtrc(2, chisq)
    assert chisq > 1
    assert table["p.boundary"].iloc[1] == pytest.approx(expected, rel=0.05)
    assert table["df"].iloc[1] == 2


def test_units_of_random_slopes_do_not_matter():
    data = sparselmm.datasets.load("sleepstudy").assign(seconds=lambda d: d["Days"] * 86_400.0)
    for bar in ("|", "||"):
        fits = [sparselmm.lmer(f"Reaction ~ Days + ({x} {bar} Subject)", data) for x in ("Days", "seconds")]
        one, other = (fit.ranova(reduce_terms=False) for fit in fits)
        np.testing.assert_allclose(one["p.boundary"], other["p.boundary"], rtol=1e-4)
        assert list(one["df"].iloc[1:]) == list(other["df"].iloc[1:])


def test_size_of_the_corrected_test():
    """Under the null hypothesis of many levels p.boundary is below 0.1 one time in ten, p.value one in twenty."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(60), 4)
    hits = np.zeros(2)
    for _ in range(200):
        fit = sparselmm.lmer("y ~ 1 + (1 | g)", {"y": rng.standard_normal(240), "g": groups})
        row = fit.ranova().frame.iloc[1]
        hits += np.array([row["p.boundary"], row["p.value"]]) < 0.1
    assert abs(hits[0] / 200 - 0.1) < 0.06
    assert hits[1] < hits[0]


@pytest.mark.parametrize("reml", [True, False])
def test_the_linear_model_is_the_mixed_model_without_variance(reml):
    data = sparselmm.datasets.load("sleepstudy")
    fit = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", data, reml=reml, weights=np.linspace(0.5, 2.0, len(data)))
    linear = LinearFit(fit.model, reml)
    assert linear.deviance == pytest.approx(fit.likelihood.evaluate(np.zeros(1)).deviance, abs=1e-8)
    assert linear.n_parameters == 3 and linear.aic == linear.deviance + 6
    assert comparable_deviance(linear) - comparable_deviance(fit) == pytest.approx(linear.deviance - fit.deviance)


def test_singular_fits_are_compared():
    data = sparselmm.datasets.load("Dyestuff2")
    table = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", data).ranova()
    assert table["chisq"].iloc[1] == 0 and table["p.boundary"].iloc[1] == 1
    data = data.assign(h=np.arange(30) % 5)
    small = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", data)
    table = compare(small, sparselmm.lmer("Yield ~ 1 + (1 | Batch) + (1 | h)", data))
    assert "approximate: the fit of m1 is singular itself" in str(table)


def test_estimated_deviances_are_said(monkeypatch):
    monkeypatch.setattr("sparselmm.engines.pcg.FEW", 0)
    data = sparselmm.datasets.load("Penicillin")
    formulas = "diameter ~ 1 + (1 | plate)", "diameter ~ 1 + (1 | plate) + (1 | sample)"
    fits = [sparselmm.lmer(formula, data, engine="pcg") for formula in formulas]
    table = sparselmm.compare(*fits)
    assert any("are estimates, with standard deviations" in note for note in table.notes)
