"""Principal components of the covariances of the random effects: which combinations of columns vary, which do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..boundary import SINGULAR, column_scale
from ..covariance import correlation
from ..export import frame_block
from ..printout import Printed, Printout

if TYPE_CHECKING:
    from ..results import LinearMixedModelResults
    from ..terms import RandomTerm

SHOWN = 0.05  # loadings below this share of the largest are left out of the sentence on a combination


@dataclass(frozen=True, eq=False, repr=False)
class RandomEffectsPCA(Printed):
    """Principal components of the random effects of every term; prints itself.

    Attributes
    ----------
    importance : dict of DataFrame (c, 4)
        By term: component in rows; sd (of the component, in units of σ), proportion and cumulative share of variance,
        and whether the component is singular, its variance zero whatever the units of the columns.
    loadings : dict of DataFrame (c, c)
        By term: columns of the term in rows, components in columns, each of length one.
    singular : dict of str
        For every term with a singular component, the combination of columns that does not vary: Σ loading · column.
    """

    importance: dict[str, pd.DataFrame]
    loadings: dict[str, pd.DataFrame]
    singular: dict[str, str]

    @property
    def printout(self) -> Printout:
        """The importance of the components of every term, and the combinations that do not vary."""
        blocks = [
            frame_block(f"{name}: components of {', '.join(self.loadings[name].index)}", self._shares(name))
            for name in self.importance
        ]
        notes = [f"Singular: {text}" for text in self.singular.values()]
        return Printout("Principal components of the random effects", blocks, notes)

    def _shares(self, name: str) -> pd.DataFrame:
        """Return the importance of the components of a term, and which are singular, for the eye."""
        table = self.importance[name]
        return table.assign(singular=np.where(table["singular"], "yes", ""))


def principal_components(fit: LinearMixedModelResults, scaled: bool) -> RandomEffectsPCA:
    """Return the principal components of a fit's random effects; see `DiagnosticMethods.re_pca`."""
    map_, importance, loadings, singular = fit.likelihood.map, {}, {}, {}
    for k, (factor, term) in enumerate(zip(map_.unpack(fit.theta), fit.model.terms, strict=True)):
        size = column_scale(map_, fit.likelihood.theta_scale, k)
        left, sds = _components(_to_correlation(factor) if scaled else factor)
        _, natural = _components(factor / size[:, None])
        missing = natural < SINGULAR
        names = [f"PC{i + 1}" for i in range(sds.size)]
        total = np.sum(sds**2)
        share = sds**2 / total if total > 0 else np.full(sds.size, np.nan)
        columns = {"sd": sds, "proportion": share, "cumulative": np.cumsum(share), "singular": missing}
        importance[term.name] = pd.DataFrame(columns, index=names)
        loadings[term.name] = pd.DataFrame(left, index=list(term.columns), columns=names)
        if missing.any():
            singular[term.name] = _sentence(factor, size, term)
    return RandomEffectsPCA(importance, loadings, singular)


def _components(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return loadings (c, c) and standard deviations (c,) of the components of λλ'; the largest loading positive."""
    left, sds, _ = np.linalg.svd(factor)
    largest = np.abs(left).argmax(axis=0)
    return left * np.where(left[largest, np.arange(sds.size)] < 0, -1.0, 1.0), sds


def _to_correlation(factor: np.ndarray) -> np.ndarray:
    """Return λ with rows of length one, zero where a variance is zero."""
    norms = np.linalg.norm(factor, axis=1)
    return factor / np.where(norms > 0, norms, 1.0)[:, None]


def _sentence(factor: np.ndarray, size: np.ndarray, term: RandomTerm) -> str:
    """Return which combinations of the columns of a term, in their own units, do not vary."""
    left, sds, _ = np.linalg.svd(factor / size[:, None])
    if sds[0] < SINGULAR:
        return f"no column of {term.name} varies between its levels."
    sd, _ = correlation(factor @ factor.T)
    texts = []
    for direction in left[:, sds < SINGULAR].T:
        weights = direction / size
        parts = weights * np.where(sd > SINGULAR * size, sd, size)  # what each column contributes to the combination
        shown = np.flatnonzero(np.abs(parts) > SHOWN * np.abs(parts).max())
        weights = weights / weights[shown[0]]
        texts.append(" ".join(_summand(weights[i], term.columns[i], i == shown[0]) for i in shown))
    return f"{' and '.join(texts)} {'do' if len(texts) > 1 else 'does'} not vary between the levels of {term.name}."


def _summand(weight: float, column: str, first: bool) -> str:
    """Return one summand of a combination as text."""
    return column if first else f"{'-' if weight < 0 else '+'} {abs(weight):.3g}·{column}"
