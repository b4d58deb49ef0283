"""From a formula and a data frame to a design and back to new data; errors name the column."""

import pickle

import numpy as np
import pandas as pd
import pytest
from frames import FORMULAS, N, make_frame, to_polars
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselmm import MixedLM
from sparselmm.errors import DataError, DataWarning, FormulaError
from sparselmm.frame import build_design


@pytest.fixture
def frame():
    """The frame, a fresh copy for every test."""
    return make_frame()


def test_the_parts_of_a_design(frame):
    design = build_design("log(y) ~ x + f + (x || g) + (1 | f:h)", frame, weights="scale", offset="x")
    np.testing.assert_allclose(design.endog, np.log(frame["y"]))
    assert design.endog_name == "log(y)"
    assert design.exog_names == ["Intercept", "x", "f[T.b]", "f[T.c]"]
    expected = np.column_stack([np.ones(N), frame["x"], frame["f"] == "b", frame["f"] == "c"])
    np.testing.assert_array_equal(design.exog, expected)
    assert design.exog.dtype == np.float64
    slopes, nested = design.terms
    assert (slopes.name, slopes.columns, slopes.structure) == ("g", ("Intercept", "x"), "diagonal")
    np.testing.assert_array_equal(slopes.levels[slopes.codes], frame["g"])
    np.testing.assert_array_equal(slopes.values, expected[:, :2])
    assert nested.name == "f:h"
    np.testing.assert_array_equal(nested.levels[nested.codes], frame["f"] + ":" + frame["h"])
    np.testing.assert_array_equal(design.weights, frame["scale"])
    np.testing.assert_array_equal(design.offset, frame["x"])
    assert (design.kept, design.n_missing) == (None, 0)
    assert design.formula == "log(y) ~ x + f + (x || g) + (1 | f:h)"


def test_a_boolean_response_is_zero_or_one(frame):
    np.testing.assert_array_equal(build_design("b ~ x + (1 | g)", frame).endog, frame["b"].astype(float))


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_order_of_rows_changes_the_order_of_rows_only(frame, formula):
    order = np.random.default_rng(2).permutation(N)
    design, permuted = build_design(formula, frame), build_design(formula, frame.iloc[order])
    np.testing.assert_allclose(permuted.exog, design.exog[order], atol=1e-12)
    for mine, yours in zip(permuted.terms, design.terms, strict=True):
        assert list(mine.levels) == list(yours.levels)
        np.testing.assert_array_equal(mine.codes, yours.codes[order])


def test_a_design_does_not_share_memory_with_the_data(frame):
    design = build_design("y ~ x + (x | g)", frame, weights="scale", offset="x")
    arrays = (design.endog, design.exog, design.weights, design.offset, *(term.values for term in design.terms))
    for array in arrays:
        assert array.flags.writeable
        for name in ("y", "x", "scale"):
            assert not np.shares_memory(array, frame[name].to_numpy())


@pytest.mark.parametrize(
    "formula, names",
    {
        "y ~ (1 | g)": ["Intercept"],
        "y ~ 0 + (1 | g)": [],
        "y ~ 0 + x + (1 | g)": ["x"],
        "y ~ 0 + f + (1 | g)": ["f[a]", "f[b]", "f[c]"],
        "y ~ x:f + (1 | g)": ["Intercept", "x:f[a]", "x:f[b]", "x:f[c]"],
        "y ~ size + (1 | g)": ["Intercept", "size[T.mid]", "size[T.hi]"],
        "y ~ C(f, contr.sum) + (1 | g)": ["Intercept", "C(f, contr.sum)[S.a]", "C(f, contr.sum)[S.b]"],
        "y ~ factor(b) + (1 | g)": ["Intercept", "factor(b)[T.True]"],
        "y ~ I(x^2) + log1p(k) + abs(x) + (1 | g)": ["Intercept", "I(x ** 2)", "log1p(k)", "abs(x)"],
        "y ~ poly(x, 2, raw=TRUE) + (1 | g)": ["Intercept", "poly(x, 2, raw=TRUE)[0]", "poly(x, 2, raw=TRUE)[1]"],
        "y ~ cr(x, df=3) + (1 | g)": ["Intercept", "cr(x, df=3)[1]", "cr(x, df=3)[2]", "cr(x, df=3)[3]"],
        "y ~ `my x` + scale + np.log(scale) + (1 | g)": ["Intercept", "my x", "scale", "np.log(scale)"],
        "y ~ scale(scale) + (1 | g)": None,
    }.items(),
)
def test_fixed_columns(frame, formula, names):
    if names is None:  # a column hides the function of its name, as everywhere in formulaic
        with pytest.raises(DataError, match="not callable"):
            build_design(formula, frame)
    else:
        design = build_design(formula, frame)
        assert design.exog_names == names
        assert design.exog.shape == (N, len(names))


def test_a_dot_is_every_column_not_used_elsewhere(frame):
    data = frame[["y", "x", "f", "my x", "g", "k", "scale"]]
    design = build_design("y ~ . + offset(k) + (1 | g)", data, weights="scale")
    assert design.exog_names == ["Intercept", "x", "f[T.b]", "f[T.c]", "my x"]
    with pytest.raises(FormulaError, match="stands for no column"):
        build_design("y ~ . + (1 | g)", data[["y", "g"]])


def test_names_of_terms_are_unique(frame):
    design = build_design("y ~ (1 | g) + (0 + x | g) + (0 + k | g) + (1 | h)", frame)
    assert [term.name for term in design.terms] == ["g", "g.1", "g.2", "h"]
    frame["g.1"] = frame["h"]
    design = build_design("y ~ (1 | g) + (1 | `g.1`) + (0 + x | g)", frame)
    assert [term.name for term in design.terms] == ["g", "g.1", "g.2"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3, st.booleans()), min_size=1, max_size=40))
def test_interactions_of_grouping_factors(rows):
    data = pd.DataFrame(rows, columns=["a", "b", "c", "train"]).assign(y=1.0)
    data["b"] = pd.Categorical(data["b"], [2, 0, 3, 1])
    fit = data[data["train"]] if data["train"].any() else data
    design = build_design("y ~ (1 | a:b:c)", fit)
    order = [(a, b, c) for a in range(4) for b in [2, 0, 3, 1] for c in range(4)]
    seen = set(zip(fit["a"], fit["b"], fit["c"], strict=True))
    levels = [":".join(map(str, key)) for key in order if key in seen]
    assert list(design.terms[0].levels) == levels
    labels = [":".join(map(str, key)) for key in zip(data["a"], data["b"], data["c"], strict=True)]
    codes = design.spec.build(data)[1][0][0]
    assert [levels[code] if code >= 0 else None for code in codes] == [
        label if label in levels else None for label in labels
    ]


def test_missing_values_of_every_part_are_dropped_or_counted(frame):
    offset, weights = np.zeros(N), pd.Series(np.ones(N)).astype("Float64")
    for row, name in enumerate(["y", "x", "h", "g", "k"]):
        frame[name] = frame[name].astype(object)
        frame.loc[row, name] = None
    offset[5], weights[6] = np.nan, pd.NA
    formula = "y ~ x + offset(k) + (1 | g) + (h | f)"
    design = build_design(formula, frame, weights=weights, offset=offset)
    assert design.n_missing == 7
    np.testing.assert_array_equal(np.flatnonzero(~design.kept), np.arange(7))
    np.testing.assert_allclose(design.offset, frame["k"][7:].astype(float))
    with pytest.raises(DataError) as caught:
        build_design(formula, frame, weights=weights, offset=offset, missing="raise")
    for name in ("y", "x", "h", "g", "k", "argument offset", "argument weights"):
        assert f"'{name}' 1" in str(caught.value)
    assert build_design("y ~ x + (1 | g)", frame[7:], missing="raise").n_missing == 0


@pytest.mark.parametrize("contrast", ["sum", "contr.sum"])
def test_contrasts(frame, contrast):
    design = build_design("y ~ f + (f | g)", frame, contrasts={"f": contrast})
    assert design.exog_names == ["Intercept", "f[S.a]", "f[S.b]"]
    assert design.terms[0].columns == ("Intercept", "f[S.a]", "f[S.b]")
    np.testing.assert_array_equal(design.exog, build_design("y ~ C(f, contr.sum) + (1 | g)", frame).exog)
    np.testing.assert_array_equal(design.spec.build(frame[4:6])[0], design.exog[4:6])
    helmert = build_design("y ~ k + (1 | g)", frame, contrasts={"k": "helmert"})
    assert len(helmert.exog_names) == frame["k"].nunique()


def test_functions_of_the_caller(frame):
    context = {"double": lambda values: 2 * values, "two": 2, "log": "hidden", "x": "hidden", "sqrt": np.cbrt}
    formula = "y ~ double(x) + {x * two} + log(k) + sqrt(k) + (double(x) | {double(k)})"
    design = build_design(formula, frame, context=context)
    np.testing.assert_allclose(design.exog[:, 1], 2 * frame["x"])
    np.testing.assert_allclose(design.exog[:, 2], 2 * frame["x"])
    np.testing.assert_allclose(design.exog[:, 3], np.log(frame["k"]))
    np.testing.assert_allclose(design.exog[:, 4], np.sqrt(frame["k"]))  # R's names are not the caller's
    np.testing.assert_array_equal(design.terms[0].levels, 2 * np.unique(frame["k"]))
    np.testing.assert_array_equal(design.spec.build(frame)[0], design.exog)


def test_a_factor_of_one_level_is_announced(frame):
    frame["one"] = "a"
    with pytest.warns(DataWarning, match="one has one level"):
        design = build_design("y ~ x + one + (1 | g)", frame)
    assert design.exog_names == ["Intercept", "x"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_new_rows_get_the_columns_they_had(frame, formula):
    design = build_design(formula, frame)
    rows = [7, 3, 3]
    new = frame.drop(columns="y").iloc[rows]
    exog, random, index, offset = design.spec.build(new)
    np.testing.assert_allclose(exog, design.exog[rows], atol=1e-12)
    for (codes, values), term in zip(random, design.terms, strict=True):
        assert codes.dtype == np.int32
        np.testing.assert_array_equal(codes, term.codes[rows])
        np.testing.assert_allclose(values, term.values[rows], atol=1e-12)
    assert list(index) == rows
    if offset is not None:
        np.testing.assert_allclose(offset, design.offset[rows])


def test_missing_and_unseen_values_of_new_rows(frame):
    design = build_design("y ~ x + f + offset(scale) + (k | g:h) + (1 | f) + (1 | {g + 1})", frame)
    new = frame[:7].astype({"g": float, "k": float})
    new.loc[1, "x"] = np.nan
    new.loc[2, "f"] = None
    new.loc[3, "scale"] = np.nan
    new.loc[4, "g"] = np.nan
    new.loc[5, "g"] = 99
    new.loc[5, "k"] = np.nan
    new.loc[6, "h"] = "unseen"
    exog, random, index, offset = design.spec.build(new)
    (gh, k), (f, ones), (g1, _) = random
    assert np.flatnonzero(np.isnan(exog).all(axis=1)).tolist() == [1, 2]
    assert np.isnan(exog).sum() == 2 * exog.shape[1]
    assert np.flatnonzero(np.isnan(offset)).tolist() == [3]
    assert np.flatnonzero(gh < 0).tolist() == [4, 5, 6]
    assert np.flatnonzero(np.isnan(k).any(axis=1)).tolist() == [5]
    assert np.flatnonzero(f < 0).tolist() == [2]
    assert np.flatnonzero(g1 < 0).tolist() == [4, 5]
    assert (ones == 1).all()
    np.testing.assert_array_equal(exog[[0, 3, 4, 5, 6]], design.exog[[0, 3, 4, 5, 6]])
    assert list(index) == list(range(7))


def test_new_data_need_only_what_is_asked(frame):
    design = build_design("y ~ x + (k | g)", frame)
    exog, random, _, offset = design.spec.build({"x": [0.5, 1.0]}, terms=[])
    np.testing.assert_array_equal(exog, [[1, 0.5], [1, 1.0]])
    assert (random, offset) == ([], None)
    with pytest.raises(DataError, match="no column 'g'"):
        design.spec.build(frame[["x", "k"]])
    intercept = build_design("y ~ 1 + (1 | g)", frame)
    for data in (frame, to_polars(frame), frame.to_dict("list")):
        assert intercept.spec.build(data, terms=[])[0].shape == (N, 1)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("rows", ["none", "all missing"])
def test_new_data_without_a_complete_row(frame, formula, rows):
    design = build_design(formula, frame)
    new = frame[:0] if rows == "none" else frame[:2].assign(**{name: None for name in frame.drop(columns="size")})
    exog, random, _, _ = design.spec.build(new)
    assert exog.shape == (len(new), design.exog.shape[1])
    assert np.isnan(exog).all()
    for (codes, values), term in zip(random, design.terms, strict=True):
        assert values.shape == (len(new), term.n_columns)
        assert (codes == -1).all() or term.name == "size"


def test_offsets_of_new_data(frame):
    by_column = build_design("y ~ offset(log(k)) + (1 | g)", frame, offset="x")
    np.testing.assert_allclose(by_column.spec.build(frame)[3], np.log(frame["k"]) + frame["x"])
    by_array = build_design("y ~ offset(k) + (1 | g)", frame, offset=np.arange(N))
    np.testing.assert_allclose(by_array.offset, frame["k"] + np.arange(N))
    np.testing.assert_allclose(by_array.spec.build(frame[:2], offset=[3, None])[3], [frame["k"][0] + 3, np.nan])
    with pytest.raises(DataError, match="Give offset="):
        by_array.spec.build(frame)
    with pytest.raises(DataError, match="offset has 2 values for 60 rows"):
        by_array.spec.build(frame, offset=[1, 2])
    with pytest.raises(DataError, match="leave out offset="):
        by_column.spec.build(frame, offset=np.zeros(N))


@pytest.mark.parametrize(
    "formula, changes, message",
    [
        ("y ~ f + (1 | g)", {"f": "q"}, "'f' has labels the fit has not seen: q"),
        ("y ~ x:C(k) + (1 | g)", {"k": 77}, r"'C\(k\)' has labels the fit has not seen: 77"),
        ("y ~ size + (1 | g)", {"size": "giant"}, "'size' has labels the fit has not seen: giant"),
        ("y ~ (f | g)", {"f": "q"}, "'f' has labels the fit has not seen: q"),
        ("y ~ x + (1 | g)", {"x": "q"}, "'x' is not numeric"),
        ("y ~ bs(x, df=4) + (1 | g)", {"x": 1e3}, "cannot be evaluated: .*extrapolation"),
    ],
)
def test_new_data_that_do_not_fit(frame, formula, changes, message):
    design = build_design(formula, frame)
    with pytest.raises(DataError, match=message):
        design.spec.build(frame.assign(**changes))


def test_new_data_may_hold_other_types_of_the_same_labels(frame):
    frame["c"] = pd.Categorical(frame["k"], [8, 7, 6, 5, 4, 3, 2, 1])
    design = build_design("y ~ c + size + C(b) + (1 | c) + (1 | g)", frame)
    new = frame.astype({"c": int, "size": object, "g": float}).iloc[5:9]
    exog, random, _, _ = design.spec.build(new)
    np.testing.assert_array_equal(exog, design.exog[5:9])
    for (codes, _), term in zip(random, design.terms, strict=True):
        np.testing.assert_array_equal(codes, term.codes[5:9])


def test_a_spec_can_be_pickled(frame):
    design = build_design("y ~ f + bs(x, df=4) + sqrt(k) + (x | g:h)", frame)
    spec = pickle.loads(pickle.dumps(design.spec))
    np.testing.assert_array_equal(spec.build(frame)[0], design.exog)


# formula, changes of the frame, arguments, message
ERRORS = [
    ("y ~ xx + (1 | g)", {}, {}, "The data have no column 'xx'. Did you mean 'x'"),
    ("y ~ x + (1 | gg)", {}, {}, "no column 'gg'. Did you mean 'g'"),
    ("yy ~ x + (1 | g)", {}, {}, "no column 'yy'. Did you mean 'y'"),
    ("y ~ scal + (1 | g)", {}, {}, "no column 'scal'. Did you mean 'scale'"),
    ("y ~ np + (1 | g)", {}, {}, "no column 'np'"),
    ("y ~ np.log(scal) + (1 | g)", {}, {}, "'scal' is no column, and no function.*'scale'"),
    ("y ~ double(x) + (1 | g)", {}, {}, "'double' is no column, and no function"),
    ("y ~ x + (1 | g)", {}, {"weights": "w"}, "no column 'w'"),
    ("y ~ x + (1 | g)", {}, {"offset": "w"}, "no column 'w'"),
    ("f ~ x + (1 | g)", {}, {}, "'f' is not numeric but of type"),
    ("size ~ x + (1 | g)", {}, {}, "'size' is not numeric but of type category"),
    ("day ~ x + (1 | g)", {}, {}, "'day' is not numeric"),
    ("poly(y, 2) ~ x + (1 | g)", {}, {}, r"'poly\(y, 2\)' is not one column"),
    ("y ~ day + (1 | g)", {}, {}, "Column 'day' holds dates.*Convert it to numbers, or use C"),
    ("y ~ x + (day | g)", {}, {}, "Column 'day' holds dates"),
    ("y ~ x + (1 | g)", {"y": np.inf}, {}, "'y' is infinite, first in row 0"),
    ("y ~ x + (1 | g)", {"x": -np.inf}, {}, "'x' is infinite, first in row 0"),
    ("y ~ 1 + (x | g)", {"x": np.inf}, {}, "'x' is infinite"),
    ("y ~ k + log(k) + (1 | g)", {"k": 0}, {}, r"'log\(k\)' is not finite, first in row 0"),
    ("log(y) ~ x + (1 | g)", {"y": 0}, {}, r"'log\(y\)' is infinite"),
    ("log(y) ~ x + (1 | g)", {"y": -1}, {}, r"'log\(y\)' is not defined in row 0"),
    ("y ~ x + (1 | np.log(k))", {"k": -1}, {}, r"'np.log\(k\)' is not defined in row 0"),
    ("y ~ offset(log(k)) + (1 | g)", {"k": 0}, {}, r"'I\(log\(k\)\)' is infinite"),
    ("y ~ x + (1 | g)", {"x": None}, {}, "Every row has a missing value, by column: 'x' 60"),
    ("y ~ x + (1 | g)", {"x": 1j}, {}, "Column 'x' is complex"),
    ("y ~ x + (1 | g)", {"g": pd.Series([1, "a"] * 30)}, {}, "Column 'g' mixes types"),
    ("y ~ f + (1 | g)", {"f": pd.Series([1, "a"] * 30)}, {}, "Column 'f' mixes types"),
    ("y ~ 1 + (0 + C(f, levels=['a']) | g)", {}, {}, "cannot be evaluated: DataMismatchWarning"),
    ("y ~ np.mean(x) + (1 | g)", {}, {}, r"'np.mean\(x\)' cannot be evaluated"),
    ("y ~ 0 + x[:3] + (1 | g)", {}, {}, r"gives 3 rows for 60"),
    ("x[:3] ~ (1 | g)", {}, {}, r"'x\[:3\]' has 3 values for 60 rows"),
    ("y ~ f(x) + (1 | g)", {}, {}, "cannot be evaluated: .*not callable"),
    ("y ~ (1 | {g / nothing})", {}, {"context": {"nothing": "a"}}, "'g / nothing' cannot be evaluated: TypeError"),
    ("y ~ (1 | f:h)", {"f": ["a", "a:b"] * 30, "h": ["b:c", "c"] * 30}, {}, "two levels are called 'a:b:c'"),
    ("y ~ x + (1 | g)", {}, {"weights": -np.arange(N)}, "59 negative and 1 zero, first in row 0"),
    ("y ~ x + (1 | g)", {"w": 0}, {"weights": "w"}, "0 negative and 60 zero.*drop rows"),
    ("y ~ x + (1 | g)", {}, {"weights": [np.inf] * N}, "'argument weights' is infinite"),
    ("y ~ x + (1 | g)", {}, {"weights": np.ones(3)}, "weights has 3 values for 60 rows"),
    ("y ~ x + (1 | g)", {}, {"weights": np.ones((N, 2))}, "weights is not one column"),
    ("y ~ x + (1 | g)", {}, {"weights": "f"}, "'f' is not numeric"),
    ("y ~ x + (1 | g)", {}, {"offset": 3}, "offset has 1 values for 60 rows"),
    ("y ~ f + (1 | g)", {}, {"contrasts": {"x": "sum"}}, "contrasts names 'x', which is no column of the formula"),
    ("y ~ f + (1 | g)", {}, {"contrasts": {"f": "som"}}, "contrasts of 'f': 'som' is unknown"),
    (
        "y ~ f + (1 | g)",
        {},
        {"contrasts": {"f": [-1, 1]}},
        "codes for 2 categories, not for 3.*in their order: a, b, c",
    ),
    (
        "y ~ f + (1 | g)",
        {},
        {"contrasts": {"f": {"a": -1, "b": 1}}},
        r"neither a code for each category.*\[-0.5, 0.5\]",
    ),
    ("y ~ f + (1 | g)", {}, {"contrasts": {"f": ["a"]}}, "neither a code for each category"),
    ("y ~ Sum(f) + (1 | g)", {}, {}, r"Contrasts are an argument of C: C\(f, Sum\)"),
    ("log(f) ~ x + (1 | g)", {}, {}, "column 'f' holds text or categories. Make it numbers"),
    ("Q('y') ~ x + (1 | g)", {}, {}, "write the name of a column in backticks, `a name`"),
]


@pytest.mark.parametrize("formula, changes, arguments, message", ERRORS)
def test_errors_name_the_column(frame, formula, changes, arguments, message):
    with pytest.raises(DataError, match=message):
        build_design(formula, frame.assign(**changes), **arguments)


def test_codes_of_ones_own(frame):
    codes = np.array([[-1.0, 0.5], [0.0, -1.0], [1.0, 0.5]])
    given = codes, codes.tolist(), {"up": [-1, 0, 1], "bent": (0.5, -1.0, 0.5)}
    position = pd.Categorical(frame["f"]).codes
    for contrasts, names in zip(given, (["f[1]", "f[2]"], ["f[1]", "f[2]"], ["f[up]", "f[bent]"]), strict=True):
        design = build_design("y ~ f + (1 | g)", frame, contrasts={"f": contrasts})
        assert design.exog_names == ["Intercept", *names]
        np.testing.assert_array_equal(design.exog[:, 1:], codes[position])
        np.testing.assert_array_equal(design.spec.build(frame.iloc[3:5])[0], design.exog[3:5])
    design = build_design("y ~ h + (1 | g)", frame[frame["h"].isin(["u", "v"])], contrasts={"h": [-0.5, 0.5]})
    assert design.exog_names == ["Intercept", "h[1]"] and set(design.exog[:, 1]) == {-0.5, 0.5}


def test_missing_columns_that_are_in_the_index_or_in_tuples(frame):
    with pytest.raises(DataError, match=r"no column 'g'. It is the index: give data.reset_index\(\)"):
        build_design("y ~ x + (1 | g)", frame.set_index("g"))
    with pytest.raises(DataError, match=r"Names of columns are tuples: .*'_'.join"):
        build_design("y ~ x + (1 | g)", pd.concat({"wave": frame}, axis=1))
    with pytest.raises(DataError, match=r"no column 'g'. It is the index"):
        MixedLM.from_formula("y ~ x", frame.set_index("g"), groups="g")


def test_a_bar_without_columns(frame):
    context = {"nothing": lambda values: np.empty((len(values), 0))}
    with pytest.warns(DataWarning), pytest.raises(DataError, match=r"Term \(0 \+ nothing\(x\) \| g\).* has no column"):
        build_design("y ~ x + (0 + nothing(x) | g)", frame, context=context)


def test_missing_is_drop_or_raise(frame):
    with pytest.raises(ValueError, match="missing must be 'drop' or 'raise', not 'ignore'"):
        build_design("y ~ (1 | g)", frame, missing="ignore")
