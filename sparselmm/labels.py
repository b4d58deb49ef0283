"""Labelled tables of results: cached, read-only underneath, and every access a copy of its own."""

from __future__ import annotations

from functools import cached_property

import pandas as pd


class labelled(cached_property):  # noqa: N801
    """A cached table of which every access gets a shallow copy: in-place calls of the user stay the user's."""

    def __set_name__(self, owner, name):
        super().__set_name__(owner, f"_{name}")

    def __get__(self, instance, owner=None):
        value = super().__get__(instance, owner)
        if isinstance(value, dict):
            return {name: table.copy(deep=False) for name, table in value.items()}
        return value.copy(deep=False) if isinstance(value, (pd.Series, pd.DataFrame)) else value


def by_level(term, values):
    """Return values (l, c) labelled by the levels and columns of a term, read-only."""
    return frozen(pd.DataFrame, values, term.levels.rename(term.name), columns=list(term.columns))


def frozen(kind, values, index, **labels):
    """Return a Series or DataFrame on read-only values."""
    return kind(read_only(values), index=index, copy=False, **labels)


def read_only(values):
    """Return the array, made read-only."""
    values.flags.writeable = False
    return values
