"""Sums of cross-products of different rows: levels matched by label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from .errors import DataError
from .levelsums import canonical, count_values

if TYPE_CHECKING:
    from .crossproducts import CrossProducts

    Place = slice | np.ndarray  # of some rows or columns among more

FULL = 0.75  # share of its memory that a sum of sparse blocks fills at least
EXACT_INTEGERS = 2.0**53  # integers from which not all are floating-point numbers


def merged(first: CrossProducts, second: CrossProducts) -> CrossProducts:
    """Return the cross-products of the rows of both, in the basis of the first; see `CrossProducts.__add__`."""
    _check_same_model(first, second)
    second = second.rebased(first.basis, first.center)
    matches = [
        _match(shape.name, ours, theirs)
        for shape, ours, theirs in zip(first.shapes, first.levels, second.levels, strict=True)
    ]
    shapes = tuple(replace(shape, n_levels=len(m.levels)) for shape, m in zip(first.shapes, matches, strict=True))
    places = [match.effects(shape.n_columns) for match, shape in zip(matches, shapes, strict=True)]

    def by_effect(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        """Return the sum of two arrays with a row for every effect."""
        slices = first.relative_factor.effect_slices, second.relative_factor.effect_slices
        parts = [
            _add_rows(ours[own], theirs[other], place, shape.n_effects)
            for own, other, place, shape in zip(*slices, places, shapes, strict=True)
        ]
        return np.concatenate(parts)

    def block_sum(ours: sp.csr_array, theirs: sp.csr_array, k: int, m: int, bound: float = np.inf) -> sp.csr_array:
        """Return the sum of two sparse blocks of terms k and m, `bound` that of counts."""
        size = shapes[k].n_effects, shapes[m].n_effects
        blocks = [
            _placed(block, rows, columns, size)
            for block, rows, columns in zip((ours, theirs), places[k], places[m], strict=True)
        ]
        if all(block.dtype == np.float32 for block in blocks):
            blocks[0].data = count_values(blocks[0].data, bound)
        return _without_slack(blocks[0] + blocks[1])

    diagonal = tuple(
        block_sum(ours, theirs, k, k) if sp.issparse(ours) else _add_rows(ours, theirs, match.places, len(match.levels))
        for k, (ours, theirs, match) in enumerate(zip(first.diagonal, second.diagonal, matches, strict=True))
    )
    largest = [block.max() for block in diagonal]  # a pair of levels has no more rows than either of them
    return replace(
        first,
        nobs=first.nobs + second.nobs,
        log_weights=first.log_weights + second.log_weights,
        XX=first.XX + second.XX,
        Xy=first.Xy + second.Xy,
        yy=first.yy + second.yy,
        ZX=by_effect(first.ZX, second.ZX),
        Zy=by_effect(first.Zy, second.Zy),
        diagonal=diagonal,
        cross={
            (k, m): block_sum(ours, second.cross[k, m], k, m, min(largest[k], largest[m]))
            for (k, m), ours in first.cross.items()
        },
        shapes=shapes,
        levels=tuple(match.levels for match in matches),
    )


def tree_sum(products: Iterable[CrossProducts]) -> CrossProducts:
    """Return the sum of an iterable of cross-products.

    A sum waits until what follows it is half as large, so that at most the logarithm of the number of entries are held
    and an entry moves as often at most; parts are let go as soon as they are in a sum.
    """
    waiting = []  # (entries, sum), entries falling by half at least
    for part in products:
        waiting.append((_entries(part), part))
        del part
        while len(waiting) > 1 and waiting[-2][0] < 2 * waiting[-1][0]:
            _add_last(waiting)
    if not waiting:
        raise DataError("There are no rows to sum. Give cross-products of some rows.")
    while len(waiting) > 1:
        _add_last(waiting)
    return waiting[0][1]


def _add_last(waiting: list[tuple[int, CrossProducts]]) -> None:
    """Replace the last two sums by theirs."""
    second, first = waiting.pop()[1], waiting.pop()[1]
    whole = first + second
    waiting.append((_entries(whole), whole))


def _entries(cross: CrossProducts) -> int:
    """Return how many numbers cross-products are made of, about."""
    return cross.ZX.size + sum(block.nnz for block in cross.cross.values())


@dataclass(frozen=True)
class _Match:
    """The levels of two chunks together, and where those of each stand among them: slice(None) if they are all."""

    levels: pd.Index
    places: tuple[Place, ...]

    def effects(self, c: int) -> tuple[Place, ...]:
        """Return the places of the effects of c columns."""
        return tuple(
            place if isinstance(place, slice) else (place[:, None] * c + np.arange(c)).ravel() for place in self.places
        )


def _match(name: str, first: pd.Index, second: pd.Index) -> _Match:
    """Return the match of the levels of a term by label: sorted, or in the order that both have."""
    comparable = _kind(first) == _kind(second)
    if comparable and first.equals(second):
        return _Match(first, (slice(None), slice(None)))
    values = [levels.to_numpy() for levels in (first, second)]
    try:
        both = np.concatenate(values)
        order = np.argsort(both, kind="stable")  # two sorted runs are merged in linear time
    except TypeError:
        comparable = False
    if not comparable:
        raise DataError(
            f"The levels of {name!r} are of type {first.dtype} in one chunk and {second.dtype} in another. Convert the "
            "column to one type."
        )
    both = both[order]
    new = np.append(True, both[1:] != both[:-1])
    place = np.empty(both.size, dtype=np.intp)
    place[order] = np.cumsum(new) - 1
    levels = pd.Index(both[new])
    rounded = both.dtype.kind == "f" and any(part.dtype.kind != "f" for part in values)
    if rounded and np.abs(both).max() >= EXACT_INTEGERS:
        raise DataError(
            f"The levels of {name!r} are integers in one chunk and floating-point numbers, which do not hold integers "
            "this large, in another. Convert the column to integers."
        )
    places = np.split(place, [len(first)])
    return _Match(levels, tuple(slice(None) if _is_whole(part, len(levels)) else part for part in places))


def _kind(levels: pd.Index) -> str:
    """Return the type of labels: those of one type are comparable."""
    return "number" if levels.dtype.kind in "iuf" else levels.inferred_type


def _is_whole(places: np.ndarray, size: int) -> bool:
    """Return whether places are 0, 1, ..., size - 1."""
    return places.size == size and _ascends(places)


def _ascends(places: np.ndarray) -> bool:
    return bool((places[1:] > places[:-1]).all())


def _add_rows(ours: np.ndarray, theirs: np.ndarray, places: tuple[Place, ...], size: int) -> np.ndarray:
    """Return the sum of arrays whose rows have places among more."""
    out = np.zeros((size, *ours.shape[1:]))
    out[places[0]] = ours
    out[places[1]] += theirs
    return out


def _placed(block: sp.csr_array, rows: Place, columns: Place, shape: tuple[int, int]) -> sp.csr_array:
    """Return a CSR array whose rows and columns have places among more; those that ascend need no sorting."""
    if isinstance(rows, slice) and isinstance(columns, slice):
        return sp.csr_array((block.data, block.indices, block.indptr), shape=shape)
    rows, columns = (
        np.arange(n) if isinstance(place, slice) else place
        for place, n in zip((rows, columns), block.shape, strict=True)
    )
    if not (_ascends(rows) and _ascends(columns)):
        block = sp.coo_array(block)
        return canonical(sp.coo_array((block.data, (rows[block.row], columns[block.col])), shape=shape))
    counts = np.zeros(shape[0] + 1, dtype=block.indptr.dtype)
    counts[rows + 1] = np.diff(block.indptr)
    indices = columns.astype(block.indices.dtype)[block.indices]
    return sp.csr_array((block.data, indices, np.cumsum(counts, dtype=counts.dtype)), shape=shape)


def _without_slack(block: sp.csr_array) -> sp.csr_array:
    """Return the sparse array in memory that it fills mostly."""
    allocated = block.data if block.data.base is None else block.data.base
    if block.data.size < FULL * allocated.size:
        block.indices = block.indices.copy()
        block.data = block.data.copy()
    return block


def _check_same_model(first: CrossProducts, second: CrossProducts) -> None:
    """Raise a DataError if two sets of cross-products are not of one model."""
    ours, theirs = ([(s.name, s.n_columns, s.structure) for s in part.shapes] for part in (first, second))
    if ours != theirs or first.n_fixed != second.n_fixed:
        raise DataError(
            f"Cross-products of different models cannot be added: {first.n_fixed} fixed effects and terms {ours} "
            f"against {second.n_fixed} and {theirs}."
        )
