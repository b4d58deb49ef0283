"""The same design with more or fewer levels of its grouping factors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pandas as pd

from ..errors import DataError
from ..resampling.schemes import is_nested


def resized(
    data: pd.DataFrame, sizes: Mapping[str, int], groups: Iterable[str], coded: Collection[str] = ()
) -> pd.DataFrame:
    """Return the rows of data with `sizes` levels of its grouping factors.

    The first levels are kept, in the order of the data and in the proportions of their kinds; where there are not
    enough, they are copied from the first on, with all their rows. What is nested in a level is copied with it. The
    kind of a level is what categorical columns hold in all its rows.

    Parameters
    ----------
    data : DataFrame
    sizes : dict of str to int
    groups : iterable of str
        The columns that are grouping factors.
    coded : collection of str
        Columns of numbers that the formula takes for categories.

    Raises
    ------
    DataError
        If there are fewer levels than kinds of them.
    """
    groups = sorted(groups)
    for factor, size in sizes.items():
        if factor not in groups:
            raise DataError(f"sizes names {factor!r}; the grouping factors of the model are {', '.join(groups)}.")
        if size != int(size) or size < 2:
            raise DataError(f"sizes: {size!r} is no number of levels of {factor!r}. Give whole numbers of at least 2.")
        data = _resized(data, factor, int(size), groups, coded)
    return data


def _resized(data: pd.DataFrame, factor: str, size: int, groups: list[str], coded: Collection[str]) -> pd.DataFrame:
    """Return data with `size` levels of one factor."""
    codes, levels = pd.factorize(data[factor])
    inner = {}
    for name in groups:
        labels, found = pd.factorize(data[name])
        if name != factor and len(found) > len(levels) and is_nested(labels, codes):
            inner[name] = labels
    by_level = pd.Series(np.arange(len(data))).groupby(codes).indices  # without missing labels
    order = _in_proportion(factor, size, _kinds(data.drop(columns=groups), codes, len(levels), coded))
    drawn = [by_level[order[i % len(levels)]] for i in range(size)]
    lengths = [rows.size for rows in drawn]
    rows, new = np.concatenate(drawn), np.repeat(np.arange(size), lengths)
    columns = {factor: _labels(factor, new)}
    for name, labels in inner.items():
        columns[name] = _labels(name, pd.factorize(new // len(levels) * (labels.max() + 1) + labels[rows])[0])
    return data.iloc[rows].reset_index(drop=True).assign(**columns)


def _kinds(data: pd.DataFrame, codes: np.ndarray, count: int, coded: Collection[str]) -> pd.DataFrame:
    """Return the columns of categories, or of two numbers, that are constant within levels, a row for each level."""
    first, columns = np.unique(codes, return_index=True)[1], {}
    for name in data.columns:
        values, labels = pd.factorize(data[name])
        number = pd.api.types.is_numeric_dtype(data[name]) and name not in coded
        if 1 < len(labels) <= (2 if number else count) and np.array_equal(values[first][codes], values):
            columns[name] = labels[values[first]]
    return pd.DataFrame(columns, index=range(count))


def _in_proportion(factor: str, size: int, kinds: pd.DataFrame) -> np.ndarray:
    """Return an order of the levels: one of every kind, then so that the first of them hold all kinds in proportion."""
    if kinds.empty:
        return np.arange(len(kinds))
    grouped = kinds.groupby(list(kinds.columns), sort=False, observed=True)
    if size < grouped.ngroups:
        raise DataError(
            f"sizes: {size} levels of {factor!r} cannot hold its {grouped.ngroups} kinds, the combinations of "
            f"{', '.join(kinds.columns)} that differ between them. Take more."
        )
    rank, whole = grouped.cumcount().to_numpy(), grouped[kinds.columns[0]].transform("size").to_numpy()
    return np.argsort(np.where(rank == 0, 0.0, (rank + 0.5) / whole), kind="stable")


def _labels(name: str, codes: np.ndarray) -> np.ndarray:
    """Return labels of levels by their numbers."""
    return np.array([f"{name}{i + 1}" for i in range(codes.max() + 1)], dtype=object)[codes]
