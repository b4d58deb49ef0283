"""Designs of studies that do not exist yet: crossed, nested and counterbalanced factors as a data frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError
from ..habits import explains
from ..seeds import generator

Levels = Mapping[str, int]
Within = Mapping[str, Any]  # levels of each column, or what draws its numbers
Between = Mapping[str, Within]


@explains(seed="rng=", counterbalance="latin_square=True", covariates="a function in between= or within=")
def simulate_design(
    levels: Levels,
    *,
    between: Between | None = None,
    within: Within | None = None,
    nested: Mapping[str, str] | None = None,
    latin_square: bool = False,
    replicates: int = 1,
    missing: float = 0.0,
    rng: int | np.random.Generator | None = None,
) -> pd.DataFrame:
    """Return the rows of a design, one for each observation, without a response.

    Parameters
    ----------
    levels : dict of str to int
        Units that are sampled and how many: ``{"subject": 30, "item": 24}``. Factors are crossed unless `nested`.
    between : dict of dict, optional
        What differs between the levels of a factor, ``{"subject": {"group": ["old", "young"]}}``. Levels of the factor
        take turns through all combinations; repeat a name for unequal shares. A function of (rng, n), or a
        distribution of scipy.stats, draws a number for each level.
    within : dict, optional
        Conditions, ``{"condition": ["a", "b"]}``: all combinations of them for every combination of units. A function
        or distribution draws a number for each row.
    nested : dict of str to str, optional
        ``{"pupil": "class"}``: every class has pupils of its own, as many as `levels` says.
    latin_square : bool
        Whether each combination of units (a subject and an item) occurs in one condition only, counterbalanced: every
        subject sees as many items in every condition, and every item is seen as often.
    replicates : int
        Rows of every cell.
    missing : float
        Share of the rows that are missing, at random.
    rng : int or numpy.random.Generator, optional

    Returns
    -------
    DataFrame
        A column for each factor, labels such as ``"subject01"``; columns of `between` and `within`, texts as a
        Categorical in the order given.

    Raises
    ------
    DataError
        If levels cannot be shared out evenly, a name is unknown or stands twice.

    Examples
    --------
    >>> import sparselmm
    >>> data = sparselmm.simulate_design(
    ...     {"subject": 4, "item": 2}, within={"condition": ["old", "new"]}, latin_square=True
    ... )
    >>> data.head(4)
        subject   item condition
    0  subject1  item1       old
    1  subject1  item2       new
    2  subject2  item1       new
    3  subject2  item2       old
    """
    between, within, nested = between or {}, within or {}, nested or {}
    _check_names(levels, between, within, nested)
    _check_counts(levels, replicates, missing)
    rng = generator(rng, "design")
    conditions = {name: list(values) for name, values in within.items() if not _draws(values)}
    shares = {name: _shares(between.get(name, {})) for name in levels}
    for factor, described in between.items():
        _check_divides(factor, levels[factor], shares[factor], f"the cells of {', '.join(described)}")

    order = _parents_first(levels, nested)
    cells = prod(len(values) for values in conditions.values())
    axes = [levels[name] for name in order] + [1 if latin_square else cells, replicates]
    *own, cell, _ = (index.ravel() for index in np.indices(axes))
    codes: dict[str, np.ndarray] = {}
    for name, index in zip(order, own, strict=True):
        codes[name] = codes[nested[name]] * levels[name] + index if name in nested else index
    if latin_square:
        cell = _latin_square(levels, nested, shares, codes, cells)

    columns: dict[str, Any] = {name: _labels(name, codes[name]) for name in levels}
    for factor, described in between.items():
        values = _between(described, codes[factor].max() + 1, rng)
        columns |= {name: values[name][codes[factor]] for name in described}
    in_cells = _cells(conditions)
    for name, given in within.items():
        columns[name] = _drawn(name, given, cell.size, rng) if _draws(given) else in_cells[name][cell]
    gone = rng.choice(cell.size, round(missing * cell.size), replace=False)
    return pd.DataFrame(columns).drop(index=gone).reset_index(drop=True)


def _check_names(levels: Levels, between: Between, within: Within, nested: Mapping[str, str]) -> None:
    """Raise a DataError if a factor is unknown or a name stands for two columns."""
    parts: list[tuple[str, Any]] = [("between", between), ("within", within)]
    parts += [(f"between={name!r}", part) for name, part in between.items()] if isinstance(between, Mapping) else []
    for argument, given in parts:
        if not isinstance(given, Mapping):
            example = "{'subject': {'group': ['a', 'b']}}" if argument == "between" else "{'condition': ['a', 'b']}"
            raise DataError(f"{argument} is {given!r}. Give a dictionary such as {example}.")
    named = [("between", name) for name in between] + [("nested", name) for pair in nested.items() for name in pair]
    for argument, name in named:
        if name not in levels:
            raise DataError(f"{argument} names {name!r}, which is no factor of levels: {', '.join(levels)}.")
    names = [*levels, *(name for part in between.values() for name in part), *within]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{name!r} stands for two columns of the design. Rename one of them.")
    for name, values in {**within, **{name: v for part in between.values() for name, v in part.items()}}.items():
        if not _draws(values) and (
            not isinstance(values, Sequence | np.ndarray | pd.Index) or isinstance(values, str) or not len(values)
        ):
            raise DataError(f"{name!r} has no levels but {values!r}. List them, such as ['a', 'b'].")


def _check_counts(levels: Levels, replicates: int, missing: float) -> None:
    """Raise a DataError if a number of levels, the replicates or the share of missing rows are impossible."""
    for name, count in {**levels, "replicates": replicates}.items():
        if count != int(count) or count < 1:
            raise DataError(f"{name}: {count!r} is no number of levels. Give a whole number of at least 1.")
    if not 0.0 <= missing < 1.0:
        raise DataError(f"missing={missing!r} is no share of the rows. Give a number from 0 to below 1.")


def _check_divides(factor: str, count: int, cells: int, what: str) -> None:
    """Raise a DataError if the levels of a factor cannot be shared out evenly."""
    if count % cells:
        below, above = count - count % cells, count + cells - count % cells
        remedy = f"{below} or {above}" if below else f"{above}"
        raise DataError(f"{count} levels of {factor!r} cannot be shared evenly by {cells}: {what}. Use {remedy}.")


def _parents_first(levels: Levels, nested: Mapping[str, str]) -> list[str]:
    """Return the factors so that what another is nested in stands before it."""
    order: list[str] = []
    while len(order) < len(levels):
        ready = [name for name in levels if name not in order and nested.get(name, name) in (name, *order)]
        if not ready or any(nested.get(name) == name for name in ready):
            raise DataError(f"nested={nested!r} goes in a circle: a factor cannot lie within itself.")
        order.append(ready[0])
    return order


def _latin_square(
    levels: Levels, nested: Mapping[str, str], shares: Levels, codes: Mapping[str, np.ndarray], cells: int
) -> np.ndarray:
    """Return the condition of every row (n,): it moves on by one from level to level of every factor.

    Levels that differ in a column of `between` take turns first, so that these are not confounded with the lists.
    """
    crossed = [name for name in levels if name not in nested.values()]
    if len(crossed) < 2 or cells < 2:
        raise DataError(
            f"latin_square=True needs two crossed factors and conditions; there are {', '.join(crossed)} with "
            f"{cells} condition(s). For conditions that differ between levels of one factor use between=."
        )
    for name in crossed:
        what = f"{cells} lists of conditions" + (f" for each of {shares[name]} cells" if shares[name] > 1 else "")
        _check_divides(name, levels[name], cells * shares[name], what)
    return np.sum([codes[name] // shares[name] for name in crossed], axis=0) % cells


def _shares(described: Within) -> int:
    """Return the number of cells that the columns of one factor make."""
    return prod(len(values) for values in described.values() if not _draws(values))


def _between(described: Within, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the values of the columns that differ between the levels of one factor, (count,) each."""
    listed = {name: list(values) for name, values in described.items() if not _draws(values)}
    cell = np.arange(count) % _shares(described)
    columns = {name: values[cell] for name, values in _cells(listed).items()}
    return columns | {name: _drawn(name, values, count, rng) for name, values in described.items() if _draws(values)}


def _cells(listed: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Return the value of every column in every combination of listed values, the last column fastest."""
    combinations = list(product(*listed.values()))
    return {name: _column([one[i] for one in combinations]) for i, name in enumerate(listed)}


def _column(values: list[Any]) -> np.ndarray | pd.Categorical:
    """Return listed values as numbers, or as a Categorical in the order given."""
    array = np.asarray(values)
    return array if array.dtype.kind in "iufb" else pd.Categorical(values, categories=list(dict.fromkeys(values)))


def _draws(values: object) -> bool:
    """Return whether values are drawn: a function or a distribution."""
    return callable(values) or hasattr(values, "rvs")


def _drawn(name: str, values: Any, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return numbers drawn by a function of (rng, n) or a distribution, (count,)."""
    drawn = values.rvs(size=count, random_state=rng) if hasattr(values, "rvs") else values(rng, count)
    drawn = np.asarray(drawn)
    if drawn.shape != (count,):
        raise DataError(f"{name!r}: the function returned shape {drawn.shape} for n={count}; it must return n numbers.")
    return drawn


def _labels(name: str, codes: np.ndarray) -> np.ndarray:
    """Return the labels of levels: the name and a number of constant width, so that they sort."""
    count = int(codes.max()) + 1
    return np.array([f"{name}{i + 1:0{len(str(count))}d}" for i in range(count)], dtype=object)[codes]
