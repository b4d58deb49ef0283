"""Columns of any library: the same data give the same model."""

import datetime
import decimal
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from frames import FORMULAS, LIBRARIES, N, assert_same, make_frame

from sparselmm.data import plain
from sparselmm.errors import DataError
from sparselmm.frame import build_design


@pytest.fixture
def frame():
    """The frame, a fresh copy for every test."""
    return make_frame()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("formula", FORMULAS)
def test_the_same_data_give_the_same_model(frame, formula, library):
    data = LIBRARIES[library](frame)
    design = build_design(formula, data, weights="scale")
    assert_same(design, build_design(formula, frame, weights="scale"))
    exog, random, _, offset = design.spec.build(data)
    np.testing.assert_allclose(exog, design.exog, atol=1e-12)
    for (codes, values), term in zip(random, design.terms, strict=True):
        np.testing.assert_array_equal(codes, term.codes)
        np.testing.assert_allclose(values, term.values, atol=1e-12)
    assert (offset is None) == (design.offset is None)


@pytest.mark.parametrize("library", sorted(set(LIBRARIES) - {"dict of lists"}))
def test_the_same_missing_values_give_the_same_model(frame, library):
    numbers = ["y", "x", "k", "f", "g"]
    for place, name in enumerate((*numbers, "size")):
        frame[name] = frame[name].astype("Int64" if name in ("k", "g") else frame[name].dtype)
        frame.loc[3 * place, name] = None
    design = build_design("y ~ x + k + size + (1 | g) + (x | f)", LIBRARIES[library](frame))
    expected = build_design("y ~ x + k + size + (1 | g) + (x | f)", frame.dropna())
    assert_same(design, expected)
    assert design.terms[0].levels.dtype == np.int64
    assert design.n_missing == 6
    np.testing.assert_array_equal(design.kept, frame.notna().all(axis=1))
    assert list(design.index) == list(expected.index)


@pytest.mark.parametrize(
    "index",
    {
        "unsorted": lambda data: data.set_index(np.arange(N)[::-1]),
        "repeated": lambda data: data.set_index(np.zeros(N, dtype=int)),
        "labels": lambda data: data.set_index(pd.Index([f"row {i // 2}" for i in range(N)])),
        "two levels": lambda data: data.set_index(["h", "g"], drop=False, append=False).rename_axis([None, None]),
    }.values(),
)
def test_the_index_aligns_nothing(frame, index):
    data = index(frame)
    formula = "y ~ scale(x) + f + (x | g:h) + (1 | C(h))"
    design = build_design(formula, data, weights=data["scale"], offset=data["x"])
    assert_same(design, build_design(formula, frame, weights=frame["scale"], offset=frame["x"]))
    assert design.index.equals(data.index)
    data.iloc[3, data.columns.get_loc("x")] = np.nan
    dropped = build_design(formula, data, weights=data["scale"].to_numpy())
    assert dropped.index.equals(data.index[dropped.kept])
    assert len(dropped.endog) == N - 1


def test_unused_columns_and_categories_do_not_matter(frame):
    frame["junk"] = np.nan
    frame.insert(0, "lists", [[1]] * N)
    frame.loc[frame["size"] == "mid", "y"] = np.nan
    frame["c"] = pd.Categorical(frame["f"], ["z", "c", "b", "a"])
    design = build_design("y ~ size + (0 + c | size)", frame)
    assert design.n_missing == (frame["size"] == "mid").sum()
    assert design.exog_names == ["Intercept", "size[T.hi]"]
    assert design.terms[0].columns == ("c[c]", "c[b]", "c[a]")
    assert list(design.terms[0].levels) == ["lo", "hi"]


@pytest.mark.parametrize(
    "values, levels",
    [
        ([3, 1, 3, -2], [-2, 1, 3]),
        ([2.5, 1.0, 1.0, 2.5], [1.0, 2.5]),
        (["b", "B", "a", "b"], ["B", "a", "b"]),
        ([True, False, True, True], [False, True]),
        (pd.to_datetime(["2024-02-01", "2024-01-01", "2024-02-01", "2024-01-01"]), None),
        (pd.to_datetime(["2024-02-01", "2024-01-01"] * 2).tz_localize("Europe/Vienna"), None),
        (pd.period_range("2024-01", periods=4, freq="M"), None),
        ([datetime.date(2024, 2, 1), datetime.date(2024, 1, 1)] * 2, None),
        (pd.Categorical(["b", "a", "b", "a"], ["c", "b", "a"]), ["b", "a"]),
        (pd.Categorical([3, 1, 3, 1], [3, 2, 1]), [3, 1]),
        (pl.Series(["b", "a", "b", "a"], dtype=pl.Enum(["c", "b", "a"])), ["b", "a"]),
        (pl.Series(["b", "a", "b", "a"], dtype=pl.Categorical), ["a", "b"]),
        (np.array([7, 2**63, 7, 7], dtype=np.uint64), [7, 2**63]),
    ],
)
def test_levels_of_a_grouping_factor(values, levels):
    data = {"y": [1.0, 2.0, 3.0, 5.0], "g": values, "one": [1, 1, 1, 1]}
    term, crossed = build_design("y ~ (1 | g) + (1 | g:one)", data).terms
    levels = sorted(set(values)) if levels is None else levels
    assert list(term.levels) == levels
    assert [levels[code] for code in term.codes] == list(values)
    texts = [int(level) if isinstance(level, float) and level.is_integer() else level for level in levels]
    assert list(crossed.levels) == [f"{text}:1" for text in texts]
    np.testing.assert_array_equal(crossed.codes, term.codes)


@pytest.mark.parametrize(
    "values, expected, missing",
    [
        ([1, None, 3], [1.0, 0, 3.0], [1]),
        (pd.Series([1, None, 3], dtype="Int64"), [1, 0, 3], [1]),
        (pd.Series([1, None, 3], dtype="int64[pyarrow]"), [1, 0, 3], [1]),
        (pl.Series([1, None, 3]), [1, 0, 3], [1]),
        (pa.chunked_array([[1, None], [3]]), [1, 0, 3], [1]),
        (pl.Series([1.5, None, float("nan")]), [1.5], [1, 2]),
        (pd.Series([True, None], dtype="boolean"), [True, False], [1]),
        ([True, None], [True, False], [1]),
        ([decimal.Decimal("1.5"), None], [1.5, 0.0], [1]),
        (["a", None, "b"], ["a", 0, "b"], [1]),
        (pd.Series(["a", None], dtype="string"), ["a", 0], [1]),
        (np.array(["a", "b"]), ["a", "b"], []),
        (np.float32([1, 2]), [1.0, 2.0], []),
        (np.int8([1, 2]), [1, 2], []),
        (pd.Series(pd.arrays.SparseArray([0, 1, 0])), [0, 1, 0], []),
        (range(3), [0, 1, 2], []),
    ],
)
def test_plain_columns(values, expected, missing):
    found, mask = plain(values, "x")
    assert list(np.flatnonzero(mask)) == missing
    assert list(found[: len(expected)]) == expected
    assert type(found[0].item() if hasattr(found[0], "item") else found[0]) is type(expected[0])


@pytest.mark.parametrize(
    "data, message",
    [
        (3, "data is of type int"),
        ([[1, 2]], "data is of type list"),
        ({"y": [1, 2], "g": [1]}, "differ in length: {'y': 2, 'g': 1}"),
        ({"y": [], "g": []}, "no rows"),
        ({"y": 1, "g": np.ones((2, 2))}, "Column 'g' is not one column"),
        (pd.DataFrame(np.ones((2, 3)), columns=["y", "g", "g"]), "2 columns 'g'"),
        (pd.DataFrame(np.ones((2, 2)), columns=[0, 1]), "no column 'g'"),
        (pl.DataFrame({"y": [1.0]}), "no column 'g'"),
    ],
)
def test_data_that_are_no_frame(data, message):
    with pytest.raises(DataError, match=message):
        build_design("y ~ (1 | g)", data)


@pytest.mark.parametrize(
    ("formula", "columns", "remedy"),
    [
        ("y ~ C(`worker id`) + (1 | h)", 2_001, "(1 | `worker id`)"),
        ("y ~ label + (1 | h)", 2_001, "(1 | label)"),
        ("y ~ 0 + kind + factor(label, Treatment('7')) + (1 | h)", 2_002, "(1 | label)"),
        ("y ~ x * label + (1 | h)", 4_002, "(1 | label)"),
    ],
)
def test_more_dummy_columns_than_the_memory_holds(monkeypatch, formula, columns, remedy):
    monkeypatch.setattr("sparselmm.engines.memory.free_memory", lambda: 1e8)
    workers = np.repeat(np.arange(2_000), 2)
    data = pd.DataFrame({"y": 1.0 * workers, "x": 0.5 * workers, "h": workers % 7, "worker id": workers})
    data["label"], data["kind"] = workers.astype(str), pd.Categorical(np.where(workers % 2, "a", "b"))
    message = f"has up to {columns:,} columns for 4,000 rows, one for each of the 2,000 categories of "
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        build_design(formula, data)
    assert "80 MB may be taken" in str(caught.value) and f"grouping factor, {remedy}," in str(caught.value)
    assert build_design("y ~ x + C(floor(x / 500)) + (1 | h)", data).exog.shape == (4_000, 3)
