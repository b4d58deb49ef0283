"""Sources that other libraries evaluate late: Arrow datasets and readers, Polars LazyFrames, Dask DataFrames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .sources import CHUNK_ROWS, Once, distinct_of

if TYPE_CHECKING:
    import dask.dataframe
    import pandas as pd
    import polars
    import pyarrow

    from .sources import Frame

READAHEAD = 2  # batches that Arrow reads before they are asked for


class ArrowDataset:
    """An Arrow dataset."""

    once = False

    def __init__(self, dataset: pyarrow.dataset.Dataset) -> None:
        self.dataset, self.columns = dataset, list(dataset.schema.names)
        self.rows = None

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[pyarrow.Table]:
        """Yield Arrow tables of `size` rows or, where a fragment ends, fewer."""
        scanner = self.dataset.scanner(
            columns=list(columns) or None, batch_size=size, batch_readahead=READAHEAD, fragment_readahead=1
        )
        yield from gathered(scanner.to_batches(), size)

    def distinct(self, columns: Sequence[str], among: Sequence[str]) -> pd.DataFrame:
        """Return the different combinations, chunk by chunk."""
        return distinct_of(self.chunks(among, CHUNK_ROWS), columns, among)


class LazyFrame:
    """A Polars LazyFrame."""

    once, rows = False, None

    def __init__(self, frame: polars.LazyFrame) -> None:
        self.frame, self.columns = frame, frame.collect_schema().names()

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[polars.DataFrame]:
        """Yield Polars frames of about `size` rows."""
        frame = self.frame.select(columns) if columns else self.frame
        if not hasattr(frame, "collect_batches"):
            raise ImportError("A LazyFrame is read in chunks by Polars 1.34 or later: pip install -U polars.")
        yield from frame.collect_batches(chunk_size=size, maintain_order=True)

    def distinct(self, columns: Sequence[str], among: Sequence[str]) -> polars.DataFrame:
        """Return the different combinations of columns in complete rows."""
        import polars as pl

        complete = self.frame.drop_nulls(list(among))
        schema = complete.collect_schema()
        for name in among:
            if schema[name].is_float():
                complete = complete.filter(~pl.col(name).is_nan())
        return complete.select(columns).unique(maintain_order=False).collect()


class Partitions:
    """A Dask DataFrame, one partition after the other."""

    once, rows = False, None

    def __init__(self, frame: dask.dataframe.DataFrame) -> None:
        self.frame, self.columns = frame, [str(name) for name in frame.columns]

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[Frame]:
        """Yield pandas frames, the partitions cut to at most `size` rows."""
        frame = self.frame[list(columns)] if columns else self.frame
        parts = (frame.partitions[i].compute() for i in range(frame.npartitions))
        yield from Once(parts).chunks(columns, size)

    def distinct(self, columns: Sequence[str], among: Sequence[str]) -> pd.DataFrame:
        """Return the different combinations of columns in complete rows."""
        return self.frame[list(among)].dropna()[list(columns)].drop_duplicates(split_out=1).compute()


def reader(data: Any) -> Once:
    """Return the source of an Arrow RecordBatchReader or Scanner, which is read once."""
    data = data.to_reader() if hasattr(data, "to_reader") else data
    source = Once(gathered(iter(data), CHUNK_ROWS))
    source.columns = list(data.schema.names)
    return source


def gathered(batches: Iterable[pyarrow.RecordBatch], size: int) -> Iterator[pyarrow.Table]:
    """Yield record batches as Arrow tables of at most about `size` rows, small ones put together."""
    import pyarrow as pa

    held: list[pyarrow.RecordBatch] = []
    rows = 0
    for batch in batches:
        if held and rows + batch.num_rows > size:
            yield pa.Table.from_batches(held)
            held, rows = [], 0
        if batch.num_rows:
            held.append(batch)
            rows += batch.num_rows
    if held:
        yield pa.Table.from_batches(held)
