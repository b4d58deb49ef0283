"""Methods of `LinearMixedModelResults`: the report of checks, and other optimisers."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ..habits import explains
from ..threads import single_threaded

if TYPE_CHECKING:
    import numpy as np

    from ..results import LinearMixedModelResults
    from .allfit import AllFit
    from .report import ModelCheck


class CheckupMethods:
    """Checks of a fit."""

    @explains(plot="fit.plot() beside it", check="to_frame() and choose rows")
    def check(self) -> ModelCheck:
        """Return a short report on the fit: what is fine, what to think about, and what to do about it.

        It looks at the optimum, the covariances of the random effects, the predictors, influential levels, residuals
        and the amount of data. A finding is judged by its size and not by its p-value. Nothing is fitted again; what
        would take long is left out, and the report says so.

        Returns
        -------
        ModelCheck
            Prints itself; `to_frame` has all numbers, `ok` is False if there is a warning.

        References
        ----------
        Bates, Kliegl, Vasishth & Baayen (2015), Parsimonious mixed models, arXiv:1506.04967. Brown & Forsythe (1974),
        Robust tests for the equality of variances, JASA 69, 364-367. Fox & Monette (1992), JASA 87, 178-183.

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))
        >>> fit.check().ok
        True
        """
        from .report import check

        return check(cast("LinearMixedModelResults", self))

    @explains(maxfun="max_evaluations=", seed="rng=", meth_tab="optimizers=")
    @single_threaded
    def allfit(
        self,
        optimizers: tuple[str, ...] | None = None,
        *,
        random_starts: int = 2,
        max_evaluations: int = 2_000,
        seconds: float = 30.0,
        rng: int | np.random.Generator = 0,
    ) -> AllFit:
        """Return how far other optimisers, starts and engines agree with this fit (lme4's allFit).

        Parameters
        ----------
        optimizers : tuple of str, optional
            Of "newton" (the package's own, from several starts), "lbfgsb" (SciPy's L-BFGS-B with the exact gradient),
            "nelder-mead" and "powell" (SciPy's, without derivatives) and "engines" (the whole fit by other engines,
            where they can do it). Default: all.
        random_starts : int
            Random starts of "newton", besides those from moments, of one, of small and of large variances.
        max_evaluations : int
            Evaluations of the likelihood after which a search is stopped.
        seconds : float
            Seconds after which a search of SciPy's is stopped.
        rng : int or numpy.random.Generator
            Draws the random starts.

        Returns
        -------
        AllFit
            A row for each search: deviance above the lowest, evaluations, seconds, and how far the estimates are from
            those of the lowest deviance; with a verdict. Prints itself.

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))
        >>> found = fit.allfit()
        >>> found.agree
        True
        """
        from .allfit import allfit

        fit = cast("LinearMixedModelResults", self)
        return allfit(fit, optimizers, random_starts, max_evaluations, seconds, rng)
