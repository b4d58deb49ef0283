"""simulate_design: counts, balance and errors; designs of other sizes."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import sparselmm
from sparselmm.errors import DataError
from sparselmm.planning.sizes import resized


def counts(data, *columns):
    """Return the set of row counts of the cells of some columns, and the number of cells."""
    sizes = data.groupby(list(columns), observed=False).size()
    return set(sizes), len(sizes)


def test_full_crossing():
    data = sparselmm.simulate_design({"subject": 6, "item": 4}, within={"condition": ["b", "a"]}, replicates=3)
    assert list(data.columns) == ["subject", "item", "condition"] and len(data) == 6 * 4 * 2 * 3
    assert counts(data, "subject", "item", "condition") == ({3}, 48)
    assert list(data["condition"].cat.categories) == ["b", "a"]  # as given: the first is the baseline
    assert data["subject"].nunique() == 6 and data["item"].unique().tolist() == ["item1", "item2", "item3", "item4"]


@pytest.mark.parametrize("conditions", [["a", "b"], ["a", "b", "c"]])
def test_latin_square_is_balanced(conditions):
    c = len(conditions)
    data = sparselmm.simulate_design(
        {"subject": 4 * c, "item": 6 * c},
        between={"subject": {"group": ["old", "young"]}, "item": {"frequency": ["low", "high"]}},
        within={"condition": conditions},
        latin_square=True,
    )
    assert counts(data, "subject", "item") == ({1}, 24 * c * c)
    assert counts(data, "subject", "condition") == ({6}, 4 * c * c)
    assert counts(data, "item", "condition") == ({4}, 6 * c * c)
    assert counts(data, "item", "group", "condition") == ({2}, 12 * c * c)  # not confounded
    assert counts(data, "subject", "frequency", "condition") == ({3}, 8 * c * c)
    within = data.groupby("subject")[["group"]].nunique().to_numpy()
    assert (within == 1).all()


def test_latin_square_over_combinations_of_conditions():
    within = {"prime": ["related", "unrelated"], "delay": [50, 200]}
    data = sparselmm.simulate_design({"subject": 8, "item": 12}, within=within, latin_square=True)
    assert counts(data, "subject", "prime", "delay") == ({3}, 32) and data["delay"].dtype.kind == "i"


def test_nested_levels_and_what_differs_between_them():
    data = sparselmm.simulate_design(
        {"pupil": 5, "class": 4, "task": 3},
        nested={"pupil": "class"},
        between={"class": {"method": ["old", "new"]}, "pupil": {"iq": stats.norm(100, 15)}},
        within={"effort": lambda rng, n: rng.uniform(size=n)},
        rng=1,
    )
    assert data["pupil"].nunique() == 20 and len(data) == 60
    assert (data.groupby("pupil")[["class", "iq", "method"]].nunique() == 1).all(axis=None)
    assert data["effort"].nunique() == 60 and 80 < data["iq"].mean() < 120
    assert counts(data.drop_duplicates("class"), "method") == ({2}, 2)
    again = sparselmm.simulate_design({"class": 2, "pupil": 2}, nested={"pupil": "class"})
    assert list(again.columns) == ["class", "pupil"] and again["pupil"].tolist() == [f"pupil{i}" for i in (1, 2, 3, 4)]


def test_unequal_shares_and_several_columns_between():
    between = {"subject": {"group": ["old", "old", "young"], "sex": ["f", "m"]}}
    data = sparselmm.simulate_design({"subject": 12}, between=between)
    table = pd.crosstab(data["group"], data["sex"])
    assert table.loc["old"].tolist() == [4, 4] and table.loc["young"].tolist() == [2, 2]


def test_missing_rows():
    options = {"levels": {"subject": 10, "item": 20}, "missing": 0.1}
    data = sparselmm.simulate_design(**options, rng=1)
    assert len(data) == 180 and data.index.equals(pd.RangeIndex(180)) and not data.isna().any(axis=None)
    pd.testing.assert_frame_equal(data, sparselmm.simulate_design(**options, rng=1))
    assert not data.equals(sparselmm.simulate_design(**options, rng=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": {"s": 30}, "between": {"s": {"g": ["a", "b", "c", "d"]}}}, "30 levels of 's'.* Use 28 or 32"),
        ({"levels": {"s": 1}, "between": {"s": {"g": ["a", "b"]}}}, "by 2: the cells of g. Use 2"),
        ({"levels": {"s": 9, "i": 4}, "within": {"c": ["a", "b"]}, "latin_square": True}, "9 levels of 's'.*2 lists"),
        ({"levels": {"s": 8}, "within": {"c": ["a", "b"]}, "latin_square": True}, "two crossed factors"),
        ({"levels": {"s": 8, "i": 8}, "latin_square": True}, "1 condition"),
        ({"levels": {"s": 8}, "between": {"t": {"g": ["a"]}}}, "between names 't', which is no factor of levels: s"),
        ({"levels": {"s": 8}, "nested": {"s": "class"}}, "nested names 'class'"),
        ({"levels": {"s": 8, "t": 2}, "nested": {"s": "t", "t": "s"}}, "in a circle"),
        ({"levels": {"s": 8}, "nested": {"s": "s"}}, "in a circle"),
        ({"levels": {"s": 8}, "within": {"s": ["a", "b"]}}, "'s' stands for two columns"),
        ({"levels": {"s": 8}, "within": {"c": []}}, "'c' has no levels"),
        ({"levels": {"s": 8}, "between": {"s": {"c": "ab"}}}, "'c' has no levels but 'ab'. List them"),
        ({"levels": {"s": 8}, "within": {"c": lambda rng, n: 3.0}}, "returned shape"),
        ({"levels": {"s": 0}}, "s: 0 is no number of levels"),
        ({"levels": {"s": 4}, "replicates": 1.5}, "replicates: 1.5"),
        ({"levels": {"s": 4}, "missing": 1.0}, "missing=1.0"),
    ],
)
def test_errors_of_designs(options, message):
    with pytest.raises(sparselmm.DataError, match=message):
        sparselmm.simulate_design(**options)


def test_arguments_of_others_are_explained():
    with pytest.raises(TypeError, match="Use rng="):
        sparselmm.simulate_design({"s": 4}, seed=1)


def test_fewer_levels_are_the_first_and_more_are_copies():
    data = sparselmm.simulate_design({"subject": 6, "item": 4}, within={"condition": ["a", "b"]}, latin_square=True)
    fewer = resized(data, {"subject": 4, "item": 2}, ["subject", "item"])
    assert len(fewer) == 8 and counts(fewer, "subject", "condition") == ({1}, 8)
    more = resized(data, {"subject": 14}, ["subject", "item"])
    assert counts(more, "subject", "item") == ({1}, 56)
    assert more["condition"].iloc[24:48].tolist() == data["condition"].tolist()


def test_what_is_nested_is_copied_with_its_level():
    data = sparselmm.simulate_design({"class": 3, "pupil": 4, "task": 2}, nested={"pupil": "class"})
    more = resized(data, {"class": 7}, ["class", "pupil", "task"])
    assert more["class"].nunique() == 7 and more["pupil"].nunique() == 28 and more["task"].nunique() == 2
    assert counts(more, "class") == ({8}, 7)
    pupils = resized(data, {"pupil": 24}, ["class", "pupil", "task"])  # a copied pupil stays in its class
    assert pupils["class"].nunique() == 3 and (pupils.groupby("pupil")["class"].nunique() == 1).all()


def test_errors_of_sizes():
    data = sparselmm.simulate_design({"subject": 6, "item": 4})
    with pytest.raises(sparselmm.DataError, match="sizes names 'class'; the grouping factors of the model are item"):
        resized(data, {"class": 3}, ["subject", "item"])
    for size in (1, 2.5):
        with pytest.raises(sparselmm.DataError, match="whole numbers of at least 2"):
            resized(data, {"subject": size}, ["subject", "item"])


def test_labels_sort_as_the_levels():
    labels = sparselmm.simulate_design({"item": 12})["item"]
    assert labels.is_monotonic_increasing and labels[0] == "item01"
    assert np.unique(labels).size == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"within": ["a", "b"]}, r"within is \['a', 'b'\]. Give a dictionary such as \{'condition'"),
        ({"between": {"subject": "age"}}, r"between='subject' is 'age'. Give a dictionary such as"),
        ({"between": "subject"}, "between is 'subject'. Give a dictionary"),
        ({"within": {"prime": 2}}, "'prime' has no levels but 2. List them"),
    ],
)
def test_what_is_no_dictionary_of_levels_is_explained(options, message):
    with pytest.raises(DataError, match=message):
        sparselmm.simulate_design({"subject": 4, "item": 2}, **options)
