"""A source that can be read only once, kept in a temporary folder where it has to be read twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import narwhals as nw

from ..data import Table, read_table
from .sources import CHUNK_ROWS, Once, distinct_of, pieces

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

    from .sources import Frame, Source


class rereadable:  # noqa: N801
    """A context that gives a source which can be read again; what it writes is deleted at its end.

    A source that is read once is spooled if its categories are asked for: the columns that are needed go to Arrow files
    in a temporary folder, from which it is read then.
    """

    def __init__(self, source: Source | Once) -> None:
        self.source = source
        self.folder: TemporaryDirectory[str] | None = None

    def __enter__(self) -> Source:
        if isinstance(self.source, Once) or self.source.once:
            self.folder = TemporaryDirectory(prefix="sparselmm-")
            return Spool(self.source, self.folder.name)
        return self.source

    def __exit__(self, *error: object) -> None:
        if self.folder:
            self.folder.cleanup()


class Spool:
    """A source that is read once, and its copy in a folder as soon as that is needed."""

    once, rows = False, None

    def __init__(self, source: Source | Once, folder: str) -> None:
        self.source, self.folder, self.columns = source, folder, source.columns
        self.files: list[str] | None = None

    def head(self, columns: Sequence[str], size: int) -> Iterator[Frame]:
        """Yield the first frames without taking them."""
        if self.files is None and isinstance(self.source, Once):
            return self.source.head(columns, size)
        return self.again(columns, size)

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[Frame]:
        """Yield the frames, cut to at most `size` rows."""
        if self.files is None:
            yield from self.source.chunks(columns, size)
            return
        import pyarrow.feather

        for path in self.files:
            yield from pieces(pyarrow.feather.read_table(path, columns=list(columns)), columns, size)

    def again(self, columns: Sequence[str], size: int) -> Iterator[Frame]:
        """Yield the frames, which can then be read again: the first time, all rows are read and written."""
        if self.files is None:
            self.files = self._written(columns)
        return self.chunks(columns, size)

    def distinct(self, columns: Sequence[str], among: Sequence[str]) -> pd.DataFrame:
        """Return the different combinations of columns in complete rows."""
        return distinct_of(self.again(among, CHUNK_ROWS), columns, among)

    def _written(self, columns: Sequence[str]) -> list[str]:
        """Return the files to which the rows are written, one for each frame."""
        import pyarrow.feather

        files: list[str] = []
        for frame in self.source.chunks(columns, CHUNK_ROWS):
            path = f"{self.folder}/{len(files)}.arrow"
            pyarrow.feather.write_feather(as_arrow(frame, columns), path, compression="uncompressed")
            files.append(path)
        return files


def as_arrow(frame: Frame, columns: Sequence[str]) -> pyarrow.Table:
    """Return columns of any data frame as an Arrow table."""
    import pyarrow as pa

    if isinstance(frame, Table) or not hasattr(frame, "__arrow_c_stream__"):
        table = read_table(frame, columns)
        masks = table.missing
        arrays = {name: pa.array(values, mask=masks.get(name)) for name, values in table.columns.items()}
        return pa.table(arrays)
    return nw.from_native(frame).select(*columns).to_arrow()
