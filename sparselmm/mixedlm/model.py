"""MixedLM: the classical group-based interface on the sparse engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..caller import warn
from ..engines.choose import check_name
from ..model import LinearMixedModel
from ..threads import single_threaded
from . import fitting
from .distribution import Distribution
from .evaluation import EvaluatedModel
from .lmer import equivalent
from .params import MixedLMParams
from .regularized import lasso
from .results import MixedLMResults
from .warning import warn_convergence, warn_ignored, warn_singular

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .penalized import CovariancePenalty, Penalty

FIT_OPTIONS = ("gtol", "maxiter", "eps", "maxcor", "ftol", "tol", "disp", "maxls")


class MixedLM(EvaluatedModel):
    """Linear mixed model Y = Xβ + Zγ + ε within disjoint groups: statsmodels' class on the sparse engine.

    Parameters
    ----------
    endog : array_like, shape (n,)
        Response.
    exog : array_like, shape (n, k_fe)
        Fixed-effects columns, an intercept included if there is to be one.
    groups : array_like, shape (n,)
        Labels of the groups. Groups are independent; one group holds crossed variance components.
    exog_re : array_like, shape (n, k_re), optional
        Columns with correlated random effects. Default: a random intercept, if there is no `exog_vc`.
    exog_vc : VCSpec or dict, optional
        Variance components.
    use_sqrt : bool
        Whether packed variance parameters are Cholesky factors and square roots.
    missing : {"none", "drop", "raise"}
        What to do with missing values in `endog`, `exog`, `groups` or `exog_re`.

    Attributes
    ----------
    endog, exog, exog_re, groups : ndarray
    k_fe, k_re, k_re2, k_vc, n_groups, nobs : int
        Fixed effects, random effects, entries of their covariance, variance components, groups, rows.
    group_labels : list
        Sorted.
    exog_vc : VCSpec
    aliased : tuple of Alias
        Variances that no response could tell apart in this design; a `DataWarning` says each.
    data : namespace
        Names: param_names, exog_re_names, exog_re_names_full, vcomp_names.

    Raises
    ------
    DataError
        Naming what is wrong with the data and the remedy.

    References
    ----------
    Lindstrom & Bates (1988), Newton-Raphson and EM algorithms for linear mixed-effects models, J. Am. Stat. Assoc. 83.

    Examples
    --------
    >>> import sparselmm
    >>> data = sparselmm.datasets.load("sleepstudy")
    >>> model = sparselmm.MixedLM.from_formula("Reaction ~ Days", data, groups="Subject", re_formula="~Days")
    >>> fit = model.fit()
    >>> fit.fe_params.round(3)
    Intercept    251.405
    Days          10.467
    dtype: float64
    """

    @property
    def lmm(self) -> LinearMixedModel:
        """The equivalent `LinearMixedModel`."""
        return equivalent(self)[1]

    def predict(self, params: MixedLMParams | ArrayLike, exog: ArrayLike | None = None) -> np.ndarray:
        """Return the fixed part Xβ of the mean, for `exog` or for the data of the model."""
        beta = params.fe_params if isinstance(params, MixedLMParams) else np.asarray(params)[: self.k_fe]
        return np.dot(self.exog if exog is None else exog, beta)

    def get_distribution(self, params: ArrayLike, scale: float, exog: ArrayLike | None) -> Distribution:
        """Return the distribution of the response, whose ``rvs`` simulates it.

        Parameters
        ----------
        params : array_like
            Fixed effects, lower triangle of the covariance and components, the latter two divided by the scale.
        scale : float
            Residual variance.
        exog : array_like or None
            Other fixed-effects columns.
        """
        return Distribution(self, MixedLMParams.from_packed(params, self.k_fe, self.k_re, False, True), scale, exog)

    @single_threaded
    def fit(
        self,
        start_params: MixedLMParams | ArrayLike | None = None,
        reml: bool = True,
        niter_sa: int = 0,
        do_cg: bool = True,
        fe_pen: Penalty | None = None,
        cov_pen: CovariancePenalty | None = None,
        free: MixedLMParams | None = None,
        full_output: bool = False,
        method: str | Sequence[str] | None = None,
        engine: str = "auto",
        **fit_kwargs: Any,
    ) -> MixedLMResults:
        """Fit the model.

        Parameters
        ----------
        start_params : MixedLMParams or array_like, optional
            Start values, packed with or without the fixed effects. By default from moments.
        reml : bool
            Restricted maximum likelihood or maximum likelihood.
        niter_sa : int
            Ignored.
        do_cg : bool
            If False, the results are those at the start values.
        fe_pen, cov_pen : penalty, optional
            Penalties on the fixed effects and on the covariance of the random effects (divided by the scale), with
            statsmodels' methods ``func`` and ``deriv``.
        free : MixedLMParams, optional
            Mask: parameters where it is 0 are held at their start values.
        full_output : bool
            Whether the results have the history of the optimisation, `hist`.
        method : str or list of str, optional
            Default: Newton with a certificate (also "newton", "ncg"). "bfgs", "lbfgs", "cg", "powell", "nm" and
            "basinhopping" are scipy's; of a list each starts where the one before did not converge. Penalties and
            masks of single covariances or fixed effects take the first three by default.
        engine : {"auto", "cholmod", "dense"}
            Who does the linear algebra, as in `LinearMixedModel.fit`; "dense" is the classical one, group by group.
        **fit_kwargs
            maxiter and disp; of scipy's methods also gtol, eps, maxcor, ftol, tol and maxls.

        Returns
        -------
        MixedLMResults

        Warns
        -----
        ConvergenceWarning
            If the optimum could not be certified, or is on the boundary of the parameter space.
        SingularMatrixWarning
            If the covariance of the random effects is singular.

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("Dyestuff")
        >>> fit = sparselmm.MixedLM.from_formula("Yield ~ 1", data, groups="Batch").fit(reml=False)
        >>> round(fit.llf, 3)
        -163.664
        """
        unknown = sorted(set(fit_kwargs) - set(FIT_OPTIONS))
        if unknown:
            message = f"Argument{'s' * (len(unknown) > 1)} {', '.join(unknown)} not used by MixedLM.fit. Remove them."
            warn(message, FutureWarning)
            fit_kwargs = {name: fit_kwargs[name] for name in fit_kwargs if name in FIT_OPTIONS}
        if niter_sa > 0:
            warn_ignored("niter_sa is currently ignored")
        methods = fitting.method_names(method)
        check_name(engine)
        if engine != self._engine:
            self._engine, self._current = engine, None
        self.reml, self.fe_pen, self.cov_pen = reml, fe_pen, cov_pen
        problem = fitting.Problem(self._penalized(), self.k_fe, self.use_sqrt, *self._start(start_params), free)
        outcome = problem.solve(methods, fit_kwargs) if do_cg else problem.unsolved()
        if do_cg and not outcome.converged:
            warn_convergence(outcome.message)
        results = MixedLMResults(self, problem, outcome, full_output, free)
        if do_cg and results.boundary.any():
            warn_convergence("The MLE may be on the boundary of the parameter space.")
            warn_singular()
        return results

    def _start(
        self, start_params: MixedLMParams | ArrayLike | None
    ) -> tuple[np.ndarray | None, list[np.ndarray] | None]:
        """Return β and the λ_k at the start, None each where they are not given."""
        if start_params is None:
            return None, None
        beta, factors = self._unpack(start_params)
        if factors is None:
            raise ValueError("invalid start_params: a covariance is not positive semidefinite.")
        given = isinstance(start_params, MixedLMParams) or np.size(start_params) > self.k_re2 + self.k_vc
        return (beta if given and beta.size == self.k_fe else None), factors

    def fit_regularized(
        self,
        start_params: ArrayLike | None = None,
        method: str | Penalty = "l1",
        alpha: ArrayLike = 0,
        ceps: float = 1e-4,
        ptol: float = 1e-6,
        maxit: int = 200,
        **fit_kwargs: Any,
    ) -> MixedLMResults:
        """Fit with penalised fixed effects.

        Parameters
        ----------
        start_params : array_like, optional
            Start values of the fit without penalty.
        method : "l1" or penalty
            With "l1" the covariance is that of the fit without penalty, and coordinate descent minimises
            ``r'V⁻¹r + Σ alpha|β|`` given it. A penalty is that of `fit`'s `fe_pen`, scaled by `alpha`.
        alpha : float or array_like
            Weight of every fixed effect.
        ceps : float
            Fixed effects that fall below this stay zero.
        ptol : float
            Largest change of a fixed effect in the last cycle.
        maxit : int
            Most cycles.
        **fit_kwargs
            Those of `fit`.
        """
        if isinstance(method, str):
            if method.lower() != "l1":
                raise ValueError("Invalid regularization method")
            fit = self.fit(start_params, **fit_kwargs)
            return lasso(fit, np.broadcast_to(np.asarray(alpha, dtype=float), (self.k_fe,)), ceps, ptol, maxit)
        method.alpha = alpha
        return self.fit(start_params, fe_pen=method, **fit_kwargs)
