"""Models of data that are read in chunks: the fits of the same rows in memory, whatever holds them."""

import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from sparselmm import lmer
from sparselmm.streaming.model import StreamedModel, stream_model

N = 600


def make_rows(n=N):
    """Return rows with a column of every kind, some values missing, a category that only the last rows have."""
    rng = np.random.default_rng(5)
    g, h = rng.integers(0, 25, n) * 3 - 10, rng.choice(list("uvwxyz"), n)
    frame = pd.DataFrame(
        {
            "y": 50 + rng.normal(size=25)[(g + 10) // 3] + rng.normal(size=n),
            "x": rng.normal(10.0, 2.0, n),
            "k": rng.integers(1, 9, n),
            "f": rng.choice(["c", "a", "b"], n),
            "b": rng.random(n) < 0.5,
            "g": g,
            "h": h,
            "w": rng.uniform(0.5, 2.0, n),
        }
    )
    frame.loc[n - 3 :, "f"] = "late"
    slopes = 0.2 * rng.normal(size=6)[ord("z") - h.view(np.int32)]
    frame["y"] += (0.3 + slopes) * frame["x"] + (frame["f"] == "a")
    return frame


@pytest.fixture(scope="module")
def rows():
    """Complete rows."""
    return make_rows()


@pytest.fixture(scope="module")
def gaps():
    """Rows with missing values."""
    frame = make_rows()
    rng = np.random.default_rng(6)
    for name in ("y", "x", "f", "h"):
        frame.loc[rng.integers(0, N - 3, 12), name] = None if frame[name].dtype == object or name in "fh" else np.nan
    return frame


def sources(frame, folder):
    """Return one source of each kind that holds the frame."""
    cut = [frame.iloc[start : start + 170] for start in range(0, len(frame), 170)]
    table = pa.Table.from_pandas(frame, preserve_index=False)
    path = folder / "rows.parquet"
    frame.to_parquet(path)
    frame.to_csv(folder / "rows.csv", index=False, na_rep="NA")
    for i, part in enumerate(cut):
        part.to_parquet(folder / f"part-{i}.parquet")
    return {
        "path": path,
        "text": str(path),
        "csv": folder / "rows.csv",
        "glob": f"{folder}/part-*.parquet",
        "paths": sorted(folder.glob("part-*.parquet")),
        "relation": duckdb.connect().read_parquet(str(path)),
        "arrow dataset": ds.dataset(path),
        "arrow reader": table.to_reader(max_chunksize=130),
        "arrow scanner": ds.dataset(table).scanner(),
        "lazy frame": pl.scan_parquet(path),
        "dask": dd.from_pandas(frame, npartitions=3),
        "generator": (part for part in cut),
        "polars frames": iter([pl.from_pandas(part) for part in cut]),
        "arrow tables": iter([pa.Table.from_pandas(part) for part in cut]),
        "dicts": iter([{name: part[name].array for name in part} for part in cut]),
        "list": cut,
    }


KINDS = [
    "path", "text", "csv", "glob", "paths", "relation", "arrow dataset", "arrow reader", "arrow scanner", "lazy frame",
    "dask", "generator", "polars frames", "arrow tables", "dicts", "list",
]  # fmt: skip


def assert_same_fit(fit, expected):
    """Assert that two fits are the same to rounding, levels matched by label."""
    assert isinstance(fit.model, StreamedModel)
    assert fit.nobs == expected.nobs
    assert fit.model.exog_names == expected.model.exog_names and fit.model.dropped == expected.model.dropped
    assert fit.deviance == pytest.approx(expected.deviance, abs=1e-7)
    np.testing.assert_allclose(fit.theta, expected.theta, atol=2e-6)
    np.testing.assert_allclose(fit.params, expected.params, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(fit.bse, expected.bse, rtol=1e-6)
    for name, effects in expected.random_effects.items():
        ours = fit.random_effects[name]
        assert sorted(ours.index) == sorted(effects.index)
        np.testing.assert_allclose(ours.loc[effects.index], effects, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_gives_the_fit_in_memory(kind, gaps, tmp_path):
    formula = "y ~ x * f + b + (1 | g) + (1 | h)"
    assert_same_fit(lmer(formula, sources(gaps, tmp_path)[kind]), lmer(formula, gaps))


class Own:
    """A source of a user's own: what `Source` asks for and nothing else, chunks as a plain iterator."""

    rows = None

    def __init__(self, frame, once):
        self.columns, self.once = list(frame), once
        self.parts = [frame.iloc[start : start + 170] for start in range(0, len(frame), 170)]

    def chunks(self, columns, size):
        parts, self.parts = self.parts, [] if self.once else self.parts
        return iter([part[list(columns)] for part in parts])

    def distinct(self, columns, among):
        return pd.concat(self.parts).dropna(subset=list(among))[list(columns)].drop_duplicates()


@pytest.mark.parametrize("once", [False, True])
def test_a_source_of_ones_own(once, gaps):
    formula = "y ~ x * f + b + (1 | g) + (1 | h)"
    assert_same_fit(lmer(formula, Own(gaps, once)), lmer(formula, gaps))


@pytest.mark.parametrize("kind", KINDS)
def test_categories_that_the_first_rows_do_not_have(kind, gaps, tmp_path, monkeypatch):
    monkeypatch.setattr("sparselmm.streaming.pilot.PILOT_ROWS", 1 if kind == "path" else 40)
    formula = "y ~ f * b + (1 | g)"
    assert_same_fit(lmer(formula, sources(gaps, tmp_path)[kind]), lmer(formula, gaps))


@pytest.mark.filterwarnings("ignore:The fixed-effects columns")
@pytest.mark.parametrize("size", [1, 17, 150, N])
@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (1 | g)",
        "y ~ f + (x | h)",
        "y ~ x + I(2 * x) + C(b) + (1 | g) + (1 | h:b)",
        "log(y) ~ f:b + np.sqrt(x) + {x > 9} + offset(0.1 * k) + (x || h) + (1 | {g // 6})",
        "y ~ . - w - g - h + (1 | h/b)",
        "y ~ 0 + C(f, contr.sum) + bs(x, knots=[9, 11], lower_bound=0, upper_bound=20) + (1 | g)",
    ],
)
def test_chunks_of_any_size(formula, size, rows, monkeypatch):
    monkeypatch.setattr("sparselmm.streaming.pilot.PILOT_ROWS", 30)
    rows = rows[:: 8 if size == 1 else 2]
    model = stream_model(formula, iter([rows]), weights="w", chunk_rows=size, context=globals())
    assert_same_fit(model.fit(), lmer(formula, rows, weights="w"))
    assert ("2 * x" in formula) <= bool(model.dropped)


@pytest.fixture(scope="module")
def predicted(gaps):
    """A fit in memory and its predictions of rows with missing values."""
    fit = lmer("y ~ x * f + (1 | g) + (x | h:b)", gaps)
    return fit, fit.predict(gaps, se=True).reset_index(drop=True)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_stream_out(kind, gaps, predicted, tmp_path):
    fit, expected = predicted
    path = fit.predict(sources(gaps, tmp_path)[kind], sink=tmp_path / "out.parquet", se=True, columns=["h", "x"])
    written = pd.read_parquet(path)
    assert list(written) == ["h", "x", "estimate", "std.error"]
    np.testing.assert_allclose(written["x"], gaps["x"])
    assert written["h"].fillna("").tolist() == gaps["h"].fillna("").tolist()
    pd.testing.assert_frame_equal(written[["estimate", "std.error"]], expected, atol=1e-9)
    assert sorted(tmp_path.glob("*out*")) == [path]
