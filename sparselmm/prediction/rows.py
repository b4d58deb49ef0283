"""Rows whose response is predicted, and their linear predictors Xβ + Zb + offset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import scipy.sparse as sp

    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults
    from ..terms import RandomTerm


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a term's block of Z: the level of each row, -1 for one that the fit has not seen, and its columns.

    Attributes
    ----------
    codes : ndarray of int (n,)
    values : ndarray (n, c)
        NaN where a value or the label is missing.
    matrix : None
        As of a term that has codes.
    """

    codes: np.ndarray
    values: np.ndarray
    matrix: None = None


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows whose response is predicted.

    Attributes
    ----------
    exog : ndarray (n, p)
    offset : ndarray (n,) or None
    parts : mapping of int to Part or RandomTerm
        Of every term, by its position in the model, whose random effects are included.
    fresh : mapping of int to ndarray (n, c) or sparse (n, l)
        Columns of terms that are not included, where they are asked for.
    index : Index, length n, or None
    """

    exog: np.ndarray
    offset: np.ndarray | None
    parts: Mapping[int, Part | RandomTerm]
    fresh: Mapping[int, np.ndarray | sp.csr_array]
    index: pd.Index | None

    def linear_predictor(self, fit: LinearMixedModelResults) -> np.ndarray:
        """Return Xβ plus the offset plus the random effects that are included, (n,)."""
        values = self.exog @ fit.beta
        if self.offset is not None:
            values += self.offset
        for k, part in self.parts.items():
            effects = fit.modes[fit.model.terms[k].name]
            if part.matrix is None:
                values += _random_part(part.codes, part.values, effects)
            else:
                values += part.matrix @ effects[:, 0]
        return values


def rows_of_fit(model: LinearMixedModel, included: Iterable[int], fresh: Iterable[int] = ()) -> Rows:
    """Return the rows of the fit; `included` and `fresh` are positions of terms, see `Rows`."""
    parts = {k: model.terms[k] for k in included}
    columns = {k: model.terms[k].values if model.terms[k].matrix is None else model.terms[k].matrix for k in fresh}
    return Rows(model.exog, model.offset, parts, columns, model.index)


def _random_part(codes: np.ndarray, values: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """Return Σ_a values[i, a] effects[codes[i], a], (n,); zero, or NaN if a value is, where the code is -1."""
    return np.einsum("ia,ia->i", values, np.where(codes[:, None] < 0, 0.0, effects[codes]))
