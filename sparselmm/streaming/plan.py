"""Plan: what is known before the pass over the rows, which turns any chunk into sums; and the sums themselves.

A plan is made once (`make_plan`), pickles, and is then all that a reader of rows needs, in this process or in another:

    plan = make_plan(formula, source, ...)
    parts = (plan.sums(frame) for frame in source.chunks(plan.columns, size))
    model = plan.model(Sums.total(parts))

`Sums` add up in any order and are written to bytes for engines that cannot move Python objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..checks import check_sizes, effects_of
from ..columns import Expression
from ..crossproducts import CrossProducts
from ..data import Table, check_kinds, read_table
from ..errors import DataError
from ..formula_text import bare, spelled
from ..frame import DesignSpec, positive, total
from ..roles import Roles
from .facts import Facts, no_complete_row

if TYPE_CHECKING:
    from ..terms import RandomTerm
    from .model import StreamedModel
    from .sources import Frame


@dataclass(frozen=True, eq=False)
class Sums:
    """What is summed over rows: cross-products (None if no row is complete) and facts."""

    cross: CrossProducts | None
    facts: Facts

    @property
    def products(self) -> CrossProducts:
        """The cross-products; raises a DataError if no row is complete."""
        if self.cross is None:
            raise no_complete_row(self.facts.rows, self.facts.missing)
        return self.cross

    def __add__(self, other: Sums) -> Sums:
        crosses = [part.cross for part in (self, other) if part.cross is not None]
        return Sums(sum(crosses[1:], crosses[0]) if crosses else None, self.facts + other.facts)

    @classmethod
    def total(cls, parts: Iterable[Sums]) -> Sums:
        """Return the sum of an iterable, a tree of sums that holds few of them at a time."""
        facts = Facts()

        def crosses() -> Iterator[CrossProducts]:
            nonlocal facts
            for part in parts:
                facts = facts + part.facts
                if part.cross is not None:
                    yield part.cross

        products = crosses()
        first = next(products, None)
        if first is None:
            return cls(None, facts)
        whole = CrossProducts.sum(chain((first,), products))
        return cls(whole, facts)


@dataclass(frozen=True, eq=False)
class Plan:
    """How chunks of rows become sums; see `make_plan`.

    Attributes
    ----------
    roles : Roles
        What the formula asks of the data.
    spec : DesignSpec
        Builds the columns of chunks; its groupings know no levels yet.
    sample : Table
        Complete rows that were looked at before the pass, every category of the fixed effects among them.
    basis, center : ndarray (p, p), ndarray (p,)
        Around which the sums are taken; see `CrossProducts`.
    missing : {"drop", "raise"}
    """

    roles: Roles
    spec: DesignSpec
    sample: Table
    basis: np.ndarray
    center: np.ndarray
    missing: str = "drop"

    @property
    def columns(self) -> list[str]:
        """Names of the columns to read."""
        return self.roles.names

    @cached_property
    def categorical(self) -> frozenset[str]:
        """Columns that the fixed effects take as categories, whatever their type."""
        fixed, names = self.spec.fixed, set()
        for factor in [] if fixed.spec is None else fixed.spec.factors:
            known = fixed.categories(factor)
            used = Expression.on(spelled(factor), self.sample, self.roles.scope).variables
            if known is not None and len(used) == 1 and pd.Series(self.sample.columns[used[0]]).nunique() == len(known):
                names.add(used[0])
        return frozenset(names)

    def sums(self, frame: Frame, start: int = 0) -> Sums:
        """Return the sums of the rows of any data frame; `start` is the number of its first row, for messages."""
        table = read_table(frame, self.roles.names)
        if isinstance(table.index, pd.RangeIndex) and table.index.start == 0:
            table = Table(table.columns, table.missing, pd.RangeIndex(start, start + len(table)))
        missing = {name: int(mask.sum()) for name, mask in table.missing.items()}
        if missing and self.missing == "raise":
            counts = ", ".join(f"{name!r} {count}" for name, count in missing.items())
            raise DataError(f"Rows with missing values, by column: {counts}. Fill them or use missing='drop'.")
        complete, _ = table.complete(self.roles.names)
        facts = Facts(len(table), len(table) - len(complete), missing)
        if not len(complete):
            return Sums(None, facts)
        check_kinds([self.sample, complete])
        y, X, terms, weights, offset = self.arrays(complete)
        response = y if offset is None else y - offset
        named = (self.roles.response, response), *zip(self.spec.fixed.names, X.T, strict=True), *effects_of(terms)
        check_sizes([*((bare(name), values) for name, values in named), ("weights", weights)])
        facts = self.facts_of(facts, complete, X, response, weights, offset)
        return Sums(CrossProducts.from_chunk(response, X, terms, weights, self.basis, self.center), facts)

    def facts_of(
        self,
        facts: Facts,
        table: Table,
        X: np.ndarray,
        response: np.ndarray,
        weights: np.ndarray | None,
        offset: np.ndarray | None,
    ) -> Facts:
        """Return facts with those of complete rows, whose fixed columns are X (n, p)."""
        fixed = self.spec.fixed
        predictors, size = table.part(fixed.variables), len(fixed.names)
        arrays = {"response": response, "weights": weights, "offset": offset}
        facts = facts.of_rows(predictors, size, self.categorical, **arrays)
        if weights is None:
            return facts
        X = X @ self.basis
        return replace(facts, gram=X.T @ X)

    def arrays(
        self, table: Table
    ) -> tuple[np.ndarray, np.ndarray, list[RandomTerm], np.ndarray | None, np.ndarray | None]:
        """Return response, fixed columns, terms, weights and offset of complete rows."""
        roles, spec = self.roles, self.spec
        weighing = roles.weights_on(table)
        return (
            Expression.on(roles.response, table, roles.scope).numbers(table),
            spec.fixed.values(table),
            [
                roles.term(k, columns, columns.values(table), grouping.factor, table)
                for k, (columns, grouping) in enumerate(spec.random)
            ],
            None if weighing is None else positive(weighing, table),
            total(spec.offsets, table),
        )

    def model(self, sums: Sums) -> StreamedModel:
        """Return the StreamedModel of the sums of all rows.

        Warns
        -----
        DataWarning
            If fixed-effects columns depend on others: they are dropped.

        Raises
        ------
        DataError
            If there is nothing to be fitted; see `LinearMixedModel`.
        """
        from .model import StreamedModel

        return StreamedModel.of(self, sums)
