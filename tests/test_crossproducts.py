"""Cross-products and the pilot basis."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracles import dense_Z, random_design

from sparselmm import DataError, RandomTerm, crossproducts, levelsums
from sparselmm.crossproducts import CrossProducts, full_rank_basis
from sparselmm.engines.choose import choose_engine
from sparselmm.likelihood import ProfiledLikelihood
from sparselmm.start import moment_start


def dense_gram(cross):
    """Return S = Z'WZ, (q, q), from the blocks."""
    parts = cross.relative_factor.effect_slices
    S = np.zeros((cross.n_effects,) * 2)
    for k, block in enumerate(cross.diagonal):
        if sp.issparse(block):
            S[parts[k], parts[k]] = block.toarray()
        else:
            for j, small in enumerate(block):
                at = parts[k].start + j * small.shape[0]
                S[at : at + small.shape[0], at : at + small.shape[0]] = small
    for (k, m), block in cross.cross.items():
        S[parts[k], parts[m]] = block.toarray()
        S[parts[m], parts[k]] = block.toarray().T
    return S


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "kinds", [("scalar", "scalar"), ("slope", "matrix", "three"), ("diagonal",), ("plain", "three")]
)
@pytest.mark.parametrize("slice_", [1 << 20, 7])
def test_blocks_equal_dense_products(kinds, weighted, slice_, monkeypatch):
    monkeypatch.setattr(crossproducts, "SLICE", slice_)
    rng = np.random.default_rng(0)
    y, X, terms = random_design(rng, kinds=kinds, p=3)
    w = rng.uniform(0.5, 2.0, y.size) if weighted else np.ones(y.size)
    cross = CrossProducts.from_arrays(y, X, terms, w if weighted else None)
    Z, Xt = dense_Z(terms), X @ cross.basis
    residual = y - Xt @ cross.center
    np.testing.assert_allclose(dense_gram(cross), Z.T @ (w[:, None] * Z), atol=1e-12)
    np.testing.assert_allclose(cross.XX, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(cross.Xy, 0.0, atol=1e-12)
    np.testing.assert_allclose(cross.ZX, Z.T @ (w[:, None] * Xt), atol=1e-12)
    np.testing.assert_allclose(cross.Zy, Z.T @ (w * residual), atol=1e-12)
    assert cross.yy == pytest.approx(residual @ (w * residual))
    assert cross.basis_logdet == pytest.approx(-np.linalg.slogdet(X.T @ (w[:, None] * X))[1])
    expected = np.linalg.lstsq(X * np.sqrt(w)[:, None], y * np.sqrt(w), rcond=None)[0]
    np.testing.assert_allclose(cross.to_params(np.zeros(3)), expected, atol=1e-10)


def test_leftmost_independent_columns_are_kept():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 50))
    one = np.ones(50)
    cases = {
        "duplicate": (np.column_stack([one, a, a, b]), [0, 1, 3]),
        "sum": (np.column_stack([one, a, b, a + b]), [0, 1, 2]),
        "zero": (np.column_stack([one, 0 * one, a]), [0, 2]),
        "dummies": (np.column_stack([one, a > 0, a <= 0, b]).astype(float), [0, 1, 3]),
        "scaled": (np.column_stack([1e-9 * one, 1e9 * a, 1e3 * a + 1e-3, b]), [0, 1, 3]),
        "nearly": (np.column_stack([one, a, a + 1e-5 * b]), [0, 1, 2]),
        "too near": (np.column_stack([one, a, a + 1e-9 * b]), [0, 1]),
        "year": (np.column_stack([one, 2000 + np.arange(50) % 7]), [0, 1]),
        "none": (np.zeros((50, 2)), []),
    }
    for name, (X, expected) in cases.items():
        kept, basis = full_rank_basis(X)
        assert list(kept) == expected, name
        if expected:
            orthonormal = X[:, kept] @ basis
            np.testing.assert_allclose(orthonormal.T @ orthonormal, np.eye(len(kept)), atol=1e-6, err_msg=name)


def test_more_columns_than_rows():
    X = np.random.default_rng(2).standard_normal((4, 7))
    kept, _ = full_rank_basis(X)
    assert list(kept) == [0, 1, 2, 3]


def test_no_fixed_effects():
    rng = np.random.default_rng(3)
    y, _, terms = random_design(rng, kinds=("scalar",))
    from sparselmm import LinearMixedModel

    fit = LinearMixedModel(y, np.empty((y.size, 0)), terms).fit()
    assert fit.converged and fit.params.size == 0


def test_dependent_columns_are_an_error_of_the_lower_level():
    y, X, terms = random_design(np.random.default_rng(4), kinds=("scalar",))
    with pytest.raises(DataError, match="dependent"):
        CrossProducts.from_arrays(y, np.column_stack([X, X]), terms)


def test_counts_take_half_the_memory_where_they_are_exact(monkeypatch):
    rng = np.random.default_rng(5)
    y, X, terms = random_design(rng, kinds=("scalar", "scalar", "slope"))
    blocks = CrossProducts.from_arrays(y, X, terms).cross
    assert {pair: block.dtype.itemsize for pair, block in blocks.items()} == {(0, 1): 4, (0, 2): 8, (1, 2): 8}
    assert CrossProducts.from_arrays(y, X, terms, np.ones(y.size)).cross[0, 1].dtype == np.float64
    monkeypatch.setattr(levelsums, "SINGLE_LIMIT", 2)
    assert CrossProducts.from_arrays(y, X, terms).cross[0, 1].dtype == np.float64


def test_products_that_vanish_are_not_stored():
    first = RandomTerm([0, 0, 1, 1], np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), "g")
    second = RandomTerm([0, 1, 0, 1], np.array([1.0, -1.0, 1.0, 2.0]), "h")
    cross = CrossProducts.from_arrays(np.arange(4.0), np.ones((4, 1)), [first, second])
    np.testing.assert_array_equal(cross.cross[0, 1].toarray(), [[1, -1], [0, 0], [0, 0], [1, 2]])
    assert cross.cross[0, 1].nnz == 4 and cross.cross[0, 1].has_canonical_format


def test_an_intercept_takes_no_memory():
    groups = np.arange(6) % 3
    for term in (RandomTerm(groups), RandomTerm(groups, np.ones(6)), RandomTerm(groups, np.ones((6, 1)))):
        assert term.is_intercept and term.values.strides[0] == 0 and term.values.shape == (6, 1)
        np.testing.assert_array_equal(term.Z.toarray(), np.eye(3)[groups])
    assert not RandomTerm(groups, 2.0 * np.ones(6)).is_intercept
    assert not RandomTerm(groups, np.ones((6, 2))).is_intercept
    assert not RandomTerm.from_matrix(np.ones((6, 1))).is_intercept


@pytest.mark.parametrize("dtype", ["i1", "u1", "i8", "u8", "i8 wide", "u8 wide", "i8 extreme"])
def test_integers_of_any_type_are_levels(dtype):
    kind, *width = dtype.split()
    info = np.iinfo(kind)
    values = {"wide": [5, 10**15, 7], "extreme": [info.min, info.max, 0]}.get(
        *width or [""], [info.max, info.max - 2, 3]
    )
    groups = np.array([values[i] for i in (0, 1, 2, 1)], dtype=kind)
    term = RandomTerm(groups)
    assert term.codes.dtype == np.int32 and list(term.levels) == sorted(values)
    assert [term.levels[code] for code in term.codes] == groups.tolist()


def settled_as_from_rows(X, basis, seed=0):
    """Assert that `settle` of the sums of X in a basis keeps the columns that X itself says, and return them."""
    rng = np.random.default_rng(seed)
    n, p = X.shape
    y, term = rng.standard_normal(n) + 10.0, RandomTerm(np.arange(n) % 5)
    kept, cross = CrossProducts.from_chunk(y, X, [term], None, basis, rng.standard_normal(p)).settle()
    expected, _ = full_rank_basis(X)
    assert list(kept) == list(expected)
    assert np.allclose(cross.XX, np.eye(kept.size), atol=1e-8) and np.allclose(cross.Xy, 0.0, atol=1e-8)
    whole = CrossProducts.from_arrays(y, X[:, kept], [term])
    assert cross.yy == pytest.approx(whole.yy, rel=1e-8)
    assert cross.basis_logdet == pytest.approx(whole.basis_logdet, abs=1e-6)
    ours, theirs = (ProfiledLikelihood(c).evaluate(np.array([0.7])) for c in (cross, whole))
    assert ours.deviance == pytest.approx(theirs.deviance, abs=1e-6)
    np.testing.assert_allclose(cross.to_params(ours.beta), whole.to_params(theirs.beta), rtol=1e-6, atol=1e-8)
    assert not np.tril(cross.basis, -1).any()
    return list(kept)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(0, 3), st.floats(-6, 6))
@example(0, 0, 0, 0.0)
@example(1, 3, 3, 6.0)
def test_sums_in_any_basis_keep_the_leftmost_independent_columns(seed, p, dependent, exponent):
    rng = np.random.default_rng(seed)
    X = rng.integers(-3, 4, (40, p)).astype(float)
    for _ in range(dependent if p else 0):
        column = X @ rng.integers(-1, 2, X.shape[1])
        X = np.insert(X, rng.integers(0, X.shape[1] + 1), column, axis=1)
    p = X.shape[1]
    X = X * 10.0 ** rng.uniform(-abs(exponent), abs(exponent), p)
    basis = (np.triu(rng.uniform(-1, 1, (p, p)), 1) + np.diag(rng.uniform(0.5, 2.0, p) * rng.choice([-1, 1], p))) * 1.0
    norms = np.sqrt(np.sum(X**2, axis=0))
    settled_as_from_rows(X, basis / np.where(norms > 0, norms, 1.0)[:, None], seed)


def test_columns_that_a_sample_did_not_tell_apart():
    n = 2000
    rng = np.random.default_rng(6)
    one, year = np.ones(n), 2000.0 + np.arange(n) // 200
    rare = (np.arange(n) % 500 == 499) * 1.0
    X = np.column_stack([one, year, rare, 3.0 * rare, year - 2.0 * rare, rng.standard_normal(n)])
    sample = X[:100]  # one year, no rare case
    norms = np.sqrt(np.sum(sample**2, axis=0))
    basis = np.diag(1.0 / np.where(norms > 0, norms, 1.0))
    known, T = full_rank_basis(sample)
    basis[np.ix_(known, known)] = T
    assert list(known) == [0, 5]
    assert settled_as_from_rows(X, basis) == [0, 1, 2, 5]
    residual = sample - sample @ np.linalg.lstsq(sample, sample, rcond=None)[0]
    assert np.abs(residual).max() < 1e-9
    noise = basis.copy()  # a pilot column that is rounding: the year with its projection on the constant removed
    noise[0, 4], noise[4, 4] = -1.0, 1.0 / 2000.0
    duplicate = X.copy()
    duplicate[:, 4] = 2000.0 * (1.0 + 1e-16 * rng.standard_normal(n))
    kept, _ = CrossProducts.from_chunk(
        one, duplicate, [RandomTerm(np.arange(n) % 5)], None, noise, np.zeros(6)
    ).settle()
    assert list(kept) == [0, 1, 2, 5]


def test_dependent_columns_are_found_when_all_rows_are_there():
    y, X = np.arange(8.0), np.column_stack([np.ones(8), np.repeat([0.0, 1.0], 4), np.repeat([1.0, 0.0], 4)])
    cross = CrossProducts.from_chunk(y, X, [RandomTerm(np.arange(8) % 4)], None, np.eye(3), np.zeros(3))
    assert list(cross.settle()[0]) == [0, 1]


@pytest.mark.parametrize(("levels", "engine"), [(20, "cholmod"), (600, "cholmod"), (600, "pcg")])
def test_engines_compute_with_counts_in_double_precision(levels, engine):
    rng = np.random.default_rng(7)
    y, X = rng.standard_normal(4000), np.ones((4000, 1))
    terms = [RandomTerm(rng.integers(0, levels, 4000)) for levels in (levels, levels - 5)]
    cross = CrossProducts.from_arrays(y, X, terms)
    wide = replace(cross, cross={pair: block.astype(float) for pair, block in cross.cross.items()})
    theta, found = np.array([0.3, 0.7]), []
    for sums in (cross, wide):
        likelihood = ProfiledLikelihood(sums, True, choose_engine(sums, engine))
        at = likelihood.evaluate(theta)
        found.append(np.concatenate([[at.deviance], likelihood.derivatives(at).gradient, at.b]))
        np.testing.assert_allclose(moment_start(sums), moment_start(wide), rtol=1e-6)
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-10)
