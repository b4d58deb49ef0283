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

    def __init__(self, source: Source) -> None:
        self.source = source

    def __enter__(self) -> Source:
        self.folder = TemporaryDirectory(prefix="sparselmm-") if self.source.once else None
        return Spool(self.source, self.folder.name) if self.folder else self.source

    def __exit__(self, *error: object) -> None:
        if self.folder:
            self.folder.cleanup()


class Spool:
    """A source that is read once, and its copy in a folder as soon as that is needed."""

    once, rows = False, None

    def __init__(self, source: Once, folder: str) -> None:
        self.source, self.folder, self.columns = source, folder, source.columns
        self.files = None

    def head(self, columns: Sequence[str], size: int) -> Iterator[Frame]:
        """Yield the first frames without taking them."""
        return self.source.head(columns, size) if self.files is None else self.chunks(columns, size)

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
            self._write(columns)
        return self.chunks(columns, size)

    def distinct(self, columns: Sequence[str], among: Sequence[str]) -> pd.DataFrame:
        """Return the different combinations of columns in complete rows."""
        return distinct_of(self.again(among, CHUNK_ROWS), columns, among)

    def _write(self, columns: Sequence[str]) -> None:
        """Write the rows to a file for each frame."""
        import pyarrow.feather

        files = []
        for frame in self.source.chunks(columns, CHUNK_ROWS):
            path = f"{self.folder}/{len(files)}.arrow"
            pyarrow.feather.write_feather(as_arrow(frame, columns), path, compression="uncompressed")
            files.append(path)
        self.files = files


def as_arrow(frame: Frame, columns: Sequence[str]) -> pyarrow.Table:
    """Return columns of any data frame as an Arrow table."""
    import pyarrow as pa

    if isinstance(frame, Table) or not hasattr(frame, "__arrow_c_stream__"):
        table = read_table(frame, columns)
        masks = table.missing
        arrays = {name: pa.array(values, mask=masks.get(name)) for name, values in table.columns.items()}
        return pa.table(arrays)
    return nw.from_native(frame).select(*columns).to_arrow()
