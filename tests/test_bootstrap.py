"""The bootstrap: what is drawn, what is reported, and whether its intervals cover."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from oracles import random_design
from test_reference import load

import sparselmm
from sparselmm import LinearMixedModel, RandomTerm
from sparselmm.resampling.bootstrap import Bootstrap
from sparselmm.resampling.schemes import ClusterSampler, clusters, response_sampler
from sparselmm.resampling.simulate import simulate

REFERENCE = json.loads((Path(__file__).parent / "reference" / "resampling.json").read_text())
LME4 = "lme4 1.1.31 bootMer"


def ratio(fit):
    """A statistic that other processes can import."""
    sd = np.sqrt(np.diag(fit.cov_re["Subject"]))
    return {"ratio": sd[1] / sd[0], "days": fit.params["Days"]}


@pytest.fixture(scope="module")
def fit():
    return sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))


@pytest.fixture(scope="module")
def pastes():
    return sparselmm.lmer("strength ~ 1 + (1 | batch / cask)", sparselmm.datasets.load("Pastes"))


@pytest.fixture(scope="module")
def penicillin():
    data = sparselmm.datasets.load("Penicillin")
    return sparselmm.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", data)


@pytest.mark.parametrize("record", REFERENCE["boots"], ids=lambda record: record["id"])
def test_parametric_replicates_are_distributed_as_lme4s(record, agree):
    fit = sparselmm.lmer(record["formula"], load({**record, "drop_rows": None}), reml=record["reml"])
    n = 4000
    replicates = fit.bootstrap(n, rng=1).replicates
    mean, sd, kurtosis = (np.array(record[name]) for name in ("mean", "sd", "kurtosis"))
    if record["id"] == "Pastes nested":  # lme4 puts batch:cask first
        mean, sd, kurtosis = (values[[0, 2, 1, 3]] for values in (mean, sd, kurtosis))
    error = sd * np.sqrt(1 / n + 1 / record["nsim"])
    name = record["id"]
    agree("bootstrap means, in MC errors", name, LME4, (replicates.mean() - mean) / error, 0.0 * mean, atol=4.0)
    error = np.sqrt((kurtosis - 1) / 4 * (1 / n + 1 / record["nsim"]))
    agree("bootstrap SDs, in MC errors", name, LME4, (replicates.std() / sd - 1) / error, 0.0 * sd, atol=4.0)


def test_parametric_replicates_are_refits(fit):
    first = fit.bootstrap(5, rng=3)
    Y = fit.simulate(5, rng=3)
    assert np.array_equal(first.estimate.iloc[:2], fit.params)
    for i in range(5):
        one = fit.refit(Y[i])
        np.testing.assert_allclose(first.replicates.loc[i].iloc[:2], one.params, rtol=1e-7)
        assert first.replicates.loc[i, "sigma"] == pytest.approx(one.sigma, rel=1e-7)


@pytest.mark.parametrize("kind", ["parametric", "residual", "wild", "cluster"])
def test_replicates_depend_on_rng_only(fit, kind):
    for seed in (lambda: 4, lambda: np.random.default_rng(4)):
        first, again = (fit.bootstrap(6, kind, rng=seed()).replicates for _ in range(2))
        pd.testing.assert_frame_equal(first, again)
    assert not np.allclose(first, fit.bootstrap(6, kind, rng=5).replicates)


def test_a_seed_of_the_data_is_no_seed_of_simulated_responses():
    x = np.random.default_rng(1).standard_normal(60)
    term = RandomTerm(np.arange(60) % 10)
    model = LinearMixedModel(x + np.arange(60) % 7, np.column_stack([np.ones(60), x]), [term])
    fit = model.fit()
    for noise in (
        fit.simulate(1, rng=1, random="conditional")[0] - fit.fittedvalues,
        simulate(model, [0.0, 0.0], {"group": 0.0}, 1.0, rng=1)[0],
    ):
        assert abs(np.corrcoef(noise, x)[0, 1]) < 0.4


def test_processes_do_not_matter(fit):
    alone = fit.bootstrap(6, statistic=ratio, rng=2)
    pd.testing.assert_frame_equal(alone.replicates, fit.bootstrap(6, statistic=ratio, rng=2, n_jobs=2).replicates)
    expected = [ratio(fit.refit(y)) for y in fit.simulate(6, rng=2).to_numpy().T]
    np.testing.assert_allclose(alone.replicates, pd.DataFrame(expected), rtol=1e-8)
    with pytest.raises(ValueError, match="function of a module"):
        fit.bootstrap(2, statistic=lambda fit: fit.sigma, n_jobs=2)


def test_statistics(fit):
    scalar = fit.bootstrap(3, statistic=lambda fit: fit.sigma, rng=1)
    assert scalar.replicates.shape == (3, 1) and scalar.estimate.iloc[0] == fit.sigma
    with pytest.raises(ValueError, match="statistic must return"):
        fit.bootstrap(2, statistic=lambda fit: "large")


def test_wild_responses(fit):
    sample, description = response_sampler(fit, "wild", None)
    Y = sample(50, np.random.default_rng(1))
    mean = fit.model.exog @ fit.beta
    X = fit.model.exog
    h = np.diag(X @ np.linalg.solve(X.T @ X, X.T))
    signs = (Y - mean[:, None]) / ((fit.model.endog - mean) / np.sqrt(1 - h))[:, None]
    np.testing.assert_allclose(np.abs(signs), 1.0, rtol=1e-9)
    by_subject = signs.reshape(18, 10, 50)
    assert np.ptp(by_subject, axis=1).max() < 1e-9 and np.ptp(signs, axis=0).min() > 1.9
    assert "18 levels of Subject" in description


def test_wild_errors_are_the_clustered_ones(fit):
    # the sandwich over subjects with the same correction, of the generalised least-squares estimate at fixed θ
    boot = fit.bootstrap(4000, "wild", rng=1)
    X, model = fit.model.exog, fit.model
    Z = model.Z.toarray()
    V = np.eye(180) + Z @ np.kron(np.eye(18), fit.cov_re["Subject"].to_numpy() / fit.scale) @ Z.T
    VX = np.linalg.solve(V, X)
    sample, _ = response_sampler(fit, "wild", None)
    residuals = np.abs(sample(1, np.random.default_rng(0))[:, 0] - X @ fit.beta)
    residuals *= np.sign(model.endog - X @ fit.beta)
    scores = np.array([VX[j : j + 10].T @ residuals[j : j + 10] for j in range(0, 180, 10)])
    bread = np.linalg.inv(X.T @ VX)
    expected = np.sqrt(np.diag(bread @ scores.T @ scores @ bread))
    np.testing.assert_allclose(boot.bse.iloc[:2], expected, rtol=0.04)


def test_residual_responses_have_the_fitted_covariance():
    rng = np.random.default_rng(7)
    y, X, terms = random_design(rng, 60, ("slope", "scalar"))
    fit = LinearMixedModel(y, X, terms, weights=rng.uniform(0.5, 2.0, 60)).fit()
    sample, _ = response_sampler(fit, "residual", None)
    Y = sample(40_000, np.random.default_rng(2))
    Z = fit.model.Z.toarray()
    G = np.zeros((Z.shape[1],) * 2)
    for term, part in zip(fit.model.terms, fit._map.effect_slices, strict=True):
        G[part, part] = np.kron(np.eye(term.n_levels), fit.cov_re[term.name])
    expected = Z @ G @ Z.T + np.diag(fit.scale / fit.model.weights)
    sd = np.sqrt(np.diag(expected))
    np.testing.assert_allclose((np.cov(Y) - expected) / np.outer(sd, sd), 0.0, atol=0.06)
    np.testing.assert_allclose((Y.mean(axis=1) - fit.model.exog @ fit.beta) / sd, 0.0, atol=0.03)


def test_cluster_of_a_design(fit, pastes, penicillin):
    assert clusters(fit.model)[1] == "Subject"
    codes, name = clusters(pastes.model)
    assert name == "batch" and ClusterSampler.of(pastes.model, codes).nested == (True, True)
    codes, name = clusters(penicillin.model)
    assert name == "plate" and ClusterSampler.of(penicillin.model, codes).nested == (True, False)
    labels = np.arange(180) % 5
    np.testing.assert_array_equal(clusters(fit.model, labels)[0], labels)
    with pytest.raises(ValueError, match="no random-effects term"):
        fit.bootstrap(2, "cluster", cluster="Days")
    with pytest.raises(sparselmm.DataError, match="4 labels for 180 rows"):
        fit.bootstrap(2, "cluster", cluster=[1, 2, 3, 4])
    with pytest.raises(sparselmm.DataError, match="single level"):
        fit.bootstrap(2, "cluster", cluster=np.zeros(180))
    with pytest.raises(ValueError, match="crossed"):
        penicillin.bootstrap(2, "wild")
    assert "levels of sample stay as they are" in penicillin.bootstrap(2, "cluster", rng=1).description


def test_a_cluster_drawn_twice_is_two(pastes):
    model = pastes.model
    sampler = ClusterSampler.of(model, clusters(model)[0])
    drawn = np.array([3, 3, 3, 0, 1, 2, 9, 9, 5, 4])
    other = sampler.model_of(drawn)
    batch, cask = other.terms
    assert (batch.n_levels, cask.n_levels) == (10, 30)
    assert other.nobs == model.nobs
    rows = np.concatenate([np.flatnonzero(model.terms[0].codes == j) for j in drawn])
    np.testing.assert_array_equal(other.endog, model.endog[rows])
    np.testing.assert_array_equal(np.bincount(batch.codes), 6)
    np.testing.assert_array_equal(np.bincount(cask.codes), 2)
    everything = sampler.model_of(np.arange(10)).fit()
    assert everything.deviance == pytest.approx(pastes.deviance, abs=1e-8)


def test_unequal_clusters_weights_and_offset():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(12), rng.integers(2, 9, 12))
    n = groups.size
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    y = X @ [1.0, 2.0] + rng.standard_normal(12)[groups] + rng.standard_normal(n)
    weights, offset = rng.uniform(0.5, 2.0, n), rng.standard_normal(n)
    model = LinearMixedModel(y, X, [RandomTerm(groups, name="g")], weights=weights, offset=offset)
    drawn = rng.integers(0, 12, 12)
    other = ClusterSampler.of(model, groups).model_of(drawn)
    rows = np.concatenate([np.flatnonzero(groups == j) for j in drawn])
    for name in ("endog", "exog", "weights", "offset"):
        np.testing.assert_array_equal(getattr(other, name), getattr(model, name)[rows])
    boot = model.fit().bootstrap(20, "cluster", rng=1)
    assert boot.converged.all() and boot.failures.empty


def test_failures_are_counted():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(6), 5)
    treated = (groups == 0).astype(float)  # in a single cluster: often not drawn
    y = 1.0 + treated + rng.standard_normal(6)[groups] + rng.standard_normal(30)
    X = pd.DataFrame({"const": 1.0, "treated": treated})
    fit = LinearMixedModel(y, X, [RandomTerm(groups, name="g")]).fit()
    boot = fit.bootstrap(40, "cluster", rng=2)
    failed = boot.failures.index
    assert 3 < len(failed) < 30 and boot.failures.str.contains("treated").all()
    assert boot.replicates.loc[failed].isna().all().all() and not boot.converged[failed].any()
    assert boot.missing["const"] == len(failed)
    assert f"{len(failed)} failed: The fixed effects treated" in str(boot)
    assert np.isfinite(boot.conf_int()).all().all()


def test_intervals_of_known_replicates():
    values = np.random.default_rng(0).permutation(np.arange(1.0, 1000.0))
    boot = Bootstrap(
        replicates=pd.DataFrame({"a": values, "b": np.where(values < 900, values**2, np.nan)}),
        estimate=pd.Series({"a": 490.0, "b": 2e5}),
        kind="parametric",
        description="numbers",
        converged=np.ones(999, dtype=bool),
        singular=np.zeros(999, dtype=bool),
        failures=pd.Series(dtype=object),
    )
    assert list(boot.conf_int(0.05).loc["a"]) == [25.0, 975.0]
    assert list(boot.conf_int(0.05, "basic").loc["a"]) == [980.0 - 975.0, 980.0 - 25.0]
    assert boot.bias["a"] == pytest.approx(10.0)
    normal = boot.conf_int(0.05, "normal").loc["a"]
    assert normal.mean() == pytest.approx(480.0)
    assert np.ptp(normal) == pytest.approx(2 * 1.959963984540054 * values.std(ddof=1))
    shortest = boot.conf_int(0.05, "shortest").loc["b"]  # a falling density: from the smallest value on
    assert shortest["lower"] == 1.0 and shortest["upper"] == np.ceil(0.95 * 899) ** 2
    assert boot.missing["b"] == 100 and "missing" in str(boot)
    with pytest.raises(ValueError, match="kind must be"):
        boot.conf_int(kind="bca")
    with pytest.raises(ValueError, match="alpha=95"):
        boot.conf_int(95)


def test_undefined_correlations_are_counted():
    data = sparselmm.datasets.load("sleepstudy")
    rng = np.random.default_rng(5)
    fit = sparselmm.lmer("y ~ Days + (Days | Subject)", data.assign(y=rng.standard_normal(180)))
    boot = fit.bootstrap(200, rng=1)
    name = "cor__Intercept.Days|Subject"
    assert boot.singular.sum() > 20 and 0 < boot.missing[name] < 200
    assert boot.missing.drop(name).sum() == 0 and boot.failures.empty


def test_prints(fit):
    text = str(fit.bootstrap(50, rng=1))
    assert text.startswith("Parametric bootstrap, 50 replicates (")
    assert "sd__Intercept|Subject" in text and "percentile" in text


def test_progress(fit, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    fit.bootstrap(5, rng=1, progress=True)
    fit.bootstrap(3, "cluster", rng=1, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("bootstrap: 5 of 5") and lines[-1].startswith("bootstrap: 3 of 3")


def test_refuses(fit):
    with pytest.raises(ValueError, match="kind must be"):
        fit.bootstrap(5, "jackknife")
    with pytest.raises(ValueError, match="at least one"):
        fit.bootstrap(0)
    with pytest.raises(ValueError, match="does not resample clusters"):
        fit.bootstrap(5, cluster="Subject")
    with pytest.raises(ValueError, match="n_jobs=0"):
        fit.bootstrap(5, statistic=ratio, n_jobs=0)


def test_intervals_cover(agree):
    rng = np.random.default_rng(11)
    groups = np.repeat(np.arange(24), 5)
    X = np.column_stack([np.ones(120), rng.standard_normal(120), groups % 2])
    truth = np.array([1.0, 0.5, -0.5])
    model = LinearMixedModel(rng.standard_normal(120), X, [RandomTerm(groups, name="g")])
    Y = simulate(model, truth, {"g": 0.64}, 1.0, 200, np.random.default_rng(1)).to_numpy()
    first = model.fit()
    covered = {kind: [] for kind in ("percentile", "normal", "shortest", "wild")}
    for i, y in enumerate(Y.T):
        one = first.refit(y)
        parametric, wild = (one.bootstrap(199, kind, rng=np.random.default_rng(i)) for kind in ("parametric", "wild"))
        for kind in covered:
            interval = wild.conf_int() if kind == "wild" else parametric.conf_int(kind=kind)
            limits = interval.iloc[:3].to_numpy()
            covered[kind].append((limits[:, 0] < truth) & (truth < limits[:, 1]))
    for kind, inside in covered.items():  # 200 trials at 0.95: standard error 0.015
        share = np.mean(inside, axis=0)
        agree(f"coverage of 95 % intervals ({kind})", "24 groups of 5", "simulation", share, [0.95] * 3, atol=0.05)
    sigma = (first.refit_many(Y).scale / 1.0).to_numpy()
    assert sigma.mean() == pytest.approx(1.0, abs=4 * sigma.std() / np.sqrt(200))
