"""Every layout of the engine against dense matrices."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from oracles import dense_Lambda, dense_Z, random_design

from sparselmm.crossproducts import CrossProducts
from sparselmm.engines.cholmod import Cholesky, SparseCore
from sparselmm.engines.choose import choose_engine
from sparselmm.engines.core import DenseCore
from sparselmm.engines.coupling import DenseCoupling, SparseCoupling
from sparselmm.engines.exact import level_pattern, product_pattern
from sparselmm.engines.schur import SchurEngine, coupling_pieces
from sparselmm.engines.selinv import selected_inverse
from sparselmm.terms import RandomTerm

KINDS = {
    "one scalar": ("scalar",),
    "one slope": ("slope",),
    "two scalars": ("scalar", "scalar"),
    "three crossed": ("scalar", "slope", "three"),
    "diagonal": ("scalar", "diagonal"),
    "matrix": ("scalar", "matrix"),
    "matrix only": ("matrix",),
    "slope first": ("three", "scalar", "plain"),
}
LAYOUTS = (
    "auto",
    "dense core, dense coupling",
    "dense core, sparse coupling",
    "sparse core",
    "whole dense",
    "whole sparse",
)


def build(cross, layout):
    """Return an engine of the given layout, or None where the terms do not allow it."""
    shapes = cross.shapes
    eliminated = next((k for k, block in enumerate(cross.diagonal) if not sp.issparse(block)), None)
    if layout == "auto":
        return choose_engine(cross)
    if layout.startswith("whole"):
        terms = list(range(len(shapes)))
        core = DenseCore(cross, terms) if layout == "whole dense" else SparseCore(cross, terms)
        return SchurEngine(cross, None, core, None)
    rest = [k for k in range(len(shapes)) if k != eliminated]
    if eliminated is None or not rest:
        return None
    pieces, c = coupling_pieces(cross, eliminated, rest), shapes[eliminated].n_columns
    core = DenseCore(cross, rest)
    if layout == "sparse core":
        patterns = [level_pattern(piece, c, shapes[k].n_columns) for piece, k in zip(pieces, rest, strict=True)]
        core = SparseCore(cross, rest, product_pattern(patterns))
    if layout.endswith("dense coupling"):
        return SchurEngine(cross, eliminated, core, DenseCoupling(sp.hstack(pieces), c, core.map))
    return SchurEngine(cross, eliminated, core, SparseCoupling(pieces, c, core.map, core.rank))


def with_zeros(term, rng):
    """Return the term with columns of which one in every row is not zero, as dummies of conditions have it."""
    values = np.eye(term.n_columns)[rng.integers(term.n_columns, size=len(term.values))]
    return RandomTerm(term.codes, values, structure=term.structure, name=term.name)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
def test_verbs_match_dense_algebra(kinds, layout, zeros):
    rng = np.random.default_rng(len(kinds))
    y, X, terms = random_design(rng, kinds=kinds)
    if zeros:
        if all(term.n_columns == 1 for term in terms):
            return
        terms = [term if term.codes is None or term.n_columns == 1 else with_zeros(term, rng) for term in terms]
    weights = rng.uniform(0.5, 2.0, y.size)
    cross = CrossProducts.from_arrays(y, X, terms, weights)
    engine = build(cross, layout)
    if engine is None:
        return
    Z, q = dense_Z(terms), cross.n_effects
    S = Z.T @ (Z * weights[:, None])
    rhs = rng.standard_normal((q, 3))
    np.testing.assert_allclose(engine.gram_dot(rhs), S @ rhs, atol=1e-10)
    for singular in (False, True):
        theta = rng.standard_normal(cross.relative_factor.n_theta)
        if singular:
            theta[0] = 0.0
        Lambda = dense_Lambda(terms, theta)
        M = Lambda.T @ S @ Lambda + np.eye(q)
        inverse = np.linalg.inv(M)
        marginal = S - S @ Lambda @ inverse @ Lambda.T @ S
        engine.factorize(theta)
        assert engine.logdet() == pytest.approx(np.linalg.slogdet(M)[1], abs=1e-9)
        np.testing.assert_allclose(engine.solve(rhs), inverse @ rhs, atol=1e-9)
        marginal_sums = engine.marginal_block_sums()
        for k, (shape, part) in enumerate(zip(cross.shapes, cross.relative_factor.effect_slices, strict=True)):
            c, levels = shape.n_columns, range(shape.n_levels)
            each = [slice(part.start + j * c, part.start + (j + 1) * c) for j in levels]
            blocks = np.array([inverse[s, s] for s in each])
            np.testing.assert_allclose(engine.inverse_blocks(k), blocks, atol=1e-9)
            expected = sum(marginal[s, s] for s in each)
            np.testing.assert_allclose(marginal_sums[k], expected, atol=1e-7 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inverse_blocks_of_thin_levels_with_large_variances(layout):
    rng = np.random.default_rng(0)
    n = 60
    values = np.column_stack([np.ones(n), rng.standard_normal((n, 2))])
    terms = [
        RandomTerm(np.arange(n) // 1.5, values, name="thin"),  # levels of one or two rows and three columns
        RandomTerm(rng.integers(12, size=n), name="g"),
        RandomTerm(rng.integers(9, size=n), values, name="h"),
    ]
    cross = CrossProducts.from_arrays(rng.standard_normal(n), np.ones((n, 1)), terms)
    engine, map_ = build(cross, layout), cross.relative_factor
    thin = 1e4 * np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.3, 0.2, 0.1]])
    factors = [thin, np.array([[100.0]]), np.diag([100.0, 1.0, 0.0])]
    theta = map_.pack(factors)
    Z, Lambda = dense_Z(terms), dense_Lambda(terms, theta)
    inverse = np.linalg.inv(Lambda.T @ Z.T @ Z @ Lambda + np.eye(Z.shape[1]))
    engine.factorize(theta)
    for k, (shape, part) in enumerate(zip(cross.shapes, map_.effect_slices, strict=True)):
        each = [part.start + shape.n_columns * j + np.arange(shape.n_columns) for j in range(shape.n_levels)]
        blocks = np.array([inverse[np.ix_(s, s)] for s in each])
        np.testing.assert_allclose(engine.inverse_blocks(k), blocks, atol=1e-7)


def test_marginal_sums_do_not_jump_where_the_formula_changes():
    y, X, terms = random_design(np.random.default_rng(5), kinds=("scalar", "slope"))
    engine = choose_engine(CrossProducts.from_arrays(y, X, terms))
    sums = []
    for small in (1e-4, 1e-3, 1.5e-3, 2e-3, 3e-3):  # either side of WELL_CONDITIONED
        engine.factorize(np.array([small, 0.7, 0.2, small]))
        sums.append(np.concatenate([s.ravel() for s in engine.marginal_block_sums()]))
    for left, right in itertools.pairwise(sums):
        np.testing.assert_allclose(left, right, rtol=2e-3)


@pytest.mark.parametrize("structure", ["unstructured", "diagonal"])
@pytest.mark.parametrize("theta", [[0.5, 0.0, 0.0], [0.5, 0.2, 0.0], [0.0, 0.0, 0.7], [0.0, 0.0, 0.0]])
def test_singular_terms_with_many_columns(theta, structure, monkeypatch):
    """The nearby θ of large terms against the block solve of small ones."""
    from sparselmm import RandomTerm
    from sparselmm.engines import schur

    rng = np.random.default_rng(1)
    n = 400
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    first, second = rng.integers(0, 40, n), rng.integers(0, 15, n)
    terms = [RandomTerm(first, X, structure="diagonal"), RandomTerm(second, X, "second", structure=structure)]
    engine = choose_engine(CrossProducts.from_arrays(rng.standard_normal(n), X, terms))
    assert engine.eliminated == 0
    engine.factorize(np.r_[0.6, 0.3, theta if structure == "unstructured" else np.array(theta)[[0, 2]]])
    exact = engine.marginal_block_sums()[1]
    monkeypatch.setattr(schur, "FEW", 0)
    np.testing.assert_allclose(engine.marginal_block_sums()[1], exact, rtol=0, atol=3e-7 * np.abs(exact).max())


@pytest.mark.parametrize("kinds", [("slope",), ("scalar", "scalar", "scalar"), ("diagonal", "scalar")])
def test_large_pattern_chooses_sparse_core(kinds):
    """Levels nested in levels: no fill, so the remainder is sparse and must agree with the dense layouts."""
    rng = np.random.default_rng(0)
    n = 6000
    outer = rng.integers(0, 800, n)
    X = np.ones((n, 1))
    values = np.column_stack([np.ones(n), rng.standard_normal(n)])
    from sparselmm import RandomTerm

    terms = [RandomTerm(outer * 2 + rng.integers(0, 2, n), name="inner"), RandomTerm(outer, values, name="outer")]
    if len(kinds) == 3:
        terms.append(RandomTerm(outer // 8, name="top"))
    y = rng.standard_normal(n) + rng.standard_normal(800)[outer]
    cross = CrossProducts.from_arrays(y, X, terms)
    engine = choose_engine(cross)
    assert isinstance(engine.core, SparseCore)
    rest = engine._rest
    dense = SchurEngine(
        cross,
        engine.eliminated,
        core := DenseCore(cross, rest),
        SparseCoupling(
            coupling_pieces(cross, engine.eliminated, rest), cross.shapes[engine.eliminated].n_columns, core.map
        ),
    )
    theta = rng.uniform(0.2, 1.0, cross.relative_factor.n_theta)
    for other in (engine, dense):
        other.factorize(theta)
    assert engine.logdet() == pytest.approx(dense.logdet(), rel=1e-12)
    for left, right in zip(engine.marginal_block_sums(), dense.marginal_block_sums(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9)


@pytest.mark.parametrize("density", [0.02, 0.2, 1.0])
def test_selected_inverse_equals_dense_inverse_on_the_pattern(density):
    rng = np.random.default_rng(3)
    A = sp.random_array((40, 40), density=density, random_state=rng).toarray()
    A = A @ A.T + 40 * np.eye(40)
    lower = sp.csc_array(np.tril(A))
    lower.sort_indices()
    factor = Cholesky(lower.indptr.astype(np.int32), lower.indices.astype(np.int32))
    factor.factorize(lower.data)
    L = factor.lower_factor()
    data = selected_inverse(L.indptr, L.indices, L.data)
    order = factor.permutation
    inverse = np.linalg.inv(A)[np.ix_(order, order)]
    columns = np.repeat(np.arange(40), np.diff(L.indptr))
    np.testing.assert_allclose(data, inverse[L.indices, columns], atol=1e-12)
    np.testing.assert_allclose(factor.solve(np.eye(40)), np.linalg.inv(A), atol=1e-12)


def test_symbolic_counts_equal_the_factor():
    from sparselmm.engines.kernels import column_counts

    rng = np.random.default_rng(4)
    A = sp.random_array((60, 60), density=0.05, random_state=rng).toarray()
    lower = sp.csc_array(np.tril(A @ A.T + 60 * np.eye(60)))
    lower.sort_indices()
    counts = column_counts(lower.indptr, lower.indices)
    pattern = np.abs(lower.toarray()) > 0
    pattern |= pattern.T
    for k in range(60):  # elimination of the graph, vertex by vertex
        later = np.flatnonzero(pattern[k, k + 1 :]) + k + 1
        pattern[np.ix_(later, later)] = True
        assert counts[k] == later.size + 1


class NewApi:
    """A stand-in with the interface of scikit-sparse 0.5, on dense matrices."""

    class CholmodNotPositiveDefiniteError(Exception):
        pass

    class CholeskyFactor:
        def __init__(self, A, *, lower=True, order="default"):
            assert lower and order in ("default", "natural")
            self.perm = np.arange(A.shape[0])[:: -1 if order == "default" else 1]

        def copy(self):
            other = object.__new__(type(self))
            other.perm = self.perm
            return other

        def factorize(self, A):
            A = A.toarray()
            self.A = A + np.tril(A, -1).T
            self.factor = sp.csc_array(np.linalg.cholesky(self.A[np.ix_(self.perm, self.perm)]))
            return self

        def solve(self, rhs):
            return np.linalg.solve(self.A, rhs)


def test_adapter_speaks_both_interfaces(monkeypatch):
    A = np.array([[4.0, 1.0, 0.0], [1.0, 5.0, 2.0], [0.0, 2.0, 6.0]])
    lower = sp.csc_array(np.tril(A))
    results = []
    for new in (False, True):
        if new:
            monkeypatch.setattr("sparselmm.engines.cholmod._library", lambda: NewApi)
        factor = Cholesky(lower.indptr.astype(np.int32), lower.indices.astype(np.int32))
        factor.factorize(2.0 * lower.data)
        factor.factorize(lower.data)
        L, order = factor.lower_factor().toarray(), factor.permutation
        np.testing.assert_allclose(L @ L.T, A[np.ix_(order, order)], atol=1e-13)
        results.append(factor.solve(np.eye(3)))
    np.testing.assert_allclose(results[0], results[1], atol=1e-13)


def test_missing_library_names_the_remedy(monkeypatch):
    import sys

    from sparselmm import EngineError
    from sparselmm.engines.cholmod import _library

    _library.cache_clear()
    monkeypatch.setitem(sys.modules, "sksparse", None)
    monkeypatch.setitem(sys.modules, "sksparse.cholmod", None)
    with pytest.raises(EngineError, match="libsuitesparse-dev libopenblas0-pthread"):
        Cholesky(np.array([0, 1], np.int32), np.array([0], np.int32))
