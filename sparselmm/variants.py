"""Variants of a model on the same rows: with some of its fixed-effects columns, or with other random-effects terms."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .crossproducts import CrossProducts
    from .model import LinearMixedModel
    from .terms import RandomTerm


def variant(
    model: LinearMixedModel,
    *,
    columns: Sequence[int] | np.ndarray | None = None,
    terms: Sequence[RandomTerm] | None = None,
) -> LinearMixedModel:
    """Return the model with some of its columns of X, or with other random-effects terms.

    Parameters
    ----------
    model : LinearMixedModel
    columns : sequence of int, optional
        Positions in `exog` of the columns that stay.
    terms : sequence of RandomTerm, optional

    Returns
    -------
    LinearMixedModel
        Without formula and design: it cannot predict for new data.
    """
    columns = np.arange(len(model.exog_names)) if columns is None else np.asarray(columns, dtype=int)
    other = object.__new__(type(model))
    other.index, other.formula, other.design = model.index, None, None
    names = [model.exog_names[i] for i in columns]
    terms = list(model.terms if terms is None else terms)
    other._set_up(model.endog, model.exog[:, columns], terms, model.weights, model.offset, names, model.endog_name)
    return other


def part(
    model: LinearMixedModel, cross: CrossProducts, terms: Sequence[RandomTerm], names: Sequence[str]
) -> LinearMixedModel:
    """Return a model whose rows are not kept with the cross-products, terms and columns of X of a part of it."""
    other = copy(model)
    other.cross, other.terms, other.exog_names = cross, tuple(terms), list(names)
    other.formula, other.design, other.aliased = None, None, ()
    return other
