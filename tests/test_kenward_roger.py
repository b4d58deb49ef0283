"""Kenward and Roger's tests against n x n matrices, and the traces they are made of; pbkrtest's are in test_ddf.py."""

import numpy as np
import pytest
from oracles import DenseModel, random_design

import sparselmm
from sparselmm import LinearMixedModel, RandomTerm, traces
from sparselmm.inference import kenward_roger
from sparselmm.inference.ddf import Inference
from sparselmm.inference.kenward_roger import KenwardRoger, scaled_f
from sparselmm.inference.wald import ConstantTests
from sparselmm.traces import Reduced

KINDS = [("scalar",), ("slope",), ("scalar", "slope"), ("three", "slope", "matrix"), ("matrix",), ("diagonal", "plain")]


class DenseKenwardRoger:
    """Halekoh & Højsgaard (2014) with n x n matrices in natural units."""

    def __init__(self, y, X, terms, theta, weights):
        model = DenseModel(y, X, terms, theta, True, weights)
        n = y.size
        inverse, G, start = model.Vinv / model.scale, [], 0
        for term in terms:
            Z = model.Z[:, start : start + term.n_effects]
            start += term.n_effects
            c = term.n_columns
            for j in range(c):
                for i in range(j, c if term.structure == "unstructured" else j + 1):
                    E = np.zeros((c, c))
                    E[i, j] = E[j, i] = 1.0
                    G.append(Z @ np.kron(np.eye(term.n_levels), E) @ Z.T)
        G.append(np.eye(n) if weights is None else np.diag(1.0 / weights))
        VG, m = [inverse @ g for g in G], len(G)
        self.Phi = np.linalg.inv(X.T @ inverse @ X)
        self.P = [-X.T @ v @ inverse @ X for v in VG]
        Q = [[X.T @ v @ w @ inverse @ X for w in VG] for v in VG]
        information = np.empty((m, m))
        for r, s in np.ndindex(m, m):
            information[r, s] = np.trace(VG[r] @ VG[s]) - 2.0 * np.trace(self.Phi @ Q[r][s])
            information[r, s] += np.trace(self.Phi @ self.P[r] @ self.Phi @ self.P[s])
        self.W = 2.0 * np.linalg.inv(information)
        inner = sum(self.W[r, s] * (Q[r][s] - self.P[r] @ self.Phi @ self.P[s]) for r, s in np.ndindex(m, m))
        self.covariance = self.Phi + 2.0 * self.Phi @ inner @ self.Phi

    def test(self, L, difference):
        """Return F and its denominator for Lβ - r = difference."""
        q, Theta = len(L), L.T @ np.linalg.solve(L @ self.Phi @ L.T, L)
        S = [Theta @ self.Phi @ P @ self.Phi for P in self.P]
        pairs = list(np.ndindex(self.W.shape))
        A1 = sum(self.W[r, s] * np.trace(S[r]) * np.trace(S[s]) for r, s in pairs)
        A2 = sum(self.W[r, s] * np.trace(S[r] @ S[s]) for r, s in pairs)
        B = (A1 + 6.0 * A2) / (2.0 * q)
        g = ((q + 1.0) * A1 - (q + 4.0) * A2) / ((q + 2.0) * A2)
        c1, c2, c3 = np.array([g, q - g, q + 2.0 - g]) / (3.0 * q + 2.0 * (1.0 - g))
        mean = 1.0 / (1.0 - A2 / q)
        variance = 2.0 / q * (1.0 + c1 * B) / ((1.0 - c2 * B) ** 2 * (1.0 - c3 * B))
        df = 4.0 + (q + 2.0) / (q * variance / (2.0 * mean**2) - 1.0)
        wald = difference @ np.linalg.solve(L @ self.covariance @ L.T, difference)
        return df / (mean * (df - 2.0)) * wald / q, df


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_kenward_roger_is_the_dense_computation(kinds, weighted, agree):
    rng = np.random.default_rng(3)
    y, X, terms = random_design(rng, n=70, kinds=kinds, p=4)
    weights = rng.uniform(0.5, 2.0, 70) if weighted else None
    fit = LinearMixedModel(y, X, terms, weights=weights).fit()
    ours, dense = fit.inference("kenward-roger"), DenseKenwardRoger(y, X, terms, fit.theta, weights)
    name = f"random {'-'.join(kinds)}{', weights' * weighted}"
    size = np.sqrt(np.outer(np.diag(dense.covariance), np.diag(dense.covariance)))
    agree(
        "Kenward-Roger covariance",
        name,
        "dense computation",
        ours.covariance / size,
        dense.covariance / size,
        atol=1e-8,
    )
    for rank in (1, 2, 3):
        L, rhs = rng.standard_normal((rank, 4)), rng.standard_normal(rank)
        F, df = dense.test(L, L @ fit.beta - rhs)
        quantity = f"Kenward-Roger F and df, rank {rank}"
        agree(quantity, name, "dense computation", ours.test(L, rhs)[:3], (F, rank, df), rtol=1e-6)
    rows = rng.standard_normal((3, 4))
    dense_df = [dense.test(row[None], np.ones(1))[1] for row in rows]
    agree("Kenward-Roger df", name, "dense computation", ours.degrees(rows), dense_df, rtol=1e-7)


@pytest.mark.parametrize("small", [0, 10_000], ids=["eliminated", "all of Z'V⁻¹Z"])
@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_traces_in_blocks_of_columns(kinds, small, monkeypatch):
    monkeypatch.setattr(traces, "SMALL", small)
    rng = np.random.default_rng(4)
    y, X, terms = random_design(rng, n=70, kinds=kinds, p=3)
    weights = rng.uniform(0.5, 2.0, 70)
    likelihood = LinearMixedModel(y, X, terms, weights=weights).likelihood()
    theta = 0.7 * rng.standard_normal(likelihood.map.n_theta)
    theta[0] = 0.0
    at, model = likelihood.evaluate(theta), DenseModel(y, X, terms, theta, True, weights)
    V = model.directions(theta)
    for block in (1, 50, 10**6):
        monkeypatch.setattr(traces, "BLOCK", block)
        for restricted, Q in ((False, model.Vinv), (True, model.P)):
            dense = [[np.trace(Q @ a @ Q @ b) for b in V] for a in V]
            reduced = Reduced(likelihood, at)
            ours = reduced.criterion_traces(reduced.directions, restricted)
            np.testing.assert_allclose(ours, dense, rtol=1e-9, atol=1e-9 * np.abs(dense).max())


def test_traces_at_extreme_ratios(agree):
    rng = np.random.default_rng(8)
    y, X, terms = random_design(rng, n=60, kinds=("scalar", "slope"), p=2)
    for size in (1e-4, 1e3):
        theta = size * np.array([1.0, 0.8, 0.3, 0.6])
        model = LinearMixedModel(y, X, terms)
        at = model.likelihood().evaluate(theta)
        ours = KenwardRoger(model.likelihood(), at, model.cross.basis)
        dense = DenseKenwardRoger(y, X, terms, theta, None)
        df = [dense.test(row[None], np.ones(1))[1] for row in np.eye(2)]
        agree("Kenward-Roger df", f"λ of {size:g}", "dense computation", ours.degrees(model.cross.basis), df, rtol=1e-5)


def crossed(rng, n=2_000, levels=(150, 120)):
    """Return a model of two crossed factors, one of them with slopes."""
    codes = [rng.integers(0, count, n) for count in levels]
    x = rng.standard_normal(n)
    X = np.column_stack([np.ones(n), x, rng.standard_normal(levels[0])[codes[0]]])
    y = (
        x
        + rng.standard_normal(n)
        + sum(rng.standard_normal(count)[code] for count, code in zip(levels, codes, strict=True))
    )
    y += 0.5 * x * rng.standard_normal(levels[1])[codes[1]]
    return LinearMixedModel(y, X, [RandomTerm(codes[0]), RandomTerm(codes[1], np.column_stack([np.ones(n), x]))])


def test_probes_keep_their_promise(monkeypatch):
    model = crossed(np.random.default_rng(9))
    fit = model.fit()
    likelihood, at, basis = fit.likelihood, fit.evaluation, model.cross.basis
    exact = KenwardRoger(likelihood, at, basis)
    assert exact.probes == 0 and exact.monte_carlo_error == 0.0 and not exact.notes
    monkeypatch.setattr(kenward_roger, "MOST_WORK", 0.0)
    z = []
    for seed in range(6):
        probed = KenwardRoger(likelihood, at, basis, rng=seed)
        assert probed.probes >= 32 and 0.0 < probed.monte_carlo_error < 0.01
        assert f"{probed.probes} probes" in probed.notes[0]
        difference = probed.degrees(basis) / exact.degrees(basis) - 1.0
        assert np.abs(difference).max() < 4 * 0.01
        z.append(np.abs(difference).max() / probed.monte_carlo_error)
        np.testing.assert_allclose(probed.covariance, exact.covariance, rtol=1e-3, atol=1e-5 * exact.covariance.max())
    assert 0.1 < np.mean(z) < 2.0
    again = KenwardRoger(likelihood, at, basis, rng=5)
    np.testing.assert_array_equal(again.spread, probed.spread)


def test_probes_of_large_models_are_repeatable(monkeypatch):
    monkeypatch.setattr(kenward_roger, "MOST_WORK", 0.0)
    model = crossed(np.random.default_rng(9), n=800, levels=(60, 50))
    one, two = (model.fit().inference("kenward-roger") for _ in range(2))
    np.testing.assert_array_equal(one.df, two.df)
    assert 0.0 < one.monte_carlo_error < 0.01 and "probes" in str(one)
    fit = model.fit()
    drawn = fit.inference("kenward-roger", rng=np.random.default_rng(1))
    assert drawn is not fit.inference("kenward-roger") and not np.array_equal(drawn.df, one.df)


def test_maximum_likelihood_is_refitted_by_reml():
    data = sparselmm.datasets.load("Oats")
    formula = "yield ~ nitro * Variety + (1 | Block/Variety)"
    ml, reml = (sparselmm.lmer(formula, data, reml=reml) for reml in (False, True))
    ours = ml.inference("kenward-roger")
    np.testing.assert_allclose(ours.covariance, reml.inference("kenward-roger").covariance, rtol=1e-5)
    np.testing.assert_allclose(ours.params, reml.beta, rtol=1e-9)
    assert "REML refit" in ours.notes[0] and not reml.inference("kenward-roger").notes


def test_scaled_f_of_one_hypothesis_is_the_general_formula():
    rng = np.random.default_rng(1)
    P, W = rng.standard_normal((3, 1, 1)), np.diag([0.02, 0.05, 0.01])
    A = P[:, 0, 0] @ W @ P[:, 0, 0]
    B, c1, c2, c3 = 3.5 * A, -1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0  # equation (D13) with A1 = A2, q = 1, g = -1
    rho = ((1.0 - A) / (1.0 - c2 * B)) ** 2 * (1.0 + c1 * B) / (1.0 - c3 * B)
    df = 4.0 + 3.0 / (rho - 1.0)
    assert scaled_f(P, W) == pytest.approx((df * (1.0 - A) / (df - 2.0), df))


def test_no_f_distribution_with_the_moments():
    """pbkrtest gives F = -2.5 on 2 and -0.1 degrees of freedom for such data: two levels with random slopes."""
    rng = np.random.default_rng(4)
    groups, x = np.repeat([0, 1], 19), rng.standard_normal(38) + 3
    found = 0
    for _ in range(20):
        y = (rng.standard_normal(2) + 3)[groups] + (0.3 * rng.standard_normal(2))[groups] * x + rng.standard_normal(38)
        test = sparselmm.lmer("y ~ x + (x | g)", {"y": y, "x": x, "g": groups}).inference("kr").test(np.eye(2))
        found += np.isnan(test.statistic)
        assert np.isnan([test.statistic, test.df_denom, test.pvalue]).all() or min(test) >= 0
    assert found


def test_negative_variances_are_not_a_number():
    tests = ConstantTests(np.diag([1.0, -1e-3]), 10.0)
    inference = Inference("kenward-roger", ["a", "b"], np.ones(2), np.eye(2), tests)
    assert inference.bse["a"] == 1 and np.isnan(inference.bse["b"]) and np.isnan(inference.conf_int().loc["b"]).all()
    for L in ([[0, 1]], [[1, 0], [0, 1]], [[1, 0.1], [1, 0.2]]):
        assert inference.test(L).df_num == 0 and np.isnan(inference.test(L).pvalue)


def test_scaled_f_at_its_poles():
    same = np.eye(2)[None]
    scaling, df = scaled_f(same, np.array([[1e-9]]))
    assert scaling == pytest.approx(1.0) and df > 1e8
    for W in (1.0, 0.5, 2.0):  # numerators and denominators that vanish, as in pbkrtest
        scaling, df = scaled_f(same, np.array([[W]]))
        assert np.isfinite(scaling)


def test_hotelling_is_a_special_case():
    rng = np.random.default_rng(2)
    Y = rng.standard_normal((12, 3)) @ rng.standard_normal((3, 3)) + [0.3, 0.0, 0.5]
    group, column = np.indices(Y.shape)
    values = np.eye(3)[column.ravel()]
    T2 = 12 * Y.mean(axis=0) @ np.linalg.solve(np.cov(Y.T), Y.mean(axis=0))
    noise = 1e-3 * rng.standard_normal((12, 3, 2))  # two close replicates of every cell: G is all but the covariance
    y = np.concatenate(
        [(Y + noise[..., 0] - noise.mean(axis=2)).ravel(), (Y + noise[..., 1] - noise.mean(axis=2)).ravel()]
    )
    term = RandomTerm(np.tile(group.ravel(), 2), np.tile(values, (2, 1)))
    fit = LinearMixedModel(y, np.tile(values, (2, 1)), term).fit()
    test = fit.inference("kenward-roger").test(np.eye(3))
    assert test.df_denom == pytest.approx(12 - 3, rel=1e-4)
    assert test.statistic == pytest.approx(T2 * (12 - 3) / (3 * (12 - 1)), rel=1e-4)
