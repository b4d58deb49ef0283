"""Case: a fit with what several checks ask of it, computed once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..diagnostics.residuals import divided_residuals
from ..inference.quadratic import ConditionalCovariance
from ..labels import read_only
from ..terms import factorize

if TYPE_CHECKING:
    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults

INTERCEPT = ("Intercept", "const")


class Case:
    """A fit that is checked.

    Attributes
    ----------
    fit : LinearMixedModelResults
    model : LinearMixedModel
    """

    def __init__(self, fit: LinearMixedModelResults):
        self.fit: LinearMixedModelResults = fit
        self.model: LinearMixedModel = fit.model

    @cached_property
    def exact(self) -> bool:
        """Whether the engine of the fit is an exact one."""
        return self.fit.optimizer.monte_carlo is None

    @cached_property
    def residuals(self) -> np.ndarray:
        """Residuals (n,) in standard deviations; zero where the fit goes through a row."""
        return read_only(np.nan_to_num(divided_residuals(self.fit).to_numpy()))

    @cached_property
    def conditional(self) -> ConditionalCovariance:
        """The covariance of the random effects given the data."""
        return ConditionalCovariance(self.fit.likelihood, self.fit.evaluation)

    @cached_property
    def grouping(self) -> dict[str, tuple[np.ndarray, pd.Index]]:
        """Codes (n,) and levels of every grouping factor of the random effects, each once."""
        found: dict[str, tuple[np.ndarray, pd.Index]] = {}
        for k, term in enumerate(self.model.terms):
            if term.codes is not None:
                found.setdefault(self.factor_name(k), (term.codes, term.levels))
        return found

    @cached_property
    def fixed_factors(self) -> dict[str, tuple[np.ndarray, pd.Index]]:
        """Codes (n,) and levels of the categorical columns among the fixed effects."""
        found: dict[str, tuple[np.ndarray, pd.Index]] = {}
        if self.model.design is None:
            return found
        columns = self.model.design.table.columns
        for name in sorted(self.model.design.spec.fixed.variables):
            values = columns.get(name)
            if isinstance(values, pd.Categorical) or (values is not None and values.dtype.kind not in "iufmMc"):
                found[name] = factorize(values, name)
        return found

    def factor_name(self, k: int) -> str:
        """Return the name of the grouping factor of term k, that of the term without the number that made it unique."""
        if self.model.design is None:
            return self.model.terms[k].name
        from ..formula import parse_formula

        return parse_formula(self.model.design.formula).bars[k].name

    def level_counts(self, k: int) -> np.ndarray | None:
        """Return the rows of each level of term k, (l_k,); None where they are not known."""
        term, cross = self.model.terms[k], self.model.cross
        if term.matrix is not None:
            return None
        if self.model.keeps_rows:
            return np.bincount(term.codes, minlength=term.n_levels)
        if term.columns[0] in INTERCEPT and self.model.weights is None:
            return np.rint(cross.diagonal[k][:, 0, 0]).astype(int)
        return None

    @cached_property
    def moments(self) -> pd.DataFrame:
        """Mean and standard deviation of the columns of the fixed effects over the rows, the intercept left out."""
        names, n = self.model.exog_names, self.model.nobs
        if self.model.keeps_rows:
            mean, sd = self.model.exog.mean(axis=0), self.model.exog.std(axis=0)
        else:
            back = np.linalg.inv(self.model.cross.basis)
            gram = back.T @ self.model.exog_gram @ back / n
            one = next((i for i, name in enumerate(names) if name in INTERCEPT), None)
            mean = np.zeros(len(names)) if one is None else gram[one]
            sd = np.sqrt(np.maximum(np.diag(gram) - mean**2, 0.0))
        table = pd.DataFrame({"mean": mean, "sd": sd}, index=names)
        return table[(table["sd"] > 1e-12 * table["mean"].abs()) & ~table.index.isin(INTERCEPT)]
