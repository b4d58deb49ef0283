"""MixedLM: the classical group-based interface on the sparse engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..caller import warn
from ..checks import check_sizes
from ..engines.choose import check_name, choose_engine
from ..errors import DataError
from ..model import LinearMixedModel
from ..threads import single_threaded
from . import fitting
from .base import GroupedModel
from .distribution import Distribution
from .likelihood import CovarianceLikelihood, existing_factors, factors_of
from .lmer import equivalent
from .params import MixedLMParams
from .penalized import PenalizedLikelihood, unpack_roots
from .regularized import lasso
from .results import MixedLMResults
from .warning import warn_convergence, warn_ignored, warn_singular

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .penalized import CovariancePenalty, Penalty

FIT_OPTIONS = ("gtol", "maxiter", "eps", "maxcor", "ftol", "tol", "disp", "maxls")


class MixedLM(GroupedModel):
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

    def likelihood(self, reml: bool = True) -> CovarianceLikelihood:
        """Return the likelihood at any β and covariance, with an engine analysed for this design."""
        if self._current is None:
            engine = choose_engine(self._cross, self._engine, self._terms)
            self._current = CovarianceLikelihood(self._cross, self._owner, reml, engine)
        elif self._current.reml != reml:
            self._current = CovarianceLikelihood(self._cross, self._owner, reml, self._current.profiled.engine)
        return self._current

    @property
    def lmm(self) -> LinearMixedModel:
        """The equivalent `LinearMixedModel`."""
        return equivalent(self)[1]

    def _penalized(self) -> PenalizedLikelihood:
        """Return the likelihood with the penalties of the last fit."""
        return PenalizedLikelihood(self.likelihood(self.reml), self.k_re, self.fe_pen, self.cov_pen)

    def _unpack(self, params: MixedLMParams | ArrayLike) -> tuple[np.ndarray, list[np.ndarray] | None]:
        """Return β and the λ_k (None where a covariance is not positive semidefinite) of parameters in any form."""
        if isinstance(params, MixedLMParams):
            _check_params(params.fe_params, params.cov_re, params.vcomp)
            return np.asarray(params.fe_params, dtype=float), factors_of(params.cov_re, params.vcomp)
        params, m = np.atleast_1d(np.asarray(params, dtype=float)), self.k_re2 + self.k_vc
        _check_params(params)
        if params.size not in (m, self.k_fe + m):
            raise ValueError(f"params has {params.size} elements; the model has {self.k_fe} + {m} parameters.")
        beta = params[: params.size - m] if params.size > m else np.zeros(self.k_fe)
        return beta, unpack_roots(params[params.size - m :], self.k_re, self.use_sqrt)

    @single_threaded
    def loglike(self, params: MixedLMParams | ArrayLike, profile_fe: bool = True) -> float:
        """Return the log-likelihood with the scale profiled out; REML or ML, and penalties, as in the last fit.

        Parameters
        ----------
        params : MixedLMParams or array_like
            Packed variance parameters (after the fixed effects, if they are given), divided by the scale.
        profile_fe : bool
            Whether the fixed effects are replaced by their best values.

        Returns
        -------
        float
            -inf where a covariance is not positive semidefinite.
        """
        given, factors = self._unpack(params)
        beta = None if profile_fe else given
        penalized = self._penalized()
        return -np.inf if factors is None else penalized.value(penalized.point(factors, beta), factors, beta)

    @single_threaded
    def score(self, params: MixedLMParams | ArrayLike, profile_fe: bool = True) -> np.ndarray:
        """Return the derivatives of `loglike` in the packed variance parameters, as `use_sqrt` has them.

        With ``profile_fe=False`` those in the fixed effects come first. NaN where a covariance is not positive
        semidefinite.
        """
        parts = self._score(params, profile_fe, self.use_sqrt)
        return np.concatenate(parts[1:] if profile_fe else parts)

    @single_threaded
    def score_full(self, params: MixedLMParams | ArrayLike, calc_fe: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the derivatives in the fixed effects (zero unless `calc_fe`), `cov_re` and `vcomp`, β as given."""
        return self._score_parts(params, calc_fe, False)

    @single_threaded
    def score_sqrt(
        self, params: MixedLMParams | ArrayLike, calc_fe: bool = True
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the derivatives in the fixed effects, the Cholesky factor of `cov_re` and the roots of `vcomp`."""
        return self._score_parts(params, calc_fe, True)

    def _score_parts(
        self, params: MixedLMParams | ArrayLike, calc_fe: bool, use_sqrt: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the three parts of the score, the first zero unless `calc_fe`."""
        fixed, correlated, components = self._score(params, False, use_sqrt)
        return fixed if calc_fe else np.zeros(self.k_fe), correlated, components

    def _score(
        self, params: MixedLMParams | ArrayLike, profile_fe: bool, use_sqrt: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the derivatives in β, the correlated part and the components."""
        beta, factors = self._unpack(params)
        penalized = self._penalized()
        point = penalized.point(factors, None if profile_fe else beta)
        if factors is None or point is None:
            return np.full(self.k_fe, np.nan), np.full(self.k_re2, np.nan), np.full(self.k_vc, np.nan)
        covariance = penalized.packed_score(point, factors, use_sqrt, None if profile_fe else beta)
        fixed = np.zeros(self.k_fe) if profile_fe else penalized.fixed_score(point, beta)
        return fixed, covariance[: self.k_re2], covariance[self.k_re2 :]

    @single_threaded
    def hessian(self, params: MixedLMParams | ArrayLike) -> tuple[np.ndarray, bool]:
        """Return the Hessian of the log-likelihood in fixed effects, `cov_re` and `vcomp`, without penalties.

        Parameters
        ----------
        params : MixedLMParams or array_like
            Packed parameters with the fixed effects, as `use_sqrt` has them.

        Returns
        -------
        hess : ndarray
            NaN where a covariance is not positive semidefinite.
        singular : bool
            Whether a covariance is singular.
        """
        beta, factors = self._unpack(params)
        penalized = self._penalized()
        point = penalized.point(factors, beta)
        if factors is None or point is None:
            return np.full((self.k_fe + self.k_re2 + self.k_vc,) * 2, np.nan), True
        masks = [np.ones(factor.shape, dtype=bool) for factor in factors]
        singular = bool(fitting.boundary_entries(penalized.likelihood, factors, masks).any())
        return penalized.likelihood.hessian(point), singular

    @single_threaded
    def get_fe_params(self, cov_re: ArrayLike, vcomp: ArrayLike, tol: float = 1e-10) -> tuple[np.ndarray, bool]:
        """Return the generalised least-squares fixed effects at a relative covariance, and whether it is singular."""
        factors = existing_factors(np.atleast_2d(cov_re) if np.size(cov_re) else [], vcomp)
        likelihood = self.likelihood(self.reml)
        at = likelihood.point(factors).at
        singular = any(np.linalg.svd(factor, compute_uv=False)[-1] ** 2 < tol for factor in factors)
        return self._cross.to_params(at.beta), singular

    @single_threaded
    def get_scale(self, fe_params: ArrayLike, cov_re: ArrayLike, vcomp: ArrayLike) -> float:
        """Return the residual variance at fixed effects and a relative covariance."""
        factors = existing_factors(np.atleast_2d(cov_re) if np.size(cov_re) else [], vcomp)
        likelihood = self.likelihood(self.reml)
        return likelihood.point(factors, fe_params).qf / likelihood.N

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


def _check_params(*arrays: ArrayLike) -> None:
    """Raise a DataError if parameters are missing, infinite or huge."""
    for values in (np.asarray(part, dtype=float) for part in arrays):
        if np.isnan(values).any():
            raise DataError("params holds missing values. Give a number for every parameter.")
        check_sizes([("params", values.ravel())], smallest=0.0)
