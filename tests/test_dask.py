"""Dask data frames: on a cluster of two processes, one of which is killed, the fit is that of all rows in memory."""

import gc
import os
import signal
import time
from pathlib import Path

import dask
import dask.dataframe as dd
import distributed
import numpy as np
import pandas as pd
import pytest
from elsewhere import agree_with_memory
from pages import examples, run

from sparselmm import DataError, lmer
from sparselmm.progress import SILENT
from sparselmm.streaming.on_dask import open_dask
from sparselmm.streaming.pilot import make_plan

PARTITIONS = 9


def make_data(n=1800):
    """Return crossed ratings with weights, missing values and a category of few rows, all at the end."""
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"person": rng.integers(0, 90, n), "item": rng.integers(0, 40, n), "x": rng.normal(size=n)})
    data["item"] = data["item"].map("item {}".format)
    data["level"] = np.where(np.arange(n) > n - 9, "rare", rng.choice(["low", "mid"], n))
    data["y"] = 1e3 + data["x"] + rng.normal(size=90)[data["person"]] + rng.normal(size=n)
    data["w"] = rng.uniform(0.5, 2.0, n)
    data.loc[rng.choice(n, 30, replace=False), "x"] = np.nan
    return data


DATA = make_data()


@pytest.fixture(scope="module")
def client():
    """A client of a cluster of two processes on this machine."""
    options = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(**options, silence_logs="CRITICAL") as cluster, distributed.Client(cluster) as client:
        yield client


def deadly(folder):
    """Return the identity. It logs its calls on workers in a folder; the first worker to come to a third one dies."""

    def identity(x):
        try:
            worker = distributed.get_worker()
        except ValueError:  # here, before the pass
            return x
        worker.calls = getattr(worker, "calls", 0) + 1
        with open(Path(folder, "log"), "a") as log:
            log.write(".")
        if worker.calls == 3 and not Path(folder, "killed").exists():
            Path(folder, "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    return identity


def test_no_client_reads_partition_by_partition(agree):
    frame = dd.from_pandas(DATA, npartitions=PARTITIONS, sort=False)
    with dask.config.set(scheduler="sync"):
        agree_with_memory(
            agree, "distributed", "no cluster", lmer(FORMULA, frame, weights="w"), lmer(FORMULA, DATA, weights="w")
        )


def test_a_killed_worker_loses_nothing(client, tmp_path, agree):
    formula = "y ~ same(x) + (1 + x | person) + (1 | item)"
    frame = dd.from_pandas(DATA, npartitions=PARTITIONS, sort=False)
    fit = lmer(formula, frame, context={"same": deadly(str(tmp_path))})
    assert Path(tmp_path, "killed").exists()
    assert len(Path(tmp_path, "log").read_text()) > PARTITIONS, "what the worker was at was done again"
    agree_with_memory(agree, "distributed", "crossed, slopes", fit, lmer(formula, DATA, context={"same": lambda x: x}))


FORMULA = "y ~ shifted(x) * level + (1 | person) + (1 | item)"


def shifted(x):
    """Return a function of a predictor."""
    return np.exp(x / 4)


def test_functions_categories_and_weights_travel(client, agree):
    whole = lmer(FORMULA, DATA, weights="w")
    parts = [DATA.iloc[rows] for rows in np.array_split(np.arange(len(DATA)), PARTITIONS)]
    parts = [part.astype({"item": "category"}) for part in parts]  # each knows its own
    parts.insert(2, parts[0].iloc[:0])
    frame = dd.from_map(lambda i: parts[i], range(len(parts)), meta=parts[0].iloc[:0])
    fit = lmer(FORMULA, frame, weights="w", context={"shifted": lambda x: np.exp(x / 4)})
    agree_with_memory(agree, "distributed", "weights, categories", fit, whole)


def test_errors_come_from_the_workers(client):
    data = DATA.fillna({"x": 0.0})
    data.loc[1200, "x"] = -50.0
    frame = dd.from_pandas(data, npartitions=PARTITIONS, sort=False)
    with pytest.raises(DataError, match=r"'np.log\(x \+ 10\)' is not (defined|finite)"):
        lmer("y ~ np.log(x + 10) + (1 | person)", frame)
    assert lmer("y ~ x + (1 | person)", frame).nobs == len(data), "the cluster goes on"


def test_the_same_bits_each_time_and_no_tasks_after_an_interrupt(client):
    source = open_dask(dd.from_pandas(DATA, npartitions=PARTITIONS, sort=False))
    plan = make_plan("y ~ x + (1 | person) + (1 | item)", source)
    one, other = (source.sums(plan, SILENT).cross for _ in range(2))
    assert one.yy == other.yy and (one.ZX == other.ZX).all()

    class Interrupted:
        def add_rows(self, count):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source.sums(plan, Interrupted())
    deadline = time.monotonic() + 120  # for a machine with much else to do
    while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
        gc.collect()  # of the exception and its frames
        assert time.monotonic() < deadline, "tasks are left"
        time.sleep(0.05)


def test_what_cannot_travel_is_named(client):
    class Fixed:
        def __call__(self, x):
            return x + 1

        def __reduce__(self):
            raise TypeError("this holds a connection")

    frame = dd.from_pandas(DATA, npartitions=2, sort=False)
    with pytest.raises(DataError, match=r"'stuck'.*holds a connection"):
        lmer("y ~ stuck(x) + (1 | person)", frame, context={"stuck": Fixed()})


def write_ratings(folder, parts=3):
    """Write the complete rows to Parquet files in the folder ratings."""
    Path(folder, "ratings").mkdir()
    for i, rows in enumerate(np.array_split(np.arange(len(DATA)), parts)):
        DATA.iloc[rows].to_parquet(Path(folder, "ratings", f"part-{i}.parquet"))


@pytest.mark.parametrize("section", ["Dask", "Anything that maps and adds"])
def test_examples_of_the_page(section, tmp_path, monkeypatch, capsys, agree):
    write_ratings(tmp_path)
    monkeypatch.chdir(tmp_path)
    fit = run(examples("distributed.md", section)[0])["fit"]
    agree_with_memory(
        agree, "distributed", f"example, {section}", fit, lmer("y ~ x + level + (1 | person) + (1 | item)", DATA)
    )
