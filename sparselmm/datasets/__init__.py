"""Classical data sets of the mixed-model literature: `load`, `names`, `describe`.

Exported from R packages by tests/reference/make_datasets.R. Every set is one gzipped CSV file; levels,
types and provenance of all of them are in data/datasets.json.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["Description", "describe", "load", "names"]

DTYPES = {"integer": np.int64, "boolean": np.bool_}


@dataclass(frozen=True)
class Description:
    """What a data set holds and where it comes from; prints itself.

    Attributes
    ----------
    name, title : str
    rows : int
    columns : dict of str
        Meaning and unit of every column.
    reference : str
        Where the data were published.
    source : str
        R package, version and licence the data were exported from.
    left_out : tuple of str
        Columns of the R data frame that are not shipped (functions of others, row numbers).
    """

    name: str
    title: str
    rows: int
    columns: dict[str, str]
    reference: str
    source: str
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        width = max(map(len, self.columns))
        lines = [f"{self.name}: {self.title}", f"{self.rows} rows, {len(self.columns)} columns", ""]
        lines += [f"  {column:<{width}}  {meaning}" for column, meaning in self.columns.items()]
        lines += ["", fill(f"Reference: {self.reference}", 100), f"Exported from: {self.source}"]
        if self.left_out:
            lines.append(f"Left out: {', '.join(self.left_out)}")
        return "\n".join(lines)

    __repr__ = __str__


def names() -> list[str]:
    """Return the names of the data sets."""
    return list(_records())


def describe(name: str) -> Description:
    """Return title, size, columns with meaning and unit, reference and origin of a data set.

    Raises
    ------
    KeyError
        If there is no such data set.
    """
    record = dict(_record(name))
    columns = {}
    for column, entry in record.pop("columns").items():
        columns[column] = entry["meaning"]
        if entry["type"] == "factor":
            kind = "ordered factor" if entry["ordered"] else "factor"
            columns[column] += f" ({kind}, {len(entry['levels'])} levels)"
    return Description(name=name, columns=columns, left_out=tuple(record.pop("left_out")), **record)


def load(name: str) -> pd.DataFrame:
    """Return a data set as a new data frame; factors of R are Categoricals with R's levels and order.

    Parameters
    ----------
    name : str
        One of `names()`.

    Raises
    ------
    KeyError
        If there is no such data set.

    Examples
    --------
    >>> import sparselmm
    >>> sparselmm.datasets.load("Dyestuff").head(3)
      Batch   Yield
    0     A  1545.0
    1     A  1440.0
    2     A  1440.0
    """
    dtypes, doubles = {}, {}
    for column, entry in _record(name)["columns"].items():
        if entry["type"] == "factor":
            dtypes[column] = pd.CategoricalDtype(entry["levels"], entry["ordered"])
        elif entry["type"] == "number":
            dtypes[column], doubles[column] = str, np.float64  # pandas' own float parser may err in the last bit
        else:
            dtypes[column] = DTYPES[entry["type"]]
    with (_folder() / f"{name}.csv.gz").open("rb") as raw, gzip.open(raw) as stream:
        # an item may be called "null" or "nan": only the empty field is missing
        frame = pd.read_csv(stream, dtype=dtypes, keep_default_na=False, na_values=[""])
    return frame.astype(doubles)


def _folder() -> Traversable:
    return files(__name__) / "data"


@cache
def _records() -> dict[str, dict[str, Any]]:
    return json.loads((_folder() / "datasets.json").read_text(encoding="utf-8"))


def _record(name: str) -> dict[str, Any]:
    if name not in _records():
        raise KeyError(f"No data set {name!r}. Available: {', '.join(names())}.")
    return _records()[name]
