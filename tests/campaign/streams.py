"""Streams that break: sources that raise, change, end or vanish, damaged files, a full disk, little memory.

Either the fit is that of the rows that could be read, or there is an error: that of the source itself, a DataError,
or what the system says of its disk or memory. No temporary file, no half of a result and no thread remain, and a file
that was there before is what it was.
"""

from __future__ import annotations

import io
import re
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

import sparselmm
from sparselmm import DataError, EngineError, LinearMixedModelResults
from sparselmm.streaming import model as streaming_model

from .interrupts import changes, folder, same, state
from .outcome import Outcome, attempt

SHORT, LONG = 60, 4_000
NOTE = "iterators, Parquet and CSV files; sources that raise, change, vanish; a full disk and little memory"
FORMULA = "y ~ x + f + (x | g) + (1 | h)"


class BrokenError(Exception):
    """What a source raises."""


def run(count: int, seed: int) -> Outcome:
    """Return the Outcome of `count` streams."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file too large is then an OSError
    expected()
    return attempt("streams", count, seed, trial, NOTE)


def trial(rng: np.random.Generator, number: int) -> list[str]:
    """Break one stream and return how it was broken and how it ended."""
    way = WAYS[rng.integers(len(WAYS))]
    before = state()
    with folder() as (home, temporary):
        end = way(rng, home)
        left = [path.name for path in temporary.iterdir()]
        assert not left, f"{way.__name__}: left the temporary {left}"
        left = [path.name for path in home.iterdir() if path.name.startswith(".")]
        assert not left, f"{way.__name__}: left {left}"
    assert not (change := changes(before)), f"{way.__name__}: {change}"
    return [way.__name__, end]


@cache
def rows() -> pd.DataFrame:
    """Return rows for all streams."""
    rng = np.random.default_rng(8)
    n = 900
    data = pd.DataFrame({"x": rng.normal(size=n), "f": rng.choice(list("abc"), n), "g": rng.integers(20, size=n)})
    data["h"] = rng.integers(9, size=n)
    return data.assign(y=data["x"] + rng.normal(size=20)[data["g"]] + rng.normal(size=n))


@cache
def expected() -> list:
    """Return the estimates of all rows."""
    return list(sparselmm.lmer(FORMULA, rows()).params)


def parts(rng: np.random.Generator) -> list[pd.DataFrame]:
    """Return the rows in some parts."""
    places = np.sort(rng.integers(1, len(rows()), size=rng.integers(1, 6)))
    return [rows().iloc[part] for part in np.split(np.arange(len(rows())), places) if len(part)]


def fit(data: object, **options: object) -> LinearMixedModelResults:
    """Fit a source."""
    return sparselmm.lmer(FORMULA, data, **options)


# ways to break a stream ------------------------------------------------------------------------------------------


def source_raises(rng: np.random.Generator, home: Path) -> str:
    """Let an iterator raise somewhere; the error arrives as it is."""
    frames = parts(rng)
    error = [BrokenError, OSError, MemoryError, ValueError, KeyboardInterrupt][rng.integers(5)]("broken")
    place = rng.integers(len(frames) + 1)

    def source() -> Iterator[pd.DataFrame]:
        yield from frames[:place]
        raise error

    try:
        fit(source())
    except BaseException as came:
        assert came is error or came.__cause__ is error, f"{came!r} in place of {error!r}"
        return "its own error"
    raise AssertionError(f"the source raised {error!r} and nobody said so")


def source_changes(rng: np.random.Generator, home: Path) -> str:
    """Let one part have other columns, types or values."""
    frames = parts(rng)
    place, name = rng.integers(len(frames)), str(rng.choice(["x", "f", "g", "h", "y"]))
    changed, fine = CHANGES[rng.integers(len(CHANGES))](rng, frames[place].copy(), name)
    frames = [*frames[:place], *changed, *frames[place + 1 :]]
    try:
        result = fit(iter(frames))
    except DataError as error:
        assert not fine, f"{name}: {error}"
        named = re.search(r"'[^']+'|columns?|rows?|yields|frame|^[xyfgh] is of", str(error))
        assert named, f"{error} names nothing"
        return "refused"
    assert not fine or same(list(result.params), expected()), "another fit of the same rows"
    return "fitted"


def iterator_exhausted(rng: np.random.Generator, home: Path) -> str:
    """Fit an iterator that is at its end."""
    source = iter(parts(rng))
    assert same(list(fit(source).params), expected()), "another fit"
    return refused(lambda: fit(source), DataError, "yields no data frame")


def file_damaged(rng: np.random.Generator, home: Path) -> str:
    """Flip, cut or overwrite bytes of a file."""
    ending = str(rng.choice([".parquet", ".csv", ".csv.gz"]))
    path, content = home / f"rows{ending}", bytearray(written(ending))
    how = rng.integers(4)
    if how == 0:
        content = content[: rng.integers(len(content))]
    elif how == 1:
        for place in rng.integers(len(content), size=rng.integers(1, 30)):
            content[place] = rng.integers(256)
    elif how == 2:
        a, b = sorted(rng.integers(len(content), size=2))
        content[a:b] = rng.bytes(b - a)
    else:
        content = bytearray(rng.bytes(int(rng.integers(300))))
    path.write_bytes(content)
    try:
        fit(str(path))
    except (DataError, EngineError):
        return "refused"
    return "fitted"


@cache
def written(ending: str) -> bytes:
    """Return a file of the rows."""
    file = io.BytesIO()
    if ending == ".parquet":
        rows().to_parquet(file, row_group_size=200)
    else:
        rows().to_csv(file, index=False, compression="gzip" if ending.endswith("gz") else None)
    return file.getvalue()


def file_changes_between_passes(rng: np.random.Generator, home: Path) -> str:
    """Let a file vanish, be cut or be another when its rows are read, after its categories were."""
    ending = str(rng.choice([".parquet", ".csv"]))
    path, how = home / f"rows{ending}", rng.integers(4)
    path.write_bytes(written(ending))
    read = streaming_model.read

    def later(*arguments: object, **options: object) -> object:
        if how == 0:
            path.unlink()
        elif how == 1:
            path.write_bytes(written(ending)[: rng.integers(len(written(ending)) // 2)])
        elif how == 2:
            path.write_bytes(written(".csv" if ending == ".parquet" else ".parquet"))
        else:
            path.write_text("y,x\n1,2\n")
        return read(*arguments, **options)

    streaming_model.read = later
    try:
        result = fit(str(path))
    except (DataError, EngineError) as error:
        assert str(error), "no reason"
        return "refused"
    finally:
        streaming_model.read = read
    return "fitted" if result.nobs < len(rows()) or how else "not noticed"


def disk_full_of_results(rng: np.random.Generator, home: Path) -> str:
    """Let the disk be full when results are written: the old file stays, no part of the new one does."""
    path, size = home / "result.parquet", int(rng.integers(0, 1500))
    path.write_text("old")
    work = [
        lambda: fitted().predict(iter(parts(rng)), sink=path),
        lambda: fitted().model.save(path),
        lambda: fitted().model.cross.save(path),
        lambda: grouped().save(path),
    ][rng.integers(4)]
    with file_size(size):
        end = refused(work, (OSError, DataError), "")
    assert path.read_text() == "old", "the old file is another"
    return end


def disk_full_of_spools(rng: np.random.Generator, home: Path) -> str:
    """Let the disk be full when an iterator is kept to be read again."""
    with file_size(int(rng.integers(0, 3000))):
        return refused(lambda: fit(iter(parts(rng))), (OSError, DataError), "")


def little_memory_asked_for(rng: np.random.Generator, home: Path) -> str:
    """Allow an engine next to nothing."""
    engine = str(rng.choice(["auto", "cholmod", "pcg", "polish"]))
    frames = parts(rng)
    return refused(lambda: fit(iter(frames), memory_limit=1.0, engine=engine), EngineError, "memory")


def source_is_empty(rng: np.random.Generator, home: Path) -> str:
    """Give frames without rows, or nothing, or files without rows."""
    empty = rows()[:0]
    empty.to_parquet(home / "empty.parquet")
    empty.to_csv(home / "empty.csv", index=False)
    (home / "nothing.csv").write_text("")
    sources = [iter([]), iter([empty]), iter([empty, empty]), iter([pd.DataFrame()]), iter([{}]), [empty]]
    sources += [str(home / name) for name in ("empty.parquet", "empty.csv", "nothing.csv")]
    source = sources[rng.integers(len(sources))]
    return refused(lambda: fit(source), DataError, "")


WAYS = [source_raises, source_changes, source_changes, iterator_exhausted, file_damaged, file_damaged]
WAYS += [
    file_changes_between_passes,
    disk_full_of_results,
    disk_full_of_spools,
    little_memory_asked_for,
    source_is_empty,
]


# changes of one part: the frames in its place, and whether the fit is the same ------------------------------------

Change = tuple[list[object], bool]


def column_missing(rng: np.random.Generator, frame: pd.DataFrame, name: str) -> Change:
    """Leave a column out, or call it otherwise."""
    return [frame.drop(columns=name) if rng.integers(2) else frame.rename(columns={name: name + " "})], False


def other_type(rng: np.random.Generator, frame: pd.DataFrame, name: str) -> Change:
    """Give a column another type."""
    kinds = [str, lambda values: pd.to_datetime(np.arange(len(values))), lambda values: [[1]] * len(values)]
    kinds += [lambda values: [object()] * len(values), lambda values: np.full(len(values), 1j)]
    return [frame.assign(**{name: kinds[rng.integers(1, 5)](frame[name])})], False


def bad_values(rng: np.random.Generator, frame: pd.DataFrame, name: str) -> Change:
    """Let numbers be infinite or huge."""
    name = str(rng.choice(["x", "y"]))
    values = frame[name].to_numpy().copy()
    values[rng.integers(len(values))] = rng.choice([np.inf, -np.inf, 1e308])
    return [frame.assign(**{name: values})], False


def no_frame(rng: np.random.Generator, frame: pd.DataFrame, name: str) -> Change:
    """Yield what is no frame."""
    others = [None, "rows.csv", 7, [1, 2], {"x": [1.0]}, {"x": 1.0}, object(), np.zeros((3, 5)), b"", pd.Series([1.0])]
    return [others[rng.integers(len(others))]], False


def empty_frames(rng: np.random.Generator, frame: pd.DataFrame, name: str) -> Change:
    """Yield empty frames around the part."""
    return [frame[:0], frame, frame[:0], frame[:0]], True


def other_columns(rng: np.random.Generator, frame: pd.DataFrame, name: str) -> Change:
    """Have further columns, or another order of them."""
    return [frame.assign(more=0)[["more", *rng.permutation(frame.columns)]]], True


def other_library(rng: np.random.Generator, frame: pd.DataFrame, name: str) -> Change:
    """Be a frame of another library, with other types of the same values."""
    kinds = [
        lambda: pa.Table.from_pandas(frame),
        lambda: {column: frame[column].to_numpy() for column in frame},
        lambda: frame.convert_dtypes(),
        lambda: frame.astype({"g": "int8", "h": "float64"}),
        lambda: frame.set_axis(range(5, 5 + len(frame))),
        lambda: frame.astype({"f": "category"}),
        lambda: pa.RecordBatch.from_pandas(frame),
    ]
    return [kinds[rng.integers(len(kinds))]()], True


CHANGES = [column_missing, other_type, bad_values, no_frame, empty_frames, other_columns, other_library]


# help ------------------------------------------------------------------------------------------------------------


@cache
def fitted() -> LinearMixedModelResults:
    """Return a fit of a stream."""
    return fit(iter([rows()[:300], rows()[300:]]))


@cache
def grouped() -> object:
    """Return a fit of MixedLM."""
    return sparselmm.MixedLM.from_formula("y ~ x", rows(), groups="g").fit()


def refused(work: Callable, errors: type | tuple, text: str) -> str:
    """Return "refused" if work raises one of some errors with a text; raise an AssertionError otherwise."""
    try:
        work()
    except errors as error:
        assert text in str(error) and str(error), f"{error!r} does not tell of {text!r}"
        return "refused"
    raise AssertionError("nothing was refused")


@contextmanager
def file_size(size: int) -> Iterator[None]:
    """Let no file of the process grow above a size, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
