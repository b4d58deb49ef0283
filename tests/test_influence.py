"""Influence of levels and rows against fits without them."""

import numpy as np
import pandas as pd
import pytest
from diagnostic_fits import DESIGNS, MODELS, VERSIONS, at_theta, dense_V, random_fit, reference_fit

import sparselmm
from sparselmm import DataError, LinearMixedModel, RandomTerm
from sparselmm.diagnostics import deletion
from sparselmm.diagnostics.subset import on_rows

LME4 = f"lme4 {VERSIONS['lme4']}"


def dense_without(fit, dense, keep):
    """Return β, cov(β) and σ² of the remaining rows, V that of the full fit, from matrices of their size."""
    V = dense_V(dense, fit.model.weights)[np.ix_(keep, keep)]
    X, y = fit.model.exog[keep], dense.y[keep]
    XV = np.linalg.solve(V, X).T
    C = np.linalg.inv(XV @ X)
    beta = C @ XV @ y
    resid = y - X @ beta
    scale = resid @ np.linalg.solve(V, resid) / (y.size - fit.reml * X.shape[1])
    return beta, scale * C, scale


def check(fit, dense, influence, codes, agree, name):
    """Compare everything with dense computations level by level."""
    full, p = fit.cov_params().to_numpy(), len(fit.params)
    found = [dense_without(fit, dense, codes != level) for level in range(codes.max() + 1)]
    beta, cov, scale = (np.array(part) for part in zip(*found, strict=True))
    difference = fit.beta - beta
    se = np.sqrt(np.einsum("rii->ri", cov))
    cooks = np.einsum("ri,ri->r", difference, np.linalg.solve(full, difference.T).T) / p
    mdffits = np.einsum("ri,ri->r", difference, np.linalg.solve(cov, difference[:, :, None])[:, :, 0]) / p
    trace = np.einsum("rii->r", np.linalg.solve(full, cov))
    expected = {
        "params": beta,
        "dfbeta": difference,
        "dfbetas": difference / se,
        "bse": se,
        "scale": scale,
        "cooks_distance": cooks,
        "mdffits": mdffits,
        "covratio": np.linalg.det(cov) / np.linalg.det(full),
        "covtrace": np.abs(trace - p),
    }
    for what, values in expected.items():
        tolerance = 1e-8 * max(1.0, np.abs(values).max())
        agree(f"influence: {what}", name, "dense computation", getattr(influence, what), values, atol=tolerance)


@pytest.mark.parametrize("kinds", DESIGNS)
@pytest.mark.parametrize("singular", [False, True])
def test_levels_at_theta(kinds, singular, agree):
    fit, dense = random_fit(5, kinds, singular=singular, reml=not singular, weighted=not singular)
    name = f"{'-'.join(kinds)}{' singular' if singular else ''}"
    for term in fit.model.terms:
        if term.matrix is None:
            check(fit, dense, fit.influence(term.name), term.codes, agree, f"{name}, levels")
    check(fit, dense, fit.influence(), np.arange(fit.nobs), agree, f"{name}, rows")


@pytest.mark.parametrize("path", ["rows", "effects", "recomputed"])
def test_every_way_to_delete(path, agree, monkeypatch):
    levels, p = (3, 2) if path == "effects" else (30, 12)
    fit, dense = random_fit(6, ("scalar",) if path == "effects" else ("scalar", "slope"), n=80, p=p)
    codes = np.random.default_rng(0).permutation(80) % levels
    if path == "recomputed":
        monkeypatch.setattr(deletion, "LARGEST", 0)
    check(fit, dense, fit.influence(codes), codes, agree, f"by {path}")


@pytest.mark.parametrize("name", MODELS)
def test_lme4_at_theta(name, agree):
    fit, record = reference_fit(name), MODELS[name]
    params = fit.influence(record["group"]).params
    theirs = np.reshape(record["at_theta"], params.shape)
    agree("fixed effects without a level, θ fixed", name, LME4, params, theirs, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, record in MODELS.items() if "refits" in record])
def test_refits(name, agree):
    record = MODELS[name]
    fit = reference_fit(name).model.fit(reml=record["reml"])
    influence = fit.influence(record["group"], refit=True)
    theirs = np.asarray(record["refits"]).reshape(influence.params.shape)
    agree("fixed effects without a level, refitted", name, LME4, influence.params, theirs, rtol=1e-5, atol=1e-5)
    codes = fit.model.terms[list(fit.model.groups).index(record["group"])].codes
    other = on_rows(fit.model, codes != 1).fit(reml=record["reml"])
    se = other.bse.to_numpy()
    assert np.allclose(influence.params.iloc[1], other.params, atol=1e-5 * se.max())
    assert np.allclose(influence.bse.iloc[1], se, rtol=1e-5)
    assert np.isclose(influence.scale.iloc[1], other.scale, rtol=1e-5)
    variance = influence.variance_params.iloc[1]
    G = other.cov_re[record["group"]]
    assert np.isclose(variance[f"{record['group']}: Intercept"], G.loc["Intercept", "Intercept"], rtol=1e-4, atol=1e-6)
    assert variance["Residual"] == influence.scale.iloc[1] and influence.theta.index.equals(influence.params.index)
    ratio = np.linalg.det(other.cov_params()) / np.linalg.det(fit.cov_params())
    assert np.isclose(influence.covratio.iloc[1], ratio, rtol=1e-4)
    assert (influence.note == "").all()


def test_rank_deficient_levels():
    rng = np.random.default_rng(0)
    groups = np.arange(60) % 10
    X = np.column_stack([np.ones(60), groups == 4]).astype(float)
    y = rng.standard_normal(60) + rng.standard_normal(10)[groups]
    fit = LinearMixedModel(y, X, [RandomTerm(groups, name="g")]).fit()
    for refit in (False, True):
        influence = fit.influence("g", refit=refit)
        assert influence.params.isna().any(axis=1).to_list() == [level == 4 for level in range(10)]
        assert "cannot be estimated" in influence.note[4] and influence.note.drop(4).eq("").all()
        assert np.isnan(influence.cooks_distance[4]) and ".note" in repr(influence)


def test_levels_that_leave_no_residual():
    groups = np.r_[np.zeros(30, dtype=int), np.ones(2, dtype=int)]
    X = np.column_stack([np.ones(32), np.arange(32.0)])
    y = np.random.default_rng(0).standard_normal(32) + groups
    fit = LinearMixedModel(y, X, [RandomTerm(groups, name="g")]).fit()
    assert fit.influence("g").scale.isna().to_list() == [True, False]


def test_rows_that_the_fit_goes_through_have_no_influence(monkeypatch):
    rng = np.random.default_rng(0)
    model = LinearMixedModel(rng.standard_normal(12), np.ones(12), RandomTerm(np.repeat(np.arange(4), 3), name="g"))
    fit = model.fit()
    full, solve = fit.influence(), deletion._solved

    def solved(A, B):
        A[3] = 0.0  # the covariance of this row's residual
        return solve(A, B)

    monkeypatch.setattr(deletion, "_solved", solved)
    table = fit.influence().summary_frame().drop(columns="nobs")
    row = table.index[table["scale"].isna()]
    assert row.size == 1 and table.loc[row].isna().all(axis=None)
    assert "goes through" in fit.influence().note[row[0]]
    pd.testing.assert_frame_equal(table.drop(row), full.summary_frame().drop(columns="nobs").drop(row))


def test_a_factor_left_with_one_level_cannot_be_fitted():
    rng = np.random.default_rng(0)
    groups = np.arange(60) % 2
    y = rng.standard_normal(60) + 2 * groups
    fit = LinearMixedModel(y, np.ones((60, 1)), [RandomTerm(groups, name="g")]).fit()
    assert fit.influence("g").params.notna().all(axis=None)
    influence = fit.influence("g", refit=True)
    assert influence.params.isna().all(axis=None) and influence.note.str.contains("single level").all()


def test_groups_can_be_columns_and_labels():
    data = sparselmm.datasets.load("sleepstudy")
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
    by_day = fit.influence("Days")
    assert list(by_day.params.index) == list(range(10)) and (by_day.counts == 18).all()
    labels = pd.Series(np.where(data["Days"] < 5, "early", "late"), name="half")
    assert list(fit.influence(labels).cooks_distance.index) == ["early", "late"]
    missing = data.assign(Reaction=data["Reaction"].where(data.index != 7))
    other = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", missing)
    assert len(other.influence(labels).counts) == 2
    with pytest.raises(ValueError, match="grouping factors \\['Subject'\\]"):
        fit.influence("subject")
    with pytest.raises(DataError, match="3 labels"):
        fit.influence([1, 2, 3])


def test_tables():
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))
    influence = fit.influence("Subject")
    table = influence.summary_frame()
    assert table.shape == (18, 8) and table.index.name == "Subject"
    assert influence.theta is None and influence.variance_params is None
    text = repr(influence)
    assert "18 Subject levels" in text and "309" in text.splitlines()[3]
    assert np.allclose(fit.dfbetas(), fit.influence().dfbetas)


def test_no_fixed_effects():
    rng = np.random.default_rng(1)
    groups = np.arange(60) % 12
    y = rng.standard_normal(60) + rng.standard_normal(12)[groups]
    fit = LinearMixedModel(y, np.zeros((60, 0)), [RandomTerm(groups)]).fit()
    influence = fit.influence("group")
    without = at_theta(on_rows(fit.model, groups != 3), fit.theta)
    assert influence.params.shape == (12, 0) and np.isclose(influence.scale.iloc[3], without.scale)
    assert (influence.cooks_distance == 0).all()
