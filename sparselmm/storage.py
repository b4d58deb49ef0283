"""Files of cross-products: NumPy's .npz, arrays and JSON; written whole or not at all, read without trust."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any, cast
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .covariance import TermShape
from .errors import DataError
from .files import replaced
from .terms import STRUCTURES

if TYPE_CHECKING:
    from zipfile import ZipInfo

    from .crossproducts import CrossProducts

FORMAT = 2
DENSE = ("XX", "Xy", "ZX", "Zy", "basis", "center")
SPARSE = ("data", "indices", "indptr")
NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def save(cross: CrossProducts, file: str | os.PathLike[str] | IO[bytes]) -> None:
    """Write cross-products to a path or binary file; see `CrossProducts.save`."""
    arrays = {name: getattr(cross, name) for name in DENSE}
    for k, block in enumerate(cross.diagonal):
        arrays |= _pack(f"diagonal{k}", block)
    for (k, m), block in cross.cross.items():
        arrays |= _pack(f"cross{k}_{m}", block)
    kinds = []
    for k, levels in enumerate(cross.levels):
        kind, packed = _pack_labels(f"levels{k}", levels)
        kinds.append(kind)
        arrays |= packed
    facts = {
        "format": FORMAT,
        "nobs": int(cross.nobs),
        "log_weights": cross.log_weights,
        "yy": cross.yy,
        "shapes": [[s.n_levels, s.n_columns, s.structure, s.name] for s in cross.shapes],
        "labels": kinds,
    }
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    with _opened_to_write(file) as opened:
        np.savez(opened, **arrays)


def load(file: str | os.PathLike[str] | IO[bytes]) -> dict[str, Any]:
    """Return the fields of the cross-products that `save` wrote; see `CrossProducts.load`."""
    if not hasattr(file, "read"):
        with open(file, "rb") as opened:
            return load(opened)
    name = getattr(file, "name", "The file")
    try:
        return _fields(_read_arrays(cast(IO[bytes], file)))
    except Exception as error:  # whatever a broken or hostile file leads to
        raise DataError(f"{name} holds no cross-products that can be read ({error or type(error).__name__}).") from None


@contextmanager
def _opened_to_write(file: str | os.PathLike[str] | IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield a binary file to write to; a path gets its new content at the end, if nothing fails."""
    if hasattr(file, "write"):
        yield cast(IO[bytes], file)
        return
    with replaced(file) as unfinished, open(unfinished, "xb") as opened:
        yield opened


def _read_arrays(file: IO[bytes]) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file, none larger than the file."""
    size = file.seek(0, os.SEEK_END)
    with ZipFile(file) as archive:
        members = archive.infolist()
        _require(all(m.compress_type == ZIP_STORED for m in members), "it is compressed")
        _require(sum(m.file_size for m in members) <= size, "its arrays are larger than the file")
        return {member.filename.removesuffix(".npy"): _read_array(archive, member) for member in members}


def _read_array(archive: ZipFile, member: ZipInfo) -> np.ndarray:
    """Return an array whose header agrees with its size, in the byte order of this machine."""
    with archive.open(member) as opened:
        shape, _, dtype = NPY_HEADERS[np.lib.format.read_magic(opened)](opened)
        expected = dtype.itemsize * int(np.prod(shape, dtype=object))
        _require(dtype.kind in "biufmM" and opened.tell() + expected == member.file_size, "an array has another size")
    with archive.open(member) as opened:
        array = np.lib.format.read_array(opened, allow_pickle=False)
        opened.read()  # to the end, where the check sum is compared
    return array.astype(dtype.newbyteorder("="), copy=False)


def _fields(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the checked fields of cross-products."""
    facts = json.loads(arrays["facts"].tobytes())
    _require(facts["format"] == FORMAT, "it was written by another version of sparselmm; sum the rows again")
    shapes = tuple(_shape(*shape) for shape in facts["shapes"])
    p, q, sizes = len(arrays["center"]), sum(s.n_effects for s in shapes), [s.n_effects for s in shapes]
    count = range(len(shapes))
    dense = {name: arrays[name] for name in DENSE}
    for values, shape in zip(dense.values(), ((p, p), (p,), (q, p), (q,), (p, p), (p,)), strict=True):
        _check_dense(values, shape)
    basis = dense["basis"]
    _require(np.diag(basis).all() and not np.tril(basis, -1).any(), "its basis is singular or not triangular")
    log_weights, yy = (float(facts[name]) for name in ("log_weights", "yy"))
    _require(np.isfinite([log_weights, yy]).all() and _is_count(facts["nobs"]), "a sum is not finite")
    _require(len(facts["labels"]) == len(shapes), "labels are missing")
    return {
        "nobs": facts["nobs"],
        "log_weights": log_weights,
        "yy": yy,
        **dense,
        "diagonal": tuple(_unpack(arrays, f"diagonal{k}", sizes[k], sizes[k], shapes[k]) for k in count),
        "cross": {(k, m): _unpack(arrays, f"cross{k}_{m}", sizes[k], sizes[m]) for m in count for k in range(m)},
        "shapes": shapes,
        "levels": tuple(_unpack_labels(arrays, f"levels{k}", facts["labels"][k], shapes[k].n_levels) for k in count),
    }


def _shape(levels: Any, columns: Any, structure: Any, name: Any) -> TermShape:
    """Return a checked TermShape."""
    valid = _is_count(levels) and _is_count(columns) and structure in STRUCTURES and isinstance(name, str)
    _require(valid, "the shape of a term is not one")
    return TermShape(levels, columns, structure, name)


def _pack(name: str, block: np.ndarray | sp.csr_array) -> dict[str, Any]:
    """Return a block as named arrays."""
    return {f"{name}_{part}": getattr(block, part) for part in SPARSE} if sp.issparse(block) else {name: block}


def _unpack(
    arrays: Mapping[str, np.ndarray], name: str, rows: int, columns: int, shape: TermShape | None = None
) -> np.ndarray | sp.csr_array:
    """Return the checked block of named arrays: sparse, or blocks (l, c, c) of a term of that shape."""
    if shape is not None and name in arrays:
        _check_dense(arrays[name], (shape.n_levels, shape.n_columns, shape.n_columns))
        return arrays[name]
    data, indices, indptr = (arrays[f"{name}_{part}"] for part in SPARSE)
    _check_dense(data, (len(indices),), "f4" if data.dtype == np.float32 else "f8")
    _require(indices.dtype.kind == indptr.dtype.kind == "i", "positions are not integers")
    block = sp.csr_array((data, indices, indptr), shape=(rows, columns))
    block.check_format(full_check=True)
    _require(block.has_canonical_format, "a block is not sorted")
    return block


def _pack_labels(name: str, levels: pd.Index) -> tuple[str, dict[str, np.ndarray]]:
    """Return the kind of labels and the arrays that hold them: numbers and dates as such, texts in one."""
    values = levels.to_numpy()
    if values.dtype.kind in "biufmM":
        return "values", {name: values}
    if levels.inferred_type == "date":
        return "dates", {name: values.astype("M8[D]")}
    texts = [str(label).encode("utf-8", "surrogatepass") for label in levels]
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    return "texts", {name: np.frombuffer(b"".join(texts), dtype=np.uint8), f"{name}_ends": ends}


def _unpack_labels(arrays: Mapping[str, np.ndarray], name: str, kind: str, count: int) -> pd.Index:
    """Return the checked labels of the levels of a term."""
    values: Any = arrays[name]
    if kind == "texts":
        text, ends = values.tobytes(), [0, *arrays[f"{name}_ends"].tolist()]
        _require(sorted(ends) == ends and ends[-1] == len(text), "texts of labels have other ends")
        values = [text[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(ends)]
    elif kind == "dates":
        _require(values.dtype.kind == "M", "dates are numbers")
        values = np.array(values.astype("M8[D]").tolist(), dtype=object)
        _require(all(isinstance(value, date) for value in values), "a label is no date")
    levels = pd.Index(values)
    _require(len(levels) == count and levels.is_unique and not levels.hasnans, "labels are missing or repeated")
    return levels


def _check_dense(values: np.ndarray, shape: tuple[int, ...], dtype: str = "f8") -> None:
    """Raise a ValueError unless values are finite, of a floating-point type and have the given shape."""
    _require(
        values.shape == shape and values.dtype == dtype and np.isfinite(values).all(), "an array is not as it says"
    )


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value < 2**62


def _require(valid: object, problem: str) -> None:
    if not valid:
        raise ValueError(problem)
