"""What is tested of every simulated response: coefficients, terms or linear hypotheses by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..comparison.hypotheses import contrasts
from ..errors import DataError
from ..inference.contrasts import constraints
from ..model import LinearMixedModel

ROUNDING = 1e-12  # of a contrast, relative to its summands


class Hypothesis(NamedTuple):
    """Lβ = values, whose power is asked for.

    Attributes
    ----------
    name : str
    L : ndarray (r, p)
        In the user's columns.
    values : ndarray (r,)
    of_term : bool
        Whether it is that of a term: a single contrast is then the second category's mean minus the first's, or the
        slope, averaged over what the term interacts with.
    """

    name: str
    L: np.ndarray
    values: np.ndarray
    of_term: bool = False

    @property
    def is_single(self) -> bool:
        """Whether this is one contrast, which has an estimate and a sign."""
        return len(self.L) == 1

    def effect(self, beta: np.ndarray) -> float:
        """Return Lβ of a single contrast, zero where it is rounding; NaN of several."""
        if not self.is_single:
            return np.nan
        value = float(self.L[0] @ beta)
        return value if abs(value) > ROUNDING * (np.abs(self.L[0]) @ np.abs(beta)) else 0.0


def read_hypotheses(model: LinearMixedModel, terms: str | Sequence[str] | None) -> list[Hypothesis]:
    """Return the hypotheses of a model that `terms` names.

    A name is that of a fixed effect, else of a term as in `anova`, else a text as in `t_test`. By default all fixed
    effects but the intercept, or the intercept if it is the only one.
    """
    names = model.exog_names
    if not names:
        raise DataError("The model has no fixed effects: there is nothing to test.")
    if terms is None:
        slopes = [name for name in names if name not in ("Intercept", "const")]
        terms = slopes or names
    terms = [terms] if isinstance(terms, str) else list(terms)
    by_term = contrasts(model, 3) if any(term not in names for term in terms) else {}
    return [_hypothesis(term, names, by_term) for term in terms]


def _hypothesis(term: str, names: list[str], by_term: dict[str, np.ndarray]) -> Hypothesis:
    """Return the hypothesis of one name."""
    if term in names:
        L = np.eye(len(names))[[names.index(term)]]
    elif term in by_term:
        L = by_term[term]
        L = np.where(np.abs(L) > ROUNDING * np.abs(L).max(), L, 0.0)
    else:
        try:
            return Hypothesis(term, *constraints(term, names)[:2])
        except ValueError as error:
            terms = f" Terms: {', '.join(by_term)}." if by_term else ""
            raise ValueError(f"{error}{terms}") from None
    return Hypothesis(term, L, np.zeros(len(L)), term not in names)
