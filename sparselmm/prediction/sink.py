"""Predictions of rows that are read in chunks, written to a file chunk after chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..errors import DataError
from ..files import replaced
from ..formula_text import bare, column_name
from ..habits import near
from .intervals import included_terms, predict

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import ArrayLike

    from ..model import LinearMixedModel
    from ..progress import Progress
    from ..results import LinearMixedModelResults
    from ..streaming.sources import Once, Source

ENDINGS = (".parquet", ".pq")


def predict_to(
    fit: LinearMixedModelResults,
    new: Any,
    random: bool | str | Sequence[str],
    new_levels: str,
    offset: ArrayLike | None,
    options: dict[str, Any],
    sink: str | Path | None,
    columns: str | Sequence[str] | None,
    progress: bool,
) -> Path:
    """Write predictions of the rows of a frame or source to a Parquet file; see `PredictionMethods.predict`."""
    from ..progress import Progress
    from ..streaming.prefetch import prefetched
    from ..streaming.sources import CHUNK_ROWS, Frames, is_source, open_source

    if sink is None:
        raise DataError(
            "These rows are read in chunks: give a file for their predictions, sink='out.parquet', or a data frame."
        )
    sink = Path(sink).expanduser()
    if sink.suffix not in ENDINGS:
        raise ValueError(f"sink={str(sink)!r} is to be a Parquet file: its name ends in .parquet.")
    if fit.model.design is None or new is None:
        raise DataError("Give the rows to predict, predict(source, sink='out.parquet'), of a model from a formula.")
    if offset is not None or not (options["weights"] is None or isinstance(options["weights"], (str, int, float))):
        raise DataError("Offsets and weights of rows that are read in chunks are columns of theirs, not arrays.")
    source: Source | Once = open_source(new) if is_source(new) else Frames([new])
    included = included_terms(fit.model, random)
    columns = _copied(fit.model, included, columns, source)
    names = set(columns) | _needed(fit.model, included, options)
    needed = [name for name in source.columns if name in names]

    def parts() -> Iterator[tuple[Any, pd.DataFrame]]:
        for frame in prefetched(source.chunks(needed, CHUNK_ROWS)):
            made = predict(fit, frame, random, new_levels, None, **options)
            yield frame, made.to_frame("estimate") if isinstance(made, pd.Series) else made

    with Progress(progress) as shown:
        shown.rows(source.rows)
        _write(parts(), sink, columns, shown)
    return sink


def _needed(model: LinearMixedModel, included: Sequence[int], options: Mapping[str, Any]) -> set[str]:
    """Return the columns that predictions use."""
    assert model.design is not None, "see `predict_to`"
    spec = model.design.spec
    fresh = range(len(spec.random)) if options["interval"] == "prediction" else ()
    names = spec.variables(included) | {name for k in fresh for name in spec.random[k][0].variables}
    return names | ({options["weights"]} if isinstance(options["weights"], str) else set())


def _copied(
    model: LinearMixedModel, included: Sequence[int], columns: str | Sequence[str] | None, source: Source | Once
) -> list[str]:
    """Return the columns that are copied from the source."""
    if columns is None:
        assert model.design is not None, "see `predict_to`"
        factors = [part for k in included for part in model.design.spec.random[k][1].factor]
        return list(dict.fromkeys(bare(part.text) for part in factors if column_name(part.text) is not None))
    columns = [columns] if isinstance(columns, str) else list(columns)
    for name in columns:
        if name not in source.columns:
            raise DataError(f"columns: the data have no column {name!r}.{near(name, source.columns)}")
    return columns


def _write(parts: Iterable[tuple[Any, pd.DataFrame]], sink: Path, columns: Sequence[str], shown: Progress) -> None:
    """Write copied columns and predictions, chunk after chunk, to a file that appears when it is complete."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ..streaming.spool import as_arrow

    with replaced(sink) as unfinished, ExitStack() as opened:
        writer = None
        for frame, made in parts:
            taken = [name for name in columns if name in made.columns]
            if taken:
                raise ValueError(f"columns: {taken[0]!r} is the name of a column of the predictions. Rename it.")
            copied = _decoded(as_arrow(frame, columns)) if columns else pa.table({})
            arrays = {name: copied[name] for name in columns} | {name: made[name].to_numpy() for name in made.columns}
            table = pa.table(arrays)
            writer = writer or opened.enter_context(pq.ParquetWriter(unfinished, table.schema))
            writer.write_table(_cast(table, writer.schema))
            shown.add_rows(table.num_rows)
        if writer is None:
            raise DataError("The data have no rows. Check the source.")


def _decoded(table: pa.Table) -> pa.Table:
    """Return an Arrow table with the labels in the place of dictionaries, which differ between chunks."""
    import pyarrow as pa

    kinds = [field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in table.schema]
    return table.cast(pa.schema(zip(table.schema.names, kinds, strict=True)))


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a chunk in the types of the first."""
    import pyarrow as pa

    try:
        return table.cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"A column has another type in a later chunk than in the first: {error}") from None
