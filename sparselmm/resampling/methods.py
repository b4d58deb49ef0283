"""Methods of `LinearMixedModelResults`: simulation, refits and the bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..habits import explains
from ..threads import single_threaded

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import ArrayLike

    from ..engines.protocol import Engine
    from ..planning.result import Power
    from ..results import LinearMixedModelResults
    from .bootstrap import Bootstrap, Statistic
    from .refits import Refits


class ResamplingMethods:
    """Simulation, refits and the bootstrap."""

    @explains(nsim="n=", seed="rng=", use_u="random='conditional'", re_form="random='new' or 'conditional'")
    def simulate(
        self: LinearMixedModelResults, n: int = 1, rng: int | np.random.Generator | None = None, random: str = "new"
    ) -> pd.DataFrame:
        """Return responses drawn from the fitted model, (n_obs, n): a column each, rows labelled as the data.

        Parameters
        ----------
        n : int
            Number of responses.
        rng : int or numpy.random.Generator, optional
            A seed gives responses a stream of their own, not that of ``np.random.default_rng(seed)``, with which the
            data may have been made.
        random : {"new", "conditional"}
            Draw new random effects (default), or keep the conditional modes and draw residuals only (lme4's
            ``use.u = TRUE``).

        Returns
        -------
        DataFrame

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff"))
        >>> fit.simulate(3, rng=1).shape
        (30, 3)
        """
        from .simulate import simulate_fit

        return simulate_fit(self, n, rng, random)

    @single_threaded
    def refit(self: LinearMixedModelResults, y: ArrayLike) -> LinearMixedModelResults:
        """Return the results of the same model fitted to another response.

        All that does not depend on the response is used again. The search starts at this fit's θ or at the moments of
        the new response, whichever has the lower deviance.

        Parameters
        ----------
        y : array_like, shape (n,)
            In the order of the rows of the fit; rows that the fit left out may be included.

        Returns
        -------
        LinearMixedModelResults

        Raises
        ------
        DataError
            If y has missing values, another index than the data, or no residual variance.

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("sleepstudy")
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
        >>> again = fit.refit(data["Reaction"] / 1000)
        >>> again.fe_params.round(4)
        Intercept    0.2514
        Days         0.0105
        dtype: float64
        """
        from .refit import refit

        return refit(self, y)

    @single_threaded
    def refit_many(self: LinearMixedModelResults, Y: ArrayLike) -> Refits:
        """Return the fits of many responses on the design of this fit.

        Every response gets an optimum of its own, with the certificate of `fit`, but the algebra is done for all
        responses at once: a fraction of a millisecond for each where the design is small or moderate. Designs with
        many levels in a second factor are fitted one after the other.

        Parameters
        ----------
        Y : array_like or DataFrame, shape (n, k)
            A response in each column.

        Returns
        -------
        Refits
            With tables params, bse, variance, theta, llf, deviance, converged, singular and tidy().

        Raises
        ------
        DataError
            Naming the responses that have missing values or no residual variance.

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff"))
        >>> fit.refit_many(fit.simulate(100, rng=1)).params.shape
        (100, 1)
        """
        from .refits import refit_many

        return refit_many(self, Y)

    @explains(nsim="n=", seed="rng=", method="kind=", type="kind=", FUN="statistic=", ncpus="n_jobs=")
    @single_threaded
    def bootstrap(
        self: LinearMixedModelResults,
        n: int = 1000,
        kind: str = "parametric",
        statistic: Statistic | None = None,
        *,
        cluster: str | ArrayLike | None = None,
        rng: int | np.random.Generator | None = None,
        n_jobs: int = 1,
        progress: bool = False,
    ) -> Bootstrap:
        """Return the bootstrap distribution of the estimates.

        Parameters
        ----------
        n : int
            Number of replicates.
        kind : {"parametric", "residual", "wild", "cluster"}
            - parametric: responses drawn from the fitted model, as `simulate` does;
            - residual: conditional modes and residuals, centred, reflated to the fitted covariances and drawn with
              replacement (Carpenter, Goldstein & Rasbash 2003);
            - wild: marginal residuals, corrected for leverage (HC2), with a random sign for each cluster (Modugno &
              Giannerini 2015): heteroscedastic errors;
            - cluster: clusters of rows drawn with replacement: no assumption on the distribution within a cluster.
        statistic : callable, optional
            Takes a fit and returns a number, or a mapping or Series of numbers. Default: fixed effects, standard
            deviations, correlations and σ, which (but for kind="cluster") take a fraction of a millisecond a replicate
            where the design allows; a statistic of your own takes a whole refit.
        cluster : str or array_like, shape (n_obs,), optional
            For kind="cluster" and "wild": the name of a random-effects term, or the label of each row. Default: the
            factor in which all others are nested; in a crossed design, the one with most levels.
        rng : int or numpy.random.Generator, optional
            The same rng gives the same replicates, whatever `n_jobs`.
        n_jobs : int
            Processes, for refits one by one. They import the package anew: in a script, call from below
            ``if __name__ == "__main__":``, and define `statistic` in a module.
        progress : bool
            Whether to report progress (tqdm if installed, else lines on stderr).

        Returns
        -------
        Bootstrap
            With replicates, conf_int, bse, bias and counts of failures; prints itself.

        References
        ----------
        Carpenter, Goldstein & Rasbash (2003), A novel bootstrap procedure for assessing the relationship between class
        size and achievement, Appl. Statist. 52. Modugno & Giannerini (2015), The wild bootstrap for multilevel models,
        Comm. Statist. Theory Methods 44.

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff"))
        >>> fit.bootstrap(200, rng=1).conf_int().shape
        (3, 2)
        """
        from .bootstrap import bootstrap

        return bootstrap(self, n, kind, statistic, cluster, rng, n_jobs, progress)

    def power(
        self: LinearMixedModelResults, term: str | Sequence[str] | None = None, data: Any = None, **options: Any
    ) -> Power:
        """Return the power of tests of the fixed effects in studies like this one: see `sparselmm.power`.

        Parameters
        ----------
        term : str or list of str, optional
            What is tested; default: every fixed effect but the intercept.
        data : data frame, optional
            The rows of another design.
        **options
            Of `sparselmm.power`: ``params={"x": 0.2}`` for another effect, ``sizes={"subject": [20, 40]}`` for other
            numbers of levels, ``n_sim``, ``test``, ``rng``, ...

        Returns
        -------
        Power

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))
        >>> study = fit.power("Days", params={"Days": 4.0}, sizes={"Subject": [9, 36]}, n_sim=200, rng=1)
        >>> list(study["power"] > 0.5)
        [False, True]
        """
        from ..planning.public import power

        return power(self, term, data, **options)

    @property
    def _refit_engine(self: LinearMixedModelResults) -> Engine:
        """An engine for other responses; the fit's own keeps its factor. Another one in every thread."""
        if not hasattr(self._own, "refit_engine"):
            self._own.refit_engine = self._same_likelihood().engine
        return self._own.refit_engine
