"""Methods of `LinearMixedModelResults`: comparison with smaller models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..habits import explains
from ..threads import single_threaded

if TYPE_CHECKING:
    import numpy as np

    from ..results import LinearMixedModelResults
    from .exact import ExactTest
    from .table import TestTable


class ComparisonMethods:
    """Tests of terms, of the fixed and of the random effects."""

    @explains(typ="type=", test="ddf='z' for chi-squared tests, or drop1(test='LRT')")
    @single_threaded
    def anova(self: LinearMixedModelResults, type: int | str = 3, ddf: str = "satterthwaite") -> TestTable:
        """Test every term of the fixed effects with F, as lmerTest's anova.

        Parameters
        ----------
        type : {3, 2, 1, "III", "II", "I"}
            Type I tests a term adjusted for those before it, Type II adjusted for those that do not contain it,
            Type III is SAS's: effects averaged over the levels of the factors they interact with, whatever the
            contrasts.
        ddf : {"satterthwaite", "kenward-roger", "residual", "z"}
            Method of the denominator degrees of freedom.

        Returns
        -------
        TestTable
            A row for each term: sum_sq, mean_sq (F times σ²), df_num, df_denom, statistic (F) and p.value.

        Raises
        ------
        ValueError
            If type or ddf is none of those listed.

        References
        ----------
        Kuznetsova, Brockhoff & Christensen (2017), lmerTest package, J. Stat. Softw. 82(13).
        SAS Institute, The four types of estimable functions, SAS/STAT User's Guide.

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("score ~ Machine + (1 | Worker)", sparselmm.datasets.load("Machines"))
        >>> round(float(fit.anova()["statistic"]["Machine"]), 2)
        87.8
        """
        from .anova import anova

        return anova(self, type, ddf)

    @single_threaded
    def drop1(self: LinearMixedModelResults, ddf: str = "satterthwaite", test: str = "F") -> TestTable:
        """Test every term of the fixed effects that can be deleted alone: one that is no margin of another.

        Parameters
        ----------
        ddf : {"satterthwaite", "kenward-roger", "residual", "z"}
            Method of the denominator degrees of freedom of F.
        test : {"F", "LRT"}
            F tests as in `anova`, or likelihood ratio tests of maximum-likelihood fits with and without the term.

        Returns
        -------
        TestTable
            The columns of `anova`, or those of `compare` with the model itself as the first row.

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("cake")
        >>> fit = sparselmm.lmer("angle ~ recipe + temp + (1 | recipe:replicate)", data)
        >>> fit.drop1()["df_denom"].round(1)
        term
        recipe     42.0
        temp      224.0
        Name: df_denom, dtype: float64
        """
        from .anova import drop1

        return drop1(self, ddf, test)

    @single_threaded
    def ranova(self: LinearMixedModelResults, reduce_terms: bool = True) -> TestTable:
        """Test the random effects by likelihood ratios: every term, or part of a term, is left out in turn.

        Parameters
        ----------
        reduce_terms : bool
            Leave the parts of a term's formula out one by one, ``(x | g)`` to ``(1 | g)``, the columns of a term with a
            double bar one by one, and only terms of one column altogether; if False, every term altogether.

        Returns
        -------
        TestTable
            The columns of `compare`; the first row is the model itself. p.value is that of lmerTest's ranova,
            p.boundary takes into account that variances are not negative.

        Notes
        -----
        By the fit's own criterion, REML or maximum likelihood.

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("sleepstudy")
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
        >>> fit.ranova()
        Deletion of random effects, models fitted by REML
                                      n  k      AIC      BIC   logLik  deviance  Chi-sq  df  p.value  p.boundary
          <none>                    180  6  1755.63  1774.79  -871.81   1743.63
          Days in (Days | Subject)  180  4  1794.47  1807.24  -893.23   1786.47  42.837   2   <0.001      <0.001
        <BLANKLINE>
        Notes
          p.boundary: variances that are zero in the smaller model cannot be negative in the
            larger one, so that the likelihood ratio is a mixture of chi-squared distributions
            (Stram and Lee 1994); p.value is too large.
        """
        from .ranova import ranova

        return ranova(self, reduce_terms)

    @single_threaded
    def exact_test(
        self: LinearMixedModelResults,
        term: str | None = None,
        column: str | None = None,
        n_simulations: int = 10_000,
        rng: int | np.random.Generator | None = None,
    ) -> ExactTest:
        """Test one variance, with the null distribution of the likelihood ratio simulated without asymptotics.

        Exact for a model with one variance, whatever the number of levels; with further random effects the
        distribution is that of a model in which they are known (Greven et al. 2008).

        Parameters
        ----------
        term : str, optional
            Name of the random-effects term; needed if there are several.
        column : str, optional
            Its column, of a term with a double bar; needed if there are several.
        n_simulations : int
        rng : int or numpy.random.Generator, optional

        Returns
        -------
        ExactTest
            With statistic, pvalue, pvalue_error (Monte Carlo), sample and quantile(probability).

        Raises
        ------
        ValueError
            If the variance is not named, or the columns of the term are correlated.

        References
        ----------
        Crainiceanu & Ruppert (2004), Likelihood ratio tests in linear mixed models with one variance component,
        J. R. Stat. Soc. B 66.
        Greven, Crainiceanu, Küchenhoff & Peters (2008), Restricted likelihood ratio testing for zero variance
        components in linear mixed models, J. Comput. Graph. Stat. 17.

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("Pastes")
        >>> fit = sparselmm.lmer("strength ~ 1 + (1 | batch / cask)", data)
        >>> bool(fit.exact_test("batch").pvalue < 0.5)
        True
        """
        from .exact import exact_test

        return exact_test(self, term, column, n_simulations, rng)
