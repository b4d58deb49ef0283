"""Standard errors of variance parameters against differences of a dense log-likelihood in natural parameters."""

import warnings

import numpy as np
import pytest
from oracles import dense_Z

import sparselmm
from sparselmm import LinearMixedModel, RandomTerm
from sparselmm.inference import variance

DENSE = "dense computation, differenced"


def dense_deviance(covariances, scale, y, X, terms, reml):
    """Return -2 log-likelihood for the covariances G_k of the terms and σ², V = σ²I + ZGZ'."""
    V = scale * np.eye(y.size)
    for G, term in zip(covariances, terms, strict=True):
        Z = dense_Z([term])
        V += Z @ np.kron(np.eye(term.n_levels), G) @ Z.T
    XVX = X.T @ np.linalg.solve(V, X)
    resid = y - X @ np.linalg.solve(XVX, X.T @ np.linalg.solve(V, y))
    logdet = np.linalg.slogdet(V)[1] + (np.linalg.slogdet(XVX)[1] if reml else 0.0)
    return logdet + resid @ np.linalg.solve(V, resid) + (y.size - reml * X.shape[1]) * np.log(2.0 * np.pi)


def natural(parameters, terms, kind):
    """Return the G_k and σ² from variances and covariances, or from standard deviations and correlations."""
    covariances, at = [], 0
    for term in terms:
        c, G = term.n_columns, np.eye(term.n_columns)
        for j in range(c):
            for i in range(j, c if term.structure == "unstructured" else j + 1):
                G[i, j] = G[j, i] = parameters[at]
                at += 1
        if kind == "sd":
            sd = np.diag(G).copy()
            np.fill_diagonal(G, 1.0)
            G *= np.outer(sd, sd)
        elif term.structure == "diagonal":
            G = np.diag(np.diag(G))
        covariances.append(G)
    return covariances, parameters[at] ** 2 if kind == "sd" else parameters[at]


def hessian(f, x, steps):
    """Return second derivatives of f at x by central differences, extrapolated."""

    def differences(h):
        E = np.diag(h)
        corners = [[(s, t, f(x + s * a + t * b)) for s in (-1, 1) for t in (-1, 1)] for a in E for b in E]
        total = np.reshape([sum(s * t * value for s, t, value in corner) for corner in corners], (x.size, x.size))
        return total / (4.0 * np.outer(h, h))

    return (4.0 * differences(steps / 2.0) - differences(steps)) / 3.0


def check_against_dense(fit, agree):
    """Compare both halves of `variance_params` with the dense log-likelihood."""
    assert fit.converged and not fit.singular
    model, table = fit.model, fit.variance_params
    half = len(table) // 2
    for kind, part in (("var", table[:half]), ("sd", table[half:])):
        estimate = part["estimate"].to_numpy()
        steps = 0.01 * part["std.error"].to_numpy()

        def deviance(parameters, kind=kind):
            return dense_deviance(
                *natural(parameters, model.terms, kind), model.endog, model.exog, model.terms, fit.reml
            )

        assert deviance(estimate) == pytest.approx(fit.deviance, abs=1e-8)
        information = hessian(deviance, estimate, steps)
        expected = np.sqrt(np.diag(2.0 * np.linalg.inv(information)))
        agree("SEs of variances, SDs, correlations", what(model), DENSE, part["std.error"], expected, rtol=1e-5)


def what(model):
    """Return a few words that tell the model."""
    return model.formula or "simulated: " + ", ".join(f"{t.n_levels} levels x {t.n_columns}" for t in model.terms)


def simulated(rng, n, levels, columns, structures):
    """Return a model with crossed unbalanced factors whose variances are well away from zero."""
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    y, terms = X @ [2.0, -1.0] + rng.standard_normal(n), []
    for k, (count, c, structure) in enumerate(zip(levels, columns, structures, strict=True)):
        groups = np.r_[np.arange(count), rng.integers(0, count, n - count) ** 2 // count]
        values = np.column_stack([np.ones(n), X[:, 1], rng.standard_normal(n)])[:, :c]
        term = RandomTerm(groups, values, f"g{k}", structure=structure)
        effects = rng.standard_normal((count, c)) @ (np.eye(c) + rng.uniform(-0.3, 0.3, (c, c))) * (1.5 + k)
        y += term.Z @ effects[: term.n_levels].ravel()
        terms.append(term)
    return LinearMixedModel(y, X, terms)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("formula", ["(Days | Subject)", "(Days || Subject)"])
def test_sleepstudy(formula, reml, agree):
    data = sparselmm.datasets.load("sleepstudy")
    check_against_dense(sparselmm.lmer(f"Reaction ~ Days + {formula}", data, reml), agree)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize(
    ("n", "levels", "columns", "structures"),
    [
        (90, (12, 9), (1, 1), ("unstructured", "unstructured")),
        (150, (20, 10), (2, 1), ("unstructured", "unstructured")),
        (150, (14, 12), (3, 2), ("diagonal", "unstructured")),
        (160, (25,), (3,), ("unstructured",)),
    ],
    ids=["crossed", "crossed-slopes", "crossed-diagonal", "three-columns"],
)
def test_simulated(n, levels, columns, structures, reml, agree):
    check_against_dense(simulated(np.random.default_rng(5), n, levels, columns, structures).fit(reml), agree)


def test_intercept_variance_of_sleepstudy():
    # statsmodels 0.14 prints 11.88 (it divides by the residual standard deviation where the variance is meant)
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))
    errors = fit.variance_params.set_index(["group", "term"])["std.error"]
    assert errors["Subject", "var__Intercept"] == pytest.approx(288.783, abs=1e-2)


def test_balanced_one_way():
    # Searle, Casella & McCulloch (1992), section 3.7: var(σ²) = 2σ⁴/(a(n-1)) for balanced one-way data under ML
    fit = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff"), reml=False)
    errors = fit.variance_params.set_index("term")["std.error"]
    within, between = fit.scale, fit.scale + 5.0 * fit.cov_re["Batch"].iloc[0, 0]
    assert errors["var__Observation"] == pytest.approx(within * np.sqrt(2.0 / 24.0), rel=1e-7)
    expected = np.sqrt(2.0 / 25.0 * (between**2 / 6.0 + within**2 / 24.0))
    assert errors["var__Intercept"] == pytest.approx(expected, rel=1e-7)


def test_units_of_response():
    data = sparselmm.datasets.load("sleepstudy")
    one = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data).variance_params
    ten = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data.assign(Reaction=10.0 * data["Reaction"]))
    factor = one["term"].str.split("__").str[0].map({"var": 100.0, "cov": 100.0, "sd": 10.0, "cor": 1.0})
    for column in ("estimate", "std.error"):
        np.testing.assert_allclose(ten.variance_params[column], factor * one[column], rtol=1e-6)


def test_units_of_predictor():
    data = sparselmm.datasets.load("sleepstudy")
    one = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data).variance_params
    large = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data.assign(Days=data["Days"] / 1000.0))
    powers = {"cov__Intercept.Days": 1, "var__Days": 2, "sd__Days": 1}
    factor = 1000.0 ** one["term"].map(powers).fillna(0.0)
    for column in ("estimate", "std.error"):
        np.testing.assert_allclose(large.variance_params[column], factor * one[column], rtol=1e-6)


def with_flat_factor(rng):
    """Return a model with two crossed factors, the second without any effect (balanced, so its variance is zero)."""
    groups, flat = np.repeat(np.arange(12), 10), np.tile(np.arange(10), 12)
    y = rng.standard_normal(12)[groups] + rng.standard_normal(120)
    y -= (np.bincount(flat, y) / 12.0)[flat]
    return y, RandomTerm(groups, name="g"), RandomTerm(flat, name="flat")


def test_singular_term_is_held():
    y, term, flat = with_flat_factor(np.random.default_rng(2))
    fit = LinearMixedModel(y, np.ones(120), [term, flat]).fit()
    alone = LinearMixedModel(y, np.ones(120), term).fit().variance_params.set_index(["group", "term"])
    table = fit.variance_params.set_index(["group", "term"])
    assert fit.singular_terms == ["flat"]
    assert table.loc["flat", "std.error"].isna().all()
    assert table.loc["flat", "note"].str.contains("boundary").all()
    rest = table.drop(index="flat", level=0)
    assert (rest["note"] == "").all()
    np.testing.assert_allclose(rest["std.error"], alone["std.error"], rtol=1e-6)


def test_zero_of_a_diagonal_term_is_held_alone():
    y, term, flat = with_flat_factor(np.random.default_rng(2))
    x = np.where(term.codes % 2, 1.0, -1.0) * np.where(flat.codes % 2, 1.0, -1.0)
    slopes = np.bincount(term.codes, x * y) / 10.0
    y -= slopes[term.codes] * x
    double = RandomTerm(term.codes, np.column_stack([np.ones(120), x]), "g", ("Intercept", "x"), "diagonal")
    table = LinearMixedModel(y, np.ones(120), double).fit().variance_params.set_index("term")
    alone = LinearMixedModel(y, np.ones(120), term).fit().variance_params.set_index("term")
    assert np.isnan(table.loc["var__x", "std.error"]) and np.isnan(table.loc["sd__x", "std.error"])
    np.testing.assert_allclose(table.loc[alone.index, "std.error"], alone["std.error"], rtol=1e-6)


def test_variances_that_cannot_be_told_apart_have_no_errors():
    data = sparselmm.datasets.load("sleepstudy")
    with pytest.warns(sparselmm.DataWarning, match="'Subject' and 'Subject.1': the data cannot tell apart"):
        fit = LinearMixedModel.from_formula("Reaction ~ Days + (1 | Subject) + (1 + Days | Subject)", data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sparselmm.ConvergenceWarning)
        table = fit.fit(start=[0.5, 0.8, 0.1, 0.2]).variance_params
    assert table["std.error"].isna().all()
    assert (table["note"] != "").all()


def test_information_that_is_not_positive_has_no_errors():
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))
    far = fit.likelihood.evaluate(40.0 * fit.theta)
    errors = variance.standard_errors(fit.likelihood, far)
    assert np.isnan(errors).all()
