"""The Schur complement of conjugate gradients, its coarse space and its compiled loops, against dense algebra."""

import numpy as np
import pytest
import scipy.sparse as sp
from oracles import random_design
from pcg_designs import DESIGNS
from scipy.linalg import block_diag

from sparselmm.crossproducts import CrossProducts
from sparselmm.engines import coarse
from sparselmm.engines.choose import largest_term
from sparselmm.engines.complement import Complement
from sparselmm.engines.conjugate import conjugate_gradients
from sparselmm.engines.products import Coupling

KINDS = [("scalar", "scalar"), ("slope", "three"), ("three", "scalar", "matrix")]


def dense_lambda(factors, shapes):
    """Return Λ of some terms."""
    return block_diag(*(np.kron(np.eye(s.n_levels), f) for f, s in zip(factors, shapes, strict=True)))


@pytest.fixture(params=KINDS, ids="-".join)
def case(request):
    """A Complement with a coarse space at some θ; C, B and H₁ dense."""
    rng = np.random.default_rng(8)
    y, X, terms = random_design(rng, n=300, kinds=request.param)
    w = rng.uniform(0.5, 2.0, 300)
    cross = CrossProducts.from_arrays(y, X, terms, w)
    first = largest_term(cross)
    rest = [k for k in range(len(terms)) if k != first]
    factors = cross.relative_factor.unpack(rng.uniform(0.3, 1.5, cross.relative_factor.n_theta))
    complement = Complement(cross, first, 0)
    complement.update(factors[first], [factors[k] for k in rest])
    Z1, Z2 = terms[first].Z.toarray(), np.hstack([terms[k].Z.toarray() for k in rest])
    B, S1, S2 = Z1.T @ (w[:, None] * Z2), Z1.T @ (w[:, None] * Z1), Z2.T @ (w[:, None] * Z2)
    L1 = dense_lambda([factors[first]], [cross.shapes[first]])
    L2 = dense_lambda([factors[k] for k in rest], [cross.shapes[k] for k in rest])
    M1 = L1.T @ S1 @ L1 + np.eye(len(L1))
    H = L1 @ np.linalg.solve(M1, L1.T)
    return complement, L2.T @ (S2 - B.T @ H @ B) @ L2 + np.eye(len(L2)), M1, B @ L2


def test_the_complement_is_preconditioned(case):
    complement, C, M1, _ = case
    A = complement.apply(np.eye(len(C)))
    root = complement.color(np.eye(len(C)))  # L_D⁻ᵀR
    np.testing.assert_allclose(A, root.T @ C @ root, atol=1e-9)
    np.testing.assert_allclose(complement.whiten(np.eye(len(C))), root.T, atol=1e-12)
    assert complement.covered
    assert np.trace(A) - len(A) == pytest.approx(complement.trace, abs=1e-8)
    logdet = np.linalg.slogdet(M1)[1] + np.linalg.slogdet(C)[1] - np.linalg.slogdet(A)[1]
    assert complement.logdet == pytest.approx(logdet, abs=1e-8)


def diagonal_sum(matrix, c):
    """Return the sum of the diagonal blocks (c, c)."""
    l = len(matrix) // c
    return matrix.reshape(l, c, l, c)[np.arange(l), :, np.arange(l)].sum(axis=0)


def test_controls_are_blocks_of_the_inverse_preconditioner(case):
    complement, C, _, BL = case
    root = complement.color(np.eye(len(C)))
    P = root @ root.T
    for control, shape, part in zip(
        complement.controls(), complement.map.shapes, complement.map.effect_slices, strict=True
    ):
        np.testing.assert_allclose(control, diagonal_sum(P[part, part], shape.n_columns), atol=1e-9)
    c = complement.gram.shape[1]
    first = complement.first_controls().sum(axis=0)
    np.testing.assert_allclose(first, diagonal_sum(BL @ P @ BL.T, c), atol=1e-8)


@pytest.mark.parametrize("c, d", [(1, 1), (2, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize("width", [1, 4, 9])
def test_products_of_the_coupling(c, d, width):
    rng = np.random.default_rng(c + d + width)
    levels, columns = 400, 60
    dense = rng.standard_normal((levels * c, columns * d)) * (rng.random((levels * c, columns * d)) < 0.1)
    B = Coupling(sp.csr_array(dense), c)
    H = rng.standard_normal((levels, c, c))
    H = H + H.transpose(0, 2, 1)
    wide = block_diag(*H)
    V, U = rng.standard_normal((columns * d, width)), rng.standard_normal((levels * c, width))
    np.testing.assert_allclose(B.dot(V), dense @ V, atol=1e-10)
    np.testing.assert_allclose(B.tdot(U), dense.T @ U, atol=1e-10)
    np.testing.assert_allclose(B.normal_dot(H, V), dense.T @ wide @ dense @ V, atol=1e-9)
    full = dense.T @ wide @ dense
    np.testing.assert_allclose(B.gram(H), full, atol=1e-9)
    part = slice(d * 10, d * 40)  # a term of the core
    inner = full[part, part].reshape(30, d, 30, d)
    np.testing.assert_allclose(B.column_blocks(H, part, d), inner[np.arange(30), :, np.arange(30)], atol=1e-9)
    G, out = rng.standard_normal((30, d, d)), np.zeros((levels, c, c))
    B.add_row_blocks(G, part, out)
    outer = (dense[:, part] @ block_diag(*G) @ dense[:, part].T).reshape(levels, c, levels, c)
    np.testing.assert_allclose(out, outer[np.arange(levels), :, np.arange(levels)], atol=1e-9)


def test_the_coupling_shares_the_arrays_of_the_cross_products():
    cross = DESIGNS["ratings"](np.random.default_rng(0)).cross
    complement = Complement(cross, 0, 64)
    assert np.shares_memory(complement._B.matrix.data, cross.cross[0, 1].data)
    assert np.shares_memory(complement._B.matrix.indices, cross.cross[0, 1].indices)


def test_neighbourhoods_are_those_who_share_workers():
    rng = np.random.default_rng(1)
    community = np.repeat(np.arange(10), 30)  # 300 firms
    worker = np.repeat(np.arange(3_000), 3)
    firm = rng.integers(0, 30, worker.size) + 30 * (worker % 10)
    B = sp.csr_array((np.ones(worker.size), (worker, firm)), shape=(3_000, 301))  # one firm without workers
    labels = coarse.neighbourhoods(B, 1, 1)
    assert labels[-1] == -1 and labels.max() + 1 == 301 // coarse.SHARE
    for label in range(labels.max() + 1):
        assert np.unique(community[labels[:-1] == label]).size == 1
    everyone = sp.csr_array(np.ones((20, 301)))
    assert (coarse.neighbourhoods(everyone, 1, 1) == -1).all()  # rows too long


def iterations(name, monkeypatch, share):
    monkeypatch.setattr(coarse, "PAIRS", share)
    model = DESIGNS[name](np.random.default_rng(9))
    likelihood = model.likelihood(engine="pcg")
    likelihood.derivatives(likelihood.evaluate(model.fit().theta))
    return likelihood.engine


@pytest.mark.parametrize("name", ["panel, strong effects", "panel, 30 sealed communities"])
def test_the_coarse_space_saves_iterations_and_variance(name, monkeypatch):
    with_it, without = (iterations(name, monkeypatch, pairs) for pairs in (coarse.PAIRS, 0))
    assert with_it.iterations < 0.6 * without.iterations
    assert with_it.logdet_error() < 0.5 * without.logdet_error()


def test_a_good_start_saves_iterations_and_a_bad_one_does_no_harm():
    rng = np.random.default_rng(2)
    A = rng.standard_normal((50, 50))
    A = A @ A.T / 50 + np.eye(50)
    b = rng.standard_normal((50, 3))
    x = np.linalg.solve(A, b)
    cold, warm, bad = (
        conjugate_gradients(lambda V: A @ V, b, 1e-10, start)
        for start in (None, x * (1 + 1e-5), 1e3 * rng.standard_normal(x.shape))
    )
    for solution in (cold, warm, bad):
        np.testing.assert_allclose(solution.x, x, atol=1e-8)
    assert warm.iterations < 0.75 * cold.iterations
    assert bad.iterations == cold.iterations
    assert conjugate_gradients(lambda V: A @ V, b, 1e-8, x).iterations == 0
