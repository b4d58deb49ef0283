"""The linear model without random effects: what is left when the last term is taken away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..criteria import InformationCriteria

if TYPE_CHECKING:
    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults


@dataclass(frozen=True, eq=False)
class LinearFit(InformationCriteria):
    """Likelihood of y = Xβ + ε, ε ~ N(0, σ²W⁻¹), in closed form; the words are those of a mixed model's results.

    Attributes
    ----------
    model : LinearMixedModel
        The mixed model whose random effects are left out.
    reml : bool
    """

    model: LinearMixedModel
    reml: bool
    singular = False

    @property
    def nobs(self) -> int:
        """Number of rows n."""
        return self.model.nobs

    @property
    def n_parameters(self) -> int:
        """Fixed effects and the residual variance, p + 1."""
        return len(self.model.exog_names) + 1

    @property
    def deviance(self) -> float:
        """-2 log-likelihood, or the REML criterion with lme4's constant."""
        cross = self.model.cross
        N = cross.nobs - (cross.n_fixed if self.reml else 0)
        r2 = cross.yy - cross.Xy @ np.linalg.solve(cross.XX, cross.Xy)
        deviance = N * (1.0 + np.log(2.0 * np.pi * r2 / N)) - cross.log_weights
        if self.reml:
            deviance += np.linalg.slogdet(cross.XX)[1] - cross.basis_logdet
        return float(deviance)


def comparable_deviance(fit: LinearMixedModelResults | LinearFit) -> float:
    """Return the deviance, of REML without what the units and coding of X contribute."""
    return fit.deviance + (fit.model.cross.basis_logdet if fit.reml else 0.0)
