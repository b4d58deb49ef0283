"""The dense group engine: its verbs against dense algebra, its fits against the sparse engine's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import DenseModel, dense_Lambda, dense_Z, random_design

from sparselmm import EngineError, LinearMixedModel, RandomTerm, datasets, lmer
from sparselmm.crossproducts import CrossProducts
from sparselmm.engines.choose import choose_engine

KINDS = [
    ("scalar",),
    ("three",),
    ("scalar", "scalar"),
    ("scalar", "slope", "three"),
    ("scalar", "diagonal"),
    ("scalar", "matrix"),
    ("matrix",),
    ("three", "scalar", "plain"),
]
designs = st.tuples(
    st.integers(0, 10**6),
    st.lists(st.sampled_from(["scalar", "slope", "diagonal", "plain", "matrix"]), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
)


def draw(design):
    """Return a model of a random design, and whether to fit it by REML."""
    seed, kinds, weighted, reml = design
    rng = np.random.default_rng(seed)
    y, X, terms = random_design(rng, n=80, kinds=kinds)
    weights = rng.uniform(0.5, 2.0, y.size) if weighted else None
    return LinearMixedModel(y, X, terms, weights=weights), reml


def nested():
    """Return rows of 12 outer levels, each with two inner ones, in random order."""
    inner = np.random.default_rng(0).permutation(np.repeat(np.arange(24), 5))
    return inner, inner // 2


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_verbs_match_dense_algebra(kinds, weighted):
    rng = np.random.default_rng(len(kinds))
    y, X, terms = random_design(rng, kinds=kinds)
    weights = rng.uniform(0.5, 2.0, y.size) if weighted else np.ones(y.size)
    cross = CrossProducts.from_arrays(y, X, terms, weights)
    engine = choose_engine(cross, "dense", terms, weights if weighted else None)
    Z, q = dense_Z(terms), cross.n_effects
    S, rhs = Z.T @ (Z * weights[:, None]), rng.standard_normal((q, 3))
    np.testing.assert_allclose(engine.gram_dot(rhs), S @ rhs, atol=1e-10)
    regular = rng.standard_normal(cross.relative_factor.n_theta)
    for theta in (regular, np.r_[0.0, regular[1:]], 0.0 * regular):
        Lambda = dense_Lambda(terms, theta)
        inverse = np.linalg.inv(Lambda.T @ S @ Lambda + np.eye(q))
        marginal = S - S @ Lambda @ inverse @ Lambda.T @ S
        engine.factorize(theta)
        assert engine.logdet() == pytest.approx(-np.linalg.slogdet(inverse)[1], abs=1e-9)
        np.testing.assert_allclose(engine.solve(rhs), inverse @ rhs, atol=1e-9)
        marginal_sums = engine.marginal_block_sums()
        for k, (shape, part) in enumerate(zip(cross.shapes, cross.relative_factor.effect_slices, strict=True)):
            c = shape.n_columns
            each = [slice(at, at + c) for at in range(part.start, part.stop, c)]
            np.testing.assert_allclose(engine.inverse_blocks(k), [inverse[s, s] for s in each], atol=1e-9)
            np.testing.assert_allclose(marginal_sums[k], sum(marginal[s, s] for s in each), atol=1e-8)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(designs, st.floats(0.0, 3.0))
def test_likelihood_equals_the_sparse_engine_and_the_oracle(design, size):
    model, reml = draw(design)
    theta = size * np.random.default_rng(design[0]).standard_normal(model.cross.relative_factor.n_theta)
    sparse, dense = (model.likelihood(reml, engine) for engine in ("cholmod", "dense"))
    left, right = sparse.evaluate(theta), dense.evaluate(theta)
    oracle = DenseModel(model.endog, model.exog, model.terms, theta, reml, model.weights)
    assert right.deviance == pytest.approx(left.deviance, abs=1e-8)
    assert right.deviance == pytest.approx(oracle.deviance, abs=1e-8)
    np.testing.assert_allclose(right.b, left.b, atol=1e-8)
    np.testing.assert_allclose(right.beta, left.beta, atol=1e-8)
    d, e = sparse.derivatives(left), dense.derivatives(right)
    np.testing.assert_allclose(e.gradient, d.gradient, atol=1e-7 * max(1.0, np.abs(d.gradient).max()))
    np.testing.assert_allclose(e.hessian, d.hessian, atol=1e-7 * max(1.0, np.abs(d.hessian).max()))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(designs)
def test_fit_equals_the_sparse_engine(design):
    model, reml = draw(design)
    sparse, dense = (model.fit(reml, engine=engine) for engine in ("cholmod", "dense"))
    assert dense.deviance == pytest.approx(sparse.deviance, abs=1e-8)
    np.testing.assert_allclose((dense.fe_params - sparse.fe_params) / sparse.bse, 0.0, atol=1e-5)
    np.testing.assert_allclose(dense.fittedvalues, sparse.fittedvalues, atol=1e-4 * sparse.sigma)


def test_disjoint_groups_are_separate_components():
    inner, outer = nested()
    y = np.random.default_rng(1).standard_normal(inner.size)
    X = np.column_stack([np.ones(y.size), np.random.default_rng(2).standard_normal(y.size)])
    model = LinearMixedModel(y, X, [RandomTerm(inner, name="inner"), RandomTerm(outer, X, name="outer")])
    engine = model.likelihood(engine="dense").engine
    assert engine.description == "dense Cholesky (LAPACK) of V, 12 groups of up to 10 rows each"
    columns = np.sort(np.concatenate([group.columns for group in engine.groups]))
    np.testing.assert_array_equal(columns, np.arange(24 + 24))
    for group in engine.groups:
        assert group.Z.shape == (10, 2 + 2)
        assert np.unique(group.columns[:2] // 2).size == 1  # both inner levels are of one outer level
        np.testing.assert_array_equal(group.columns[2:], 24 + group.columns[0] + np.arange(2))


def test_levels_whose_slope_is_zero_stay_in_one_group():
    groups = np.repeat(np.arange(6), 5)
    x = np.where(groups < 2, 0.0, np.random.default_rng(0).standard_normal(30))
    y = np.random.default_rng(1).standard_normal(30)
    model = LinearMixedModel(y, np.ones(30), RandomTerm(groups, np.column_stack([np.ones(30), x])))
    assert [group.columns.size for group in model.likelihood(engine="dense").engine.groups] == [2] * 6


def test_crossed_factors_are_one_group():
    fit = lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", datasets.load("Penicillin"), engine="dense")
    assert fit.optimizer.engine == "dense Cholesky (LAPACK) of V, 1 group of 144 rows"
    assert fit.deviance == pytest.approx(330.8605889909, abs=1e-7)  # lme4


def test_rows_without_levels_and_levels_without_rows():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((40, 5))
    Z[:10], Z[:, 3] = 0.0, 0.0
    y, X = rng.standard_normal(40), np.ones((40, 1))
    model = LinearMixedModel(y, X, RandomTerm.from_matrix(Z), weights=rng.uniform(0.5, 2.0, 40))
    theta = np.array([0.7])
    likelihood = model.likelihood(engine="dense")
    assert "1 group of 30 rows" in likelihood.engine.description
    evaluation = likelihood.evaluate(theta)
    assert evaluation.deviance == pytest.approx(
        DenseModel(y, X, model.terms, theta, True, model.weights).deviance, abs=1e-9
    )
    np.testing.assert_allclose(likelihood.engine.inverse_blocks(0)[3], 1.0)


def test_theta_out_of_range_is_an_engine_error():
    engine = lmer("Yield ~ 1 + (1 | Batch)", datasets.load("Dyestuff")).model.likelihood(engine="dense").engine
    with pytest.raises(EngineError, match="θ is out of range"):
        engine.factorize(np.array([1e20]))


def test_unknown_engine_lists_the_names():
    with pytest.raises(ValueError, match="'lapack' is not one of auto, cholmod, pcg, dense"):
        lmer("Yield ~ 1 + (1 | Batch)", datasets.load("Dyestuff"), engine="lapack")


def test_auto_is_never_dense():
    fit = lmer("Yield ~ 1 + (1 | Batch)", datasets.load("Dyestuff"))
    assert fit.optimizer.engine == "Batch eliminated as 6 blocks"
