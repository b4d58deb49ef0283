"""Information criteria of anything with a deviance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np


class InformationCriteria:
    """Log-likelihood, AIC and BIC from `deviance`, `n_parameters` (k) and `nobs` (n)."""

    if TYPE_CHECKING:  # what the class that inherits these has

        @property
        def deviance(self) -> float: ...

        @property
        def n_parameters(self) -> int: ...

        @property
        def nobs(self) -> int: ...

    @property
    def llf(self) -> float:
        """Log-likelihood, or the restricted one under REML (lme4's constant: log|X'X| is not removed)."""
        return -0.5 * self.deviance

    @property
    def aic(self) -> float:
        """Deviance plus 2k; under REML comparable only between models with the same fixed effects."""
        return self.deviance + 2.0 * self.n_parameters

    @property
    def bic(self) -> float:
        """Deviance plus k log n; under REML comparable only between models with the same fixed effects."""
        return self.deviance + self.n_parameters * float(np.log(self.nobs))
