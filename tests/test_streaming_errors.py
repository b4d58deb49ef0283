"""What cannot be read in chunks says so, with the remedy."""

import io
import json
import os
import re
import zipfile

import duckdb
import numpy as np
import pandas as pd
import pytest
from test_streaming import N, make_rows

import sparselmm
from sparselmm import DataError, DataWarning, EngineError, lmer
from sparselmm.streaming.public import load_model


@pytest.fixture
def rows():
    """Complete rows."""
    return make_rows()


def chunks(frame):
    """Yield a frame in three parts."""
    yield from (frame[:200], frame[200:400], frame[400:])


@pytest.mark.parametrize(
    "formula, text",
    [
        ("y ~ scale(x) + (1 | g)", "scale(x)"),
        ("y ~ f + center(x) * b + (1 | g)", "center(x)"),
        ("y ~ poly(x, 2) + (1 | g)", "poly(x, 2)"),
        ("y ~ bs(x, df=4) + (1 | g)", "bs(x, df=4)"),
        ("y ~ bs(x, knots=[9, 11]) + (1 | g)", "bs(x, knots=[9, 11])"),
        ("y ~ I(x - x.mean()) + (1 | g)", "I(x - x.mean())"),
        ("y ~ {x - np.min(x)} + (1 | g)", "x - np.min(x)"),
        ("y ~ x.rank() + (1 | g)", "x.rank()"),
        ("y ~ x.cumsum() + (1 | g)", "x.cumsum()"),
        ("y ~ np.roll(x, 1) + (1 | g)", "np.roll(x, 1)"),
        ("y ~ C(pd.qcut(x, 3)) + (1 | g)", "C(pd.qcut(x, 3))"),
        ("scale(y) ~ x + (1 | g)", "scale(y)"),
        ("y ~ x + (scale(x) | g)", "scale(x)"),
        ("y ~ x + offset(k / k.max()) + (1 | g)", "I(k / k.max())"),
        ("y ~ x + (1 | {g - g.min()})", "g - g.min()"),
    ],
)
def test_functions_of_whole_columns_are_named(formula, text, rows):
    with pytest.raises(DataError, match=re.escape(f"'{text}' needs the whole column")):
        lmer(formula, chunks(rows), context={"np": np, "pd": pd})


def test_functions_of_single_rows_pass(rows):
    formula = "y ~ np.log(x) + I(x**2) + C(k) + hashed(f, levels=5) + {x > 9} + (1 | g)"
    with pytest.warns(DataWarning, match="dropped"):
        fit = lmer("y ~ C(k) + hashed(f, levels=5) + (1 | g)", chunks(rows))
    assert fit.nobs == N
    assert lmer(formula.replace(" + hashed(f, levels=5)", ""), chunks(rows)).nobs == N


@pytest.mark.parametrize(
    "change, options, message",
    [
        ({}, {"weights": np.ones(N)}, "weights is an array.*weights='column'"),
        ({}, {"offset": np.ones(N)}, "offset is an array.*offset='column'"),
        ({}, {"weights": "wt"}, "no column 'wt'"),
        ({"x": np.nan}, {}, "Every row has a missing value, by column: 'x' 600"),
        ({"y": 1.0}, {}, "'y' is constant"),
        ({"g": 3}, {}, "'g' has a single level"),
        ({"g": np.arange(N)}, {}, "600 random effects for 600 rows"),
        ({"w": -1.0}, {"weights": "w"}, "weights: 600 negative"),
        ({"x": np.inf}, {}, "'x' is infinite"),
    ],
)
def test_data_that_cannot_be_fitted(change, options, message, rows):
    with pytest.raises(DataError, match=message):
        lmer("y ~ x + f + (1 | g)", chunks(rows.assign(**change)), **options)


def test_missing_values_are_an_error_if_asked_for(rows):
    rows.loc[[3, 500, 501], "x"] = np.nan
    with pytest.raises(DataError, match=r"missing values, by column: 'x' 1\. Fill"):
        lmer("y ~ x + (1 | g)", chunks(rows), missing="raise")
    with pytest.raises(ValueError, match="'drop' or 'raise'"):
        lmer("y ~ x + (1 | g)", chunks(rows), missing="ignore")


def test_places_are_counted_over_all_chunks(rows):
    rows.loc[450, "k"] = 0
    with pytest.raises(DataError, match="not finite, first in row 450"):
        lmer("y ~ np.log(k) + (1 | g)", ({name: part[name].array for name in part} for part in chunks(rows)))


@pytest.mark.parametrize("frames", [[], [make_rows()[:0]]])
def test_no_rows(frames):
    with pytest.raises(DataError, match=r"no rows|no data frame"):
        lmer("y ~ x + (1 | g)", iter(frames))


def test_too_few_rows(rows):
    with pytest.raises(DataError, match="4 rows for 4 independent fixed effects"), pytest.warns(DataWarning):
        lmer("y ~ x * k + b + (1 | g)", iter([rows[:2].assign(g=1, b=True), rows[2:4].assign(g=2, b=False)]))


@pytest.mark.parametrize("pilot", [100, N])
@pytest.mark.parametrize(
    "change, message",
    [
        ({"g": "a"}, "Column 'g' is of different types"),
        ({"x": "a"}, "Column 'x' is of different types"),
        ({"f": 1}, "Column 'f' is of different types|'f' mixes types"),
    ],
)
def test_types_that_change_between_chunks(change, message, pilot, rows, monkeypatch):
    monkeypatch.setattr("sparselmm.streaming.pilot.PILOT_ROWS", pilot)
    with pytest.raises(DataError, match=message):
        lmer("y ~ x + f + (1 | g)", iter([rows[:300], rows[300:].assign(**change)]))


def test_whole_numbers_with_gaps_are_the_same_levels(rows):
    """pandas makes floats of them where a chunk has missing labels."""
    holed = [rows[:300], rows[300:].astype({"g": float, "h": object})]
    holed[1].loc[310, "g"] = np.nan
    fit = lmer("y ~ x + (1 | g) + (1 | g:h)", iter(holed))
    assert fit.model.groups == lmer("y ~ x + (1 | g) + (1 | g:h)", rows.drop(310)).model.groups


def test_elements_that_are_no_frames():
    with pytest.raises(DataError, match="yields int, not data frames"):
        lmer("y ~ x + (1 | g)", iter([1, 2]))


def test_too_many_categories(rows, monkeypatch):
    monkeypatch.setattr("sparselmm.streaming.pilot.MOST_CATEGORIES", 5)
    with pytest.raises(DataError, match=r"'h' has more than 5 categories.*\(1 \| h\)"):
        lmer("y ~ h + (1 | g)", chunks(rows))


def test_files_that_are_not_there_or_not_read(tmp_path, rows):
    for path, message in [
        (tmp_path / "none.parquet", "There is no file"),
        (tmp_path / "none-*.parquet", "cannot be read: .*[Nn]o files"),
        (tmp_path / "rows.xlsx", "neither as Parquet nor as CSV"),
        ([tmp_path / "a.csv", tmp_path / "a.parquet"], "of one kind"),
    ]:
        with pytest.raises(DataError, match=message):
            lmer("y ~ x + (1 | g)", path)
    broken = tmp_path / "broken.parquet"
    rows.to_parquet(broken)
    broken.write_bytes(broken.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"broken.parquet' cannot be read"):
        lmer("y ~ x + (1 | g)", broken)


def test_columns_that_the_source_does_not_have(tmp_path, rows):
    path = tmp_path / "rows.parquet"
    rows.to_parquet(path)
    with pytest.raises(DataError, match=r"no column 'X'\. Did you mean 'x'"):
        lmer("y ~ X + (1 | g)", path)


def test_a_folder_and_odd_names_are_read(tmp_path, rows):
    rows = rows.rename(columns={"x": 'the "x"', "g": "g's"})
    rows.to_parquet(tmp_path / "it's.parquet")
    formula = 'y ~ `the "x"` + (1 | `g\'s`)'
    assert lmer(formula, tmp_path).deviance == pytest.approx(lmer(formula, rows).deviance, abs=1e-8)


def test_temporary_files_are_deleted(tmp_path, rows, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lmer("y ~ f + (1 | g)", chunks(rows))
    with pytest.raises(DataError):
        lmer("y ~ f + (1 | g)", iter([rows[:300], rows[300:].assign(y="a")]))
    assert not os.listdir(tmp_path)


NEED_ROWS = {
    "fittedvalues": lambda fit: fit.fittedvalues,
    "resid": lambda fit: fit.resid,
    "predict": lambda fit: fit.predict(),
    "augment": lambda fit: fit.augment(),
    "simulate": lambda fit: fit.simulate(2),
    "bootstrap": lambda fit: fit.bootstrap(2),
    "refit": lambda fit: fit.refit(np.ones(N)),
    "influence": lambda fit: fit.influence(),
    "robust": lambda fit: fit.robust(),
    "exog": lambda fit: fit.model.exog,
    "Z": lambda fit: fit.model.Z,
    "codes": lambda fit: fit.model.terms[0].codes,
    "plot": lambda fit: fit.plot(),
}


@pytest.fixture(scope="module")
def streamed():
    """A fit of rows that were read in chunks."""
    return lmer("y ~ x + b + (1 | g) + (1 | h)", chunks(make_rows()), weights="w")


@pytest.mark.parametrize("what", NEED_ROWS)
def test_what_needs_the_rows_says_so(what, streamed):
    with pytest.raises(DataError, match=r"needs the rows of the data, which were read in chunks and not kept\. \w"):
        NEED_ROWS[what](streamed)


def test_the_dense_engine_needs_the_rows(streamed):
    with pytest.raises(EngineError, match="engine='dense' needs the rows"):
        streamed.model.fit(engine="dense")


def test_names_that_do_not_exist(streamed):
    with pytest.raises(AttributeError):
        streamed.model.design.nothing  # noqa: B018
    with pytest.raises(AttributeError):
        streamed.model.terms[0].nothing  # noqa: B018
    with pytest.raises(TypeError, match="lmer"):
        type(streamed.model)([1.0], [[1.0]], [])


def test_means_are_drawn_without_the_rows(streamed):
    pytest.importorskip("matplotlib").use("Agg")
    with pytest.raises(DataError, match="Use data=False"):
        streamed.plot.predictions("x")
    assert len(streamed.plot.predictions("x", data=False).lines) == 1


def test_predictions_need_a_file_they_can_be_written_to(streamed, rows, tmp_path):
    source = duckdb.connect().from_df(rows)
    with pytest.raises(DataError, match=r"sink='out.parquet'"):
        streamed.predict(source)
    for options, error, message in [
        ({"sink": tmp_path / "out.csv"}, ValueError, "ends in .parquet"),
        ({"sink": tmp_path / "out.parquet", "columns": ["nothing"]}, DataError, "no column 'nothing'"),
        ({"sink": tmp_path / "out.parquet", "offset": np.zeros(N)}, DataError, "not arrays"),
    ]:
        with pytest.raises(error, match=message):
            streamed.predict(source, **options)
    with pytest.raises(ValueError, match=r"sink='out.parquet'"):
        streamed.predict(rows, columns=["x"])
    with pytest.raises(ValueError, match="'estimate' is the name of a column"):
        streamed.predict(rows.assign(estimate=1), sink=tmp_path / "out.parquet", columns="estimate")
    with pytest.raises(DataError, match="levels that the fit has not seen"):
        streamed.predict(iter([rows, rows.assign(g=1000)]), sink=tmp_path / "out.parquet")
    with pytest.raises(DataError, match="another type in a later chunk"):
        streamed.predict(iter([rows.assign(id=1), rows.assign(id="a")]), sink=tmp_path / "out.parquet", columns="id")
    assert not os.listdir(tmp_path)


def test_updates_that_cannot_be(rows):
    fit = lmer("y ~ f + (1 | g)", rows[:-3])
    with pytest.raises(DataError, match="'f' has labels the fit has not seen: late"):
        fit.update(rows[-3:])
    with pytest.raises(DataError, match="array as weights"):
        lmer("y ~ x + (1 | g)", rows, weights=np.ones(N)).update(rows)
    with pytest.raises(DataError, match="built from arrays"):
        model = sparselmm.LinearMixedModel(rows["y"], rows[["x"]], sparselmm.RandomTerm(rows["g"]))
        model.fit().update(rows)
    with pytest.raises(DataError, match="depends on the other rows"):
        lmer("y ~ x.rank() + (1 | g)", rows).update(rows)


@pytest.mark.parametrize(
    "formula",
    ["y ~ {__import__('os').getpid() * x} + (1 | g)", "y ~ x.clip(1, 9) + (1 | g)", "y ~ np.load(x) + (1 | g)"],
)
def test_formulas_that_a_file_may_not_hold(formula, rows, streamed, tmp_path):
    from sparselmm.streaming.storage import _check_plain

    with pytest.raises(DataError, match="calls what a file may not"):
        _check_plain(formula, {})
    if "clip" in formula:
        with pytest.raises(DataError, match="calls what a file may not"):
            lmer(formula, chunks(rows)).model.save(tmp_path / "model")
    assert not os.listdir(tmp_path)


def rewritten(path, change):
    """Change the JSON of the file of a model, and the arrays of its rows."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    facts, arrays = json.loads(members["model.json"]), dict(np.load(io.BytesIO(members["sample.npz"])))
    change(facts, arrays)
    file = io.BytesIO()
    np.savez(file, **arrays)
    members |= {"model.json": json.dumps(facts).encode(), "sample.npz": file.getvalue()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("place", ["dot", "weights"])
def test_names_of_columns_in_a_file_run_no_code(place, rows, tmp_path):
    path, canary = tmp_path / "model", tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w')"
    lmer("y ~ x + k + (1 | g)", chunks(rows)).model.save(path)

    def change(facts, arrays):
        name = f"x` + {{{code}}} + `k" if place == "dot" else f"{code}+`x`+x"
        facts["columns"] |= {name: {}} | ({} if place == "dot" else {f"{code}+": {}, "+x": {}})
        arrays |= {str(len(arrays) + k): arrays["0"] for k in range(3)}
        facts |= {"formula": "y ~ . + (1 | g)"} if place == "dot" else {"weights": name}

    rewritten(path, change)
    with pytest.raises(DataError, match="Rename it"):
        load_model(path)
    assert not canary.exists()


def test_names_of_columns_with_backticks(rows):
    with pytest.raises(DataError, match=r"Column 'a`b'.*Rename it"):
        lmer("y ~ . + (1 | g)", rows[["y", "x", "g"]].assign(**{"a`b": 1.0}))


@pytest.mark.parametrize(
    "change",
    [
        lambda facts, arrays: facts.update(format=99),
        lambda facts, arrays: facts.update(facts="[" * 100_000),
        lambda facts, arrays: facts.update(contrasts={"f": "__class__"}),
        lambda facts, arrays: facts.update(formula="y ~ x + (1 | g)"),
        lambda facts, arrays: facts.update(formula="y ~ x + f + (x | g)"),
        *(
            lambda facts, arrays, old=old, new=new: facts.update(facts=facts["facts"].replace(old, new))
            for old, new in [
                ('"keys": {"kind": "tuple", "of": ["f"', '"keys": {"kind": "tuple", "of": ["f", "x"'),
                ('"keys": {"kind": "tuple", "of": ["f"', '"keys": {"kind": "tuple", "of": ["kind"'),
                ('"names": {"kind": "tuple", "of": ["f"', '"names": {"kind": "tuple", "of": ["g", "f"'),
                ('"missing": {"kind": "dict", "of": []}', '"missing": {"kind": "dict", "of": [["x", [1]]]}'),
            ]
        ),
        lambda facts, arrays: arrays.pop("0"),
        lambda facts, arrays: arrays.update({"0": np.zeros(3)}),
    ],
)
def test_contents_of_a_model_are_checked_against_each_other(change, rows, tmp_path):
    path = tmp_path / "model"
    lmer("y ~ x + f + (1 | g)", chunks(rows)).model.save(path)
    rewritten(path, lambda facts, arrays: None)
    assert load_model(path).nobs == N
    rewritten(path, change)
    with pytest.raises(DataError, match=f"{path} holds no model that can be read"):
        load_model(path)


def test_files_that_claim_more_than_they_hold(rows, tmp_path):
    path = tmp_path / "model"
    lmer("y ~ x + (1 | g)", chunks(rows)).model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content if name != "model.json" else bytes(10**8))
    with pytest.raises(DataError, match="it is compressed"):
        load_model(path)


@pytest.mark.parametrize("how", ["vanishes", "is cut", "is another"])
def test_a_file_that_changes_between_passes(how, rows, tmp_path, monkeypatch):
    from sparselmm.streaming import model

    path, read = tmp_path / "rows.parquet", model.read
    rows.to_parquet(path)

    def later(*arguments):
        if how == "vanishes":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:500] if how == "is cut" else b"x,y\n1,2\n")
        return read(*arguments)

    monkeypatch.setattr(model, "read", later)
    with pytest.raises(DataError, match="The source cannot be read"):
        lmer("y ~ x + (1 | g)", str(path))


def test_parts_of_other_libraries_and_types(rows):
    import pyarrow as pa

    expected = lmer("y ~ x + f + (1 | g)", rows).params
    for parts in (
        [rows[:300], pa.RecordBatch.from_pandas(rows[300:])],
        [rows[:300].astype({"f": "category"}), rows[300:].astype({"f": object})],
    ):
        np.testing.assert_allclose(lmer("y ~ x + f + (1 | g)", iter(parts)).params, expected, rtol=1e-9)
    for part in ({"x": 1.0}, object()):
        with pytest.raises(DataError):
            lmer("y ~ x + f + (1 | g)", iter([rows[:300], part]))


@pytest.mark.parametrize("name", ["x", "y"])
def test_numbers_too_large_to_be_squared_are_named(name, rows):
    rows.loc[500, name] = 1e308
    for data in (rows, chunks(rows)):
        with pytest.raises(DataError, match=rf"^{name} is of the size of 1e\+308"):
            lmer("y ~ x + (1 | g)", data)


def test_files_that_hold_no_model(tmp_path, streamed):
    path = tmp_path / "model"
    path.write_text("nothing")
    with pytest.raises(DataError, match="holds no model"):
        load_model(path)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none")
    streamed.model.cross.save(path)
    with pytest.raises(DataError, match="holds no model"):
        load_model(path)


def test_infinite_values_of_the_response_are_not_taken_for_a_function_of_the_column(rows):
    data = rows.assign(y=np.where(np.arange(len(rows)) == 3, 0.0, np.exp(rows["y"] - rows["y"].mean())))
    with pytest.raises(DataError, match=r"infinite|not finite"):
        sparselmm.lmer("log(y) ~ x + (1 | g)", iter([data]))
