"""Terms of the fixed effects: which columns of X belong together, and of which factors they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .model import LinearMixedModel

INESTIMABLE = 1e-7  # share of a dropped column, in columns of length 1, that the kept ones cannot make up


@dataclass(frozen=True)
class FixedTerm:
    """One term of the fixed-effects formula.

    Attributes
    ----------
    name : str
        Factors joined by ":"; "Intercept".
    factors : tuple of str
        Its factors in the formula's words, none for the intercept.
    columns : ndarray of int
        Positions of its columns in `exog`; none if all of them were dropped.
    """

    name: str
    factors: tuple[str, ...]
    columns: np.ndarray


def fixed_terms(model: LinearMixedModel) -> tuple[FixedTerm, ...]:
    """Return the terms of the fixed effects of a model, in the order of their columns.

    Every column of a model from arrays is a term of its own.
    """
    place = {int(column): position for position, column in enumerate(model.kept)}
    if model.design is None:
        return tuple(_term(name, (name,), [i]) for i, name in enumerate(model.exog_names))
    columns = model.design.spec.fixed
    parts: list[tuple[tuple[str, ...], Sequence[int]]] = []
    if columns.spec is None:
        parts = [((name,), [i]) for i, name in enumerate(columns.names)]
    else:
        start = 0
        for term, _, names in columns.spec.structure:
            parts.append((tuple(factor.expr for factor in term.factors), range(start, start + len(names))))
            start += len(names)
    terms = []
    for factors, positions in parts:
        kept = [place[position] for position in positions if position in place]
        terms.append(_term(":".join(factors), factors, kept))
    return tuple(terms)


def beyond_kept(model: LinearMixedModel, X: np.ndarray) -> np.ndarray:
    """Return what the dropped columns of rows X (r, all columns) add to the kept ones, (r, d), over their size.

    A row with an element above INESTIMABLE has a mean that the data of the fit do not determine.
    """
    dropped = np.setdiff1d(np.arange(X.shape[1]), model.kept)
    if not dropped.size:
        return np.zeros((len(X), 0))
    assert model.design is not None, "a model from arrays has no rows to predict"
    whole, kept = model.design.exog, model.kept
    size = np.sqrt(np.mean(whole**2, axis=0))
    size[size == 0] = 1.0
    C = np.linalg.lstsq(whole[:, kept] / size[kept], whole[:, dropped], rcond=None)[0] / size[kept][:, None]
    return (X[:, dropped] - X[:, kept] @ C) / size[dropped]


def _term(name: str, factors: tuple[str, ...], columns: Sequence[int]) -> FixedTerm:
    """Return a term; the intercept has no factors."""
    intercept = name in ("", "1", "Intercept", "const")
    return FixedTerm("Intercept" if intercept else name, () if intercept else factors, np.array(columns, dtype=int))
