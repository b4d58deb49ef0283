"""Facts: what a model remembers of its rows besides their cross-products, additive over chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ..data import Table
from ..errors import DataError

FEW = 2  # different values up to which a numeric column is counted like a factor
FEW_COLUMNS = 20  # fixed effects for which every cell gets as many examples
MOST_EXAMPLES = 100  # rows of a cell that are remembered
MOST_CELLS = 10_000  # combinations of categories that are told apart
Cell = tuple[Any, ...]  # values of the keys
PEEK = 100  # values that tell most columns of many different ones


@dataclass(frozen=True)
class Numbers:
    """Count, sum, smallest and largest of numbers, and the different ones if they are few (else None)."""

    count: int
    total: float
    low: float
    high: float
    few: tuple[float, ...] | None

    @classmethod
    def of(cls, values: np.ndarray) -> Numbers:
        """Return those of values (n,), n > 0."""
        few = _few(values)
        return cls(values.size, float(values.sum()), float(values.min()), float(values.max()), few)

    def __add__(self, other: Numbers) -> Numbers:
        few = None if self.few is None or other.few is None else tuple(sorted({*self.few, *other.few}))
        return Numbers(
            self.count + other.count,
            self.total + other.total,
            min(self.low, other.low),
            max(self.high, other.high),
            few if few is not None and len(few) <= FEW else None,
        )

    @property
    def mean(self) -> float:
        """Mean."""
        return self.total / self.count


@dataclass(frozen=True)
class Facts:
    """What is known of rows that are not kept.

    Attributes
    ----------
    rows : int
        Rows read, incomplete ones included.
    dropped : int
        Incomplete rows.
    missing : dict of str to int
        Missing values by column.
    numbers : dict of str to Numbers
        Of the numeric predictors of the fixed effects.
    arrays : dict of str to Numbers
        Of the response less the offset, the weights and the offset, as far as there are any.
    keys : tuple of str
        Predictors of the fixed effects with categories or few values; `cells` counts the rows by their values.
    crowded : bool
        Whether there are more than MOST_CELLS cells, which are then not kept.
    names : tuple of str
        All predictors of the fixed effects; `examples` has their values in some rows of every cell.
    gram : ndarray (p, p) or None
        X'X in the pilot basis without weights, if there are weights.
    """

    rows: int = 0
    dropped: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    numbers: Mapping[str, Numbers] = field(default_factory=dict)
    arrays: Mapping[str, Numbers] = field(default_factory=dict)
    keys: tuple[str, ...] | None = None
    cells: Mapping[Cell, int] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    examples: Mapping[Cell, list[Cell]] = field(default_factory=dict)
    gram: np.ndarray | None = None
    crowded: bool = False

    def fits(self, columns: Collection[str]) -> bool:
        """Return whether numbers of rows are numbers, and the rest is of these columns, with a value for each name."""
        counts = self.rows, self.dropped, *self.missing.values(), *self.cells.values()
        if not all(isinstance(count, int) for count in counts):
            return False
        keys, rows = self.keys or (), [row for rows in self.examples.values() for row in rows]
        widths = {len(cell) for cell in (*self.cells, *self.examples)}, {len(row) for row in rows}
        named = {*keys, *self.names, *self.numbers} <= {*columns}
        return named and widths[0] <= {len(keys)} and widths[1] <= {len(self.names)}

    def __add__(self, other: Facts) -> Facts:
        numbers = _sum(self.numbers, other.numbers)
        keys = self.keys if other.keys is None else other.keys if self.keys is None else _both(self.keys, other.keys)
        keys = keys and tuple(key for key in keys if key not in numbers or numbers[key].few is not None)
        cells = _added(self._merged("cells", keys, 0), other._merged("cells", keys, 0))
        examples = _added(self._merged("examples", keys, []), other._merged("examples", keys, []), MOST_EXAMPLES)
        crowded = self.crowded or other.crowded or len(cells) > MOST_CELLS
        return Facts(
            self.rows + other.rows,
            self.dropped + other.dropped,
            Counter(self.missing) + Counter(other.missing),
            numbers,
            _sum(self.arrays, other.arrays),
            keys,
            {} if crowded else cells,
            self.names or other.names,
            {} if crowded else examples,
            other.gram if self.gram is None else self.gram if other.gram is None else self.gram + other.gram,
            crowded,
        )

    def _merged(self, what: str, keys: tuple[str, ...] | None, none: Any) -> dict[Cell, Any]:
        """Return counts or examples by fewer keys."""
        held: dict[Cell, Any] = getattr(self, what)
        if keys is None or self.keys is None or keys == self.keys:
            return held
        places = [self.keys.index(key) for key in keys]
        merged: dict[Cell, Any] = {}
        for cell, value in held.items():
            cell = tuple(cell[i] for i in places)
            merged[cell] = merged.get(cell, none) + value
        return merged

    def of_rows(self, table: Table, n_columns: int, categorical: Collection[str], **arrays: np.ndarray | None) -> Facts:
        """Return the facts with those of complete rows: predictors of `n_columns` fixed effects, and `arrays`.

        `categorical` names the predictors that are counted though they are numbers of many values.
        """
        numbers, keyed = {}, {}
        for name, values in table.columns.items():
            if isinstance(values, pd.Categorical) or values.dtype.kind not in "iuf" or name in categorical:
                keyed[name] = values
            else:
                numbers[name] = Numbers.of(values)
                if numbers[name].few is not None:
                    keyed[name] = values
        of_arrays = {name: Numbers.of(values) for name, values in arrays.items() if values is not None}
        known: dict[str, Any] = {
            "numbers": numbers,
            "arrays": of_arrays,
            "keys": tuple(keyed),
            "names": tuple(table.columns),
        }
        codes, cells = _cells(keyed, len(table))
        if len(cells) > MOST_CELLS:
            return replace(self, **known, crowded=True)
        counts = np.bincount(codes, minlength=len(cells))
        rows, places = _first_rows(codes, counts, 2 + max(min(n_columns, FEW_COLUMNS), -(-n_columns // len(cells))))
        examples: dict[Cell, list[Cell]] = {cell: [] for cell in cells}
        shown = zip(*(map(_plain, np.asarray(values[rows])) for values in table.columns.values()), strict=True)
        for place, row in zip(places, shown if table.columns else [()] * len(rows), strict=True):
            examples[cells[place]].append(row)
        return replace(self, **known, cells=dict(zip(cells, counts.tolist(), strict=True)), examples=examples)


def no_complete_row(rows: int, missing: Mapping[str, int]) -> DataError:
    """Return the error of data without complete rows."""
    counts = ", ".join(f"{name!r} {count}" for name, count in missing.items())
    problem = f"Every row has a missing value, by column: {counts}." if rows else "The data have no rows."
    return DataError(f"{problem} Check the source and the columns of the formula.")


def _sum(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sums of what is kept by name."""
    return {**ours, **{name: ours[name] + more if name in ours else more for name, more in theirs.items()}}


def _both(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys that both have."""
    return tuple(key for key in ours if key in theirs)


def _few(values: np.ndarray) -> tuple[float, ...] | None:
    """Return the sorted different values if there are at most FEW, else None."""
    if np.unique(values[:PEEK]).size > FEW:
        return None
    different = np.unique(values)
    return None if different.size > FEW else tuple(different.astype(float).tolist())


def _added(ours: Mapping[Cell, Any], theirs: Mapping[Cell, Any], limit: int | None = None) -> dict[Cell, Any]:
    """Return counts, or lists up to a limit, added by cell."""
    added = dict(ours)
    for cell, value in theirs.items():
        value = added[cell] + value if cell in added else value
        added[cell] = value if limit is None else value[:limit]
    return added


def _cells(columns: Mapping[str, Any], n: int) -> tuple[np.ndarray, list[Cell]]:
    """Return the number of the combination of the values of columns in each row, (n,), and the combinations.

    It stops where there are more than MOST_CELLS.
    """
    codes = np.zeros(n, dtype=np.int64)
    labels: list[Cell] = [()]
    for values in columns.values():
        known = isinstance(values, pd.Categorical)
        more, levels = (values.codes, values.categories) if known else pd.factorize(values)
        codes, occurring = pd.factorize(codes * len(levels) + more)
        levels = [_plain(level) for level in levels]
        labels = [(*labels[i], levels[j]) for i, j in zip(*np.divmod(occurring, len(levels)), strict=True)]
        if len(labels) > MOST_CELLS:
            break
    return codes, labels


def _first_rows(codes: np.ndarray, counts: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first rows of every cell, at most `limit` each, and the cells they are in."""
    if counts.size == 1:
        rows = np.arange(min(limit, codes.size))
        return rows, np.zeros_like(rows)
    order = np.argsort(codes.astype(np.min_scalar_type(counts.size)), kind="stable")
    taken = np.minimum(counts, limit)
    within = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
    rows = order[np.repeat(np.cumsum(counts) - counts, taken) + within]
    return rows, codes[rows]


def _plain(label: Any) -> Any:
    """Return a label as an object of Python, numbers as float, times as Timestamp."""
    if isinstance(label, np.datetime64):
        return pd.Timestamp(label)
    label = label.item() if isinstance(label, np.generic) else label
    return float(label) if isinstance(label, int) and not isinstance(label, bool) else label
