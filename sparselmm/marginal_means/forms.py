"""Linear functions of the fixed effects, and what of them can be estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..fixed_terms import INESTIMABLE

if TYPE_CHECKING:
    from ..inference.ddf import Inference


@dataclass(frozen=True)
class LinearForms:
    """Linear functions Lβ + offset of the fixed effects.

    Attributes
    ----------
    L : ndarray (r, p)
        In the columns that the model kept.
    offset : ndarray (r,)
    beyond : ndarray (r, d)
        What the dropped columns would add; a row that is not zero cannot be estimated.
    """

    L: np.ndarray
    offset: np.ndarray
    beyond: np.ndarray

    def __len__(self) -> int:
        return len(self.offset)

    def combined(self, K: np.ndarray) -> LinearForms:
        """Return the combinations of the rows in the rows of K (k, r)."""
        return LinearForms(K @ self.L, K @ self.offset, K @ self.beyond)

    def take(self, rows: np.ndarray | slice) -> LinearForms:
        """Return some of the rows."""
        return LinearForms(self.L[rows], self.offset[rows], self.beyond[rows])

    @property
    def estimable(self) -> np.ndarray:
        """Which rows can be estimated, (r,)."""
        return (np.abs(self.beyond) < INESTIMABLE).all(axis=1)

    def estimable_part(self) -> LinearForms:
        """Return combinations of the rows that span all of theirs that can be estimated."""
        if self.estimable.all():
            return self
        left, sizes, _ = np.linalg.svd(self.beyond)
        rank = int((sizes > INESTIMABLE).sum())
        return self.combined(left[:, rank:].T)


def joint_test(inference: Inference, forms: LinearForms) -> dict[str, float]:
    """Return NumDF, DenDF, statistic and p.value of the test that all forms are zero, of what can be estimated."""
    part = forms.estimable_part()
    F, df_num, df_denom, p = inference.test(part.L, -part.offset) if len(part) else (np.nan, 0, np.nan, np.nan)
    return {"NumDF": df_num, "DenDF": df_denom, "statistic": F, "p.value": p}
