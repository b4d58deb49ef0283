"""Sources that DuckDB reads: Parquet and CSV files, and relations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from glob import has_magic
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from ..errors import DataError
from .lazy import gathered

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

T = TypeVar("T")
READERS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".txt": "csv"}
COMPRESSED = (".gz", ".zst")
MISSING = ["", "NA"]  # what stands for a missing value in text files
INSTALL = "Reading files needs DuckDB and pyarrow: pip install 'sparselmm[stream]'."


def files(paths: Sequence[str]) -> Relation:
    """Return the source of Parquet or CSV files: paths, folders or patterns such as ``part-*.parquet``."""
    paths = [str(Path(path).expanduser()) if "://" not in path else path for path in paths]
    paths = [f"{path.rstrip('/')}/**/*.parquet" if Path(path).is_dir() else path for path in paths]
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise DataError("The paths are of Parquet and of CSV files. Give those of one kind.")
    for path in paths:
        if "://" not in path and not has_magic(path) and not Path(path).is_file():
            raise DataError(f"There is no file {path!r}.")
    connection = _duckdb().connect()
    if kinds == {"csv"}:
        relation = _read(lambda: connection.read_csv(paths, null_padding=False, na_values=MISSING), paths)
        return Relation(relation)
    relation = _read(lambda: connection.read_parquet(paths), paths)
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    query = f"SELECT sum(num_rows)::BIGINT FROM parquet_file_metadata([{listed}])"
    ((rows,),) = _read(lambda: connection.sql(query).fetchall(), paths)
    return Relation(relation, rows)


class Relation:
    """A DuckDB relation: read in chunks, filtered and made distinct by DuckDB."""

    once = False

    def __init__(self, relation: duckdb.DuckDBPyRelation, rows: int | None = None) -> None:
        self.relation, self.rows = relation, rows
        self.columns = list(relation.columns)

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        """Yield Arrow tables of `size` rows."""
        names = ", ".join(map(_quoted, columns)) or "*"
        reader = _read(lambda: _reader(self.relation.project(names), size), None)
        batches = iter(lambda: _read(lambda: next(reader, None), None), None)
        yield from gathered(batches, size)

    def distinct(self, columns: Sequence[str], among: Sequence[str]) -> pa.Table:
        """Return the different combinations of columns in complete rows, as an Arrow table."""
        types = dict(zip(self.columns, map(str, self.relation.types), strict=True))
        held = [f"{_quoted(name)} IS NOT NULL" for name in among]
        held += [f"NOT isnan({_quoted(name)})" for name in among if types[name] in ("FLOAT", "DOUBLE")]
        complete, names = " AND ".join(held) or "true", ", ".join(map(_quoted, columns))
        relation = _read(lambda: self.relation.filter(complete).project(names).distinct(), None)
        return _read(lambda: _reader(relation, 1_000_000).read_all(), None)


def _reader(relation: duckdb.DuckDBPyRelation, size: int) -> pa.RecordBatchReader:
    """Return the reader of record batches of a relation."""
    if hasattr(relation, "to_arrow_reader"):
        return relation.to_arrow_reader(size)
    return relation.fetch_record_batch(size)


def _read(function: Callable[[], T], paths: Sequence[str] | None) -> T:
    """Return what a function reads; errors of DuckDB and of Arrow become DataErrors."""
    import pyarrow as pa

    try:
        return function()
    except (_duckdb().Error, pa.ArrowException, OSError) as error:
        what = "The source" if paths is None else ", ".join(map(repr, paths))
        reason = str(error).strip().split("\n")[0]
        raise DataError(f"{what} cannot be read: {reason}") from error


def _kind(path: str) -> str:
    """Return "parquet" or "csv" by the ending of a path."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes if suffix.lower() not in COMPRESSED]
    kind = READERS.get(suffixes[-1] if suffixes else "")
    if kind is None:
        raise DataError(
            f"{path!r} is read neither as Parquet nor as CSV: its name ends in none of {', '.join(READERS)}. "
            "Rename it, or open it with DuckDB, Polars or Arrow and give the relation, LazyFrame or dataset."
        )
    return kind


def _quoted(name: str) -> str:
    """Return the name of a column as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _duckdb() -> ModuleType:
    """Return DuckDB, or raise with the remedy."""
    try:
        import duckdb
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(INSTALL) from error
    return duckdb
