"""Residuals, leverage and Cook's distances of the rows, and the quadratic forms they are made of."""

import pickle

import numpy as np
import pytest
from diagnostic_fits import DESIGNS, MODELS, VERSIONS, at_theta, dense_V, random_fit, reference_fit

import sparselmm
from sparselmm import LinearMixedModel, RandomTerm
from sparselmm.diagnostics.subset import on_rows
from sparselmm.inference import quadratic
from sparselmm.inference.quadratic import ConditionalCovariance

LME4 = f"lme4 {VERSIONS['lme4']}"


@pytest.mark.parametrize("name", MODELS)
def test_lme4(name, agree):
    fit, record = reference_fit(name), MODELS[name]
    agree("leverage", name, LME4, fit.leverage(), record["hat"], atol=1e-8)
    agree("Cook's distance of rows", name, LME4, fit.cooks_distance(), record["cooks"], rtol=1e-7, atol=1e-10)
    standardized = fit.residuals("standardized")  # lme4's rstudent takes the σ of all rows
    agree("standardised residuals", name, LME4, standardized, record["rstudent"], rtol=1e-7, atol=1e-9)
    agree("Pearson residuals", name, LME4, fit.residuals("pearson", scaled=True), record["pearson"], atol=1e-8)


@pytest.mark.parametrize("kinds", DESIGNS)
@pytest.mark.parametrize("singular", [False, True])
def test_dense(kinds, singular, agree):
    fit, dense = random_fit(1, kinds, singular=singular, reml=not singular)
    W, P = fit.model.weights, dense.P
    V, name = dense_V(dense, W), f"{'-'.join(kinds)}{' singular' if singular else ''}"
    hat = np.eye(W.size) - P / W[:, None]
    X = fit.model.exog
    fixed = X @ np.linalg.solve(dense.XVX, X.T @ dense.Vinv)
    agree("leverage", name, "dense computation", fit.leverage(), np.diag(hat), atol=1e-10)
    agree("leverage of fixed effects", name, "dense computation", fit.leverage("fixed"), np.diag(fixed), atol=1e-10)
    assert np.allclose(fit.leverage("random"), np.diag(hat - fixed))
    y, sigma = dense.y, np.sqrt(dense.scale)
    conditional, marginal = P @ y / W, y - fixed @ y
    spread = {
        "standardized": sigma * np.sqrt(np.diag(P)) / W,
        "marginal-standardized": sigma * np.sqrt(np.diag((np.eye(y.size) - fixed) @ V)),
    }
    assert np.allclose(fit.residuals(), conditional)
    assert np.allclose(fit.residuals("marginal", scaled=True), marginal / sigma)
    agree("standardised residuals", name, "dense computation", fit.residuals("standardized"),
          conditional / spread["standardized"], rtol=1e-8)  # fmt: skip
    agree("standardised marginal residuals", name, "dense computation", fit.residuals("marginal-standardized"),
          marginal / spread["marginal-standardized"], rtol=1e-8)  # fmt: skip


def test_studentized_residuals_leave_the_row_out():
    fit, _ = random_fit(2, ("scalar", "slope"))
    model, studentized = fit.model, fit.residuals("studentized")
    for i in (0, 17):
        keep = np.arange(model.nobs) != i
        other = at_theta(on_rows(model, keep), fit.theta)
        expected = fit.residuals("standardized")[i] * fit.sigma / other.sigma
        assert np.isclose(studentized[i], expected, rtol=1e-8)


def test_offset_and_rows_that_fit_themselves():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(40), np.arange(40) == 3]).astype(float)
    offset, groups = rng.standard_normal(40), np.arange(40) % 8
    y = rng.standard_normal(40) + rng.standard_normal(8)[groups] + offset
    fit = LinearMixedModel(y, X, [RandomTerm(groups)], offset=offset).fit()
    assert np.isclose(fit.leverage()[3], 1.0) and np.isnan(fit.residuals("standardized")[3])
    assert np.isnan(fit.cooks_distance()[3]) and np.isnan(fit.residuals("studentized")[3])
    assert np.allclose(fit.residuals("marginal"), y - offset - X @ fit.beta)


def test_no_fixed_effects():
    rng = np.random.default_rng(1)
    groups = np.arange(60) % 12
    y = rng.standard_normal(60) + rng.standard_normal(12)[groups]
    fit = LinearMixedModel(y, np.zeros((60, 0)), [RandomTerm(groups)]).fit()
    for kind in ("pearson", "studentized", "marginal-standardized"):
        assert np.isfinite(fit.residuals(kind)).all()
    assert (fit.leverage("fixed") == 0).all() and fit.cooks_distance().notna().all()


def test_unknown_kinds():
    fit = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff"))
    with pytest.raises(ValueError, match="one of conditional"):
        fit.residuals("deviance")
    with pytest.raises(ValueError, match="fixed, random"):
        fit.leverage("both")


@pytest.mark.parametrize("kinds", DESIGNS)
@pytest.mark.parametrize("stored", [True, False])
def test_conditional_covariance(kinds, stored, monkeypatch):
    if not stored:
        for name, value in {"STORED": 0, "CHUNK": 100, "PAIRS": 50}.items():
            monkeypatch.setattr(quadratic, name, value)
    fit, dense = random_fit(3, kinds)
    Z, W, L = dense.Z, fit.model.weights[:, None], dense.Lambda
    expected = L @ np.linalg.inv(L.T @ Z.T @ (W * Z) @ L + np.eye(len(L))) @ L.T
    K, every = ConditionalCovariance(fit.likelihood, fit.evaluation), np.arange(len(L))
    assert np.allclose(K.block(every, every), expected, atol=1e-10)
    assert np.allclose(K.block(every[::3], every[-2:]), expected[::3, -2:], atol=1e-10)
    assert np.allclose(K.diagonal(fit.model.Z), np.einsum("ia,ab,ib->i", Z, expected, Z))
    assert np.allclose(K.gram(Z[:4]), Z[:4] @ expected @ Z[:4].T)


def test_components_share_right_hand_sides(monkeypatch):
    monkeypatch.setattr(quadratic, "STORED", 0)
    rng = np.random.default_rng(0)
    inner = np.arange(240) // 4
    outer = inner // 6
    y = rng.standard_normal(240) + rng.standard_normal(60)[inner] + rng.standard_normal(10)[outer]
    terms = [RandomTerm(inner, name="inner"), RandomTerm(outer, name="outer")]
    fit = LinearMixedModel(y, np.ones((240, 1)), terms).fit()
    K, solved = ConditionalCovariance(fit.likelihood, fit.evaluation), []
    dot = K.dot
    monkeypatch.setattr(K, "dot", lambda V: solved.append(V.shape[1]) or dot(V))
    leverage = K.prediction_variances(fit.model.exog, fit.model.Z)
    assert sum(solved) == 1
    assert np.allclose(leverage, fit.leverage())


def test_other_engines_and_pickled_fits():
    data, formula = sparselmm.datasets.load("Penicillin"), "diameter ~ 1 + (1 | plate) + (1 | sample)"
    fit = sparselmm.lmer(formula, data)
    for other in (sparselmm.lmer(formula, data, engine="dense"), pickle.loads(pickle.dumps(fit))):
        assert np.allclose(fit.leverage(), other.leverage(), atol=1e-6)
        distances = [results.influence("plate").cooks_distance for results in (fit, other)]
        assert np.allclose(*distances, atol=1e-6)
        assert np.isclose(fit.caic().df, other.caic().df, atol=1e-5)
        robust = [results.cov_params_robust("CR2", "plate") for results in (fit, other)]
        assert np.allclose(*robust, rtol=1e-4)
