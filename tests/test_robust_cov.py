"""Cluster-robust covariances against clubSandwich and dense computations."""

import numpy as np
import pytest
import scipy.sparse as sp
from diagnostic_fits import DESIGNS, MODELS, VERSIONS, dense_V, random_fit, reference_fit

import sparselmm
from sparselmm import DataError, LinearMixedModel, RandomTerm
from sparselmm.diagnostics import adjustment
from sparselmm.diagnostics import robust as robust_module

SANDWICH = f"clubSandwich {VERSIONS['clubSandwich']}"


@pytest.mark.parametrize("name", [name for name, record in MODELS.items() if "robust" in record])
def test_clubsandwich(name, agree):
    fit, record = reference_fit(name), MODELS[name]["robust"]
    for kind in ("CR0", "CR1", "CR1S", "CR2"):
        ours = fit.cov_params_robust(kind, record["cluster"]).to_numpy()
        theirs = np.reshape(record[kind], ours.shape)
        size = np.sqrt(np.outer(np.diag(theirs), np.diag(theirs)))
        agree(f"cluster-robust covariance, {kind}", name, SANDWICH, ours / size, theirs / size, atol=1e-7)
    robust, p = fit.robust("CR2", record["cluster"]), len(fit.params)
    agree("Satterthwaite df, CR2", name, SANDWICH, robust.df, np.atleast_1d(record["df"]), rtol=1e-6)
    test = robust.test(np.eye(p)[1:] if p > 2 else np.eye(p))
    agree("Wald test, CR2: F and df", name, SANDWICH, [test.statistic, test.df_denom], record["wald"], rtol=1e-6)


def dense_pieces(fit, dense, codes):
    """Return per cluster A_g(V⁻¹X)_g and its rows, and (X'V⁻¹X)⁻¹, V from matrices of all rows."""
    V, X = dense_V(dense, fit.model.weights), fit.model.exog
    C = np.linalg.inv(dense.XVX)
    R = V - X @ C @ X.T
    rows = [np.flatnonzero(codes == level) for level in np.unique(codes)]
    adjusted = []
    for part in rows:
        D = np.linalg.cholesky(V[np.ix_(part, part)]).T
        values, Q = np.linalg.eigh(D @ R[np.ix_(part, part)] @ D.T)
        values = np.where(values > 1e-10 * values[-1], values, np.inf)
        A = D.T @ (Q / np.sqrt(values)) @ Q.T @ D
        adjusted.append(A @ (dense.Vinv @ X)[part])
    return rows, adjusted, C, R


@pytest.mark.parametrize("kinds", DESIGNS)
@pytest.mark.parametrize("large", [False, True])
def test_crossed_clusters(kinds, large, agree, monkeypatch):
    if large:
        monkeypatch.setattr(adjustment, "SMALL", 3)
    fit, dense = random_fit(7, kinds, weighted=not large, singular=large)
    codes = np.random.default_rng(0).permutation(fit.nobs) % 9
    rows, adjusted, C, R = dense_pieces(fit, dense, codes)
    residuals = dense.y - fit.model.exog @ fit.beta
    scores = np.array([A.T @ residuals[part] for part, A in zip(rows, adjusted, strict=True)])
    name = f"{'-'.join(kinds)}{', large clusters' if large else ''}"
    robust = fit.robust("CR2", codes)
    expected = C @ scores.T @ scores @ C
    ours = robust.covariance
    agree("cluster-robust covariance, CR2", name, "dense computation", ours, expected, rtol=1e-8, atol=1e-12)
    df = []
    for c in C:
        P = np.array([
            [(A @ c) @ R[np.ix_(part, other)] @ (B @ c) for other, B in zip(rows, adjusted, strict=True)]
            for part, A in zip(rows, adjusted, strict=True)
        ])  # fmt: skip
        df.append(np.trace(P) ** 2 / np.sum(P**2))
    agree("Satterthwaite df, CR2", name, "dense computation", robust.df, df, rtol=1e-7)


def test_plain_sandwich(agree):
    fit, dense = random_fit(8, ("scalar", "slope"))
    first, second = (term.codes for term in fit.model.terms)
    scores = (dense.Vinv @ fit.model.exog) * (dense.y - fit.model.exog @ fit.beta)[:, None]
    C, names = np.linalg.inv(dense.XVX), list(fit.model.groups)
    shared = np.equal.outer(first, first)
    one = fit.robust("CR0", names[0])
    agree("cluster-robust covariance, CR0", "scalar-slope", "dense computation", one.covariance,
          C @ scores.T @ shared @ scores @ C, rtol=1e-8)  # fmt: skip
    shared |= np.equal.outer(second, second)
    values, Q = np.linalg.eigh(
        np.linalg.solve(fit._root, C) @ scores.T @ shared @ scores @ C @ np.linalg.inv(fit._root).T
    )
    half = fit._root @ Q * np.sqrt(np.maximum(values, 0.0))
    two = fit.robust("CR0", names)
    assert np.allclose(two.covariance, half @ half.T) and bool(two.notes) == (values[0] < 0)
    n, p, G = fit.nobs, 2, len(fit.model.terms[0].levels)
    assert np.allclose(fit.cov_params_robust("CR1", names[0]), one.covariance * G / (G - 1))
    assert np.allclose(fit.cov_params_robust("CR1S", names[0]), one.covariance * G / (G - 1) * (n - 1) / (n - p))
    assert (one.df == G - 1).all() and one.test(np.eye(2)).df_denom == G - 1
    few = min(fit.model.groups.values())
    assert (two.df == few - 1).all()
    assert "CR2 by g0 and g1" in str(fit.robust("CR2", names))


def test_two_way_covariances_are_made_semidefinite():
    rng = np.random.default_rng(3)
    for _ in range(20):
        a, b = rng.integers(0, 3, 30), rng.integers(0, 3, 30)
        X = np.column_stack([np.ones(30), rng.standard_normal((30, 2))])
        fit = LinearMixedModel(rng.standard_normal(30), X, [RandomTerm(a, name="a"), RandomTerm(b, name="b")]).fit()
        robust = fit.robust("CR0", ["a", "b"])
        assert np.linalg.eigvalsh(robust.covariance)[0] > -1e-12 * np.linalg.norm(robust.covariance)
        if robust.notes:
            assert "negative eigenvalues" in robust.notes[0]
            return
    raise AssertionError("no indefinite covariance among 20")


def test_default_clusters():
    nested = sparselmm.lmer("strength ~ 1 + (1 | batch/cask)", sparselmm.datasets.load("Pastes"))
    assert nested.robust().ddf == "CR2 by batch"
    crossed = sparselmm.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", sparselmm.datasets.load("Penicillin"))
    with pytest.raises(ValueError, match="crossed"):
        crossed.robust()
    with pytest.raises(ValueError, match="CR0, CR1, CR1S, CR2"):
        crossed.robust("HC3", "plate")
    with pytest.raises(ValueError, match="at least two"):
        crossed.robust("CR1", np.zeros(144, dtype=int))


def test_clusters_too_large_are_refused(monkeypatch):
    monkeypatch.setattr(adjustment, "LARGEST", 10)
    monkeypatch.setattr(adjustment, "SMALL", 10)
    rng = np.random.default_rng(0)
    groups = np.arange(60) % 3
    y, weights = rng.standard_normal(60) + groups, rng.uniform(1, 2, 60)
    X = np.ones((60, 1))
    fit = LinearMixedModel(y, X, [RandomTerm(groups)], weights=weights).fit()
    with pytest.raises(DataError, match="Use kind='CR1'"):
        fit.robust("CR2", "group")
    unweighted = LinearMixedModel(y, X, [RandomTerm(groups)]).fit()  # spans one effect and one column only
    assert np.isfinite(unweighted.robust("CR2", "group").covariance).all()


def test_intervals_cover_where_the_errors_are_heteroscedastic():
    rng = np.random.default_rng(5)
    groups, replications, hits = np.repeat(np.arange(15), 6), 150, 0
    x = rng.standard_normal(15)[groups]
    for _ in range(replications):
        spread = np.exp(x)
        y = rng.standard_normal(15)[groups] * spread + rng.standard_normal(90) * spread
        fit = LinearMixedModel(y, np.column_stack([np.ones(90), x]), [RandomTerm(groups)]).fit()
        low, high = fit.robust("CR2", "group").conf_int().iloc[1]
        hits += low < 0 < high
    assert 0.89 < hits / replications < 0.99


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
@pytest.mark.parametrize("size", [1 << 24, 20])
def test_sums_of_products_in_slices(shape, size, monkeypatch):
    """Both ways round, with rows and columns of zeros."""
    monkeypatch.setattr(robust_module, "SLICE", size)
    rng = np.random.default_rng(0)
    matrices = [sp.csr_array(rng.standard_normal(shape) * (rng.random(shape) < 0.3)) for _ in range(4)]
    a, b, c, d = (matrix.toarray() for matrix in matrices)
    assert robust_module._inner(*matrices) == pytest.approx(np.sum((a @ b.T) * (c @ d.T)))
