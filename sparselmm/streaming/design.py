"""StreamedDesign: what a model knows of the predictors of rows that it does not keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd
from scipy.linalg import solve_triangular

from ..data import Table
from ..frame import Design, DesignSpec
from .margin import Margin, no_rows
from .plan import Plan, Sums

if TYPE_CHECKING:
    from ..roles import Roles


@dataclass(frozen=True, eq=False)
class StreamedDesign:
    """The design of rows that were read in chunks; see `Design`.

    Attributes
    ----------
    plan : Plan
    spec : DesignSpec
        With the levels of all rows.
    sums : Sums
    kept : ndarray of int
        Positions of the independent columns of the fixed effects.
    """

    plan: Plan
    spec: DesignSpec
    sums: Sums
    kept: np.ndarray

    is_rowwise = True  # `check_rowwise` or `spanning_columns` was asked

    @property
    def roles(self) -> Roles:
        """What the formula asks of data."""
        return self.plan.roles

    @property
    def formula(self) -> str:
        """The formula as it was given."""
        return self.roles.formula

    @property
    def n_missing(self) -> int:
        """Number of rows dropped for a missing value."""
        return self.sums.facts.dropped

    @property
    def missing(self) -> dict[str, int]:
        """Number of rows with a missing value in each column that has any."""
        return dict(self.sums.facts.missing)

    @cached_property
    def table(self) -> Table:
        """The combinations of categories that occur, in `frequencies` rows; numbers are Margins."""
        facts, sample = self.sums.facts, self.plan.sample.columns
        margins = {name: Margin(name, numbers) for name, numbers in facts.numbers.items()}
        if facts.crowded:
            return Table({**sample, **margins}, {}, self.plan.sample.index)
        n, columns = len(facts.cells), dict[str, Any](margins)
        for name, labels in zip(facts.keys or (), zip(*facts.cells, strict=True), strict=True):
            columns[name] = _like(sample[name], labels)
        return Table(columns, {}, pd.RangeIndex(n))

    @property
    def frequencies(self) -> np.ndarray:
        """How many rows of the data each row of `table` stands for."""
        if self.sums.facts.crowded:
            raise no_rows("Counting so many combinations of categories")
        return np.array(list(self.sums.facts.cells.values()), dtype=float)

    @cached_property
    def support(self) -> Table:
        """Some rows of the data from every cell, of their predictors."""
        facts, sample = self.sums.facts, self.plan.sample.columns
        rows = [row for rows in facts.examples.values() for row in rows]
        columns = zip(facts.names, zip(*rows, strict=True), strict=True)
        return Table({name: _like(sample[name], values) for name, values in columns}, {}, pd.RangeIndex(len(rows)))

    @cached_property
    def exog(self) -> np.ndarray:
        """A few rows whose second moments are those of the columns of the fixed effects over all rows."""
        cross, kept = self.sums.products, self.kept
        G = cross.XX[np.ix_(kept, kept)]
        pilot = np.linalg.cholesky(G).T @ np.linalg.solve(G, cross.XX[kept])
        return solve_triangular(cross.basis, pilot.T, trans=1).T if pilot.size else pilot

    def __getattr__(self, name: str) -> NoReturn:
        if name in Design.__dataclass_fields__:
            raise no_rows()
        raise AttributeError(name)


def _like(values: Any, labels: Sequence[Any]) -> Any:
    """Return labels as a column of the type of others."""
    if isinstance(values, pd.Categorical):
        return pd.Categorical(labels, categories=values.categories, ordered=values.ordered)
    if values.dtype.kind == "O":
        return np.array(labels, dtype=object)
    return np.array(labels).astype(values.dtype)
