"""MixedLMResults: a fit of the classical class, in its packed parameters and labelled."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..threads import single_threaded
from .blocks import GroupBlocks
from .estimates import Estimates
from .fitting import boundary_entries
from .lmer import equivalent
from .params import MixedLMParams
from .resampling import bootstrap, profile_re
from .storage import RemovedModel, load, save
from .summary import Summary, summary_of

if TYPE_CHECKING:
    from pathlib import Path

    from ..model import LinearMixedModel
    from .classical import Outcome
    from .distribution import Random
    from .fitting import Problem
    from .model import MixedLM


class MixedLMResults(Estimates):
    """Results of a fitted `MixedLM`.

    Labelled Series and DataFrames if the data of the model had labels, else arrays.

    Attributes
    ----------
    model : MixedLM
    params : Series or ndarray
        Fixed effects, lower triangle of the random-effects covariance, variance components; the latter two divided
        by `scale`. `params_object` holds the same.
    fe_params : Series or ndarray (k_fe,)
    cov_re, cov_re_unscaled : DataFrame or ndarray (k_re, k_re)
        Covariance of the random effects, and the same divided by `scale`.
    vcomp : ndarray (k_vc,)
        Variance components.
    scale : float
        Residual variance.
    llf : float
        Log-likelihood, restricted under REML, minus penalties.
    method : {"REML", "ML"}
    converged : bool
    message : str
        Why the optimisation ended.
    hist : list of dict or None
        One entry for each method of optimisation that was tried, if ``full_output`` was asked for.
    boundary : ndarray of bool
        Which variance parameters belong to a singular covariance; these have no standard errors.
    """

    def __init__(
        self, model: MixedLM, problem: Problem, outcome: Outcome, full_output: bool, free: MixedLMParams | None
    ) -> None:
        likelihood = problem.likelihood
        point = likelihood.point(outcome.factors, outcome.beta)
        beta = likelihood.cross.to_params(point.at.beta) if outcome.beta is None else outcome.beta
        psi = [factor @ factor.T for factor in outcome.factors]
        k_re = model.k_re
        cov_re = psi[0] if k_re else np.zeros((0, 0))
        self.vcomp_unscaled = np.array([matrix[0, 0] for matrix in psi[bool(k_re) :]])
        self.model, self.reml, self.freepat = model, likelihood.reml, free
        self.params_object = MixedLMParams.from_components(np.asarray(beta), cov_re, vcomp=self.vcomp_unscaled)
        self.scale = point.qf / likelihood.N
        self.llf = problem.penalized.value(point, outcome.factors, outcome.beta)
        self.converged, self.message = outcome.converged, outcome.message
        self.hist = outcome.history if full_output else None
        self.fe_pen, self.cov_pen = problem.penalized.fe_pen, problem.penalized.cov_pen
        self.boundary = boundary_entries(likelihood, outcome.factors, problem.masks) & problem.free_entries
        self._undefined = np.concatenate([np.zeros(model.k_fe, dtype=bool), self.boundary])
        self._free = np.concatenate([problem.free_beta, problem.free_entries])
        self._factors, self._beta = outcome.factors, outcome.beta
        self._take_sizes()

    def _take_sizes(self) -> None:
        """Take the numbers that summaries and tests need of the model."""
        model = self.model
        self.k_fe, self.k_re, self.k_re2, self.k_vc = model.k_fe, model.k_re, model.k_re2, model.k_vc
        self.nobs, self.use_sqrt = model.nobs, model.use_sqrt
        self.df_resid = model.nobs - model.k_fe
        self.group_sizes = model._grouping.sizes

    @cached_property
    @single_threaded
    def _effects(self) -> np.ndarray:
        """Conditional means of all random columns, (q,): ΨZ'V⁻¹(y - Xβ)."""
        likelihood, point = self._point()
        w, map_ = likelihood.residual_effects(point)[:, None], likelihood.map
        return map_.dot(self._factors, map_.tdot(self._factors, w))[:, 0]

    @cached_property
    def random_effects(self) -> dict[Any, pd.Series]:
        """Conditional means of the random effects, a Series for each group: effects, then components."""
        model = self.model
        if not self.k_vc:  # the same names in every group
            index = pd.Index(model.data.exog_re_names)
            rows = self._effects.reshape(-1, self.k_re)
            return {label: pd.Series(row, index=index) for label, row in zip(model.group_labels, rows, strict=True)}
        order, parts = np.argsort(model._owner, kind="stable"), np.cumsum(np.bincount(model._owner))[:-1]
        names = np.split(model._effect_names[order], parts)
        effects = np.split(self._effects[order], parts)
        return {
            label: pd.Series(values, index=index)
            for label, values, index in zip(model.group_labels, effects, names, strict=True)
        }

    @cached_property
    @single_threaded
    def random_effects_cov(self) -> dict[Any, pd.DataFrame]:
        """Covariance of the random effects given the data, β and the variances, a DataFrame for each group."""
        model, covariances = self.model, {}
        order, parts = np.argsort(model._owner, kind="stable"), np.cumsum(np.bincount(model._owner))[:-1]
        names = np.split(model._effect_names[order], parts)
        for groups, blocks in GroupBlocks(model._cross, model._owner).conditional(self._factors):
            for group, block in zip(groups, blocks, strict=True):
                covariances[group] = pd.DataFrame(self.scale * block, index=names[group], columns=names[group])
        return {label: covariances[group] for group, label in enumerate(model.group_labels)}

    @cached_property
    def fittedvalues(self) -> np.ndarray | pd.Series:
        """Xβ plus the predicted random effects, (n,)."""
        model, start = self.model, 0
        values = model.exog @ self.params_object.fe_params
        for term in model._terms:
            values += term.Z @ self._effects[start : start + term.n_effects]
            start += term.n_effects
        return values if model._index is None else pd.Series(values, index=model._index)

    @cached_property
    def resid(self) -> np.ndarray | pd.Series:
        """Response minus `fittedvalues`, (n,)."""
        return self.model.endog - self.fittedvalues

    def predict(self, exog: Any = None, transform: bool = True) -> np.ndarray | pd.Series:
        """Return the fixed part of the mean.

        Parameters
        ----------
        exog : DataFrame or array_like, optional
            New data for the formula, or the fixed-effects columns. Default: the data of the fit.
        transform : bool
            Whether new data pass through the formula of the model.
        """
        return self.model._predict(self.params_object.fe_params, exog, transform)

    def summary(
        self,
        yname: str | None = None,
        xname_fe: Sequence[str] | None = None,
        xname_re: Sequence[str] | None = None,
        title: str | None = None,
        alpha: float = 0.05,
    ) -> Summary:
        """Return the classical summary table, as text and as HTML.

        Parameters
        ----------
        yname, title : str, optional
        xname_fe, xname_re : list of str, optional
            Names of the fixed effects and of the variance parameters.
        alpha : float
            One minus the level of the intervals.
        """
        return summary_of(self, yname, xname_fe, xname_re, title, alpha)

    def profile_re(
        self,
        re_ix: int | str,
        vtype: str,
        num_low: int = 5,
        dist_low: float = 1.0,
        num_high: int = 5,
        dist_high: float = 1.0,
        **fit_kwargs: Any,
    ) -> np.ndarray:
        """Return the profile likelihood of a variance: values in natural units and log-likelihoods, (k, 2).

        Parameters
        ----------
        re_ix : int or str
            Position of a random effect (`vtype` "re") or name of a variance component ("vc").
        vtype : {"re", "vc"}
        num_low, num_high : int
            Points below and above the estimate.
        dist_low, dist_high : float
            How far below and above the estimate they start and end.
        """
        return profile_re(self, re_ix, vtype, (num_low, dist_low), (num_high, dist_high), fit_kwargs)

    def bootstrap(
        self,
        nrep: int = 100,
        method: str | Sequence[str] | None = None,
        disp: int = 0,
        store: int = 1,
        rng: Random = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mean, standard deviation and all replicates of `params` in a parametric bootstrap.

        Parameters
        ----------
        nrep : int
            Replicates: simulate the response from the fit, and fit again.
        method : str, optional
            Optimiser, as in `MixedLM.fit`.
        disp : bool
            Not used.
        store : bool
            Whether the replicates are kept in `bootstrap_results`.
        rng : int or Generator, optional
        """
        replicates = bootstrap(self, nrep, method, rng)
        if store:
            self.bootstrap_results = replicates
        return replicates.mean(axis=0), replicates.std(axis=0), replicates

    def to_lmer(self) -> tuple[str, LinearMixedModel]:
        """Return the lme4 formula that the call meant, and the same model as a `LinearMixedModel`.

        Returns
        -------
        formula : str
        model : LinearMixedModel
        """
        return equivalent(self.model, self.freepat)

    def save(self, fname: str | Path, remove_data: bool = False) -> None:
        """Write the results to a file (.npz: arrays and JSON, no pickle).

        Penalties, masks and the state of functions in formulas are not written: loaded results predict from design
        matrices. Labels of groups and rows that are no numbers or dates become strings.

        Parameters
        ----------
        fname : str or path
        remove_data : bool
            Whether to leave out the data of the model, as `remove_data` does.
        """
        save(self, fname, remove_data)

    @classmethod
    def load(cls, fname: str | Path) -> MixedLMResults:
        """Return the results that `save` wrote.

        Raises
        ------
        DataError
            If that is not what the file holds; no code of a file is run.
        """
        return load(cls, fname)

    def remove_data(self) -> None:
        """Forget the data of the model; summaries, tests and predictions for new data remain."""
        self._joint_covariance  # noqa: B018  computed while there are data
        for name in ("_effects", "random_effects", "random_effects_cov", "fittedvalues", "resid"):
            vars(self).pop(name, None)
        model = self.model
        index = None if model._index is None else model._index[:0]
        data = SimpleNamespace(**{name: value for name, value in vars(model.data).items() if name != "frame"})
        names = data, model.endog_names, model.exog_names
        left = RemovedModel(*names, model.formula, index, model._columns)
        self.model = left  # type: ignore[assignment]  # a stand-in that says what it lacks
