"""Deviance, gradient and information at fixed θ against n x n matrices and against differences."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import DenseModel, random_design

from sparselmm import DataError, LinearMixedModel
from sparselmm.crossproducts import CrossProducts
from sparselmm.likelihood import ProfiledLikelihood

KINDS = st.lists(st.sampled_from(["scalar", "slope", "diagonal", "three", "plain", "matrix"]), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(KINDS, st.booleans(), st.booleans(), st.integers(1, 4), st.integers(0, 2**32 - 1), st.booleans())
def test_matches_dense_likelihood(agree, kinds, reml, weighted, p, seed, singular):
    rng = np.random.default_rng(seed)
    y, X, terms = random_design(rng, kinds=kinds, p=p)
    weights = rng.uniform(0.3, 3.0, y.size) if weighted else None
    cross = CrossProducts.from_arrays(y, X, terms, weights)
    likelihood = ProfiledLikelihood(cross, reml)
    theta = rng.uniform(-1.0, 1.5, likelihood.map.n_theta)
    if singular:
        theta[rng.integers(theta.size)] = 0.0
    dense = DenseModel(y, X, terms, theta, reml, weights)

    at = likelihood.evaluate(theta)
    model, reference = "random designs", "dense computation"
    agree("deviance at given θ", model, reference, at.deviance, dense.deviance, atol=1e-8)
    assert at.scale == pytest.approx(dense.scale, rel=1e-9)
    agree("fixed effects at given θ", model, reference, cross.to_params(at.beta), dense.beta, atol=1e-8)
    agree("random effects at given θ", model, reference, at.b, dense.b, atol=1e-8)
    np.testing.assert_allclose(at.w, dense.Z.T @ dense.P @ y, atol=1e-7)

    derivatives = likelihood.derivatives(at)
    size = 1.0 + np.abs(dense.hessian(theta)).max()
    gradient, hessian = dense.gradient(theta) / size, dense.hessian(theta) / size
    agree("gradient in θ, scaled", model, reference, derivatives.gradient / size, gradient, atol=1e-8)
    agree("average information in θ, scaled", model, reference, derivatives.hessian / size, hessian, atol=1e-7)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kinds", [("slope", "three"), ("scalar", "diagonal", "scalar"), ("three",)])
def test_gradient_matches_differences(kinds, reml):
    rng = np.random.default_rng(9)
    y, X, terms = random_design(rng, n=120, kinds=kinds)
    likelihood = ProfiledLikelihood(CrossProducts.from_arrays(y, X, terms), reml)
    theta = rng.uniform(0.2, 1.2, likelihood.map.n_theta)
    gradient = likelihood.derivatives(likelihood.evaluate(theta)).gradient
    step = 1e-5
    for p, unit in enumerate(np.eye(theta.size)):
        up, down = (likelihood.evaluate(theta + sign * step * unit).deviance for sign in (1, -1))
        assert gradient[p] == pytest.approx((up - down) / (2 * step), abs=2e-5 * (1 + abs(gradient[p])))


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kinds", [("slope", "three"), ("scalar", "diagonal", "matrix"), ("three",)])
def test_hessian_matches_differences(kinds, reml, monkeypatch):
    rng = np.random.default_rng(10)
    y, X, terms = random_design(rng, n=120, kinds=kinds)
    likelihood = ProfiledLikelihood(CrossProducts.from_arrays(y, X, terms), reml)
    at = likelihood.evaluate(rng.uniform(0.2, 1.2, likelihood.map.n_theta))
    derivatives = likelihood.derivatives(at)
    exact = likelihood.hessian(at, derivatives)
    monkeypatch.setattr("sparselmm.likelihood.MOST_WORK", 0)
    differences = likelihood.hessian(at, derivatives)
    np.testing.assert_allclose(exact, differences, atol=1e-6 * np.abs(exact).max())


def test_information_approaches_the_hessian_as_data_grow():
    """The average information is half observed, half expected: near the optimum it is the Hessian up to noise."""
    rng = np.random.default_rng(2)
    n, levels = 20_000, 2_000
    groups = rng.integers(0, levels, n)
    from sparselmm import RandomTerm

    y = rng.standard_normal(n) + 0.8 * rng.standard_normal(levels)[groups]
    likelihood = ProfiledLikelihood(CrossProducts.from_arrays(y, np.ones((n, 1)), [RandomTerm(groups)]))
    step, theta = 1e-4, np.array([0.8])
    slopes = [likelihood.derivatives(likelihood.evaluate(theta + s)).gradient[0] for s in (step, -step)]
    hessian = likelihood.derivatives(likelihood.evaluate(theta)).hessian[0, 0]
    assert hessian == pytest.approx((slopes[0] - slopes[1]) / (2 * step), rel=0.1)


def test_sign_of_a_column_does_not_matter():
    y, X, terms = random_design(np.random.default_rng(1), kinds=("three", "slope"))
    likelihood = ProfiledLikelihood(CrossProducts.from_arrays(y, X, terms))
    theta = np.random.default_rng(2).standard_normal(likelihood.map.n_theta)
    canonical = likelihood.map.canonical(theta)
    assert all((np.diag(f) >= 0).all() for f in likelihood.map.unpack(canonical))
    assert likelihood.evaluate(theta).deviance == pytest.approx(likelihood.evaluate(canonical).deviance, abs=1e-10)


def test_derivatives_refer_to_their_evaluation_not_to_the_last_one():
    y, X, terms = random_design(np.random.default_rng(1), kinds=("scalar", "slope"))
    likelihood = ProfiledLikelihood(CrossProducts.from_arrays(y, X, terms))
    theta = np.array([0.5, 0.6, 0.1, 0.4])
    first = likelihood.evaluate(theta)
    gradient = likelihood.derivatives(first).gradient
    theta[:] = 1.0  # the caller's array is not the evaluation's
    likelihood.evaluate(theta)
    np.testing.assert_array_equal(likelihood.derivatives(first).gradient, gradient)


def test_exact_fit_is_an_error():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(30), rng.standard_normal(30)])
    from sparselmm import LinearMixedModel, RandomTerm

    with pytest.raises(DataError, match="no residual variance"):
        LinearMixedModel(X @ [1.0, 2.0], X, [RandomTerm(np.arange(30) % 5)])


def test_sums_beyond_the_range_of_numbers():
    y, X, terms = random_design(np.random.default_rng(1))
    cross = LinearMixedModel(y, X, terms).cross
    likelihood = ProfiledLikelihood(replace(cross, Zy=np.full_like(cross.Zy, 1e308)))
    with np.errstate(all="ignore"), pytest.raises(DataError, match="residual variance is zero"):
        likelihood.evaluate(likelihood.theta_scale)
