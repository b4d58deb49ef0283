"""Spark data frames: the functions that executors run, without Spark on Arrow batches and with it in local mode."""

import os
import shutil
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from elsewhere import agree_with_memory
from pages import examples, run

from sparselmm import DataError, lmer
from sparselmm.streaming.on_spark import added, partition_sums, sum_of
from sparselmm.streaming.pilot import make_plan
from sparselmm.streaming.sources import open_source
from sparselmm.streaming.wire import read, written

FORMULA = "y ~ x * level + np.exp(x / 4) + (1 + x | person) + (1 | item)"


def make_data(n=1500):
    """Return crossed ratings with weights, missing values, dates and a category of few rows, all at the end."""
    rng = np.random.default_rng(8)
    data = pd.DataFrame(
        {"person": rng.integers(0, 70, n), "x": rng.normal(size=n), "w.eight": rng.uniform(0.5, 2.0, n)}
    )
    data["item"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 40, n), unit="D")
    data["level"] = np.where(np.arange(n) > n - 9, "rare", rng.choice(["low", "mid"], n))
    data["y"] = 1e3 + data["x"] + rng.normal(size=70)[data["person"]] + rng.normal(size=n)
    data.loc[rng.choice(n, 30, replace=False), "level"] = None
    return data


DATA = make_data()


def test_functions_of_the_executors_on_record_batches(agree):
    table = pa.Table.from_pandas(DATA, preserve_index=False)
    plan = make_plan(FORMULA, open_source([table]), weights="w.eight")
    table = table.select(plan.columns)
    partitions = [table[:700], table[:0], table[700:710], table[710:]]
    partial = [list(partition_sums(plan)(iter(part.to_batches(max_chunksize=300)))) for part in partitions]
    assert [batch.num_rows for batches in partial for batch in batches] == [1, 1, 1, 1]
    grouped = [pa.Table.from_batches([*one, *other]) for one, other in (partial[:2], partial[2:])]
    rows = [row.values() for half in grouped for batch in added(half.to_batches()) for row in batch.to_pylist()]
    agree_with_memory(
        agree, "Spark", "executors' functions", plan.model(sum_of(rows)).fit(), lmer(FORMULA, DATA, weights="w.eight")
    )


def test_sums_are_read_as_they_were_written():
    days = DATA.assign(day=DATA["item"].dt.date.where(DATA["item"] < "2026-01-05", DATA["item"].iloc[0].date()))
    plan = make_plan("y ~ x + C(day) + level + (1 | person)", open_source([days]), weights="w.eight")
    for sums in (plan.sums(days), plan.sums(days[DATA["level"].isna()])):
        again = read(*written(sums))
        assert (again.cross is None) == (sums.cross is None)
        for name, value in vars(sums.facts).items():
            np.testing.assert_equal(getattr(again.facts, name), value)


@pytest.fixture(scope="module")
def spark():
    """A Spark session of this process and two threads; without network but the loopback device."""
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java")
    options = {
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # starts sooner
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": 2,
        "spark.sql.execution.arrow.maxRecordsPerBatch": 200,
        "spark.ui.enabled": False,
        "spark.ui.showConsoleProgress": False,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        builder = sql.SparkSession.builder.master("local[2]")
        session = builder.config(map=options).getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()


@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning")  # only Arrow is used
def test_local_spark(spark, agree):
    frame = spark.createDataFrame(pa.Table.from_pandas(DATA, preserve_index=False)).repartition(5)
    agree_with_memory(
        agree, "Spark", "local Spark", lmer(FORMULA, frame, weights="w.eight"), lmer(FORMULA, DATA, weights="w.eight")
    )

    with pytest.raises(DataError, match=r"'np.log\(x\)' is not"):
        lmer("y ~ np.log(x) + (1 | person)", frame.filter("x > 0.001 or person > 68"))

    class Fixed:
        def __call__(self, x):
            return x + 1

        def __reduce__(self):
            raise TypeError("this holds a connection")

    with pytest.raises(DataError, match=r"'stuck'.*holds a connection"):
        lmer("y ~ stuck(x) + (1 | person)", frame, context={"stuck": Fixed()})


@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning")
def test_examples_of_the_page(spark, tmp_path, capsys, agree):
    data = DATA.astype({"item": str})
    data.to_parquet(tmp_path / "ratings")
    whole, names = lmer("y ~ x + level + (1 | person) + (1 | item)", data), {}
    for number, code in enumerate(examples("distributed.md", "Spark")):
        names = run(code.replace('"ratings"', repr(str(tmp_path / "ratings"))), **names)
        agree_with_memory(agree, "Spark", f"example {number + 1}", names["fit"], whole)
