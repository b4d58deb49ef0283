"""Variances of prediction errors against n x n algebra; intervals of predictions against lme4 and by simulation."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles import DenseModel, random_design

import sparselmm
from sparselmm import DataError, LinearMixedModel, RandomTerm
from sparselmm.inference import quadratic
from sparselmm.inference.quadratic import ConditionalCovariance
from sparselmm.prediction.degrees import degrees
from sparselmm.prediction.rows import Part, Rows, rows_of_fit
from sparselmm.prediction.variance import relative_variance

load = sparselmm.datasets.load


def error_variance(fit, rows):
    """Return the variance of x'β̂ + z'b̂ - x'β - z'b, (r,)."""
    return fit.scale * relative_variance(ConditionalCovariance(fit.likelihood, fit.evaluation), rows)


def dense_error_variance(fit, x, z):
    """Return var(x'β̂ + z'b̂ - x'β - z'b), (r,), from the covariance of y and b, for dense x (r, p) and z (r, q)."""
    model = fit.model
    dense = DenseModel(model.endog, model.exog, model.terms, fit.evaluation.theta, fit.reml, model.weights)
    V, ZD = np.linalg.inv(dense.Vinv), dense.Z @ dense.Lambda @ dense.Lambda.T
    B = np.linalg.solve(dense.XVX, model.exog.T @ dense.Vinv)  # β̂ = By
    K = ZD.T @ dense.Vinv @ (np.eye(len(V)) - model.exog @ B)  # b̂ = Ky
    l = x @ B + z @ K
    D = dense.Lambda @ dense.Lambda.T
    return fit.scale * (np.sum(l @ V * l, 1) - 2.0 * np.sum(l @ ZD * z, 1) + np.sum(z @ D * z, 1))


def dense_rows(fit, rows):
    """Return the rows (r, q) of Z; zero for levels that are not known."""
    blocks = []
    for k, term in enumerate(fit.model.terms):
        block = np.zeros((len(rows.exog), term.n_levels, term.n_columns))
        part = rows.parts.get(k)
        if part is not None:
            known = np.flatnonzero(part.codes >= 0)
            block[known, part.codes[known]] = part.values[known]
        blocks.append(block.reshape(len(block), -1))
    return np.hstack(blocks)


def random_rows(rng, fit, included, n=40, new_levels=False):
    """Return rows with any combination of levels, of which those at -1 are new."""
    parts = {}
    for k in included:
        term = fit.model.terms[k]
        codes = rng.integers(-1 if new_levels else 0, term.n_levels, n)
        parts[k] = Part(codes, rng.standard_normal((n, term.n_columns)))
    return Rows(rng.standard_normal((n, len(fit.model.exog_names))), None, parts, {}, None)


DESIGNS = {
    "one factor": ("slope",),
    "crossed": ("scalar", "slope", "scalar"),
    "three columns": ("three", "diagonal"),
    "plain": ("plain", "scalar"),
}


@pytest.mark.parametrize("sizes", [{}, {"STORED": 0, "CHUNK": 300, "PAIRS": 50}], ids=["kept", "in blocks"])
@pytest.mark.parametrize("kinds", DESIGNS.values(), ids=DESIGNS)
@pytest.mark.parametrize("reml", [True, False])
def test_error_variance_equals_dense(kinds, reml, sizes, monkeypatch, agree):
    for name, size in sizes.items():
        monkeypatch.setattr(quadratic, name, size)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        y, X, terms = random_design(rng, kinds=kinds)
        weights = rng.uniform(0.5, 2.0, y.size) if seed else None
        fit = LinearMixedModel(y, X, terms, weights=weights).fit(reml)
        for included in (range(len(terms)), [len(terms) - 1]):
            rows = random_rows(rng, fit, list(included))
            expected = dense_error_variance(fit, rows.exog, dense_rows(fit, rows))
            name = f"random designs, {'REML' if reml else 'ML'}"
            agree(
                "prediction error variance", name, "dense computation", error_variance(fit, rows), expected, rtol=1e-8
            )


def test_new_levels_have_their_prior_variance():
    rng = np.random.default_rng(5)
    y, X, terms = random_design(rng, kinds=("slope", "scalar"))
    fit = LinearMixedModel(y, X, terms).fit()
    rows = random_rows(rng, fit, [0, 1], new_levels=True)
    prior = np.zeros(40)
    for k, (name, G) in enumerate(fit.cov_re.items()):
        values = rows.parts[k].values
        prior += np.where(rows.parts[k].codes < 0, np.sum(values @ G.to_numpy() * values, 1), 0.0)
        assert fit.model.terms[k].name == name
    expected = dense_error_variance(fit, rows.exog, dense_rows(fit, rows)) + prior
    np.testing.assert_allclose(error_variance(fit, rows), expected, rtol=1e-8)


@pytest.mark.parametrize("theta", [[0.0, 0.8], [0.8, 0.0], [0.0, 0.0]])
def test_singular(theta):
    rng = np.random.default_rng(6)
    groups = np.arange(60) % 6, np.arange(60) // 6
    X = np.column_stack([np.ones(60), rng.standard_normal(60)])
    terms = [RandomTerm(g, name=name) for g, name in zip(groups, "ab", strict=True)]
    effects = [rng.standard_normal(6 if k == 0 else 10) for k in range(2)]
    y = rng.standard_normal(60) + 0.5 * sum(
        t and e[g] - e.mean() for t, e, g in zip(theta, effects, groups, strict=True)
    )
    fit = LinearMixedModel(y, X, terms).fit()
    rows = random_rows(rng, fit, [0, 1])
    expected = dense_error_variance(fit, rows.exog, dense_rows(fit, rows))
    np.testing.assert_allclose(error_variance(fit, rows), expected, rtol=1e-8)


def test_components_share_right_hand_sides(monkeypatch):
    """A nested design of many components: as many solves as levels in one of them."""
    rng = np.random.default_rng(8)
    outer, inner = np.repeat(np.arange(30), 8), np.repeat(np.arange(120), 2)
    terms = [RandomTerm(outer, np.c_[np.ones(240), rng.random(240)], name="g"), RandomTerm(inner, name="h")]
    y = rng.standard_normal(30)[outer] + rng.standard_normal(120)[inner] + rng.standard_normal(240)
    fit = LinearMixedModel(y, np.ones((240, 1)), terms).fit()
    monkeypatch.setattr(quadratic, "STORED", 0)
    engine, columns = fit.engine_at_optimum(), []
    solve = engine.solve
    monkeypatch.setattr(engine, "solve", lambda rhs: (columns.append(rhs.shape[1]), solve(rhs))[1])
    rows = random_rows(rng, fit, [0, 1], n=300)  # levels of different components together, too
    result = error_variance(fit, rows)
    assert sum(columns) <= 6  # 150 levels, 30 components
    np.testing.assert_allclose(result, dense_error_variance(fit, rows.exog, dense_rows(fit, rows)), rtol=1e-8)


def test_blocks_of_the_user():
    y, X, terms = random_design(np.random.default_rng(7), kinds=("slope", "scalar", "matrix"))
    fit = LinearMixedModel(y, X, terms).fit()
    Z = fit.model.Z.toarray()
    table = fit.predict(se=True)
    np.testing.assert_allclose(table["std.error"] ** 2, dense_error_variance(fit, X, Z), rtol=1e-8)
    part = [term.name for term in terms[:2]]
    Z[:, -5:] = 0.0
    np.testing.assert_allclose(
        fit.predict(random=part, se=True)["std.error"] ** 2, dense_error_variance(fit, X, Z), rtol=1e-8
    )
    fresh = fit.predict(random=part, interval="prediction")["std.error"] ** 2
    prior = fit.cov_re[terms[2].name].iloc[0, 0] * (terms[2].matrix.toarray() ** 2).sum(1)
    np.testing.assert_allclose(fresh, dense_error_variance(fit, X, Z) + prior + fit.scale, rtol=1e-8)


REFERENCE = json.loads((Path(__file__).parent / "reference" / "prediction.json").read_text())
MODELS = {f"{record['data']}: {record['formula']}": record for record in REFERENCE["models"]}
LMERTEST = f"lmerTest {REFERENCE['provenance']['lmerTest']}"


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def reference(request):
    record = request.param
    data = load(record["data"])
    model = LinearMixedModel.from_formula(record["formula"], data)
    return record, data.iloc[record["rows"]], model.fit(record["reml"], tolerance=1e-11)


def test_conditional_variance_equals_henderson(reference, agree):
    record, new, fit = reference
    name, against = record["data"], f"lme4 {REFERENCE['provenance']['lme4']}, mixed model equations"
    table = fit.predict(new, interval="mean", level=0.9)
    agree("variance of a conditional mean", name, against, table["std.error"] ** 2, record["variance"], rtol=2e-5)
    np.testing.assert_allclose(table["conf.high"] - table["estimate"], 1.6448536269514722 * table["std.error"])
    observation = fit.predict(new, interval="prediction")
    agree(
        "variance of a new observation",
        name,
        against,
        observation["std.error"] ** 2,
        np.add(record["variance"], record["glance"]["sigma"] ** 2),
        rtol=2e-5,
    )


def test_population_means_equal_lmertest(reference, agree):
    record, new, fit = reference
    for ddf, theirs in record["population"].items():
        ours = fit.predict(new, random=False, interval="mean", level=0.9, ddf=ddf)
        for column, key in {
            "estimate": "estimate",
            "std.error": "se",
            "conf.low": "lower",
            "conf.high": "upper",
        }.items():
            agree(
                f"population mean, {column}", f"{record['data']}, {ddf}", LMERTEST, ours[column], theirs[key], rtol=2e-5
            )
        agree("population mean, df", f"{record['data']}, {ddf}", LMERTEST, ours["df"], theirs["df"], rtol=1e-3)


def test_population_observation(reference):
    """A new observation of new levels: x'β̂ misses by cov(β̂), the levels by G, the observation by σ²."""
    record, new, fit = reference
    table = fit.predict(new, random=False, interval="prediction")
    X = fit.model.exog[record["rows"]]
    expected = np.einsum("ip,pq,iq->i", X, fit.cov_params().to_numpy(), X) + fit.scale
    for term in fit.model.terms:
        values = term.values[record["rows"]]
        expected += np.einsum("ia,ab,ib->i", values, fit.cov_re[term.name].to_numpy(), values)
    np.testing.assert_allclose(table["std.error"] ** 2, expected, rtol=1e-8)


def test_new_levels_are_the_population():
    """With new levels of every factor the conditional mean is that of a new level, a new observation a population's."""
    for name, formula in (
        ("sleepstudy", "Reaction ~ Days + (Days | Subject)"),
        ("Pastes", "strength ~ 1 + (1 | batch / cask)"),
    ):
        data = load(name)
        fit = sparselmm.lmer(formula, data)
        new = data.head(7).assign(**{factor: "new" for factor in ("Subject", "batch") if factor in data})
        kinds = {"new_levels": "zero", "ddf": "satterthwaite"}, {"random": False}
        known, population = (fit.predict(new, interval="prediction", **kind) for kind in kinds)
        pd.testing.assert_frame_equal(known, population)
        mean = fit.predict(new, new_levels="zero", interval="mean")["std.error"]
        np.testing.assert_allclose(population["std.error"] ** 2, mean**2 + fit.scale)


def test_terms_not_included_are_drawn_afresh():
    data = load("Pastes")
    fit = sparselmm.lmer("strength ~ 1 + (1 | batch / cask)", data)
    partly = fit.predict(data, random="batch", se=True)["std.error"]
    other = fit.predict(data.assign(cask="new"), new_levels="zero", interval="prediction")
    batch = fit.predict(data[["batch"]], random="batch", interval="prediction")
    pd.testing.assert_frame_equal(batch, other)
    cask = fit.cov_re["batch:cask"].iloc[0, 0]
    np.testing.assert_allclose(batch["std.error"] ** 2, partly**2 + cask + fit.scale)


def test_columns_of_the_table():
    data = load("sleepstudy")
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
    new = pd.DataFrame({"Days": [1.0, np.nan, 2.0], "Subject": ["308", "308", None]}, index=["a", "b", "c"])
    table = fit.predict(new, se=True)
    assert list(table.columns) == ["estimate", "std.error"] and list(table.index) == ["a", "b", "c"]
    pd.testing.assert_series_equal(table["estimate"], fit.predict(new), check_names=False)
    for kind in ("mean", "prediction"):
        table = fit.predict(new, interval=kind)
        assert list(table.columns) == ["estimate", "std.error", "df", "conf.low", "conf.high"]
        assert table["std.error"].isna().tolist() == [False, True, True] and np.isinf(table["df"]).all()
    population = fit.predict(new, random=False, interval="mean")
    assert population["conf.low"].isna().tolist() == [False, True, False]
    pd.testing.assert_frame_equal(fit.predict(interval="mean"), fit.predict(data, interval="mean"))


def test_weights():
    data = load("sleepstudy").assign(w=np.tile([1.0, 2.0, 4.0], 60))
    fit = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", data, weights="w")
    mean = fit.predict(se=True)["std.error"]
    expected = np.sqrt(mean**2 + fit.scale / data["w"])
    for table in (
        fit.predict(interval="prediction"),
        fit.predict(data, interval="prediction", weights="w"),
        fit.predict(data, interval="prediction", weights=data["w"].to_numpy()),
    ):
        np.testing.assert_allclose(table["std.error"], expected)
    one = fit.predict(data, interval="prediction", weights=2)["std.error"]
    np.testing.assert_allclose(one, np.sqrt(mean**2 + fit.scale / 2.0))
    with pytest.raises(DataError, match="needs its own"):
        fit.predict(data, interval="prediction")
    with pytest.raises(DataError, match="2 values for 180 rows"):
        fit.predict(data, interval="prediction", weights=[1.0, 2.0])
    with pytest.raises(DataError, match="must be positive"):
        fit.predict(data, interval="prediction", weights=0.0)
    with pytest.raises(ValueError, match="interval='prediction' only"):
        fit.predict(data, interval="mean", weights="w")


def test_arguments():
    fit = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", load("sleepstudy"))
    with pytest.raises(ValueError, match="interval must be one of"):
        fit.predict(interval="confidence")
    with pytest.raises(ValueError, match="level=95 is not between 0 and 1"):
        fit.predict(interval="mean", level=95)
    with pytest.raises(ValueError, match="ddf='kenward-roger' is for population means"):
        fit.predict(interval="mean", ddf="kenward-roger")
    with pytest.raises(ValueError, match="is not one of"):
        fit.predict(random=False, interval="mean", ddf="exact")


def test_without_fixed_effects():
    fit = sparselmm.lmer("Reaction ~ 0 + (1 | Subject)", load("sleepstudy"))
    assert (fit.predict(random=False, interval="mean")[["estimate", "std.error"]] == 0.0).all(axis=None)
    variance = fit.predict(interval="mean")["std.error"] ** 2
    np.testing.assert_allclose(variance, np.repeat(fit.random_effects_sd["Subject"].to_numpy()[:, 0] ** 2, 10))


def test_degrees_of_freedom_of_population_means():
    """The differences of `degrees` against the exact derivatives of `inference`, which lmerTest agrees with."""
    for formula, reml in (("score ~ Machine + (Machine | Worker)", True), ("score ~ Machine + (1 | Worker)", False)):
        fit = sparselmm.lmer(formula, load("Machines"), reml=reml)
        ours = degrees(ConditionalCovariance(fit.likelihood, fit.evaluation), rows_of_fit(fit.model, []), 0.0)
        np.testing.assert_allclose(ours, fit.predict(random=False, interval="mean")["df"], rtol=1e-5)


def test_degrees_of_freedom_of_one_balanced_factor(agree):
    """Satterthwaite (1946): the variance is a sum of mean squares a and e, v²/df = a²/df_a + e²/df_e."""
    fit = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", load("Dyestuff"))
    l, n, g, s = 6, 5, fit.cov_re["Batch"].iloc[0, 0], fit.scale
    mean_square = n * g + s  # of the batches; the residual's is s
    a, e = mean_square * (1.0 + 1.0 / l) / n, s * (1.0 - 1.0 / n)
    expected = (a + e) ** 2 / (a**2 / (l - 1) + e**2 / (l * (n - 1)))
    table = fit.predict(random=False, interval="prediction").iloc[[0]]
    np.testing.assert_allclose(table["std.error"] ** 2, a + e)
    agree("df of a new observation", "Dyestuff", "Satterthwaite (1946), by hand", table["df"], [expected], rtol=1e-5)


def test_coverage_with_few_levels():
    """With six levels normal intervals are too short, t intervals hold what they promise."""
    rng = np.random.default_rng(3)
    g, held = np.repeat(np.arange(6), 5), []
    for _ in range(100):
        mean = rng.standard_normal(6)[g]
        fit = sparselmm.lmer("y ~ 1 + (1 | g)", {"y": mean + rng.standard_normal(30), "g": g})
        targets = mean, mean + rng.standard_normal(30), rng.standard_normal((2, 30)).sum(axis=0)
        for random, interval, target in zip((True, True, False), ("mean", *["prediction"] * 2), targets, strict=True):
            for ddf in ("z", "satterthwaite"):
                table = fit.predict(random=random, interval=interval, level=0.9, ddf=ddf)
                held.append(((table["conf.low"] <= target) & (target <= table["conf.high"])).mean())
    normal, t = np.reshape(held, (100, 3, 2)).mean(axis=0).T
    assert (normal < [0.88, 0.89, 0.89]).all()
    np.testing.assert_allclose(t, 0.9, atol=0.03)


def test_coverage():
    """Shares of intervals that hold what they are for, over 60 simulated samples of a crossed design."""
    rng = np.random.default_rng(20)
    g, h = (part.ravel() for part in np.meshgrid(np.arange(30), np.arange(16)))
    x = rng.standard_normal(g.size)
    model = {"x": x, "g": g, "h": h}
    held = np.zeros((60, 4))
    for sample in held:
        a, s, b = rng.standard_normal((3, 30)) * [[1.0], [0.5], [0.8]]
        mean = 1.0 + 0.5 * x + a[g] + s[g] * x + b[h]
        y, again = (mean + rng.standard_normal(g.size) for _ in range(2))
        fit = sparselmm.lmer("y ~ x + (x | g) + (1 | h)", model | {"y": y})
        other = rng.standard_normal((3, g.size)) * [[1.0], [0.5], [0.8]]
        fresh = 1.0 + 0.5 * x + other[0] + other[1] * x + other[2] + rng.standard_normal(g.size)
        targets = (mean, again, 1.0 + 0.5 * x, fresh)
        kinds = [(random, interval) for random in (True, False) for interval in ("mean", "prediction")]
        for i, (target, (random, interval)) in enumerate(zip(targets, kinds, strict=True)):
            table = fit.predict(random=random, interval=interval, level=0.9)
            sample[i] = ((table["conf.low"] <= target) & (target <= table["conf.high"])).mean()
    errors = np.abs(held.mean(axis=0) - 0.9)
    assert (errors <= [0.02, 0.01, 0.08, 0.02]).all()  # the rows of a sample share the error of a population mean
