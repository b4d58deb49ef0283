"""Methods of `LinearMixedModelResults`: residuals, influence and measures of fit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..habits import explains
from ..labels import read_only
from ..threads import single_threaded

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..inference.ddf import Inference
    from ..results import LinearMixedModelResults
    from .caic import ConditionalAIC
    from .influence import Influence
    from .pca import RandomEffectsPCA


class DiagnosticMethods:
    """Residuals, influence and measures of fit."""

    @cached_property
    @single_threaded
    def _conditional_leverage(self: LinearMixedModelResults) -> np.ndarray:
        """Diagonal of ∂(Xβ̂ + Zb̂)/∂y at fixed θ, (n,)."""
        from .residuals import conditional_leverage

        return read_only(conditional_leverage(self))

    @single_threaded
    def residuals(self: LinearMixedModelResults, kind: str = "conditional", scaled: bool = False) -> pd.Series:
        """Return residuals of the rows, (n,).

        Parameters
        ----------
        kind : str
            - ``"conditional"``: y - Xβ̂ - Zb̂, what `resid` is;
            - ``"marginal"``: y - Xβ̂;
            - ``"pearson"``: conditional times √weight;
            - ``"standardized"``: conditional over its standard deviation, σ√((1 - h)/weight) with the leverage h;
            - ``"studentized"``: the same with σ estimated without the row, θ as it is;
            - ``"marginal-standardized"``: marginal over its standard deviation.
        scaled : bool
            Whether the first three are divided by σ.

        Returns
        -------
        Series
            NaN where the fit goes through the row whatever its response (leverage one).

        Raises
        ------
        ValueError
            If there is no such kind.

        References
        ----------
        Nobre & Singer (2007), Residual analysis for linear mixed models, Biometrical J. 49, 863-875.

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("sleepstudy")
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
        >>> fit.residuals("standardized").head(2).round(2)
        0   -0.18
        1   -0.63
        dtype: float64
        """
        from .residuals import residuals

        return self._by_row(residuals(self, kind, scaled))

    @single_threaded
    def leverage(self: LinearMixedModelResults, kind: str = "conditional") -> pd.Series:
        """Return leverages of the rows at the estimated θ, (n,).

        Parameters
        ----------
        kind : {"conditional", "fixed", "random"}
            Diagonal of ∂(Xβ̂ + Zb̂)/∂y (lme4's hatvalues), of its part ∂Xβ̂/∂y, or of the rest.

        References
        ----------
        Demidenko & Stukel (2005), Influence analysis for linear mixed-effects models, Stat. Med. 24, 893-909.
        """
        from .residuals import leverage

        return self._by_row(leverage(self, kind).copy())

    @single_threaded
    def cooks_distance(self: LinearMixedModelResults) -> pd.Series:
        """Return t²h/(p(1-h)) of the rows, (n,), t the standardised residual and h the conditional leverage.

        This is lme4's and measures the change of the fitted values Xβ̂ + Zb̂; that of β̂ alone is
        ``influence().cooks_distance``.
        """
        from .residuals import cooks_distance

        return self._by_row(cooks_distance(self))

    def dfbetas(self: LinearMixedModelResults) -> pd.DataFrame:
        """Return the changes of the fixed effects without each row over their standard errors, (n, p); θ as it is."""
        return self.influence().dfbetas

    @single_threaded
    def influence(
        self: LinearMixedModelResults, group: str | ArrayLike | None = None, refit: bool = False
    ) -> Influence:
        """Return how the fit changes without each level of a factor, exactly.

        Parameters
        ----------
        group : str or array_like of shape (n,), optional
            A random-effects term, a column that the formula uses, or labels of the rows; default: each row by itself.
        refit : bool
            Whether θ is estimated again without each level, which costs a fit for each; otherwise θ is that of this
            fit and β and σ² are exact given it.

        Returns
        -------
        Influence
            With params, dfbeta, dfbetas, cooks_distance, mdffits, covratio, covtrace, scale and `summary_frame`.

        Raises
        ------
        ValueError
            If no factor has that name.

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))
        >>> print(fit.influence("Subject").cooks_distance.max().round(3))
        0.149
        """
        from .influence import influence

        return influence(self, group, refit)

    def re_pca(self: LinearMixedModelResults, scaled: bool = False) -> RandomEffectsPCA:
        """Return principal components of the random effects of every term (lme4's rePCA).

        Parameters
        ----------
        scaled : bool
            Whether of the correlations rather than of the covariances λλ', whose components depend on the units of the
            columns. Which component is singular does not depend on either.

        Returns
        -------
        RandomEffectsPCA
            With importance, loadings and, in words, the combinations of columns that do not vary; prints itself.

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))
        >>> fit.re_pca().importance["Subject"]["proportion"].round(3).tolist()
        [0.946, 0.054]

        References
        ----------
        Bates, Kliegl, Vasishth & Baayen (2015), Parsimonious mixed models, arXiv:1506.04967.
        """
        from .pca import principal_components

        return principal_components(self, scaled)

    @single_threaded
    def icc(
        self: LinearMixedModelResults,
        by_group: bool = False,
        bootstrap: int = 0,
        level: float = 0.95,
        rng: int | np.random.Generator | None = None,
    ) -> pd.DataFrame:
        """Return intraclass correlations: the share of variance that the random effects have.

        Parameters
        ----------
        by_group : bool
            Whether for every term by itself, of the variance of all random effects and the residual; otherwise of all
            terms: adjusted (of the variance that the fixed effects leave) and conditional (of all variance).
        bootstrap : int
            Number of responses simulated for percentile intervals; 0 for none.
        level : float
            Of the intervals.
        rng : int or numpy.random.Generator, optional

        Returns
        -------
        DataFrame
            Column estimate, and conf.low and conf.high if there is a bootstrap. The variance of a term with slopes is
            the mean over the rows (Johnson 2014), that of the residual the mean of σ²/weight.

        References
        ----------
        Nakagawa, Johnson & Schielzeth (2017), J. R. Soc. Interface 14: 20170213.

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("Pastes")
        >>> fit = sparselmm.lmer("strength ~ 1 + (1 | batch / cask)", data)
        >>> fit.icc().round(3)
                     estimate
        adjusted        0.937
        conditional     0.937
        """
        from .goodness import intraclass, intraclass_by_group, shares

        measures = intraclass_by_group(list(self.model.groups)) if by_group else intraclass
        return shares(self, measures, bootstrap, level, rng)

    @single_threaded
    def r2(
        self: LinearMixedModelResults,
        bootstrap: int = 0,
        level: float = 0.95,
        rng: int | np.random.Generator | None = None,
    ) -> pd.DataFrame:
        """Return the share of variance of the fixed effects (marginal) and of fixed and random effects (conditional).

        Parameters
        ----------
        bootstrap, level, rng
            As of `icc`.

        Returns
        -------
        DataFrame
            Rows marginal and conditional; column estimate, and conf.low and conf.high if there is a bootstrap.

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))
        >>> fit.r2()["estimate"].round(3).to_dict()
        {'marginal': 0.279, 'conditional': 0.799}

        References
        ----------
        Nakagawa & Schielzeth (2013), Methods Ecol. Evol. 4, 133-142. Johnson (2014), Methods Ecol. Evol. 5, 944-946.
        """
        from .goodness import r_squared, shares

        return shares(self, r_squared, bootstrap, level, rng)

    @single_threaded
    def caic(self: LinearMixedModelResults) -> ConditionalAIC:
        """Return the conditional AIC, which compares models for prediction of the same groups.

        Returns
        -------
        ConditionalAIC
            With caic, llf, df and its parts: the trace of ∂ŷ/∂y at fixed θ (leverage), what it gains as θ depends on y
            (correction), and one for σ². The correction is exact; variances at zero stay there.

        References
        ----------
        Vaida & Blanchard (2005), Biometrika 92, 351-370. Greven & Kneib (2010), Biometrika 97, 773-789.
        """
        from .caic import conditional_aic

        return conditional_aic(self)

    def vif(self: LinearMixedModelResults) -> pd.DataFrame:
        """Return variance inflation factors of the fixed-effects terms, a row each.

        Returns
        -------
        DataFrame
            Columns gvif, df and gvif^(1/(2 df)): by how much the term's confidence region (for a term of one column,
            variance) exceeds that of a design in which the terms do not overlap. The intercept is left out.

        References
        ----------
        Fox & Monette (1992), Generalized collinearity diagnostics, JASA 87, 178-183.
        """
        from .goodness import variance_inflation

        return variance_inflation(self)

    @explains(cov_type="kind=", type="kind=", cov_kwds="groups=", cluster="groups=")
    @single_threaded
    def robust(
        self: LinearMixedModelResults,
        kind: str = "CR2",
        groups: str | ArrayLike | Sequence[str | ArrayLike] | None = None,
    ) -> Inference:
        """Return tests and intervals of the fixed effects that hold if rows of different clusters are independent.

        Parameters
        ----------
        kind : {"CR2", "CR1", "CR1S", "CR0"}
            The plain sandwich (CR0); times G/(G - 1) (CR1), or that times (n - 1)/(n - p) (CR1S); or with residuals
            adjusted so that it is unbiased if the fitted covariance holds (CR2), with Satterthwaite's degrees of
            freedom for it. The others take G - 1, for G clusters.
        groups : str, array_like of shape (n,) or list of two, optional
            Clusters: a random-effects term, a column that the formula uses, or labels of the rows. Two of these
            for rows that are dependent if they share either. Default: the factor in which all others are nested.

        Returns
        -------
        Inference
            With table, t_test, wald_test, conf_int and the array covariance.

        Raises
        ------
        ValueError
            If there is no such kind or factor, or the factors are crossed and `groups` is not given.
        DataError
            If a cluster is too large for CR2.

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))
        >>> fit.robust().table["df"].round(6).tolist()
        [17.0, 17.0]

        References
        ----------
        Liang & Zeger (1986), Biometrika 73. Bell & McCaffrey (2002), Survey Methodology 28. Cameron, Gelbach & Miller
        (2011), J. Bus. Econ. Stat. 29. Pustejovsky & Tipton (2018), J. Bus. Econ. Stat. 36, 672-683.
        """
        from .robust import robust

        return robust(self, kind, groups)

    def cov_params_robust(
        self: LinearMixedModelResults,
        kind: str = "CR2",
        groups: str | ArrayLike | Sequence[str | ArrayLike] | None = None,
    ) -> pd.DataFrame:
        """Return the cluster-robust covariance of the fixed effects, (p, p); parameters and errors as of `robust`."""
        names = self.model.exog_names
        return pd.DataFrame(self.robust(kind, groups).covariance.copy(), index=names, columns=names)
