"""Cross-products and the pilot basis."""

import numpy as np
import pytest
import scipy.sparse as sp
from oracles import dense_Z, random_design

from sparselmm import DataError
from sparselmm.crossproducts import CrossProducts, full_rank_basis


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
@pytest.mark.parametrize("kinds", [("scalar", "scalar"), ("slope", "matrix", "three"), ("diagonal",)])
def test_blocks_equal_dense_products(kinds, weighted):
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
