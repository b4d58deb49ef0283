"""The data of benchmarks/large.py, the runner scale.py on the smallest of them, and the page made of its record."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bench(monkeypatch):
    """Put the benchmarks on the path."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def columns(shape):
    """Return all rows of a shape."""
    chunks = list(shape.chunks())
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


@pytest.mark.parametrize("chunk", [1 << 20, 4096])
def test_ratings_are_distinct_skewed_and_cover_every_level(bench, monkeypatch, chunk):
    import large

    monkeypatch.setattr(large, "CHUNK", chunk)
    shape = large.Ratings(20_000, 600, 450, communities=4, rare=0.05)
    data = columns(shape)
    assert data["y"].size == shape.rows
    assert np.unique(data["u"] * np.int64(450) + data["i"]).size == shape.rows
    users, items = (np.bincount(data[name], minlength=count) for name, count in shape.levels.items())
    assert users.min() == 1 and items.min() >= 1
    assert (users == 1).sum() == 30  # rare ones
    assert np.median(users) < 0.8 * users.mean() and users.max() > 5 * users.mean()
    assert {name: values.dtype.name for name, values in data.items()} == {"y": "float64", "u": "int32", "i": "int32"}


def test_ratings_stay_in_communities(bench):
    import large

    shape = large.Ratings(40_000, 800, 600, communities=4)
    data = columns(shape)
    counts = np.zeros((800, 600))
    counts[data["u"], data["i"]] = 1.0
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / shape.rows
    values = np.linalg.svd((counts - expected) / np.sqrt(expected), compute_uv=False)
    assert (values[:3] > 1.3 * values[3]).all()  # four communities, three directions that stand out


def test_panels_have_every_worker_each_year_and_every_firm(bench, monkeypatch):
    import large

    monkeypatch.setattr(large, "CHUNK", 5_000)
    shape = large.Panel(2_000, 400, communities=10, move=0.1)
    data = columns(shape)
    np.testing.assert_array_equal(data["w"], np.repeat(np.arange(2_000), 10))
    assert np.unique(data["f"]).size == 400
    firms = data["f"].reshape(2_000, 10)
    assert np.mean(firms[:, 1:] != firms[:, :-1]) == pytest.approx(0.1, abs=0.015)  # some moves end where they began
    slopes = np.linalg.lstsq(np.column_stack([data["x"], data["z"]]), data["y"], rcond=None)[0]
    np.testing.assert_allclose(slopes, [0.5, -0.2], atol=0.05)


def test_alias_tables_draw_in_proportion(bench):
    import large

    weights, groups = np.array([1.0, 0.0, 3.0, 2.0, 2.0, 4.0]), np.array([1, 0, 1, 0, 0, 1])
    table = large.Weighted(weights, groups)
    np.testing.assert_array_equal(table.totals, [4.0, 8.0])
    rng = np.random.default_rng(0)
    for group, total in ((0, 4.0), (1, 8.0)):
        shares = np.bincount(table.draw(rng, np.full(100_000, group)), minlength=6) / 100_000
        np.testing.assert_allclose(shares, np.where(groups == group, weights, 0.0) / total, atol=0.006)


def test_files_hold_what_is_drawn(bench, tmp_path):
    import large
    import pyarrow.parquet as pq
    from peers.protocol import read_columns

    shape = large.SHAPES["panel-tiny"]
    drawn = columns(shape)
    large.write_columns(shape, tmp_path)
    large.write_parquet(shape, tmp_path / "panel.parquet")
    frame, table = read_columns(tmp_path), pq.read_table(tmp_path / "panel.parquet")
    for name, values in drawn.items():
        np.testing.assert_array_equal(frame[name].cat.codes if name in shape.levels else frame[name], values)
        np.testing.assert_array_equal(table[name], values)
    assert list(frame["f"].cat.categories) == [str(code) for code in range(400)]


def test_what_stopped_is_not_tried_again(bench):
    import scale

    record = {
        "cells": {
            "ratings-1M lme4": {"status": "timeout", "reason": 150},
            "ratings-1M mixedlm": {"status": "ok", "seconds": 60.0},
            "ratings-1M auto": {"status": "ok", "seconds": 1.0, "deviance_error": 0.02},
        }
    }
    assert scale.settled(record, "ratings-3M", "lme4", 150)["status"] == "skipped"
    assert "at least 180 s" in scale.settled(record, "ratings-3M", "mixedlm", 150)["reason"]
    assert scale.settled(record, "ratings-3M", "mixedlm", 200) is None
    assert scale.settled(record, "ratings-300k", "lme4", 150) is None
    assert scale.settled(record, "panel-10M", "lme4", 150) is None
    assert scale.settled(record, "ratings-1M", "pcg", 150)["same_as"] == "auto"


def test_runner_and_report(bench, tmp_path, monkeypatch):
    """Both engines on the smallest ratings agree, and the record makes the page, its figures and the table of goals."""
    import scale
    import scale_report

    out, page = tmp_path / "scale.json", tmp_path / "page.md"
    arguments = ["scale.py", "--out", str(out), "--scratch", str(tmp_path), "--only", "ratings-tiny"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--who", "cholmod,pcg"])
    assert scale.main() == 0
    record = json.loads(out.read_text())
    exact, pcg = (record["cells"][f"ratings-tiny {who}"] for who in ("cholmod", "pcg"))
    np.testing.assert_allclose(pcg["theta"], exact["theta"], atol=1e-3)
    np.testing.assert_allclose(exact["theta"], [0.5, 0.5 / 0.9], atol=0.05)
    assert exact["base_mb"] <= exact["loaded_mb"] <= exact["peak_mb"] and len(exact["runs"]) == 3
    assert "probes" in pcg and "probes" not in exact
    assert scale.main() == 0
    assert json.loads(out.read_text()) == record  # what is there is not run again

    cells = record["cells"]
    for name, rows in (("ratings-100k", 1), ("ratings-1M", 10), ("panel-100k", 1), ("panel-2M", 20)):
        cells |= {f"{name} {who}": {**pcg, "seconds": 0.05 * rows} for who in ("auto", "pcg")}
        cells[f"{name} lme4"] = {"status": "ok", "seconds": 20.0, "peak_mb": 400.0} if rows == 1 else {}
    cells["ratings-1M lme4"] = cells["panel-2M lme4"] = {"status": "timeout", "reason": 150.0}
    out.write_text(json.dumps(record))
    page.write_text((ROOT / "docs" / "how_large.md").read_text())
    monkeypatch.setattr(sys, "argv", ["scale_report.py", str(out), "--page", str(page)])
    scale_report.main()
    assert "| 1,000,000 | 6,040 × 3,706 |" in page.read_text() and "> 150 s" in page.read_text()
    assert (tmp_path / "how_large_panel.png").stat().st_size > 10_000
    goals = "\n".join(scale_report.goals_table(record))
    assert "| ≤ 0.6 s | 0.500 s |" in goals and "lme4 > 150 s" in goals and "not measured" in goals


def test_a_process_that_takes_too_much_memory_is_stopped(bench):
    import scale

    hungry = subprocess.Popen([sys.executable, "-c", "x = bytearray(300_000_000); input()"], stdin=subprocess.PIPE)
    with scale.Watch(hungry, limit_mb=100.0) as watch:
        hungry.wait(timeout=10)
    hungry.stdin.close()
    assert watch.exceeded
