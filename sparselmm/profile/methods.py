"""Methods of `LinearMixedModelResults`: profile likelihood and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import EngineError
from ..habits import explains

if TYPE_CHECKING:
    from ..results import LinearMixedModelResults
    from .profile import Profile


class ProfileMethods:
    """Profile likelihood and intervals."""

    @explains(parm="which=", alphamax="level=0.99", alpha="level=0.99, up to which the curves go", maxpts="nothing")
    def profile(
        self: LinearMixedModelResults, which: int | str | Sequence[int | str] | None = None, level: float = 0.99
    ) -> Profile:
        """Return the profile likelihood of the parameters: curves, intervals and densities.

        The deviance is that of maximum likelihood, as in lme4: a REML fit is refitted first, as its criterion does not
        compare fixed effects.

        Parameters
        ----------
        which : str, int or list of these, optional
            Parameters: fixed effects by their column, ``"sd__x|group"``, ``"sd__x"`` for those of all groups,
            positions from 0, ``"fixed"`` (or ``"beta_"``), ``"random"`` (or ``"theta_"``, σ included). Default: all.
        level : float
            Confidence level up to which the curves are followed.

        Returns
        -------
        Profile

        Raises
        ------
        EngineError
            If the fit is by "pcg", whose deviance is an estimate.

        Warns
        -----
        ConvergenceWarning
            If a curve could not be followed to the level; its limit is NaN.

        References
        ----------
        Bates, Mächler, Bolker & Walker (2015), Fitting linear mixed-effects models using lme4, J. Stat. Softw. 67(1),
        section 5.1.

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))
        >>> fit.profile("sd__Days").conf_int().round(2)
                          lower  upper
        sd__Days|Subject    3.8   8.75
        """
        from .profile import Profile

        if self._engine == "pcg":
            raise EngineError(
                "Profiles follow the deviance, which engine='pcg' only estimates. Fit with engine='cholmod', or take "
                "conf_int(method='bootstrap')."
            )
        return Profile(self._ml_fit, which, level)

    @cached_property
    def _ml_fit(self: LinearMixedModelResults) -> LinearMixedModelResults:
        """The maximum-likelihood fit of the same model: this one if it is."""
        return self.model.fit(reml=False, start=self.theta, engine=self._engine) if self.reml else self
