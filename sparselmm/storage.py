"""Files of cross-products: NumPy's .npz, arrays and JSON; written whole or not at all, read without trust."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .covariance import TermShape
from .errors import DataError
from .files import opened_to_write, read_arrays, require
from .terms import STRUCTURES

if TYPE_CHECKING:
    from .crossproducts import CrossProducts

FORMAT = 2
DENSE = ("XX", "Xy", "ZX", "Zy", "basis", "center")
SPARSE = ("data", "indices", "indptr")
LARGEST = np.float64(1e290)  # number in a file: sums of a few do not overflow
SLACK = 1e3  # of sums of products over what sums of squares allow, for rounding


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
    with opened_to_write(file) as opened:
        np.savez(opened, **arrays)


def load(file: str | os.PathLike[str] | IO[bytes]) -> dict[str, Any]:
    """Return the fields of the cross-products that `save` wrote; see `CrossProducts.load`."""
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb") as opened:
            return load(opened)
    name = getattr(file, "name", "The file")
    try:
        return _fields(read_arrays(file))
    except Exception as error:  # whatever a broken or hostile file leads to
        raise DataError(f"{name} holds no cross-products that can be read ({error or type(error).__name__}).") from None


def _fields(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the checked fields of cross-products."""
    facts = json.loads(arrays["facts"].tobytes())
    require(facts["format"] == FORMAT, "it was written by another version of sparselmm; sum the rows again")
    shapes = tuple(_shape(*shape) for shape in facts["shapes"])
    p, q, sizes = len(arrays["center"]), sum(s.n_effects for s in shapes), [s.n_effects for s in shapes]
    count = range(len(shapes))
    dense = {name: arrays[name] for name in DENSE}
    for values, shape in zip(dense.values(), ((p, p), (p,), (q, p), (q,), (p, p), (p,)), strict=True):
        _check_dense(values, shape)
    basis = dense["basis"]
    require(np.diag(basis).all() and not np.tril(basis, -1).any(), "its basis is singular or not triangular")
    log_weights, yy = (float(facts[name]) for name in ("log_weights", "yy"))
    require(abs(log_weights) < LARGEST > abs(yy) and _is_count(facts["nobs"]), "a sum is not finite")
    require(len(facts["labels"]) == len(shapes), "labels are missing")
    diagonal = tuple(_unpack(arrays, f"diagonal{k}", sizes[k], sizes[k], shapes[k]) for k in count)
    _check_sizes(**{name: dense[name] for name in ("XX", "Xy", "ZX", "Zy")}, yy=yy, diagonal=diagonal)
    return {
        "nobs": facts["nobs"],
        "log_weights": log_weights,
        "yy": yy,
        **dense,
        "diagonal": diagonal,
        "cross": {(k, m): _unpack(arrays, f"cross{k}_{m}", sizes[k], sizes[m]) for m in count for k in range(m)},
        "shapes": shapes,
        "levels": tuple(_unpack_labels(arrays, f"levels{k}", facts["labels"][k], shapes[k].n_levels) for k in count),
    }


def _shape(levels: Any, columns: Any, structure: Any, name: Any) -> TermShape:
    """Return a checked TermShape."""
    valid = _is_count(levels) and _is_count(columns) and structure in STRUCTURES and isinstance(name, str)
    require(valid, "the shape of a term is not one")
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
    require(indices.dtype.kind == indptr.dtype.kind == "i", "positions are not integers")
    block = sp.csr_array((data, indices, indptr), shape=(rows, columns))
    block.check_format(full_check=True)
    require(block.has_canonical_format, "a block is not sorted")
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
        require(sorted(ends) == ends and ends[-1] == len(text), "texts of labels have other ends")
        values = [text[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(ends)]
    elif kind == "dates":
        require(values.dtype.kind == "M", "dates are numbers")
        values = np.array(values.astype("M8[D]").tolist(), dtype=object)
        require(all(isinstance(value, date) for value in values), "a label is no date")
    levels = pd.Index(values)
    require(len(levels) == count and levels.is_unique and not levels.hasnans, "labels are missing or repeated")
    return levels


def _check_dense(values: np.ndarray, shape: tuple[int, ...], dtype: str = "f8") -> None:
    """Raise a ValueError unless values have a given shape and floating-point type, and numbers that can be squared."""
    require(values.shape == shape and values.dtype == dtype, "an array is not as it says")
    require((np.abs(values) < LARGEST).all(), "an array holds numbers that are missing or too large")


def _check_sizes(
    XX: np.ndarray, Xy: np.ndarray, yy: float, ZX: np.ndarray, Zy: np.ndarray, diagonal: Sequence[Any]
) -> None:
    """Raise a ValueError for sums of products that are far larger than those of squares allow, as none of rows are."""
    blocks = [block.diagonal() if sp.issparse(block) else np.einsum("lcc->lc", block).ravel() for block in diagonal]
    squares = np.concatenate([np.diag(XX), [yy], *blocks])
    lengths, p = np.sqrt(np.maximum(squares, 0.0)), len(XX)
    products = np.vstack([np.column_stack([XX, Xy]), np.append(Xy, yy), np.column_stack([ZX, Zy])])
    require((np.abs(products) <= SLACK * np.outer(lengths, lengths[: p + 1])).all(), "a sum of products is too large")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value < 2**62
