"""Sources: data that are read in chunks, whatever holds them.

A source has `columns` (names), `rows` (their number, None if unknown), `once` (whether it can be read only once) and

* ``chunks(columns, size)``: an iterator of data frames of about `size` rows;
* ``distinct(columns, among)``: a data frame with every combination of `columns` in the rows where no column of
  `among` is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ..data import Table, column_names, read_table
from ..errors import DataError

Frame = Any  # a data frame of any library, a dict of arrays or a Table
CHUNK_ROWS = 1 << 20  # a multiple of DuckDB's vectors
LAZY = {
    "duckdb": ("DuckDBPyRelation",),
    "_duckdb": ("DuckDBPyRelation",),
    "polars": ("LazyFrame",),
    "pyarrow": ("Dataset", "Scanner", "RecordBatchReader"),
    "dask": ("DataFrame",),
    "dask_expr": ("DataFrame",),
    "pyspark": ("DataFrame",),
}


class Source(Protocol):
    """Rows that are read in chunks."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""

    @property
    def rows(self) -> int | None:
        """Number of rows, None if it is not known."""

    @property
    def once(self) -> bool:
        """Whether the rows can be read only once."""

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[Frame]:
        """Yield data frames of some columns, of about `size` rows each."""

    def distinct(self, columns: Sequence[str], among: Sequence[str]) -> Frame:
        """Return a data frame of the different combinations of `columns` where no column of `among` is missing."""


def is_source(data: object) -> bool:
    """Return whether data are read in chunks: a path, an iterator of frames, or what another library evaluates late."""
    if isinstance(data, (str, Path, Iterator)) or (hasattr(data, "chunks") and hasattr(data, "distinct")):
        return True
    if isinstance(data, (list, tuple)):
        return bool(data) and not any(isinstance(part, (int, float)) or _is_record(part) for part in data)
    return _late(data) is not None


def _is_record(part: object) -> bool:
    """Return whether this is one row, a dictionary of single values."""
    return isinstance(part, Mapping) and any(np.ndim(value) == 0 for value in part.values())


def _late(data: object) -> str | None:
    """Return the library that evaluates `data` late, None if they are in memory."""
    for kind in type(data).__mro__:
        library = kind.__module__.partition(".")[0]
        if kind.__name__ in LAZY.get(library, ()):
            return library.lstrip("_").removesuffix("_expr")
    return None


def open_source(data: Any) -> Source | Once:
    """Return the source of data that `is_source` recognises.

    Raises
    ------
    DataError
        If there is no such file, or what is given holds no frames.
    """
    if isinstance(data, (str, Path)):
        data = [data]
    if isinstance(data, (list, tuple)) and all(isinstance(part, (str, Path)) for part in data):
        from .duck import files

        return files([str(part) for part in data])
    library = _late(data)
    if library == "duckdb":
        from .duck import Relation

        return Relation(data)
    if library == "pyarrow":
        from .lazy import ArrowDataset, reader

        return reader(data) if hasattr(data, "read_next_batch") or not hasattr(data, "scanner") else ArrowDataset(data)
    if library == "polars":
        from .lazy import LazyFrame

        return LazyFrame(data)
    if library == "dask":
        from .on_dask import open_dask

        return open_dask(data)
    if library == "pyspark":
        from .on_spark import SparkFrame

        return SparkFrame(data)
    if isinstance(data, (list, tuple)):
        return Frames(data)
    if isinstance(data, Iterator):
        return Once(data)
    return data


class Frames:
    """A sequence of data frames, which is read as often as needed."""

    once = False

    def __init__(self, frames: Iterable[Frame]) -> None:
        self.frames = list(frames)
        self.columns = column_names(_checked(self.frames[0]))
        self.rows = sum(map(_length, self.frames))

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[Frame]:
        """Yield the frames, cut to at most `size` rows."""
        for frame in self.frames:
            yield from pieces(_checked(frame), columns, size)

    def distinct(self, columns: Sequence[str], among: Sequence[str]) -> pd.DataFrame:
        """Return the different combinations, frame by frame."""
        return distinct_of(self.chunks([*among], CHUNK_ROWS), columns, among)


class Once:
    """An iterator of data frames: the first is looked at, all are read once."""

    once, rows = True, None

    def __init__(self, frames: Iterator[Frame]) -> None:
        self.frames, self.seen = frames, []
        with suppress(StopIteration):
            self.seen.append(_checked(next(frames)))
        if not self.seen:
            raise DataError("The iterator yields no data frame. Give one that has not been read yet.")
        self.columns = column_names(self.seen[0])

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[Frame]:
        """Yield the frames, cut to at most `size` rows; those that `head` has looked at first."""
        while self.seen:
            yield from pieces(self.seen.pop(0), columns, size)
        for frame in self.frames:
            yield from pieces(_checked(frame), columns, size)

    def head(self, columns: Sequence[str], size: int) -> Iterator[Frame]:
        """Yield the frames without taking them."""
        yield from (piece for frame in self.seen for piece in pieces(frame, columns, size))
        for frame in map(_checked, self.frames):
            self.seen.append(frame)
            yield from pieces(frame, columns, size)


def pieces(frame: Frame, columns: Sequence[str], size: int) -> Iterator[Frame]:
    """Yield a frame in parts of at most `size` rows: itself, or Tables."""
    rows = _length(frame)
    if rows <= size:
        yield frame
        return
    table = read_table(frame, columns)
    for start in range(0, rows, size):
        yield table.part(columns, slice(start, start + size))


def _length(frame: Frame) -> int:
    """Return the number of rows of a frame in memory."""
    if isinstance(frame, Table):
        return len(frame)
    if isinstance(frame, Mapping):
        return max((len(values) for values in frame.values() if hasattr(values, "__len__")), default=0)
    return len(frame) if hasattr(frame, "__len__") else getattr(frame, "num_rows", 0)


def distinct_of(chunks: Iterable[Frame], columns: Sequence[str], among: Sequence[str]) -> pd.DataFrame:
    """Return the different combinations of columns in complete rows of chunks, which are read once."""
    found = None
    for chunk in chunks:
        table, _ = read_table(chunk, sorted(among)).complete(columns if not among else sorted({*columns, *among}))
        part = pd.DataFrame({name: table.columns[name] for name in columns}).drop_duplicates()
        found = part if found is None else pd.concat([found, part], ignore_index=True).drop_duplicates()
    return found


def _checked(frame: Frame) -> Frame:
    """Return an element of an iterator of frames; raise if it is none."""
    if isinstance(frame, (str, bytes, int, float)) or frame is None:
        raise DataError(
            f"The iterator yields {type(frame).__name__}, not data frames. Yield pandas, polars or Arrow frames, or "
            "dicts of arrays, each a part of the rows."
        )
    if type(frame).__name__ == "RecordBatch":
        import pyarrow as pa

        return pa.Table.from_batches([frame])
    return frame
