"""Degrees of freedom and tests of the fixed effects: lmerTest, a dense computation, hypotheses as text, odd models."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from oracles import DenseModel, dense_Lambda, random_design
from test_reference import FOLDER, MODELS, load

import sparselmm
from sparselmm import LinearMixedModel
from sparselmm.inference.contrasts import constraints
from sparselmm.inference.satterthwaite import Satterthwaite, pooled
from sparselmm.traces import Reduced

REFERENCE = json.loads((FOLDER / "ddf.json").read_text())
LMERTEST, PBKRTEST = (f"{name} {REFERENCE['provenance']['packages'][name]}" for name in ("lmerTest", "pbkrtest"))
RECORDS = [record for record in REFERENCE["models"] if not record["id"][0].startswith("units")]
SLOPPY = {"sign-trap-reml": 2e-4, "sleepstudy-weights-ml": 5e-5}  # lmerTest's differences; the dense test below decides
KINDS = [("scalar",), ("slope",), ("scalar", "slope"), ("three", "slope", "matrix"), ("diagonal", "scalar", "plain")]


@pytest.fixture(scope="module")
def fitted():
    """Return a function that fits the model of a record of lme4.json once."""
    fits = {}

    def fit(name):
        if name not in fits:
            model = MODELS[name]
            options = {"reml": model["reml"], "weights": model["weights"], "offset": model["offset"]}
            if model["fixef"]["dropped"]:
                with pytest.warns(sparselmm.DataWarning):
                    fits[name] = sparselmm.lmer(model["formula"], load(model), **options)
            else:
                fits[name] = sparselmm.lmer(model["formula"], load(model), **options)
        return fits[name]

    return fit


def hypotheses(p):
    """Return the joint hypotheses of ddf.R."""
    i, j = np.indices((2, p))
    some = ((7.0 * i + 3.0 * j) % 5 - 2)[: min(p, 2)]
    return {"all": np.eye(p), "some": some}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["id"][0])
def test_satterthwaite_is_lmertests(record, fitted, agree):
    name = record["id"][0]
    inference, rtol = fitted(name).inference(), SLOPPY.get(name, 5e-6)
    agree("Satterthwaite df", name, LMERTEST, inference.df, record["satt_df"], rtol=rtol)
    for kind, L in hypotheses(len(inference.names)).items():
        ours = inference.test(L)
        agree(f"Satterthwaite F test, {kind}", name, LMERTEST, ours[:3], record[f"satt_{kind}"], rtol=rtol)


@pytest.mark.parametrize("record", [r for r in RECORDS if "kr_df" in r], ids=lambda record: record["id"][0])
def test_kenward_roger_is_pbkrtests(record, fitted, agree):
    name = record["id"][0]
    inference, covariance = fitted(name).inference("kenward-roger"), np.array(record["kr_cov"])
    size = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    agree("Kenward-Roger covariance", name, PBKRTEST, inference.covariance / size, covariance / size, atol=2e-6)
    agree("Kenward-Roger df", name, PBKRTEST, inference.df, record["kr_df"], rtol=1e-6)
    for kind, L in hypotheses(len(inference.names)).items():
        agree(f"Kenward-Roger F test, {kind}", name, PBKRTEST, inference.test(L)[:3], record[f"kr_{kind}"], rtol=1e-6)


def dense_satterthwaite(y, X, terms, theta, reml, weights, L):
    """Return 2(l'Cl)²/g'Ag of the rows of L from n x n matrices; A from the Hessian in (θ, log σ²)."""
    model = DenseModel(y, X, terms, theta, reml, weights)
    V, Py, s2, C = model.directions(theta), model.P @ y, model.scale, model.scale * np.linalg.inv(model.XVX)
    Q, m = model.P if reml else model.Vinv, len(theta)
    hessian = np.empty((m + 1, m + 1))
    for a, b in np.ndindex(m, m):
        Ea, Eb = (dense_Lambda(terms, unit) for unit in (np.eye(m)[a], np.eye(m)[b]))
        Vab = model.Z @ (Ea @ Eb.T + Eb @ Ea.T) @ model.Z.T
        hessian[a, b] = np.trace(Q @ Vab) - np.trace(Q @ V[a] @ Q @ V[b])
        hessian[a, b] += (2.0 * Py @ V[a] @ model.P @ V[b] @ Py - Py @ Vab @ Py) / s2
    hessian[m, :m] = hessian[:m, m] = [Py @ Va @ Py / s2 for Va in V]
    hessian[m, m] = model.N
    A = 2.0 * np.linalg.pinv(hessian)
    XV = X.T @ model.Vinv
    gradients = [*(C @ XV @ Va @ XV.T @ C / s2 for Va in V), C]
    g = np.array([np.einsum("ra,ab,rb->r", L, G, L) for G in gradients])
    return 2.0 * np.einsum("ra,ab,rb->r", L, C, L) ** 2 / np.einsum("pr,pq,qr->r", g, A, g)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_satterthwaite_is_the_dense_computation(kinds, weighted, reml, agree):
    rng = np.random.default_rng(5)
    y, X, terms = random_design(rng, n=60, kinds=kinds, p=3)
    weights = rng.uniform(0.5, 2.0, 60) if weighted else None
    fit = LinearMixedModel(y, X, terms, weights=weights).fit(reml)
    L = rng.standard_normal((4, 3))
    dense = dense_satterthwaite(y, X, terms, fit.theta, reml, weights, L)
    name = f"random {'-'.join(kinds)}{', weights' * weighted}, {fit.method}"
    agree("Satterthwaite df", name, "dense computation", fit.inference().degrees(L), dense, rtol=1e-5)


@pytest.mark.parametrize("name", [*SLOPPY, "units-reml", "units-slopes-reml"])
def test_where_lmertest_differs_the_dense_computation_decides(name, fitted, agree):
    fit = fitted(name)
    size = fit.likelihood.theta_scale  # z in units of its size, so that the dense Hessian is well scaled
    terms, scaled = [], []
    for k, term in enumerate(fit.model.terms):
        column = fit.model.cross.column_scale(k)
        terms.append(sparselmm.RandomTerm(term.codes, term.values / column, term.name, structure=term.structure))
        scaled.append(column)
    X = fit.model.exog / np.abs(fit.model.exog).max(axis=0)
    dense = dense_satterthwaite(
        fit.model.endog, X, terms, fit.theta / size, fit.reml, fit.model.weights, np.eye(X.shape[1])
    )
    agree("Satterthwaite df", name, "dense computation", fit.inference().df, dense, rtol=1e-6)


def test_gradient_of_the_covariance_is_its_difference():
    rng = np.random.default_rng(6)
    y, X, terms = random_design(rng, n=60, kinds=("scalar", "slope"), p=2)
    likelihood = LinearMixedModel(y, X, terms).likelihood()
    theta = np.array([0.8, 0.6, 0.2, 0.5])
    half = Reduced(likelihood, likelihood.evaluate(theta)).half
    reduced = Reduced(likelihood, likelihood.evaluate(theta))
    gradients = reduced.fixed_gram(reduced.directions)
    for p, step in enumerate(1e-5 * np.eye(4)):
        ahead, behind = (np.linalg.inv(at.R.T @ at.R) for at in map(likelihood.evaluate, (theta + step, theta - step)))
        np.testing.assert_allclose(half @ gradients[p] @ half.T, (ahead - behind) / 2e-5, atol=1e-7)


def test_degrees_of_freedom_have_no_units():
    data = sparselmm.datasets.load("sleepstudy").iloc[3:]
    one = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
    other = data.assign(Reaction=1e6 * data["Reaction"] - 3e8, Days=1e-7 * data["Days"])
    other = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", other)
    for ddf in ("satterthwaite", "kenward-roger"):
        np.testing.assert_allclose(one.inference(ddf).df, other.inference(ddf).df, rtol=1e-6)
        L = np.array([[1.0, 2.0]])
        np.testing.assert_allclose(one.inference(ddf).degrees(L), other.inference(ddf).degrees(L * [[1.0, 1e-7]]), 1e-6)
    joint = [fit.inference("kr").test(np.eye(2)).df_denom for fit in (one, other)]
    np.testing.assert_allclose(*joint, rtol=1e-6)


def test_satterthwaite_at_zero_variance_is_the_residual_method(fitted):
    fit = fitted("dyestuff2-reml")
    np.testing.assert_allclose(fit.inference().df, fit.inference("residual").df, rtol=1e-9)


@pytest.mark.parametrize("levels", [2, 3, 5, 14])
@pytest.mark.parametrize("unit", [1.0, 1e3])
def test_a_variance_without_information_is_held(levels, unit):
    """The information is rounding, of either sign: it must not decide between no and all degrees of freedom."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(levels), 17)
    data = {"g": groups, "level": groups.astype(str), "x": rng.standard_normal(groups.size)}
    data["y"] = unit * (rng.standard_normal(levels)[groups] + rng.standard_normal(groups.size))
    with pytest.warns(sparselmm.DataWarning, match="determine the effect Intercept of every level of g"):
        fit = sparselmm.lmer("y ~ level + x + (1 | g)", data)
    np.testing.assert_allclose(fit.inference().df, fit.df_resid, rtol=1e-6)
    assert fit.inference("kr").df.min() > 0.999 * fit.df_resid
    np.testing.assert_allclose(fit.inference("kr").bse, fit.bse, rtol=1e-6)
    assert fit.inference().notes == fit.inference("kr").notes == fit.anova().notes
    assert len(fit.anova().notes) == len(fit.optimizer.flat_terms)  # and no word on falling deviances


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
@pytest.mark.parametrize("ratio", [1e2, 1e4, 1e5])
def test_large_ratios_of_variances_keep_the_textbooks_degrees_of_freedom(ratio, ddf):
    """Ten levels, two kinds of levels, a balanced covariate: 10 - 2 between the levels, 60 - 10 - 1 within."""
    rng = np.random.default_rng(0)
    groups, x = np.repeat(np.arange(10), 6), np.tile(np.arange(6.0), 10)
    data = {"g": groups, "kind": (groups < 4).astype(float), "x": x}
    data["y"] = ratio * rng.standard_normal(10)[groups] + 0.4 * x + rng.standard_normal(60)
    df = sparselmm.lmer("y ~ kind + x + (1 | g)", data).inference(ddf).df
    np.testing.assert_allclose(df[["kind", "x"]], [8, 49], rtol=2e-3)


def test_pooled_degrees_of_freedom():
    assert pooled(np.array([7.0])) == 7.0
    assert pooled(np.array([7.0, 7.0 + 1e-10])) == pytest.approx(7.0)
    assert pooled(np.array([1.5, 30.0])) == 2.0
    assert np.isinf(pooled(np.array([np.inf, np.inf])))
    E = 10 / 8 + 6 / 4
    assert pooled(np.array([10.0, 6.0])) == pytest.approx(2 * E / (E - 2))


def test_z_and_residual_are_the_textbook(fitted):
    fit = fitted("cake-temp-reml")
    z, residual = fit.inference("z"), fit.inference("RESIDUAL")
    assert np.isinf(z.df).all() and (residual.df == fit.nobs - 6).all()
    np.testing.assert_allclose(z.bse, fit.bse_fe)
    np.testing.assert_allclose(
        z.conf_int(), np.column_stack([fit.beta - 1.959964 * z.bse, fit.beta + 1.959964 * z.bse]), 1e-6
    )
    joint = z.test(np.eye(6)[1:])
    C = z.covariance[1:, 1:]
    assert joint.statistic * joint.df_num == pytest.approx(fit.beta[1:] @ np.linalg.solve(C, fit.beta[1:]))
    assert "chi-squared(5)" in str(joint) and "F(5, 264)" in str(residual.test(np.eye(6)[1:]))


def test_inference_is_kept_and_read_only(fitted):
    fit = fitted("cake-temp-reml")
    assert fit.inference("KR") is fit.inference("Kenward-Roger") is fit.inference("kenward_roger")
    with pytest.raises(ValueError, match="read-only"):
        fit.inference().covariance[0, 0] = 1.0
    again = pickle.loads(pickle.dumps(fit))
    pd.testing.assert_series_equal(again.inference().df, fit.inference().df)
    with pytest.raises(ValueError, match="satterthwaite, kenward-roger, residual, z"):
        fit.inference("containment")


NAMES = [
    "Intercept",
    "x",
    "x2",
    "recipe[T.B]",
    "temp",
    "recipe[T.B]:temp",
    "Group Var",
    "C(d, contr.sum)[S.1]",
    "f = g",
]


@pytest.mark.parametrize(
    ("text", "rows", "values"),
    [
        ("x", [{"x": 1}], [0]),
        ("x = 0", [{"x": 1}], [0]),
        ("x2 = x, temp = 2", [{"x2": 1, "x": -1}, {"temp": 1}], [0, 2]),
        ("2*x - (x2 + temp) / 2 = 1", [{"x": 2, "x2": -0.5, "temp": -0.5}], [1]),
        ("recipe[T.B]:temp = recipe[T.B]", [{"recipe[T.B]:temp": 1, "recipe[T.B]": -1}], [0]),
        ("`Group Var` = .5 + x", [{"Group Var": 1, "x": -1}], [0.5]),
        ("Group Var - C(d, contr.sum)[S.1]", [{"Group Var": 1, "C(d, contr.sum)[S.1]": -1}], [0]),
        ("x = x2 = 0", [{"x": 1, "x2": -1}, {"x2": 1}], [0, 0]),
        ("-x + 1e-1*x2 = 0.5", [{"x": -1, "x2": 0.1}], [0.5]),
        ("`f = g`=x", [{"f = g": 1, "x": -1}], [0]),
        ("x*2/4 + 1 = 3", [{"x": 0.5}], [2]),
    ],
)
def test_hypotheses_as_text(text, rows, values):
    found = constraints(text, NAMES)
    wanted = [[row.get(name, 0.0) for name in NAMES] for row in rows]
    np.testing.assert_allclose(found.matrix, wanted)
    np.testing.assert_allclose(found.values, values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("y", "no parameter 'y'"),
        ("x:x2", "no parameter 'x:x2'"),
        ("x*x2", "character 3: a product of two parameters"),
        ("x +", "expected a parameter or a number"),
        ("x/0", "division"),
        ("(x", "parenthesis is not closed"),
        ("3 = 4", "holds no parameter"),
        ("x x2", "expected an operator"),
        ("`x", "backtick is not closed"),
        ("", "expected a parameter"),
        ({"q": 1}, "no parameter 'q'"),
        (np.ones((2, 3)), "shape"),
    ],
)
def test_hypotheses_that_cannot_be_read(text, message):
    with pytest.raises(ValueError, match=message):
        constraints(text, NAMES)


def test_hypotheses_in_other_forms():
    L = np.eye(9)[[1, 2]]
    for given in (["x", "x2 = 1"], (L, [0, 1]), [{"x": 1}, "x2 = 1"]):
        found = constraints(given, NAMES)
        np.testing.assert_array_equal(found.matrix, L)
        np.testing.assert_array_equal(found.values, [0, 1])
    assert constraints({"x": 1, "temp": -0.5}, NAMES).labels == ["x - 0.5*temp"]
    assert constraints(pd.DataFrame(L, index=["first", "second"]), NAMES).labels == ["first", "second"]
    assert constraints(L[0], NAMES).labels == ["x"]


def test_t_and_f_tests(fitted):
    fit = fitted("cake-temp-reml")
    table = fit.t_test("recipe[T.B]:temp = recipe[T.C]:temp, 2 * temp = 1")
    assert list(table.index) == ["recipe[T.B]:temp = recipe[T.C]:temp", "2 * temp = 1"]
    row = table.iloc[1]
    assert row["estimate"] == pytest.approx(2 * fit.params["temp"])
    assert row["statistic"] == pytest.approx((row["estimate"] - 1) / row["std.error"])
    assert fit.f_test("temp = 0.5").statistic == pytest.approx(row["statistic"] ** 2)
    assert fit.f_test("temp = 0.5").pvalue == pytest.approx(row["p.value"])
    equal = fit.wald_test("recipe[T.B]:temp = recipe[T.C]:temp = 0", ddf="kr")
    assert equal == pytest.approx(fit.wald_test(["recipe[T.B]:temp", "recipe[T.C]:temp"], ddf="kr"))


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger", "residual", "z"])
def test_hypotheses_that_say_little(ddf, fitted):
    inference = fitted("nested-reml").inference(ddf)
    table = inference.estimates([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [np.nan, 1.0, 0.0]])
    assert np.isnan(table.loc[[0, 2], ["df", "statistic", "p.value"]]).all(axis=None) and table.loc[0, "std.error"] == 0
    assert np.isfinite(table.loc[1]).all() or ddf == "z"
    once = inference.test([[0.0, 1.0, 0.0]])
    for L in ([[0, 1, 0], [0, 2, 0]], [[0, 0, 0], [0, 1, 0]], [[0, 1, 0], [0, 1e-9, 0]]):
        np.testing.assert_allclose(inference.test(L), once, rtol=1e-9)
    for L in ([[0, 0, 0]], [[np.nan, 0, 1]]):
        assert inference.test(L).df_num == 0 and np.isnan(inference.test(L).pvalue)
    with pytest.raises(ValueError, match="zero weights"):
        inference.test([[0, 0, 0]], [1])
    with pytest.raises(ValueError, match="contradict"):
        inference.test([[0, 1, 0], [0, 2, 0]], [0, 1])
    with pytest.raises(ValueError, match="shape"):
        inference.degrees([[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"level=95.*0\.95"):
        inference.estimates(np.eye(3), level=95)


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger", "residual", "z"])
@pytest.mark.parametrize("reml", [True, False])
def test_a_model_without_fixed_effects(ddf, reml):
    data = sparselmm.datasets.load("sleepstudy")
    inference = sparselmm.lmer("Reaction ~ 0 + (1 | Subject)", data, reml=reml).inference(ddf)
    assert inference.table.empty and inference.bse.empty and inference.conf_int().empty
    assert "no fixed effects" in str(inference) and "no fixed effects" in inference._repr_html_()


def test_inference_prints(fitted):
    fit = fitted("sleepstudy-slopes-ml")
    text = str(fit.inference("kr"))
    assert "Kenward and Roger" in text and "REML refit" in text and "Days" in text and "17" in text
    assert "<table" in fit.inference()._repr_html_() and repr(fit.inference("z")).count("z value") == 1


def test_many_contrasts_at_once(fitted):
    inference = fitted("ham-reml").inference("kr")
    L = np.random.default_rng(2).standard_normal((500, 8))
    df = inference.degrees(L)
    np.testing.assert_allclose(df[::100], [inference.test(row[None]).df_denom for row in L[::100]], rtol=1e-10)


def test_information_that_is_not_positive_definite_is_said():
    data = sparselmm.datasets.load("sleepstudy")
    likelihood = sparselmm.LinearMixedModel.from_formula("Reaction ~ Days + (1 | Subject)", data).likelihood()
    away = Satterthwaite(likelihood, likelihood.evaluate([0.01]))  # a variance of zero is a maximum in θ
    assert "not positive definite" in away.notes[0]
