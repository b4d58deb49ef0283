"""The reference grid: every combination of the levels of the predictors, and linear functions of β over it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..checks import check_sizes
from ..columns import positions
from ..data import Table
from ..errors import DataError
from ..fixed_terms import beyond_kept
from ..formula_text import formula_terms, lookups, spelled
from ..habits import near
from .forms import LinearForms

if TYPE_CHECKING:
    from formulaic.parser.types import Factor, Term

    from ..columns import Columns
    from ..frame import Design
    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults
    from ..streaming.design import StreamedDesign

    Reduction = str | bool | Callable[[np.ndarray], Any]  # "mean", False or a function

LARGEST = 50_000_000  # numbers in the design of a grid
FEW = 2  # different values of a number that is kept as it is, like the levels of a factor
WEIGHTS = ("equal", "proportional", "outer", "cells", "flat")


@dataclass(frozen=True)
class Axis:
    """The values of one predictor in the grid: an array or Categorical (l,).

    `counted` axes tell apart the rows of the data whose numbers are the frequencies of the grid.
    """

    name: str
    values: np.ndarray | pd.Categorical
    categorical: bool
    counted: bool

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.values)


class ReferenceGrid:
    """All combinations of the values of the predictors of the fixed effects (Searle, Speed & Milliken 1980).

    Parameters
    ----------
    fit : LinearMixedModelResults
        Of a model from a formula.
    at : dict, optional
        Values of some predictors.
    cov_reduce : "mean", callable or False
        What becomes of a number: its mean, what a function of its values returns, or all its values (False).

    Attributes
    ----------
    axes : dict of str to Axis
        In the order of the formula.
    terms : tuple of tuple of str
        Predictors of each term.
    """

    model: LinearMixedModel
    design: Design | StreamedDesign
    fixed: Columns
    columns: dict[str, Any]
    terms: tuple[tuple[str, ...], ...]
    axes: dict[str, Axis]

    def __init__(
        self, fit: LinearMixedModelResults, at: Mapping[str, Any] | None = None, cov_reduce: Reduction = "mean"
    ) -> None:
        design = fit.model.design
        if design is None:
            raise DataError(
                "A model built from arrays does not know its predictors. Build it from a formula, or give the rows of "
                "L yourself: fit.inference().estimates(L)."
            )
        if cov_reduce is not False and cov_reduce != "mean" and not callable(cov_reduce):
            raise ValueError(f"cov_reduce must be 'mean', a function or False, not {cov_reduce!r}.")
        self.model, self.design, self.fixed = fit.model, design, design.spec.fixed
        self.columns = design.table.columns
        self.terms = tuple(_variables(term, self.fixed.variables) for term in formula_terms(self.fixed.text))
        names = dict.fromkeys(name for term in self.terms for name in term)
        at = dict(at or {})
        for name in at:
            self.check(name, names, "at")
        self.axes = {name: _axis(self.fixed, name, self.columns[name], at.get(name), cov_reduce) for name in names}
        if self.size * max(len(self.fixed.names), 1) > LARGEST:
            raise ValueError(
                f"The reference grid has {self.size:,} combinations of {', '.join(names)}. Keep fewer values of some "
                "with at={name: [values]}, or let numbers have their mean: cov_reduce='mean'."
            )

    @staticmethod
    def check(name: str, names: Collection[str], argument: str) -> None:
        """Raise a ValueError if `name` is not among the predictors."""
        if name not in names:
            known = ", ".join(map(str, names)) or "none"
            raise ValueError(
                f"{argument} names {name!r}, which is no predictor of the fixed effects ({known}).{near(name, names)}"
            )

    @property
    def size(self) -> int:
        """Number of combinations."""
        return int(np.prod([axis.size for axis in self.axes.values()], dtype=float))

    @cached_property
    def table(self) -> Table:
        """The combinations, the last predictor fastest."""
        sizes = [axis.size for axis in self.axes.values()]
        where = np.indices(sizes).reshape(len(sizes), self.size)
        columns = {name: axis.values[i] for (name, axis), i in zip(self.axes.items(), where, strict=True)}
        return Table(columns, {}, pd.RangeIndex(self.size))

    @cached_property
    def forms(self) -> LinearForms:
        """Expected responses of all combinations."""
        offset = 0.0 if self.model.offset is None else self.model.offset.mean()
        return self._forms(self.fixed.build(self.table), offset)

    def slopes(self, name: str) -> LinearForms:
        """Return derivatives in a numeric predictor, of the parabola through three points next to each other.

        The points keep within the range of the data if the value does, so that splines are not asked beyond it.
        """
        values = self.columns[name].astype(float)
        low, high = values.min(), values.max()
        h, x = 1e-4 * (high - low), self.table.columns[name].astype(float)
        inside = (low <= x) & (x <= high)
        centre = np.where(inside, np.clip(x, low + h, high - h), x)
        below, middle, above = (self._built_with(name, centre + step) for step in (-h, 0.0, h))
        lean = ((x - centre) / h)[:, None]
        return self._forms((above - below + 2.0 * lean * (above - 2.0 * middle + below)) / (2.0 * h), 0.0)

    def averaged(self, forms: LinearForms, names: Sequence[str], weights: str = "equal") -> LinearForms:
        """Return the means of forms over all other predictors, the first of `names` fastest.

        Parameters
        ----------
        forms : LinearForms
            Of all combinations.
        names : sequence of str
        weights : {"equal", "proportional", "outer", "cells", "flat"}
            See `MarginalMeansMethods.emmeans`. Means of empty cells alone cannot be estimated.
        """
        if weights not in WEIGHTS:
            raise ValueError(f"weights={weights!r} is not one of {', '.join(WEIGHTS)}.")
        order = list(self.axes)
        over = tuple(i for i, name in enumerate(order) if name not in names)
        kept = [order.index(name) for name in reversed(names)]
        W = self._weights(weights, over)
        total = W.sum(axis=over, keepdims=True)
        W = np.divide(W, total, out=np.zeros_like(W), where=total > 0)
        empty = (total == 0).transpose(*kept, *over).ravel()

        def mean(values: np.ndarray) -> np.ndarray:
            sums = (values.reshape(*W.shape, values.shape[1]) * W[..., None]).sum(axis=over, keepdims=True)
            return sums.transpose(*kept, *over, W.ndim).reshape(empty.size, values.shape[1])

        beyond = np.hstack([mean(forms.beyond), np.eye(empty.size)[:, empty]])
        return LinearForms(mean(forms.L), mean(forms.offset[:, None])[:, 0], beyond)

    def labels(self, names: Sequence[str]) -> pd.DataFrame:
        """Return the combinations of some predictors, the first fastest."""
        sizes = [self.axes[name].size for name in reversed(names)]
        where = np.indices(sizes).reshape(len(names), int(np.prod(sizes)))[::-1]
        return pd.DataFrame({name: self.axes[name].values[i] for name, i in zip(names, where, strict=True)})

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of rows of the data in every combination of the counted predictors, repeated along the others."""
        counted = [axis for axis in self.axes.values() if axis.counted]
        codes = np.array([positions(_index(axis.values), self.columns[axis.name]) for axis in counted], dtype=int)
        shape = [axis.size for axis in counted]
        frequencies = self.design.frequencies
        codes = codes.reshape(len(counted), frequencies.size)
        inside = (codes >= 0).all(axis=0)
        codes, frequencies = codes[:, inside], frequencies[inside]
        flat = np.ravel_multi_index(tuple(codes), shape) if counted else np.zeros(codes.shape[1], dtype=int)
        counts = np.bincount(flat, frequencies, minlength=int(np.prod(shape)))
        counts = counts.reshape([axis.size if axis.counted else 1 for axis in self.axes.values()])
        return np.broadcast_to(counts, [axis.size for axis in self.axes.values()])

    def _weights(self, weights: str, over: tuple[int, ...]) -> np.ndarray:
        """Return the weights of the combinations when the axes `over` are averaged."""
        if weights == "equal":
            return np.ones([axis.size for axis in self.axes.values()])
        counts = self.counts
        if weights == "flat":
            return (counts > 0).astype(float)
        if weights == "cells":
            return counts.copy()
        others = [tuple(j for j in range(counts.ndim) if j != i) for i in over]
        kept = tuple(i for i in range(counts.ndim) if i not in over)
        margins = [kept] if weights == "proportional" else others
        W = np.ones(counts.shape)
        for margin in margins:
            W = W * counts.sum(axis=margin, keepdims=True)
        return W

    def _built_with(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return the fixed columns of the combinations with other values of one predictor."""
        return self.fixed.build(replace(self.table, columns=self.table.columns | {name: values}))

    def _forms(self, X: np.ndarray, offset: float) -> LinearForms:
        """Return the forms of rows of all columns, dropped ones included."""
        return LinearForms(X[:, self.model.kept], np.full(len(X), offset), beyond_kept(self.model, X))


def _variables(term: Term, available: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of the data that a term of the fixed effects uses."""
    names = [name for factor in term.factors for name in sorted(set().union(*lookups(spelled(factor))))]
    return tuple(dict.fromkeys(name for name in names if name in available))


def _axis(fixed: Columns, name: str, values: Any, chosen: Any, cov_reduce: Reduction) -> Axis:
    """Return the axis of a predictor, given its values in the data and those chosen with at=."""
    levels = _levels(fixed, name, values)
    if levels is not None:
        if chosen is not None:
            levels = levels[_found(name, levels, chosen)]
        return Axis(name, levels, categorical=True, counted=True)
    values = values.astype(float)
    different = np.unique(values)
    counted = different.size <= FEW
    if chosen is not None:
        different = _numbers(name, chosen, "at")
    elif not counted and cov_reduce is not False:
        reduced = cov_reduce(values) if callable(cov_reduce) else np.mean(values)
        different = _numbers(name, reduced, "cov_reduce")
    return Axis(name, different, categorical=False, counted=counted)


def _levels(fixed: Columns, name: str, values: Any) -> np.ndarray | pd.Categorical | None:
    """Return the levels of a categorical predictor, None for a number that the formula does not take as one."""
    if isinstance(values, pd.Categorical):
        return pd.Categorical(values.categories, categories=values.categories, ordered=values.ordered)
    encoders = {} if fixed.spec is None else fixed.spec.encoder_state
    for factor in [] if fixed.spec is None else fixed.spec.factors:
        known = encoders.get(factor.expr, (None, {}))[1].get("categories")
        if known is not None and _variables_of(factor) == {name} and set(known) == _different(values):
            break
    else:
        if values.dtype.kind in "iufmM":
            return None
        known = np.unique(values)
    return np.asarray(known) if values.dtype.kind in "iufmMb" else pd.Categorical(known, categories=known)


def _different(values: Any) -> set[Any] | None:
    """Return the set of different values of a column, None if they are many and not kept."""
    different = np.unique(values)
    return set(different) if isinstance(different, np.ndarray) else None


def _variables_of(factor: Factor) -> set[str]:
    """Return the names that one factor looks up, functions left out."""
    columns, names = lookups(spelled(factor))
    return set(columns | names) - {"C", "factor"}


def _found(name: str, levels: np.ndarray | pd.Categorical, chosen: Any) -> np.ndarray:
    """Return the positions of the chosen levels."""
    chosen = list(np.atleast_1d(np.asarray(chosen, dtype=object)))
    where = _index(levels).get_indexer(chosen)
    if (where < 0).any():
        unknown = [str(label) for label, i in zip(chosen, where, strict=True) if i < 0]
        raise ValueError(f"at: {name!r} has no level {', '.join(unknown)}; it has {', '.join(map(str, levels))}.")
    return where


def _numbers(name: str, values: Any, argument: str) -> np.ndarray:
    """Return values of a number as floats (l,)."""
    try:
        values = np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"{argument}: {name!r} is a number; give it one or more finite numbers.")
    check_sizes([(f"{argument}: {name!r}", values)], smallest=0.0)
    return values


def _index(values: Any) -> pd.Index:
    """Return levels as an Index of their labels."""
    return pd.Index(np.asarray(values))
