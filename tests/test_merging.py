"""Sums of cross-products over chunks: the same as of all rows, whatever the chunks and however they are added."""

import operator
import weakref
from functools import reduce

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import random_design
from test_crossproducts import dense_gram

from sparselmm import DataError, RandomTerm
from sparselmm.crossproducts import CrossProducts, full_rank_basis
from sparselmm.likelihood import ProfiledLikelihood

DESIGNS = [("scalar",), ("slope", "scalar"), ("three", "diagonal", "scalar"), ("scalar", "matrix")]
LABELS = {
    "counted": lambda numbers: numbers,
    "scattered": lambda numbers: (numbers * 7919 + 5) % 10_007 - 10**12,
    "unsigned": lambda numbers: numbers.astype(np.uint16),
    "floats": lambda numbers: numbers / 8.0,
    "texts": lambda numbers: np.array([f"é{(number * 7) % 100}" for number in numbers], dtype=object),
    "dates": lambda numbers: np.datetime64("2024-01-01") + numbers.astype("m8[h]"),
    "truth": lambda numbers: numbers % 2 == 0,
}


def chunk(term, rows):
    """Return a term on some of its rows, its levels found anew."""
    if term.matrix is not None:
        block = term.matrix[rows]
        used = np.flatnonzero(np.diff(block.tocsc().indptr))
        used = used if used.size else np.arange(1)
        return RandomTerm.from_matrix(block[:, used], term.name, term.levels[used])
    groups = term.levels.take(term.codes[rows])
    return RandomTerm(groups, term.values[rows], term.name, term.columns, term.structure)


def products(y, X, terms, weights, parts, basis=None, center=None):
    """Yield the cross-products of parts of the rows, around a pilot fit of the first if no basis is given."""
    for rows in parts:
        own = None if weights is None else weights[rows]
        arrays = y[rows], X[rows], [chunk(term, rows) for term in terms], own
        if basis is None:
            pilot = CrossProducts.from_arrays(*arrays)
            basis, center = pilot.basis, pilot.center
        yield CrossProducts.from_chunk(*arrays, basis, center)


def assert_same(ours, theirs, rtol=1e-9):
    """Assert that cross-products are equal, level by level, but for rounding."""
    assert (ours.nobs, ours.shapes) == (theirs.nobs, theirs.shapes)
    for own, other in zip(ours.levels, theirs.levels, strict=True):
        assert list(own) == list(other)
    for block, other in zip(ours.cross.values(), theirs.cross.values(), strict=True):
        assert block.has_canonical_format and block.dtype == other.dtype
    for name in ("log_weights", "XX", "Xy", "yy", "ZX", "Zy", "basis", "center"):
        own, other = (np.asarray(getattr(cross, name)) for cross in (ours, theirs))
        np.testing.assert_allclose(own, other, rtol=rtol, atol=rtol * np.abs(other).max(initial=1.0), err_msg=name)
    gram = dense_gram(theirs)
    np.testing.assert_allclose(dense_gram(ours), gram, rtol=rtol, atol=rtol * np.abs(gram).max(initial=1.0))


@st.composite
def chunked_designs(draw):
    """Draw y, X, terms, weights, the parts of the rows, T and c."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.standard_normal((n, draw(st.integers(0, 3))))
    terms = []
    for k in range(draw(st.integers(1, 3))):
        name, kind = f"g{k}", draw(st.sampled_from(("intercept", "slope", "column", "matrix")))
        if kind == "matrix":
            terms.append(RandomTerm.from_matrix(rng.integers(-1, 2, (n, 4)) * 1.5, name, list("abcd")))
            continue
        labels = LABELS[draw(st.sampled_from(sorted(LABELS)))](rng.integers(0, draw(st.integers(1, 50)), n))
        values = {"intercept": None, "slope": np.column_stack([np.ones(n), X[:, :1] > 0, -X[:, :1]])}
        terms.append(RandomTerm(labels, values.get(kind, rng.integers(0, 3, n)), name))
    weights = rng.uniform(0.5, 2.0, n) if draw(st.booleans()) else None
    owner = rng.integers(0, draw(st.integers(1, 5)), n)
    rows = rng.permutation(n)
    parts = [rows[owner[rows] == number] for number in np.unique(owner)]
    p = X.shape[1]
    basis = np.triu(rng.uniform(-2.0, 2.0, (p, p)), 1) + np.diag(rng.uniform(0.5, 2.0, p) * rng.choice([-1, 1], p))
    return rng.standard_normal(n), X, terms, weights, parts, basis, rng.standard_normal(p)


@settings(max_examples=80, deadline=None)
@given(chunked_designs())
def test_any_chunks_in_any_order_sum_to_all_rows(design):
    y, X, terms, weights, parts, basis, center = design
    every = np.arange(y.size)
    (whole,) = products(y, X, terms, weights, [every], basis, center)
    chunks = list(products(y, X, terms, weights, parts, basis, center))
    assert_same(CrossProducts.sum(iter(chunks)), whole)
    assert_same(sum(chunks), whole)
    assert_same(reduce(operator.add, reversed(chunks)), whole)
    half = len(chunks) // 2
    if half:
        assert_same(sum(chunks[half:]) + sum(chunks[:half]), whole)


@settings(max_examples=30, deadline=None)
@given(chunked_designs(), st.integers(0, 2**32 - 1))
def test_sums_of_chunks_in_different_bases_are_in_that_of_the_first(design, seed):
    y, X, terms, weights, parts, basis, center = design
    rng, p = np.random.default_rng(seed), X.shape[1]
    (whole,) = products(y, X, terms, weights, [np.arange(y.size)], basis, center)
    others = [np.triu(rng.uniform(-1, 1, (p, p)), 1) + np.diag(rng.uniform(0.5, 2.0, p)) for _ in parts[1:]]
    bases = [(basis, center), *((other, rng.standard_normal(p)) for other in others)]
    chunks = [next(products(y, X, terms, weights, [rows], *pilot)) for rows, pilot in zip(parts, bases, strict=True)]
    assert_same(sum(chunks), whole, rtol=1e-7)
    assert_same(whole.rebased(*bases[-1]).rebased(basis, center), whole, rtol=1e-7)


@pytest.mark.parametrize("kinds", DESIGNS, ids="-".join)
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_fits_of_sums_are_those_of_all_rows(kinds, count, weighted, agree):
    rng = np.random.default_rng(count)
    y, X, terms = random_design(rng, n=240, kinds=kinds)
    y = y + 1e6
    weights = rng.uniform(0.5, 2.0, y.size) if weighted else None
    whole = CrossProducts.from_arrays(y, X, terms, weights)
    parts = np.array_split(rng.permutation(y.size), count)
    summed = CrossProducts.sum(products(y, X, terms, weights, parts)).settle()[1]
    theta = rng.uniform(0.2, 1.0, whole.relative_factor.n_theta)
    at, expected = (ProfiledLikelihood(cross).evaluate(theta) for cross in (summed, whole))
    model, reference = "-".join(kinds), "all rows at once"
    agree("deviance from chunks", model, reference, at.deviance, expected.deviance, atol=1e-8)
    agree(
        "fixed effects from chunks",
        model,
        reference,
        summed.to_params(at.beta),
        whole.to_params(expected.beta),
        rtol=1e-9,
    )
    agree("random effects from chunks", model, reference, at.b, expected.b, atol=1e-8)
    assert summed.basis_logdet == pytest.approx(whole.basis_logdet, abs=1e-9)


def test_levels_keep_the_order_that_both_have_or_are_sorted():
    def part(labels):
        term = RandomTerm(pd.Categorical(labels, ["low", "mid", "high"]), name="g")
        other = RandomTerm([1, 1, 2][: len(labels)], name="h")
        return CrossProducts.from_chunk(
            np.arange(len(labels)) * 1.0, np.ones((len(labels), 1)), [term, other], None, np.eye(1), np.zeros(1)
        )

    assert list((part(["high", "low", "mid"]) + part(["mid", "low", "high"])).levels[0]) == ["low", "mid", "high"]
    summed = part(["low", "high", "low"]) + part(["mid", "low"])
    assert list(summed.levels[0]) == ["high", "low", "mid"]
    np.testing.assert_array_equal(summed.diagonal[0].ravel(), [1, 3, 1])
    np.testing.assert_array_equal(summed.cross[0, 1].toarray(), [[1, 0], [2, 1], [1, 0]])
    assert summed.cross[0, 1].has_canonical_format


def test_a_generator_is_summed_with_few_parts_alive():
    alive = weakref.WeakSet()
    largest = 0

    def parts():
        nonlocal largest
        for seed in range(64):
            y, X, terms = random_design(np.random.default_rng(seed), kinds=("scalar", "scalar"))
            part = CrossProducts.from_chunk(y, X, terms, None, np.eye(2), np.zeros(2))
            alive.add(part)
            yield part
            del part
            largest = max(largest, len(alive))

    assert CrossProducts.sum(parts()).nobs == 64 * 60
    assert largest <= 2  # of the chunks, only the last can wait until they are added


def test_sums_of_counts_are_exact_beyond_single_precision(monkeypatch):
    monkeypatch.setattr("sparselmm.levelsums.SINGLE_LIMIT", 8)
    term = [RandomTerm([0, 0, 0, 0, 1], name="g"), RandomTerm([0, 0, 0, 0, 1], name="h")]
    one = CrossProducts.from_chunk(np.arange(5.0), np.ones((5, 1)), term, None, np.eye(1), np.zeros(1))
    assert one.cross[0, 1].dtype == np.float32
    assert (one + one).cross[0, 1].dtype == np.float64
    np.testing.assert_array_equal((one + one + one).cross[0, 1].toarray(), [[12, 0], [0, 3]])


def test_sums_hold_no_more_memory_than_they_fill():
    rng = np.random.default_rng(0)
    terms = [RandomTerm(np.r_[np.arange(30), rng.integers(0, 30, 5000)], name=name) for name in "gh"]
    one = CrossProducts.from_chunk(np.arange(5030.0), np.ones((5030, 1)), terms, None, np.eye(1), np.zeros(1))
    block = (one + one).cross[0, 1]
    for values in (block.data, block.indices):
        assert values.base is None or values.base.size < values.size / 0.75 + 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([1, 2, 1], ["a", "b", "a"]),
        ([True, False, True], [1, 0, 1]),
        (pd.to_datetime(["2024-01-01", "2024-01-02"] * 2), pd.to_datetime(["2024-01-01", "2024-01-02"] * 2, utc=True)),
        (pd.to_datetime(["2024-01-01", "2024-01-02"] * 2), [1.5, 2.5, 1.5]),
    ],
    ids=["text", "truth", "zone", "number"],
)
def test_labels_of_other_types_are_not_matched(first, second):
    parts = [RandomTerm(labels, name="g") for labels in (first[:3], second[:3])]
    made = [CrossProducts.from_chunk(np.arange(3.0), np.ones((3, 1)), [p], None, np.eye(1), np.zeros(1)) for p in parts]
    for chunks in (made, made[::-1]):
        with pytest.raises(DataError, match=r"levels of 'g' are of type .* in one chunk and .*Convert the column"):
            sum(chunks)


def test_large_integers_are_not_matched_with_rounded_ones():
    made = [
        CrossProducts.from_chunk(np.arange(2.0), np.ones((2, 1)), [RandomTerm(g)], None, np.eye(1), np.zeros(1))
        for g in (np.array([2**60, 2**60 + 1]), np.array([1.0, 2.0]))
    ]
    with pytest.raises(DataError, match="integers in one chunk and floating-point"):
        made[0] + made[1]


def test_what_cannot_be_added():
    rng = np.random.default_rng(1)
    y, X, terms = random_design(rng, kinds=("slope", "scalar"))
    cross = CrossProducts.from_arrays(y, X, terms)
    for other in (CrossProducts.from_arrays(y, X, terms[:1]), CrossProducts.from_arrays(y, X[:, :1], terms)):
        with pytest.raises(DataError, match="different models"):
            cross + other
    with pytest.raises(DataError, match="no rows"):
        CrossProducts.sum([])
    for other in (1, 1.0, None):
        with pytest.raises(TypeError):
            other + cross
        with pytest.raises(TypeError):
            cross + other
    assert 0 + cross is cross


def test_chunks_are_checked():
    y, X, terms = random_design(np.random.default_rng(1), kinds=("scalar",))
    _, basis = full_rank_basis(X)
    for weights in (np.r_[0.0, np.ones(59)], np.r_[np.nan, np.ones(59)], np.r_[-1.0, np.ones(59)]):
        with pytest.raises(DataError, match="1 weights are not positive"):
            CrossProducts.from_chunk(y, X, terms, weights, basis, np.zeros(2))
    bad = X.copy()
    bad[3, 1] = np.nan
    for response, columns in ((y, bad), (np.r_[np.inf, y[1:]], X), (1e200 * y, X)):
        with pytest.raises(DataError, match="missing, infinite"):
            CrossProducts.from_chunk(response, columns, terms, None, basis, np.zeros(2))
