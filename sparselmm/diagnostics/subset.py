"""Rows of a model: the factor that divides them, and the model on some of them."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import DataError
from ..terms import RandomTerm, factorize

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..model import LinearMixedModel


def grouping(model: LinearMixedModel, groups: str | ArrayLike | None) -> tuple[np.ndarray, pd.Index]:
    """Return codes (n,) and levels of the factor that divides the rows.

    Parameters
    ----------
    model : LinearMixedModel
    groups : str, array_like of shape (n,) or None
        A random-effects term, a column that the formula uses, labels of the rows, or None: every row by itself.
    """
    if groups is None:
        index = pd.RangeIndex(model.nobs) if model.index is None else model.index
        return np.arange(model.nobs), index
    if not isinstance(groups, str):
        return _labelled(model, groups)
    for term in model.terms:
        if term.name == groups and term.matrix is None:
            return term.codes, term.levels.rename(term.name)
    columns: dict[str, Any] = {} if model.design is None else model.design.table.columns
    if groups in columns:
        codes, levels = factorize(columns[groups], groups)
        return codes, levels.rename(groups)
    names = [term.name for term in model.terms if term.matrix is None]
    raise ValueError(
        f"groups={groups!r} is neither one of the grouping factors {names} nor a column that the formula uses. Give "
        "one of these, or the labels of the rows as an array."
    )


def _labelled(model: LinearMixedModel, groups: Any) -> tuple[np.ndarray, pd.Index]:
    """Return codes and levels of an array of labels, those of rows that were left out of the fit left out too."""
    name = getattr(groups, "name", None) or "group"
    labels = groups if isinstance(groups, (pd.Series, pd.Categorical)) else np.asarray(groups)
    kept = None if model.design is None else model.design.kept
    if kept is not None and len(labels) == kept.size:
        labels = labels[kept]
    if len(labels) != model.nobs:
        raise DataError(f"groups has {len(labels)} labels, the fit {model.nobs} rows. Give one label for each row.")
    codes, levels = factorize(labels, str(name))
    return codes, levels.rename(str(name))


def coarsest_factor(model: LinearMixedModel) -> str:
    """Return the name of the grouping factor in which all others are nested; a ValueError if there is none."""
    terms = [term for term in model.terms if term.matrix is None]
    for outer in sorted(terms, key=lambda term: term.n_levels):
        if len(terms) == len(model.terms) and all(_nested(term, outer) for term in terms):
            return outer.name
    raise ValueError(
        "The random effects are crossed: no grouping factor contains all others. Say with groups= which rows may be "
        "correlated: a factor or a list of two."
    )


def _nested(inner: RandomTerm, outer: RandomTerm) -> bool:
    """Return whether every level of one term lies in one level of another."""
    keys = inner.codes.astype(np.int64) * outer.n_levels + outer.codes
    return np.unique(keys).size == inner.n_levels


def rows_of(term: RandomTerm, keep: np.ndarray) -> RandomTerm:
    """Return the term on some of its rows, without the levels that do not occur there."""
    other = copy(term)
    if term.matrix is not None:
        other._set(matrix=term.matrix[keep], index=None)
        return other
    used, codes = np.unique(term.codes[keep], return_inverse=True)
    levels = term.levels.take(used)
    other._set(codes=codes.astype(np.int32), levels=levels, values=term.values[keep], index=None)
    return other


def on_rows(model: LinearMixedModel, keep: np.ndarray) -> LinearMixedModel:
    """Return the model on some of its rows (a boolean mask), without formula; a DataError if it cannot be one."""
    other = object.__new__(type(model))
    other.index = None if model.index is None else model.index[keep]
    other.formula = other.design = None
    weights, offset = (None if part is None else part[keep] for part in (model.weights, model.offset))
    terms = [rows_of(term, keep) for term in model.terms]
    other._set_up(model.endog[keep], model.exog[keep], terms, weights, offset, model.exog_names, model.endog_name)
    return other
