"""StreamedModel: a linear mixed model without its rows, and the pass over a source that makes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd

from ..aliasing import warn_of_aliases
from ..checks import check_residual, check_rows, check_term
from ..crossproducts import rounding
from ..formula_text import bare
from ..frame import DesignSpec
from ..model import LinearMixedModel
from ..progress import Progress
from ..rank import dropped_columns
from ..roles import Grouping
from ..terms import TermSizes
from ..threads import single_threaded
from .design import StreamedDesign
from .margin import Margin, NotKept, no_rows
from .pilot import make_plan
from .plan import Plan, Sums
from .prefetch import prefetched
from .sources import CHUNK_ROWS, open_source
from .spool import rereadable

if TYPE_CHECKING:
    from pathlib import Path

    from ..crossproducts import CrossProducts
    from ..data import Table
    from .facts import Facts
    from .sources import Once, Source


def stream_model(
    formula: str,
    data: Any,
    *,
    weights: str | None = None,
    offset: str | None = None,
    missing: str = "drop",
    contrasts: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    progress: bool = False,
    chunk_rows: int = CHUNK_ROWS,
) -> StreamedModel:
    """Return the model of a formula on data that are read in chunks.

    Parameters
    ----------
    formula : str
    data : path, list of paths, relation, dataset, reader, LazyFrame, Dask DataFrame or iterator of frames
        See `sources.is_source`.
    weights, offset : str, optional
        Names of columns.
    missing : {"drop", "raise"}
    contrasts, context : mapping, optional
        See `lmer`.
    progress : bool
        Whether to show a bar of the rows read; needs tqdm.
    chunk_rows : int
        Rows held in memory at a time, about.

    Returns
    -------
    StreamedModel

    Raises
    ------
    FormulaError, DataError
    """
    with rereadable(open_source(data)) as source:
        plan = make_plan(
            formula, source, weights=weights, offset=offset, missing=missing, contrasts=contrasts, context=context
        )
        return plan.model(read(plan, source, progress, chunk_rows))


@single_threaded
def read(plan: Plan, source: Source | Once, progress: bool = False, chunk_rows: int = CHUNK_ROWS) -> Sums:
    """Return the sums of all rows of a source, read once."""
    with Progress(progress) as shown:
        shown.rows(source.rows)
        if hasattr(source, "sums"):  # where the rows are
            return source.sums(plan, shown)

        def parts() -> Iterator[Sums]:
            start = 0
            for frame in prefetched(source.chunks(plan.columns, chunk_rows)):
                part = plan.sums(frame, start)
                start += part.facts.rows
                shown.add_rows(part.facts.rows)
                yield part

        return Sums.total(parts())


@dataclass(frozen=True, eq=False, repr=False)
class StreamedTerm(TermSizes):
    """One random-effects term without its rows; see `RandomTerm`."""

    name: str
    levels: pd.Index
    columns: tuple[str, ...]
    structure: str

    matrix = None

    def without_rows(self, kept: Sequence[int]) -> StreamedTerm | None:
        """Return the term with some of its columns, by position, None if there are none."""
        columns = tuple(self.columns[i] for i in kept)
        if self.structure != "diagonal" and "Intercept" not in self.columns:
            raise no_rows("Leaving columns out of a term without intercept")
        return replace(self, columns=columns) if columns else None

    def __getattr__(self, name: str) -> NoReturn:
        if name in ("codes", "values", "Z", "nobs", "groups", "index", "renamed"):
            raise no_rows(attribute=f"{name} of term {self.name!r}")
        raise AttributeError(name)


class StreamedModel(LinearMixedModel):
    """A linear mixed model of rows that were read in chunks and not kept: it holds their cross-products.

    What needs the rows again raises a DataError; `predict(source, sink=...)` writes fitted values.

    Attributes
    ----------
    sums : Sums
        Of all rows and columns, in the basis of the plan.
    formula, design, terms, exog_names, endog_name, kept, dropped, cross
        As of a `LinearMixedModel`; the terms know their levels, not their rows.
    """

    sums: Sums
    design: StreamedDesign
    terms: tuple[StreamedTerm, ...]  # type: ignore[assignment]  # what is known without the rows
    index = None
    keeps_rows = False

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise TypeError("A StreamedModel is made by lmer(formula, source) or LinearMixedModel.from_formula.")

    @classmethod
    def of(cls, plan: Plan, sums: Sums) -> StreamedModel:
        """Return the model of the sums of all rows; see `Plan.model`."""
        self = object.__new__(cls)
        roles, spec, facts = plan.roles, plan.spec, sums.facts
        whole = sums.products
        _check_levels(whole, facts)
        self.sums, self.formula = sums, roles.formula
        self.kept, self.cross = whole.settle()
        names = spec.fixed.names
        self.dropped = dropped_columns(names, self.kept)
        self.exog_names, self.endog_name = [names[i] for i in self.kept], bare(roles.response)
        self.terms = tuple(
            StreamedTerm(shape.name, levels, columns.names, shape.structure)
            for shape, levels, (columns, _) in zip(whole.shapes, whole.levels, spec.random, strict=True)
        )
        random = tuple(
            (columns, Grouping(grouping.factor, levels))
            for (columns, grouping), levels in zip(spec.random, whole.levels, strict=True)
        )
        self.design = StreamedDesign(plan, DesignSpec(spec.fixed, random, spec.offsets), sums, self.kept)
        _check_residual(self, facts)
        self.aliased = warn_of_aliases(self.cross, self.terms, self.exog_names)
        return self

    def save(self, path: str | Path) -> None:
        """Write the model to a file, from which `sparselmm.load_model` reads it.

        The file holds sums over the rows, labels of levels and categories, and a thousand rows; no code, no pickle.

        Raises
        ------
        DataError
            If the formula calls functions that a file may not, or contrasts have no name.
        """
        from .storage import save

        save(self, path)

    @property
    def nobs(self) -> int:
        """Number of rows n."""
        return self.cross.nobs

    @property
    def weights(self) -> Margin | None:  # type: ignore[override]  # what is known without the rows
        """None without weights, else what is known of them (`Margin`)."""
        return self._margin("weights")

    @property
    def offset(self) -> Margin | None:  # type: ignore[override]  # what is known without the rows
        """None without an offset, else what is known of it (`Margin`)."""
        return self._margin("offset")

    def _margin(self, name: str) -> Margin | None:
        """Return what is known of an array of the rows, None if there is none."""
        numbers = self.sums.facts.arrays.get(name)
        return None if numbers is None else Margin(name, numbers)

    @property
    def exog_gram(self) -> np.ndarray:
        """X'X without weights in the pilot basis of `cross`, (p, p)."""
        if self.sums.facts.gram is None:
            return self.cross.XX
        pilot = self.sums.products.basis
        A = np.linalg.solve(pilot, np.eye(len(pilot))[:, self.kept] @ self.cross.basis)
        return A.T @ self.sums.facts.gram @ A

    def fixed_rows(self) -> tuple[Table, np.ndarray, np.ndarray]:
        """Return rows of predictors (r), X in the pilot basis of `cross` (r, p), and a left inverse of it (p, r)."""
        if self.sums.facts.crowded:
            raise no_rows("Telling the terms of fixed effects with so many combinations of categories apart")
        table = self.design.support
        X = self.design.spec.fixed.build(table)[:, self.kept] @ self.cross.basis
        if X.size and np.linalg.cond(X / np.linalg.norm(X, axis=0)) > 1e7:
            raise no_rows("Telling the terms of these fixed effects apart")
        return table, X, np.linalg.pinv(X)

    @property
    def marginals(self) -> dict[str, tuple[float, float, float]]:
        """Mean, smallest and largest of the response less the offset, and of the weights and the offset if any."""
        return {name: (a.mean, a.low, a.high) for name, a in self.sums.facts.arrays.items()}

    endog, exog, Z = NotKept(), NotKept(), NotKept()


def _check_levels(cross: CrossProducts, facts: Facts) -> None:
    """Raise a DataError for a grouping factor whose variance cannot be estimated."""
    weights = facts.arrays.get("weights")
    equal_weights = weights is None or weights.low == weights.high
    for shape in cross.shapes:
        check_term(shape.name, shape.n_levels, shape.n_effects, cross.nobs, equal_weights)


def _check_residual(model: StreamedModel, facts: Facts) -> None:
    """Raise a DataError if there is no residual variance to estimate."""
    check_rows(model.nobs, len(model.exog_names))
    response, weights = facts.arrays["response"], facts.arrays.get("weights")
    largest = max(abs(response.low), abs(response.high))
    tiny = rounding(np.array([largest])) * model.nobs * (1.0 if weights is None else weights.mean)
    check_residual(model.endog_name, model.cross.yy, tiny)
