"""Fits without rows: inference as with rows, further rows, files of models, and what the pass shows."""

import pickle
import threading
import time
import weakref

import numpy as np
import pandas as pd
import pytest
from test_streaming import assert_same_fit, make_rows

import sparselmm
from sparselmm import DataError, lmer
from sparselmm.streaming.model import StreamedModel, stream_model
from sparselmm.streaming.prefetch import prefetched
from sparselmm.streaming.public import load_model, update

REFERENCE = "the same rows in memory"


@pytest.fixture(scope="module")
def rows():
    """Complete rows, with ordered categories and a number of two values."""
    frame = make_rows()
    frame["size"] = pd.Categorical(frame["h"], list("zyxwvu"))
    frame["two"] = np.where(frame["x"] > 10, 3.0, 1.5)
    return frame


def chunks(frame):
    """Yield a frame in three parts, the last first."""
    yield from (frame[400:], frame[:200], frame[200:400])


def both(formula, rows, **options):
    """Return the fit in memory and the one of chunks."""
    return lmer(formula, rows, **options), lmer(formula, chunks(rows), **options)


@pytest.fixture(scope="module")
def pair(rows):
    """The fits of a model with weights, offset and slopes in memory and of chunks."""
    return both("y ~ x * b + offset(0.1 * k) + (x | h) + (1 | g)", rows, weights="w")


NUMBERS = {
    "summary, Satterthwaite": lambda fit: fit.inference().conf_int(),
    "Kenward–Roger": lambda fit: fit.inference("kenward-roger").conf_int(),
    "SEs of variances": lambda fit: fit.variance_params["std.error"],
    "SDs of random effects": lambda fit: fit.random_effects_sd["g"],
    "coefficients": lambda fit: fit.coefficients["h"],
    "SEs of coefficients": lambda fit: fit.coefficients_se["h"],
    "tidy": lambda fit: fit.tidy()["estimate"],
    "glance": lambda fit: fit.glance().drop(columns=["optimizer"], errors="ignore").select_dtypes("number"),
    "predictions of means": lambda fit: fit.predict(make_rows()[:9], random=False, interval="mean"),
    "predictions": lambda fit: fit.predict(make_rows()[:9], se=True),
    "predictions with intervals": lambda fit: fit.predict(
        make_rows()[:9], interval="prediction", weights="w", ddf="satterthwaite"
    ),
    "profile of σ": lambda fit: fit.profile(["sigma"]).conf_int(),
}


@pytest.mark.parametrize("what", NUMBERS)
def test_numbers_are_those_of_rows_in_memory(what, pair, agree):
    ours, theirs = (NUMBERS[what](fit) for fit in reversed(pair))
    agree(what, "chunks, weights, slopes", REFERENCE, ours, theirs, rtol=3e-5, atol=3e-5)


def numbers_of(table):
    """Return the numbers of a table of tests or means."""
    return getattr(table, "frame", table).select_dtypes("number")


FORMULAS = [
    "y ~ f * b + x + k + (1 | g)",
    "y ~ x * f * b + (1 | h)",
    "y ~ f:b + x + (1 | g)",
    "y ~ f * C(k) + x:f + (1 | g)",
    "y ~ size * two + bs(x, knots=[9, 11], lower_bound=0, upper_bound=20) + (1 | g)",
]


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.filterwarnings("ignore:The fixed-effects columns")
def test_tests_of_terms_and_marginal_means(formula, weights, rows, agree):
    theirs, ours = both(formula, rows, weights=weights)
    tables = {f"anova type {kind}": (lambda fit, kind=kind: fit.anova(kind)) for kind in (1, 2, 3)}
    tables["drop1"] = lambda fit: fit.drop1()
    for name in ("f", "size", "two"):
        if name in formula.partition("+ (")[0]:
            for kind in ("equal", "proportional", "cells", "outer", "flat"):
                tables[f"means of {name}, {kind}"] = lambda fit, name=name, kind=kind: fit.emmeans(name, weights=kind)
    for what, table in tables.items():
        left, right = (numbers_of(table(fit)) for fit in (ours, theirs))
        agree(what, formula, REFERENCE, left, right, rtol=1e-4, atol=1e-6)


def test_grids_know_means_and_ranges_but_not_all_values(pair):
    ours, theirs = reversed(pair)
    for options in ({}, {"at": {"x": [8.0, 12.0]}}, {"cov_reduce": np.min}, {"cov_reduce": np.max}):
        frames = [fit.emmeans("b", **options).frame.select_dtypes("number") for fit in (ours, theirs)]
        np.testing.assert_allclose(*frames, rtol=1e-5)
    slopes = [fit.emtrends("b", var="x").frame.select_dtypes("number") for fit in (ours, theirs)]
    np.testing.assert_allclose(*slopes, rtol=1e-5)
    for reduce in (False, np.median):
        with pytest.raises(DataError, match="All values of 'x'"):
            ours.emmeans("b", cov_reduce=reduce)


def test_more_cells_than_are_kept(rows, monkeypatch):
    monkeypatch.setattr("sparselmm.streaming.facts.MOST_CELLS", 5)
    theirs, ours = both("y ~ size * b + x + (1 | g)", rows)
    assert ours.deviance == pytest.approx(theirs.deviance, abs=1e-8)
    np.testing.assert_allclose(*(numbers_of(fit.emmeans("size")) for fit in (ours, theirs)), rtol=1e-5)
    for what in (lambda: ours.emmeans("size", weights="cells"), lambda: ours.anova(3)):
        with pytest.raises(DataError, match="so many combinations of categories"):
            what()


def test_likelihood_ratios(rows, agree):
    small, large = "y ~ x + (1 | g)", "y ~ x + f + (x | g)"
    fits = [both(formula, rows) for formula in (small, large)]
    expected, streamed = (sparselmm.compare(*(pair[i] for pair in fits)) for i in (0, 1))
    mixed = sparselmm.compare(fits[0][0], fits[1][1])
    for table in (streamed, mixed):
        ours, theirs = numbers_of(table), numbers_of(expected)
        agree("likelihood ratio", "chunks, slopes and a factor more", REFERENCE, ours, theirs, rtol=1e-6)
    assert "no special case" in str(sparselmm.compare(fits[1][1], lmer("y ~ x + (1 | h)", chunks(rows))))
    with pytest.raises(DataError, match="different response"):
        sparselmm.compare(fits[0][1], lmer(large, chunks(rows.assign(y=rows["y"] * 2))))
    with pytest.raises(DataError, match="different weights"):
        sparselmm.compare(fits[0][1], lmer(large, chunks(rows), weights="w"))


def test_fits_pickle(pair):
    again = pickle.loads(pickle.dumps(pair[1]))
    assert str(again.summary()) == str(pair[1].summary())
    assert isinstance(again.model, StreamedModel)


def test_missing_rows_are_told(rows):
    rows = rows.copy()
    rows.loc[[3, 450], "x"] = np.nan
    summary = str(lmer("y ~ x + (1 | g)", chunks(rows)).summary())
    assert "2 rows with missing values were left out, by column: x 2." in summary


def test_insteval(agree):
    data = sparselmm.datasets.load("InstEval")
    formula = "y ~ service * dept + (1 | s) + (1 | d)"
    theirs = lmer(formula, data)
    ours = lmer(formula, (data[start : start + 9_000] for start in range(0, len(data), 9_000)))
    agree("theta", "InstEval by 9,000 rows", REFERENCE, ours.theta, theirs.theta, rtol=1e-6)
    agree("deviance", "InstEval by 9,000 rows", REFERENCE, ours.deviance, theirs.deviance, rtol=1e-11)
    agree("fixed effects", "InstEval by 9,000 rows", REFERENCE, ours.params, theirs.params, rtol=1e-6)
    effects = theirs.random_effects["d"]
    agree("modes", "InstEval by 9,000 rows", REFERENCE, ours.random_effects["d"].loc[effects.index], effects, atol=1e-6)


@pytest.mark.parametrize("kind", ["in memory", "in chunks", "frame after chunks"])
@pytest.mark.parametrize("weights", [None, "w"])
def test_further_rows(kind, weights, rows):
    formula = "y ~ x * b + C(k) + offset(0.1 * k) + (x | h) + (1 | g:b)"
    old, new = rows[rows["g"] < 40], rows[rows["g"] >= 40]
    fit = lmer(formula, old if kind == "in memory" else chunks(old), weights=weights, reml=False)
    more = update(fit, new if "frame" in kind else chunks(new))
    assert_same_fit(more, lmer(formula, rows, weights=weights, reml=False))
    assert not more.reml and more.optimizer.evaluations <= 8


@pytest.mark.filterwarnings("ignore:The fixed-effects columns")
def test_further_rows_make_columns_independent(rows):
    formula = "y ~ f * b + (1 | g)"
    old = ~((rows["f"] == "a") & rows["b"])
    fit = lmer(formula, rows[old])
    assert "f[T.b]:b[T.True]" in fit.model.dropped or fit.model.dropped
    assert_same_fit(fit.update(rows[~old], reml=True), lmer(formula, pd.concat([rows[old], rows[~old]])))


def test_remembered_centers_stay(rows):
    fit = lmer("y ~ center(x) + (1 | g)", rows[:400])
    more = fit.update(rows[400:])
    expected = lmer(f"y ~ {{x - {float(rows['x'][:400].mean())!r}}} + (1 | g)", rows)
    assert more.deviance == pytest.approx(expected.deviance, abs=1e-7)
    np.testing.assert_allclose(more.params, expected.params, rtol=1e-6)


@pytest.mark.parametrize(
    "formula, contrasts",
    [
        ("y ~ f * b + np.log(x) + {x > 9} + offset(0.1 * k) + (x | size) + (1 | g:h)", {"f": "sum"}),
        ("y ~ . - w + (1 | g)", None),
        ("y ~ C(k, contr.helmert) + doubled(x) + (1 | g)", None),
    ],
)
@pytest.mark.filterwarnings("ignore:The fixed-effects columns")
def test_models_are_written_and_read(formula, contrasts, rows, tmp_path):
    context = {"doubled": lambda x: 2 * x, "np": np}
    options = {"weights": "w", "contrasts": contrasts, "context": context}
    expected, fit = both(formula, rows, **options)
    fit.model.save(tmp_path / "model")
    model = load_model(tmp_path / "model", context)
    assert_same_fit(model.fit(), expected)
    np.testing.assert_allclose(model.fit().predict(rows), fit.predict(rows), rtol=1e-7)
    assert str(model.fit().anova(3)) == str(fit.anova(3))
    assert_same_fit(model.fit().update(rows[:50]), lmer(formula, pd.concat([rows, rows[:50]]), **options))
    if "doubled" in formula:
        with pytest.raises(DataError, match=r"calls what a file may not"):
            load_model(tmp_path / "model")


def test_predictions_of_a_fit_in_chunks(rows, tmp_path):
    theirs, ours = both("y ~ x + (x | h) + (1 | g)", rows)
    path = ours.predict(chunks(rows), sink=tmp_path / "out.parquet", interval="prediction")
    written = pd.read_parquet(path)
    expected = theirs.predict(pd.concat(chunks(rows)), interval="prediction").reset_index(drop=True)
    assert list(written) == ["h", "g", *expected]
    pd.testing.assert_frame_equal(written[list(expected)], expected, rtol=1e-4)
    path = ours.predict(rows, random=False, sink=path, columns=[])
    assert list(pd.read_parquet(path)) == ["estimate"]


def test_progress_counts_rows(rows, capsys):
    lmer("y ~ x + (1 | g)", chunks(rows), progress=True)
    assert "600" in capsys.readouterr().err


def test_the_next_chunk_is_fetched_while_one_is_used():
    log = []

    def source():
        for i in range(3):
            log.append(("read", i, threading.current_thread() is threading.main_thread()))
            yield i

    for i in prefetched(source()):
        time.sleep(0.02)
        log.append(("used", i, True))
    assert log.index(("read", 1, False)) < log.index(("used", 0, True))


def test_errors_of_the_reading_thread_arrive():
    def source():
        yield 1
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        list(prefetched(source()))
    for first in prefetched(iter(range(10))):
        assert first == 0
        break


def test_few_chunks_are_alive_at_a_time(rows, monkeypatch):
    monkeypatch.setattr("sparselmm.streaming.pilot.PILOT_ROWS", 20)
    alive = []

    def source():
        for start in range(0, 600, 20):
            frame = rows[start : start + 20].copy()
            alive.append(weakref.ref(frame))
            yield frame
            del frame
            held = sum(one() is not None for one in alive)
            assert held <= 4, f"{held} chunks are held"

    stream_model("y ~ x + (1 | g)", source()).fit()
