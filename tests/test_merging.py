"""Sums of cross-products over chunks: the same as of all rows, whatever the chunks; files of them."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from oracles import random_design

from sparselmm import DataError, LinearMixedModel, RandomTerm
from sparselmm.crossproducts import CrossProducts
from sparselmm.likelihood import ProfiledLikelihood
from sparselmm.merging import load, save, total

DESIGNS = [("scalar",), ("slope", "scalar"), ("three", "diagonal", "scalar"), ("scalar", "matrix")]


def chunk(term, rows):
    """Return a term on some of its rows, its levels found anew."""
    if term.matrix is not None:
        return RandomTerm.from_matrix(term.matrix[rows], term.name, term.levels)
    groups = term.levels.take(term.codes[rows])
    return RandomTerm(groups, term.values[rows], term.name, term.columns, term.structure)


def products(y, X, terms, weights, parts):
    """Yield the cross-products of parts of the rows around a pilot fit of the first."""
    pilot = None
    for rows in parts:
        own = None if weights is None else weights[rows]
        arrays = y[rows], X[rows], [chunk(term, rows) for term in terms], own
        pilot = pilot or CrossProducts.from_arrays(*arrays)
        yield CrossProducts.from_chunk(*arrays, pilot.basis, pilot.center)


@pytest.mark.parametrize("kinds", DESIGNS, ids="-".join)
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_are_those_of_all_rows(kinds, count, weighted, agree):
    rng = np.random.default_rng(count)
    y, X, terms = random_design(rng, n=240, kinds=kinds)
    y = y + 1e6
    weights = rng.uniform(0.5, 2.0, y.size) if weighted else None
    whole = CrossProducts.from_arrays(y, X, terms, weights)
    parts = np.array_split(rng.permutation(y.size), count)
    summed = total(products(y, X, terms, weights, parts))
    assert summed.nobs == 240 and summed.shapes == whole.shapes
    for ours, theirs in zip(summed.levels, whole.levels, strict=True):
        assert list(ours) == list(theirs)
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


def test_order_and_nesting_of_sums_do_not_matter():
    rng = np.random.default_rng(1)
    y, X, terms = random_design(rng, n=200, kinds=("slope", "scalar"))
    parts = list(products(y, X, terms, None, np.array_split(np.arange(200), 4)))
    one = (parts[0] + (parts[1] + parts[2])) + parts[3]
    other = parts[3] + ((parts[2] + parts[0]) + parts[1])
    theta = np.full(one.relative_factor.n_theta, 0.5)
    first, second = (ProfiledLikelihood(cross.settled()).evaluate(theta) for cross in (one, other))
    assert first.deviance == pytest.approx(second.deviance, abs=1e-8)
    np.testing.assert_allclose(one.settled().to_params(first.beta), other.settled().to_params(second.beta), rtol=1e-9)


def test_levels_of_any_type_are_merged_by_label():
    y, X = np.arange(6.0) ** 2, np.ones((6, 1))
    for labels in (list("bacabd"), [3, 1, 10**9, 1, 3, 2], pd.date_range("2024-01-01", periods=6)[[3, 1, 0, 1, 3, 2]]):
        labels = pd.Index(labels)
        halves = [
            CrossProducts.from_chunk(
                y[rows], X[rows], [RandomTerm(labels[rows], name="g")], None, np.eye(1), np.zeros(1)
            )
            for rows in (slice(0, 3), slice(3, 6))
        ]
        merged = halves[0] + halves[1]
        assert list(merged.levels[0]) == sorted(set(labels))
        counts = pd.Series(labels).value_counts().sort_index()
        np.testing.assert_array_equal(merged.diagonal[0].ravel(), counts)


def test_other_models_are_not_added():
    rng = np.random.default_rng(1)
    y, X, terms = random_design(rng, kinds=("slope", "scalar"))
    cross = CrossProducts.from_arrays(y, X, terms)
    for other in (CrossProducts.from_arrays(y, X, terms[:1]), CrossProducts.from_arrays(y, X[:, :1], terms)):
        with pytest.raises(DataError, match="different models"):
            cross + other
    with pytest.raises(DataError, match="type int64 in one chunk"):
        parts = [RandomTerm(labels, name="g") for labels in ([1, 2, 1], ["a", "b", "a"])]
        made = [
            CrossProducts.from_chunk(np.arange(3.0), np.ones((3, 1)), [p], None, np.eye(1), np.zeros(1)) for p in parts
        ]
        made[0] + made[1]
    with pytest.raises(DataError, match="no rows"):
        total([])


def test_dependent_columns_are_found_when_all_rows_are_there():
    y, X = np.arange(8.0), np.column_stack([np.ones(8), np.repeat([0.0, 1.0], 4), np.repeat([1.0, 0.0], 4)])
    term = RandomTerm(np.arange(8) % 4, name="g")
    cross = CrossProducts.from_chunk(y, X, [term], None, np.eye(3), np.zeros(3))
    with pytest.raises(DataError, match="linearly dependent"):
        cross.settled()


@pytest.mark.parametrize("kinds", DESIGNS, ids="-".join)
def test_files_hold_everything(kinds, tmp_path):
    rng = np.random.default_rng(2)
    y, X, terms = random_design(rng, kinds=kinds)
    model = LinearMixedModel(y, X, terms)
    save(model.cross, tmp_path / "sums.npz")
    cross = load(tmp_path / "sums.npz")
    theta = rng.uniform(0.2, 1.0, cross.relative_factor.n_theta)
    assert ProfiledLikelihood(cross).evaluate(theta).deviance == model.likelihood().evaluate(theta).deviance
    for ours, theirs in zip(cross.levels, model.cross.levels, strict=True):
        assert list(ours) == list(theirs)
    assert (cross + model.cross).nobs == 2 * y.size


def test_broken_files_are_errors(tmp_path):
    path = tmp_path / "sums.npz"
    y, X, terms = random_design(np.random.default_rng(2), kinds=("slope", "scalar"))
    cross = CrossProducts.from_arrays(y, X, terms)
    save(cross, path)
    content = path.read_bytes()
    flipped = content.replace(cross.ZX.tobytes(), (cross.ZX + 1.0).tobytes())
    assert flipped != content
    for broken in (b"", b"hello", content[: len(content) // 2], flipped):
        path.write_bytes(broken)
        with pytest.raises(DataError, match="cross-products"):
            load(path)
    np.savez(path, facts=np.array([{}], dtype=object))  # a pickle, which is not opened
    with pytest.raises(DataError, match="cross-products"):
        load(path)
    arrays = {"a": sp.eye_array(2).data}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="cross-products"):
        load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.npz")
