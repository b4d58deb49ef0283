"""The same design with more or fewer levels of its grouping factors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from ..errors import DataError
from ..resampling.schemes import is_nested


def resized(data: pd.DataFrame, sizes: Mapping[str, int], groups: Iterable[str]) -> pd.DataFrame:
    """Return the rows of data with `sizes` levels of its grouping factors.

    The first levels are kept, in the order of the data; where there are not enough, they are copied from the first
    on, with all their rows. What is nested in a level is copied with it.

    Parameters
    ----------
    data : DataFrame
    sizes : dict of str to int
    groups : iterable of str
        The columns that are grouping factors.
    """
    groups = sorted(groups)
    for factor, size in sizes.items():
        if factor not in groups:
            raise DataError(f"sizes names {factor!r}; the grouping factors of the model are {', '.join(groups)}.")
        if size != int(size) or size < 2:
            raise DataError(f"sizes: {size!r} is no number of levels of {factor!r}. Give whole numbers of at least 2.")
        data = _resized(data, factor, int(size), groups)
    return data


def _resized(data: pd.DataFrame, factor: str, size: int, groups: list[str]) -> pd.DataFrame:
    """Return data with `size` levels of one factor."""
    codes, levels = pd.factorize(data[factor])
    inner = {}
    for name in groups:
        labels, found = pd.factorize(data[name])
        if name != factor and len(found) > len(levels) and is_nested(labels, codes):
            inner[name] = labels
    by_level = pd.Series(np.arange(len(data))).groupby(codes).indices  # without missing labels
    drawn = [by_level[i % len(levels)] for i in range(size)]
    lengths = [rows.size for rows in drawn]
    rows, new = np.concatenate(drawn), np.repeat(np.arange(size), lengths)
    columns = {factor: _labels(factor, new)}
    for name, labels in inner.items():
        columns[name] = _labels(name, pd.factorize(new // len(levels) * (labels.max() + 1) + labels[rows])[0])
    return data.iloc[rows].reset_index(drop=True).assign(**columns)


def _labels(name: str, codes: np.ndarray) -> np.ndarray:
    """Return labels of levels by their numbers."""
    return np.array([f"{name}{i + 1}" for i in range(codes.max() + 1)], dtype=object)[codes]
