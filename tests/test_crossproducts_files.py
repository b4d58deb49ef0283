"""Files of cross-products: everything comes back, broken and hostile files are errors, and none runs code."""

import io
import json
import pickle
import warnings
import zipfile
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import random_design
from test_merging import DESIGNS, assert_same

from sparselmm import DataError, LinearMixedModel, RandomTerm
from sparselmm.crossproducts import CrossProducts


def saved(cross):
    """Return the bytes of a file of cross-products."""
    file = io.BytesIO()
    cross.save(file)
    return file.getvalue()


def loaded(content):
    """Return the cross-products of the bytes of a file."""
    return CrossProducts.load(io.BytesIO(content))


def example(kinds=("slope", "scalar", "matrix", "scalar"), labels=None):
    """Return cross-products of a small design."""
    y, X, terms = random_design(np.random.default_rng(2), kinds=kinds)
    if labels is not None:
        terms = [RandomTerm(pd.Index(labels)[np.arange(y.size) % len(labels)], name="g")]
    return CrossProducts.from_chunk(y, X, terms, None, np.eye(2), np.zeros(2))


CROSS = example()
CONTENT = saved(CROSS)


@pytest.mark.parametrize("kinds", DESIGNS, ids="-".join)
def test_files_hold_everything(kinds, tmp_path):
    rng = np.random.default_rng(2)
    y, X, terms = random_design(rng, kinds=kinds)
    model = LinearMixedModel(y, X, terms)
    for file in (tmp_path / "sums.npz", str(tmp_path / "sums without suffix")):
        model.cross.save(file)
        cross = CrossProducts.load(file)
        assert_same(cross, model.cross, rtol=0.0)
        assert_same(cross + model.cross, model.cross + model.cross, rtol=0.0)
    assert {path.name for path in tmp_path.iterdir()} == {"sums.npz", "sums without suffix"}


@pytest.mark.parametrize(
    "labels",
    [
        [3, 1, 2],
        np.array([3, 1, 2], dtype=np.uint8),
        [2**60, 2**60 + 1, -5],
        [0.5, -1.0, np.inf],
        [True, False],
        ["b", "", "a\0", "é" * 3000, " a"],
        pd.date_range("2024-01-01", periods=3),
        pd.date_range("2024-01-01", periods=3, unit="s"),
        pd.to_timedelta([3, 1, 2], unit="h"),
        [date(2024, 1, 2), date(1999, 12, 31)],
        pd.array([3, 1, 2], dtype="Int64"),
    ],
    ids=["int", "small", "large", "float", "truth", "text", "time", "second", "duration", "date", "nullable"],
)
def test_labels_come_back_and_are_found_again(labels):
    cross = example(("scalar",), labels)
    again = loaded(saved(cross))
    assert list(again.levels[0]) == list(cross.levels[0])
    assert again.levels[0].inferred_type == cross.levels[0].inferred_type
    both = again + example(("scalar",), labels[:1])
    assert list(both.levels[0]) == list(cross.levels[0]) and both.nobs == 120


def test_other_labels_become_texts():
    cross = example(("scalar",), pd.interval_range(0, 3))
    assert list(loaded(saved(cross)).levels[0]) == ["(0, 1]", "(1, 2]", "(2, 3]"]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "sums.npz"
    CROSS.save(path)

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("sparselmm.storage.np.savez", fail)
    with pytest.raises(OSError, match="disk full"):
        CROSS.save(path)
    assert path.read_bytes() == CONTENT and [p.name for p in tmp_path.iterdir()] == ["sums.npz"]


def test_missing_files_and_folders_are_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError):
        CrossProducts.load(tmp_path / "none.npz")
    with pytest.raises(IsADirectoryError):
        CrossProducts.load(tmp_path)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"text.npz holds no cross-products that can be read"):
        CrossProducts.load(tmp_path / "text.npz")


@pytest.mark.parametrize("length", [0, 1, 100, len(CONTENT) // 2, len(CONTENT) - 1])
def test_truncated_files_are_errors(length):
    with pytest.raises(DataError, match="no cross-products"):
        loaded(CONTENT[:length])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_changed_bytes_are_found_or_harmless(changes):
    content = bytearray(CONTENT)
    for place, value in changes:
        content[place] = value
    try:
        with warnings.catch_warnings(action="ignore"):  # of zipfile and NumPy, of headers that are off
            cross = loaded(bytes(content))
    except DataError:
        return
    assert_same(cross, CROSS, rtol=0.0)


def parts():
    """Return the arrays and facts of the file."""
    with np.load(io.BytesIO(CONTENT)) as stored:
        arrays = dict(stored)
    return arrays, json.loads(arrays.pop("facts").tobytes())


def rewritten(arrays, facts):
    """Return the bytes of a file with these arrays and facts: its check sums are right."""
    file = io.BytesIO()
    np.savez(file, facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8), **arrays)
    return file.getvalue()


def test_rewritten_parts_are_the_file():
    assert_same(loaded(rewritten(*parts())), CROSS, rtol=0.0)
    arrays, facts = parts()
    swapped = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in arrays.items()}
    assert_same(loaded(rewritten(swapped, facts)), CROSS, rtol=0.0)  # from a machine with another byte order


def hostile_arrays():
    """Yield names and changed arrays that no cross-products have."""
    arrays, _ = parts()
    for name, array in arrays.items():
        yield name, None
        yield name, array[:-1]
        yield name, np.concatenate([array, array])
        yield name, np.zeros((3, *array.shape))
        yield name, np.array(["text"] * 3)
        yield name, array.astype(complex)
        if array.dtype.kind == "f":
            for value in (np.nan, np.inf):
                changed = array.copy()
                changed.flat[-1] = value
                yield name, changed
        if name.endswith("_indices"):
            for value in (-1, 10**6, 2**31 - 1):
                changed = array.copy()
                changed[0] = value
                yield name, changed
            yield name, array[::-1].copy()
            yield name, np.zeros_like(array)
            yield name, array.astype(float)
        if name.endswith("_indptr"):
            for place, value in ((0, 1), (0, -1), (1, 10**6), (-1, 0), (1, -(2**31))):
                changed = array.copy()
                changed[place] = value
                yield name, changed
        if name.startswith("levels"):
            yield name, np.repeat(array[:1], array.size)
    yield "basis", np.zeros((2, 2))
    yield "basis", np.ones((2, 2))
    yield "XX", np.eye(2).astype(np.float32)


@pytest.mark.parametrize("change", list(hostile_arrays()), ids=lambda value: value if isinstance(value, str) else "")
def test_arrays_are_checked_against_each_other(change):
    name, array = change
    arrays, facts = parts()
    if array is None:
        del arrays[name]
    else:
        arrays[name] = array
    with pytest.raises(DataError, match="no cross-products"):
        loaded(rewritten(arrays, facts))


@pytest.mark.parametrize(
    "change",
    [
        {"format": 1},
        {"nobs": -1},
        {"nobs": 1.5},
        {"nobs": "1"},
        {"nobs": True},
        {"log_weights": None},
        {"yy": float("nan")},
        {"yy": 10**400},
        {"shapes": []},
        {"shapes": [[2, 1, "unstructured", "g"]]},
        {"shapes": [[10**18, 10**18, "unstructured", "g"]] * 4},
        {"shapes": [[0, 1, "unstructured", "g"]] * 4},
        {"shapes": [[5, 1, "strange", "g"]] * 4},
        {"shapes": [[5, 1]] * 4},
        {"shapes": 7},
        {"labels": []},
        {"labels": ["texts"] * 4},
        {"labels": ["dates"] * 4},
    ],
    ids=str,
)
def test_facts_are_checked(change):
    arrays, facts = parts()
    with pytest.raises(DataError, match="no cross-products"):
        loaded(rewritten(arrays, facts | change))


def test_facts_that_are_no_json_object():
    for facts in ([], None, "facts", [1, [2]]):
        with pytest.raises(DataError, match="no cross-products"):
            loaded(rewritten(parts()[0], facts))
    arrays, _ = parts()
    deep = np.frombuffer(b"[" * 100_000, dtype=np.uint8)
    file = io.BytesIO()
    np.savez(file, facts=deep, **arrays)
    with pytest.raises(DataError, match="no cross-products"):
        loaded(file.getvalue())


@pytest.mark.parametrize("ends", [[1, 2], [-1, 2, 3], [2, 1, 3], [1, 2, 4], [0, 0, 3]])
def test_ends_of_texts_are_checked(ends):
    with np.load(io.BytesIO(saved(example(("scalar",), list("abc"))))) as stored:
        arrays = dict(stored)
    arrays["levels0_ends"] = np.array(ends)
    file = io.BytesIO()
    np.savez(file, **arrays)
    with pytest.raises(DataError, match="no cross-products"):
        loaded(file.getvalue())


class Bomb:
    """Unpickling it is the failure of a test."""

    def __reduce__(self):
        return pytest.fail, ("code of a file was run",)


def test_pickles_are_not_opened():
    arrays, facts = parts()
    for name in ("ZX", "levels0", "diagonal0", "facts"):
        stored = arrays | {"facts": np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)}
        stored[name] = np.array([Bomb()], dtype=object)
        file = io.BytesIO()
        np.savez(file, **stored)
        with pytest.raises(DataError, match="no cross-products"):
            loaded(file.getvalue())
    with pytest.raises(DataError, match="no cross-products"):
        loaded(pickle.dumps(Bomb()))


def test_files_that_claim_more_than_they_hold():
    arrays, facts = parts()
    file = io.BytesIO()
    np.savez_compressed(file, facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8), **arrays)
    with pytest.raises(DataError, match="compressed"):
        loaded(file.getvalue())
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(CONTENT)) as source, zipfile.ZipFile(file, "w") as target:
        for name in source.namelist():
            target.writestr(name, header.getvalue() + b"12345678" if name == "Zy.npy" else source.read(name))
    with pytest.raises(DataError, match="another size"):
        loaded(file.getvalue())


@pytest.mark.parametrize(
    "name, change",
    [
        ("Xy", lambda values: values + 1e9),
        ("XX", lambda values: values + 1e9 * (1 - np.eye(2))),
        ("ZX", lambda values: values - 1e9),
        ("Zy", lambda values: values + 1e9),
        ("Zy", lambda values: values + 1e300),
        ("basis", lambda values: values * 1e300),
    ],
)
def test_sums_that_no_rows_have(name, change):
    arrays, facts = parts()
    with pytest.raises(DataError, match="no cross-products"):
        loaded(rewritten(arrays | {name: change(arrays[name])}, facts))
