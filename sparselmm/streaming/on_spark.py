"""Spark data frames as sources: `mapInArrow` sums the partitions on the executors, and some of these sums again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from ..errors import DataError
from ..threads import one_blas_thread
from .lazy import gathered
from .plan import Plan, Sums
from .wire import check_portable, read, written

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from ..progress import Progress

CHUNK_ROWS = 250_000  # of a partition that are summed at a time
GROUPS = 16  # of partitions, whose sums the executors add; the driver adds those of the groups
SCHEMA = "cross binary, facts string"
ARROW_SCHEMA = pa.schema([("cross", pa.binary()), ("facts", pa.string())])
RAISED = re.compile(rf"{DataError.__module__}\.{DataError.__name__}: (.*)")


class SparkFrame:
    """A data frame of Spark as a source; see `sources`."""

    once, rows = False, None

    def __init__(self, frame: DataFrame) -> None:
        self.columns = list(frame.columns)
        self.frame = frame.toDF(*map(str, range(len(self.columns))))  # as Spark reads dots and the like in names

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        """Yield Arrow tables of at most about `size` rows, partition after partition."""
        columns = list(columns or self.columns)
        for table in gathered(_batches(self._select(columns)), size):
            yield table.rename_columns(columns)

    def distinct(self, columns: Sequence[str], among: Sequence[str]) -> pa.Table:
        """Return the different combinations of columns in rows where no column of `among` is missing."""
        complete = self.frame.dropna(subset=self._places(among)) if among else self.frame
        found = complete.select(self._places(columns)).distinct()
        return pa.Table.from_batches(_batches(found)).rename_columns(list(columns))

    def sums(self, plan: Plan, shown: Progress) -> Sums:
        """Return the sums of all rows, each partition's taken by the executor that holds it."""
        from pyspark.cloudpickle import dumps
        from pyspark.errors import PythonException
        from pyspark.sql.functions import spark_partition_id

        check_portable(plan, dumps)
        partial = self._select(plan.columns).mapInArrow(partition_sums(plan), SCHEMA)
        grouped = partial.withColumn("part", spark_partition_id()).hint("rebalance", GROUPS, "part").drop("part")
        try:
            whole = sum_of(grouped.mapInArrow(added, SCHEMA).collect())
        except PythonException as error:
            raised = RAISED.search(str(error))
            if raised is None:
                raise
            raise DataError(raised[1]) from error
        shown.add_rows(whole.facts.rows)
        return whole

    def _select(self, columns: Sequence[str]) -> DataFrame:
        """Return the data frame with some columns."""
        return self.frame.select(self._places(columns))

    def _places(self, columns: Sequence[str]) -> list[str]:
        """Return the names of columns in `frame`."""
        return [str(self.columns.index(name)) for name in columns]


def partition_sums(plan: Plan) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function for ``DataFrame.mapInArrow(function, SCHEMA)`` that sums a partition.

    It takes the Arrow record batches of the partition, ``plan.columns`` in this order, and yields one of one row:
    ``cross``, a file as `CrossProducts.save` writes it (null if no row is complete), and ``facts``, what else the model
    knows of the rows.
    """

    def sums(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with one_blas_thread():
            tables = (table.rename_columns(plan.columns) for table in gathered(batches, CHUNK_ROWS))
            whole = Sums.total(map(plan.sums, tables))
        yield _row(whole)

    return sums


def added(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the sum of the sums that record batches hold, as `partition_sums` yields it."""
    with one_blas_thread():
        whole = sum_of(row for batch in batches for row in zip(*batch.to_pydict().values(), strict=True))
    yield _row(whole)


def sum_of(rows: Iterable[tuple[bytes | None, str]]) -> Sums:
    """Return the sum of rows as `partition_sums` yields them."""
    return Sums.total(read(*row) for row in rows)


def _row(sums: Sums) -> pa.RecordBatch:
    """Return sums as a record batch of one row."""
    return pa.RecordBatch.from_arrays([[value] for value in written(sums)], schema=ARROW_SCHEMA)


def _batches(frame: DataFrame) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of a data frame of Spark, partition after partition."""
    for row in frame.mapInArrow(_streams, "stream binary").toLocalIterator():
        yield from pa.ipc.open_stream(row.stream)


def _streams(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield for each record batch one of one row that holds it as an Arrow stream."""
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        yield pa.record_batch({"stream": pa.array([sink.getvalue().to_pybytes()], pa.binary())})
