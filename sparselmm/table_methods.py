"""Methods of `LinearMixedModelResults`: the fit as tables, printed or tidy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import tables
from .habits import explains
from .summary import Summary

if TYPE_CHECKING:
    import pandas as pd

    from .results import LinearMixedModelResults


class TableMethods:
    """The summary, and tables in the columns of R's broom.mixed."""

    @explains(alpha="level=0.9 for 90 % intervals", conf_level="level=", correlation="fit.cov_params()")
    def summary(self: LinearMixedModelResults, ddf: str = "satterthwaite", level: float = 0.95) -> Summary:
        """Return the summary of the fit, which prints as text and shows as HTML in a notebook.

        Parameters
        ----------
        ddf : {"satterthwaite", "kenward-roger", "residual", "z"}
            Degrees of freedom of the tests and intervals of the fixed effects.
        level : float
            Of the intervals.
        """
        return Summary(self, ddf, level)

    @explains(group="the column group of the table", term="the column term of the table", level="conf_level=")
    def tidy(
        self: LinearMixedModelResults,
        effects: str | Sequence[str] = "all",
        conf_int: bool = False,
        conf_level: float = 0.95,
        ddf: str = "satterthwaite",
    ) -> pd.DataFrame:
        """Return estimates, a row each, in the columns of R's broom.mixed.

        Parameters
        ----------
        effects : str or list of str
            ``"fixed"``: fixed effects. ``"ran_pars"`` or ``"random"``: standard deviations (``sd__x``) and correlations
            (``cor__x.z``) of the random ones, whose standard errors are in `variance_params`. ``"all"``: both.
            ``"ran_vals"``: the random effects, with their standard deviations given the data, β and θ (as
            `random_effects_sd`). ``"ran_coefs"``: `coefficients`, fixed plus random effects of every level, with the
            standard errors `coefficients_se`.
        conf_int : bool
            Whether to add conf.low and conf.high, of level `conf_level`: of t distributions for fixed effects, normal
            ones for levels.
        ddf : {"satterthwaite", "kenward-roger", "residual", "z"}
            Degrees of freedom of the fixed effects.

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("sleepstudy")
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
        >>> fit.tidy(effects="fixed")[["term", "estimate", "std.error"]].round(2)
                term  estimate  std.error
        0  Intercept    251.41       6.82
        1       Days     10.47       1.55
        """
        return tables.tidy(self, effects, conf_int, conf_level, ddf)

    def glance(self: LinearMixedModelResults) -> pd.DataFrame:
        """Return the fit in one row: nobs, sigma, logLik, AIC, BIC, REMLcrit or deviance, df.residual and flags.

        df.residual is lme4's, n minus all k parameters.

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("sleepstudy")
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
        >>> fit.glance()[["nobs", "sigma", "REMLcrit"]].round(2)
           nobs  sigma  REMLcrit
        0   180  25.59   1743.63
        """
        return tables.glance(self)

    def augment(
        self: LinearMixedModelResults, data: Any = None, se_fit: bool = False, influence: bool = False
    ) -> pd.DataFrame:
        """Return data with the columns .fitted, .resid and .fixed (without random effects).

        Parameters
        ----------
        data : data frame or dict of arrays, optional
            The data of the fit, whose incomplete rows are left out; by default, response, fixed-effects columns and
            grouping factors as the model holds them.
        se_fit : bool
            Whether to add .se.fit, the standard errors of .fitted (see `predict`).
        influence : bool
            Whether to add .hat and .cooksd (see `leverage` and `cooks_distance`).

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("sleepstudy")
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
        >>> fit.augment()[["Days", ".fitted", ".resid"]].head(2).round(2)
           Days  .fitted  .resid
        0   0.0   253.66   -4.10
        1   1.0   273.33  -14.63
        """
        return tables.augment(self, data, se_fit, influence)
