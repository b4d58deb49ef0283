"""Files that appear whole or not at all, and archives of arrays that are read without trust."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np

NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
NUMBERS = "biufmM"  # kinds of arrays: truth values, numbers, durations, times


@contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a name beside `path` to write to, which takes its place at the end if nothing fails."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def opened_to_write(file: str | os.PathLike[str] | IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield a binary file to write to; a path gets its new content at the end, if nothing fails."""
    if not isinstance(file, (str, os.PathLike)):
        yield file
        return
    with replaced(file) as unfinished, open(unfinished, "xb") as opened:
        yield opened


@contextmanager
def opened_archive(file: IO[bytes]) -> Iterator[ZipFile]:
    """Yield the ZIP archive in a file, none of whose members takes more memory than the file."""
    size = file.seek(0, os.SEEK_END)
    with ZipFile(file) as archive:
        members = archive.infolist()
        require(all(m.compress_type == ZIP_STORED for m in members), "it is compressed")
        require(sum(m.file_size for m in members) <= size, "its arrays are larger than the file")
        require(len({m.filename for m in members}) == len(members), "it holds an array twice")
        yield archive


def read_arrays(file: IO[bytes], kinds: str = NUMBERS) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file, all of some kinds of types, in the byte order of this machine."""
    with opened_archive(file) as archive:
        members = archive.infolist()
        return {member.filename.removesuffix(".npy"): _read_array(archive, member, kinds) for member in members}


def _read_array(archive: ZipFile, member: ZipInfo, kinds: str) -> np.ndarray:
    """Return an array whose header agrees with its size."""
    with archive.open(member) as opened:
        shape, _, dtype = NPY_HEADERS[np.lib.format.read_magic(opened)](opened)
        expected = dtype.itemsize * int(np.prod(shape, dtype=object))
        require(dtype.kind in kinds and opened.tell() + expected == member.file_size, "an array has another size")
    with archive.open(member) as opened:
        array = np.lib.format.read_array(opened, allow_pickle=False)
        opened.read()  # to the end, where the check sum is compared
    return array.astype(dtype.newbyteorder("="), copy=False)


def require(valid: object, problem: str) -> None:
    """Raise a ValueError that tells the problem unless something is valid."""
    if not valid:
        raise ValueError(problem)
