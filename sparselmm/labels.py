"""Labelled tables of results: cached, read-only underneath, and every access a copy of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, overload

import pandas as pd

if TYPE_CHECKING:
    import numpy as np

    from .model import LinearMixedModel
    from .terms import TermSizes

T = TypeVar("T")


class labelled(cached_property[T]):  # noqa: N801
    """A cached table of which every access gets a shallow copy: in-place calls of the user stay the user's."""

    def __set_name__(self, owner: type, name: str) -> None:
        super().__set_name__(owner, f"_{name}")

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        value = super().__get__(instance, owner)
        if isinstance(value, dict):
            return ByTerm((name, table.copy(deep=False)) for name, table in value.items())
        return value.copy(deep=False) if isinstance(value, (pd.Series, pd.DataFrame)) else value


class ByTerm(dict[str, pd.DataFrame]):
    """Tables of the random-effects terms, by their names."""

    def __missing__(self, key: Any) -> NoReturn:
        held = [name for name, table in self.items() if key in table.index]
        remedy = f"{key!r} is a level: [{held[0]!r}].loc[{key!r}]" if held else f"Terms: {', '.join(map(repr, self))}"
        raise KeyError(f"There is no term {key!r}. {remedy}.")


class Wide(pd.DataFrame):  # type: ignore[misc]  # pandas comes without types
    """A DataFrame that prints every column, whatever the width of the screen; what is made of it is a DataFrame."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        with pd.option_context("display.max_columns", None, "display.expand_frame_repr", False):
            return super().__repr__()


def by_level(term: TermSizes, values: np.ndarray) -> pd.DataFrame:
    """Return values (l, c) labelled by the levels and columns of a term, read-only."""
    return frozen(pd.DataFrame, values, term.levels.rename(term.name), columns=list(term.columns))


def frozen(kind: Callable[..., T], values: np.ndarray, index: Any, **labels: Any) -> T:
    """Return a Series or DataFrame on read-only values."""
    return kind(read_only(values), index=index, copy=False, **labels)


def read_only(values: np.ndarray) -> np.ndarray:
    """Return the array, made read-only."""
    values.flags.writeable = False
    return values


def variance_labels(
    model: LinearMixedModel, kinds: tuple[str, str] = ("sd", "cor")
) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return group, term and place (k, i, j) of every variance parameter in the order of θ, the residual's last.

    Group and term are broom.mixed's, `kinds` the prefixes of the diagonal and of what is off it; the residual's place
    is ().
    """
    on_diagonal, off_diagonal = kinds
    labels = []
    for k, (term, shape) in enumerate(zip(model.terms, model.cross.shapes, strict=True)):
        for i, j in zip(*shape.entries, strict=True):
            first, second = term.columns[j], term.columns[i]
            name = f"{on_diagonal}__{first}" if i == j else f"{off_diagonal}__{first}.{second}"
            labels.append((term.name, name, (k, int(i), int(j))))
    return [*labels, ("Residual", f"{on_diagonal}__Observation", ())]


def parameter_name(group: str | None, term: str) -> str:
    """Return the one name of a parameter: ``sd__x|group``, ``cor__x.z|group``, ``sigma``, or a fixed effect."""
    return term if group is None else "sigma" if group == "Residual" else f"{term}|{group}"


def variance_names(model: LinearMixedModel) -> list[str]:
    """Return the one name of every variance parameter in the order of θ, σ last."""
    return [parameter_name(group, term) for group, term, _ in variance_labels(model)]
