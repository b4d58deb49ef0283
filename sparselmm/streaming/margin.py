"""Margin: an array of the rows of which only count, mean, range and few values are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from ..caller import entrance
from ..errors import DataError
from .facts import Numbers

OF_ROWS = {"fittedvalues", "resid", "predict", "augment"}
REMEDIES = {
    "bootstrap": "Profiles need no rows: fit.profile().conf_int(). Or fit a data frame that is in memory.",
    "conf_int": "Profiles need no rows: conf_int(method='profile'). Or fit a data frame that is in memory.",
    "refit": "Write the response into a column of the source and fit that, or fit a data frame that is in memory.",
    "refit_many": "Write the responses into columns of the source and fit each, or fit a data frame that is in memory.",
}


def no_rows(what: str = "", attribute: str = "This") -> DataError:
    """Return the error of what needs rows that were not kept: by default the method that was called, if any."""
    name = entrance()
    if name in REMEDIES:
        remedy = REMEDIES[name]
    elif name in OF_ROWS:
        remedy = "Write fitted values with fit.predict(source, sink='out.parquet'), or fit a data frame in memory."
    else:
        remedy = "Fit a data frame that is in memory, or a sample of the rows."
    what = what or name or attribute
    return DataError(f"{what} needs the rows of the data, which were read in chunks and not kept. {remedy}")


class NotKept:
    """An attribute that the rows would have."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        raise no_rows(attribute=f"model.{self.name}")

    def __set__(self, instance: object, value: object) -> NoReturn:
        raise no_rows(attribute=f"model.{self.name}")


class Margin:
    """Stands for the values of a column (n,): it has their mean, minimum and maximum, and nothing else.

    `numpy.unique` returns the values if they are few.
    """

    dtype = np.dtype(float)

    def __init__(self, name: str, numbers: Numbers) -> None:
        self.name, self.numbers = name, numbers

    def mean(self) -> float:
        """Mean."""
        return self.numbers.mean

    def min(self) -> float:
        """Smallest value."""
        return self.numbers.low

    def max(self) -> float:
        """Largest value."""
        return self.numbers.high

    def astype(self, dtype: object) -> Margin:
        """Return the same."""
        return self

    @property
    def size(self) -> int:
        """Number of values."""
        return self.numbers.count

    def __array_function__(
        self, function: Callable[..., Any], types: object, arguments: Sequence[Any], options: Mapping[str, Any]
    ) -> Any:
        known = {np.mean: self.mean, np.min: self.min, np.max: self.max, np.amin: self.min, np.amax: self.max}
        if function in known and len(arguments) == 1 and not options:
            return known[function]()
        if function is np.unique:
            return self if self.numbers.few is None else np.array(self.numbers.few)
        raise self._unknown()

    def _unknown(self, *arguments: object) -> DataError:
        """Return the error."""
        return no_rows(f"All values of {self.name!r}: this")

    def __array__(self, *arguments: object, **options: object) -> NoReturn:
        raise self._unknown()

    __array_ufunc__ = None

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise self._unknown()

    def __len__(self) -> NoReturn:
        raise self._unknown()

    def __getitem__(self, rows: object) -> NoReturn:
        raise self._unknown()
