"""Sums of cross-products over chunks of rows: levels matched by label, and files of them without pickle."""

from __future__ import annotations

import json
from dataclasses import replace
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .covariance import TermShape
from .crossproducts import CrossProducts, canonical
from .errors import DataError

FORMAT = 1
FIELDS = ("XX", "Xy", "ZX", "Zy", "basis", "center")


def merged(first, second) -> CrossProducts:
    """Return the cross-products of the rows of both, in the basis of the first; see `CrossProducts.__add__`."""
    _check_same_model(first, second)
    second = second.rebased(first.basis, first.center)
    unions, places = [], []
    for ours, theirs in zip(first.levels, second.levels, strict=True):
        union = _union(ours, theirs)
        unions.append(union)
        places.append((union.get_indexer(ours), union.get_indexer(theirs)))
    shapes = tuple(replace(shape, n_levels=len(union)) for shape, union in zip(first.shapes, unions, strict=True))
    both = [_Placed(part, shapes, [place[i] for place in places]) for i, part in enumerate((first, second))]
    return CrossProducts(
        nobs=first.nobs + second.nobs,
        log_weights=first.log_weights + second.log_weights,
        XX=first.XX + second.XX,
        Xy=first.Xy + second.Xy,
        yy=first.yy + second.yy,
        ZX=both[0].rows(first.ZX) + both[1].rows(second.ZX),
        Zy=both[0].rows(first.Zy) + both[1].rows(second.Zy),
        diagonal=tuple(both[0].diagonal(k) + both[1].diagonal(k) for k in range(len(shapes))),
        cross={pair: canonical(both[0].cross(*pair) + both[1].cross(*pair)) for pair in first.cross},
        shapes=shapes,
        basis=first.basis,
        center=first.center,
        levels=tuple(unions),
    )


def total(products) -> CrossProducts:
    """Return the sum of an iterable of cross-products, settled.

    Sums of equally many chunks are added to each other, so that no level is moved more often than the logarithm of
    their number; at most that many sums are held.
    """
    stack = []  # (chunks, sum), chunks falling
    for part in products:
        stack.append((1, part))
        while len(stack) > 1 and stack[-2][0] <= stack[-1][0]:
            (n, left), (m, right) = stack[-2:]
            stack[-2:] = [(n + m, left + right)]
    if not stack:
        raise DataError("There are no rows to sum.")
    whole = stack[-1][1]
    for _, part in stack[-2::-1]:
        whole = part + whole
    return whole.settled()


class _Placed:
    """Cross-products whose levels have places among more levels."""

    def __init__(self, part, shapes, places):
        self.part, self.shapes, self.places = part, shapes, places
        self.columns = [
            (place[:, None] * shape.n_columns + np.arange(shape.n_columns)).ravel()
            for place, shape in zip(places, shapes, strict=True)
        ]

    def rows(self, values):
        """Return values (q, ...) at their places."""
        parts = []
        for effects, columns, shape in zip(
            self.part.relative_factor.effect_slices, self.columns, self.shapes, strict=True
        ):
            out = np.zeros((shape.n_effects, *values.shape[1:]))
            out[columns] = values[effects]
            parts.append(out)
        return np.concatenate(parts)

    def diagonal(self, k):
        """Return the diagonal block of term k at its places."""
        block = self.part.diagonal[k]
        if sp.issparse(block):
            return self._sparse(block, k, k)
        out = np.zeros((self.shapes[k].n_levels, *block.shape[1:]))
        out[self.places[k]] = block
        return out

    def cross(self, k, m):
        """Return the block of terms k and m at its places."""
        return self._sparse(self.part.cross[k, m], k, m)

    def _sparse(self, block, k, m):
        block, size = sp.coo_array(block), (self.shapes[k].n_effects, self.shapes[m].n_effects)
        return sp.csr_array((block.data, (self.columns[k][block.row], self.columns[m][block.col])), shape=size)


def _check_same_model(first, second):
    """Raise a DataError if two sets of cross-products are not of one model."""
    ours, theirs = ([(s.name, s.n_columns, s.structure) for s in part.shapes] for part in (first, second))
    if ours != theirs or first.n_fixed != second.n_fixed:
        raise DataError(
            f"Cross-products of different models cannot be added: {first.n_fixed} fixed effects and terms {ours} "
            f"against {second.n_fixed} and {theirs}."
        )


def _union(first, second) -> pd.Index:
    """Return the sorted union of the labels of two sets of levels."""
    if first.equals(second):
        return first
    kinds = {"number" if pd.api.types.is_numeric_dtype(index) else index.inferred_type for index in (first, second)}
    if len(kinds) > 1:
        raise DataError(
            f"The levels of a term are of type {first.dtype} in one chunk and {second.dtype} in another. Convert the "
            "column to one type."
        )
    return first.union(second, sort=True)


def save(cross, path) -> None:
    """Write cross-products to a file (.npz: arrays and JSON, no pickle).

    Labels are numbers, dates or texts; others become texts.
    """
    arrays = {name: getattr(cross, name) for name in FIELDS}
    for k, (block, levels) in enumerate(zip(cross.diagonal, cross.levels, strict=True)):
        arrays |= _pack(f"diagonal{k}", block)
        values = levels.to_numpy()
        arrays[f"levels{k}"] = values.astype(str) if values.dtype.kind == "O" else values
    for (k, m), block in cross.cross.items():
        arrays |= _pack(f"cross{k}_{m}", block)
    facts = {
        "format": FORMAT,
        "nobs": cross.nobs,
        "log_weights": cross.log_weights,
        "yy": cross.yy,
        "shapes": [[s.n_levels, s.n_columns, s.structure, s.name] for s in cross.shapes],
    }
    with open(path, "wb") as file:
        np.savez(file, facts=np.array(json.dumps(facts)), **arrays)


def load(path) -> CrossProducts:
    """Return the cross-products that `save` wrote.

    Raises
    ------
    DataError
        If the file was not written by `save`.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        facts = json.loads(str(arrays["facts"]))
        if facts["format"] != FORMAT:
            raise DataError(f"{path} was written by another version of sparselmm. Sum the rows again.")
        shapes = tuple(TermShape(*shape) for shape in facts["shapes"])
        count = range(len(shapes))
        return CrossProducts(
            nobs=facts["nobs"],
            log_weights=facts["log_weights"],
            yy=facts["yy"],
            **{name: arrays[name] for name in FIELDS},
            diagonal=tuple(_unpack(arrays, f"diagonal{k}") for k in count),
            cross={(k, m): _unpack(arrays, f"cross{k}_{m}") for k in count for m in count if k < m},
            shapes=shapes,
            levels=tuple(pd.Index(arrays[f"levels{k}"]) for k in count),
        )
    except FileNotFoundError:
        raise
    except (KeyError, ValueError, TypeError, OSError, EOFError, AttributeError, BadZipFile) as error:
        raise DataError(f"{path} holds no cross-products that can be read ({error}).") from None


def _pack(name, block) -> dict:
    """Return a block as named arrays."""
    if not sp.issparse(block):
        return {name: block}
    block = sp.csr_array(block)
    return {
        f"{name}_data": block.data,
        f"{name}_indices": block.indices,
        f"{name}_indptr": block.indptr,
        f"{name}_shape": np.array(block.shape),
    }


def _unpack(arrays, name):
    """Return the block of named arrays."""
    if name in arrays:
        return arrays[name]
    parts = tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    block = sp.csr_array(parts, shape=tuple(int(size) for size in arrays[f"{name}_shape"]))
    block.check_format(full_check=True)
    return block
