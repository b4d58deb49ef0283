"""Methods of `LinearMixedModelResults`: estimated marginal means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..habits import explains
from ..threads import single_threaded

if TYPE_CHECKING:
    import pandas as pd

    from ..results import LinearMixedModelResults
    from .grid import Reduction
    from .means import MarginalMeans


class MarginalMeansMethods:
    """Estimated marginal means and trends."""

    @explains(
        type="emmeans(...).response()",
        adjust="emmeans(...).contrasts(adjust=...)",
        mode="ddf=",
        lmer_df="ddf=",
        contr="emmeans(...).contrasts(...)",
    )
    @single_threaded
    def emmeans(
        self: LinearMixedModelResults,
        specs: str | Sequence[str],
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        weights: str = "equal",
        cov_reduce: Reduction = "mean",
        ddf: str = "satterthwaite",
        level: float = 0.95,
    ) -> MarginalMeans:
        """Return estimated marginal means: expected responses averaged over a grid of the predictors.

        Parameters
        ----------
        specs : str or list of str
            Factors whose means are wanted: ``"a"``, ``["a", "b"]``, ``"a * b"``, ``"a | b"`` (of a by b); ``"1"`` for
            the overall mean.
        by : str or list of str, optional
            Factors whose levels are families of their own.
        at : dict, optional
            Values of some predictors: of numbers instead of their mean, of factors instead of all levels.
        weights : {"equal", "proportional", "outer", "cells", "flat"}
            Of the combinations that are averaged over: all the same; the frequencies of these combinations in the
            data; products of the frequencies of each factor; the frequencies in each cell; the same for all cells that
            have data.
        cov_reduce : "mean", callable or False
            What stands for a number that `at` does not name: its mean, what a function of its values returns (one or
            more numbers), or all its values (False). Numbers with one or two different values keep them.
        ddf : {"satterthwaite", "kenward-roger", "residual", "z"}
            See `inference`.
        level : float
            Of the intervals.

        Returns
        -------
        MarginalMeans
            Its `frame` has the factors, estimate, std.error, df, conf.low and conf.high; its method `contrasts`
            compares the means.

        Raises
        ------
        ValueError
            If a name is no predictor of the fixed effects.
        DataError
            If the model was built from arrays.

        References
        ----------
        Searle, Speed & Milliken (1980), Population marginal means in the linear model, Am. Stat. 34(4), 216-221.

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("cake")
        >>> fit = sparselmm.lmer("angle ~ recipe + temp + (1 | recipe:replicate)", data)
        >>> fit.emmeans("recipe")
          recipe  estimate  std.error     df  conf.low  conf.high
          A         33.122      1.737  42.00    29.617     36.627
          B         31.644      1.737  42.00    28.139     35.150
          C         31.600      1.737  42.00    28.095     35.105
        <BLANKLINE>
        Notes
          At temp = 200.
          Degrees of freedom: satterthwaite. Confidence level: 0.95.
        """
        from .build import means

        return means(self, specs, by, at, weights, cov_reduce, ddf, level)

    @single_threaded
    def emtrends(
        self: LinearMixedModelResults,
        specs: str | Sequence[str],
        var: str,
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        weights: str = "equal",
        cov_reduce: Reduction = "mean",
        ddf: str = "satterthwaite",
        level: float = 0.95,
    ) -> MarginalMeans:
        """Return estimated marginal trends: derivatives of the expected response in a number, averaged over the grid.

        Parameters
        ----------
        var : str
            A numeric predictor, whose own value is its mean or the one in `at`.
        specs, by, at, weights, cov_reduce, ddf, level
            See `emmeans`.

        Returns
        -------
        MarginalMeans
        """
        from .build import slopes

        return slopes(self, specs, var, by, at, weights, cov_reduce, ddf, level)

    @single_threaded
    def joint_tests(
        self: LinearMixedModelResults,
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        cov_reduce: Reduction | None = None,
        ddf: str = "satterthwaite",
    ) -> pd.DataFrame:
        """Return an F test of every main effect and interaction of the marginal means (like type III).

        An interaction is tested by the products of consecutive differences of its factors, averaged with equal weights
        over the others. A number takes part by its difference over mean ± 1.

        Parameters
        ----------
        by : str or list of str, optional
            Factors within whose levels the others are tested.
        at : dict, optional
        cov_reduce : callable, optional
            Instead of mean ± 1.
        ddf : {"satterthwaite", "kenward-roger", "residual", "z"}

        Returns
        -------
        DataFrame
            Columns term, those of `by`, NumDF, DenDF, statistic (F) and p.value; only the part of an effect that can be
            estimated is tested.
        """
        from .build import joint_tests

        return joint_tests(self, by, at, cov_reduce, ddf)

    def to_marginaleffects(self: LinearMixedModelResults) -> Any:
        """Return the fit as the package marginaleffects takes it, for `marginaleffects.avg_comparisons` and the like.

        Predictions are those of the fixed effects; standard errors come from `cov_params`, tests are normal. For
        another covariance give its functions ``vcov=fit.inference("kenward-roger").covariance``.

        Raises
        ------
        ImportError
            If the package is not installed.
        DataError
            If the model was built from arrays.
        """
        from .marginaleffects import adapter

        return adapter(self)
