"""Estimates: the parameters of a fit, their standard errors, and tests of linear hypotheses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..habits import missing
from ..inference.variance import inverse_information
from ..inference.wald import wald
from ..threads import single_threaded
from . import contrasts

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .likelihood import CovarianceLikelihood, Point
    from .model import MixedLM
    from .params import MixedLMParams


class Estimates:
    """What a fit says of its parameters; see `MixedLMResults`."""

    model: MixedLM
    reml: bool

    def __getattr__(self, name: str) -> Any:
        from ..results import LinearMixedModelResults

        refit = "sparselmm.lmer(fit.to_lmer()[0], data)"
        hints = {one: f"{refit}.{one}" for one in dir(LinearMixedModelResults) if one[0] != "_"}
        hints["get_prediction"] = f"{refit}.predict(new, interval='mean')"
        return missing(self, "A fit of MixedLM", name, hints)

    params_object: MixedLMParams
    vcomp_unscaled: np.ndarray
    scale: float
    llf: float
    nobs: int
    df_resid: int
    k_fe: int
    k_re: int
    k_re2: int
    k_vc: int
    use_t = False
    _factors: list[np.ndarray]  # the λ_k
    _beta: np.ndarray | None  # None: the best
    _undefined: np.ndarray  # parameters without a standard error, (k,)
    _free: np.ndarray  # parameters that were not held, (k,)

    def _series(self, values: np.ndarray, names: Iterable[str]) -> np.ndarray | pd.Series:
        """Return values labelled if the data were."""
        return np.asarray(values) if self.model._index is None else pd.Series(values, index=list(names))

    def _square(self, values: np.ndarray, names: Sequence[str]) -> np.ndarray | pd.DataFrame:
        """Return a square matrix labelled if the data were."""
        return np.asarray(values) if self.model._index is None else pd.DataFrame(values, index=names, columns=names)

    @property
    def method(self) -> str:
        """``"REML"`` or ``"ML"``."""
        return "REML" if self.reml else "ML"

    @property
    def df_resid_inference(self) -> int:
        """Rows less fixed effects, the same as `df_resid`."""
        return self.df_resid

    @property
    def params(self) -> np.ndarray | pd.Series:
        """Packed parameters, variances divided by the scale."""
        return self._series(self.params_object.get_packed(use_sqrt=False, has_fe=True), self.model.data.param_names)

    @property
    def fe_params(self) -> np.ndarray | pd.Series:
        """Fixed effects."""
        return self._series(self.params_object.fe_params, self.model.exog_names)

    @property
    def cov_re_unscaled(self) -> np.ndarray | pd.DataFrame:
        """Covariance of the random effects divided by the scale."""
        return self._square(self.params_object.cov_re, self.model.data.exog_re_names)

    @property
    def cov_re(self) -> np.ndarray | pd.DataFrame:
        """Covariance of the random effects."""
        return self._square(self.scale * self.params_object.cov_re, self.model.data.exog_re_names)

    @property
    def vcomp(self) -> np.ndarray:
        """Variance components."""
        return self.scale * self.vcomp_unscaled

    def _point(self) -> tuple[CovarianceLikelihood, Point]:
        """Return the likelihood, and its point of the fit."""
        likelihood = self.model.likelihood(self.reml)
        return likelihood, likelihood.point(self._factors, self._beta)

    @cached_property
    @single_threaded
    def _joint_covariance(self) -> np.ndarray:
        """Covariance of the packed parameters and log σ²: zero for what was held, NaN for what has no standard error.

        With c = -X'V⁻¹r/σ² for β and w'D_pw/(2σ²) for an entry of Ψ, the information is [[H + 2cc'/N, c], [c', N/2]], H
        that of the likelihood with σ² profiled out.
        """
        likelihood, point = self._point()
        residual = -likelihood.exog_residual(point)
        quadratic = 0.5 * likelihood.quadratic_sums(likelihood.residual_effects(point))
        c = np.concatenate([residual, quadratic]) / self.scale
        information = np.zeros((c.size + 1, c.size + 1))
        information[:-1, :-1] = 2.0 * np.outer(c, c) / likelihood.N - likelihood.hessian(point)
        information[:-1, -1] = information[-1, :-1] = c
        information[-1, -1] = likelihood.N / 2.0
        undefined, free = np.append(self._undefined, False), np.append(self._free, True)
        kept = free & ~undefined
        inverse = inverse_information(information[np.ix_(kept, kept)])
        if np.isnan(inverse).any():  # the data do not determine the variances: hold them
            undefined[self.k_fe : -1] |= self._free[self.k_fe :]
            kept &= ~undefined
            inverse = inverse_information(information[np.ix_(kept, kept)])
        covariance = np.zeros((kept.size, kept.size))
        covariance[undefined] = covariance[:, undefined] = np.nan
        covariance[np.ix_(kept, kept)] = inverse
        return covariance

    @property
    def _covariance(self) -> np.ndarray:
        """Covariance of the packed parameters."""
        return self._joint_covariance[:-1, :-1]

    def cov_params(
        self,
        r_matrix: ArrayLike | None = None,
        column: ArrayLike | None = None,
        scale: float | None = None,
        cov_p: ArrayLike | None = None,
        other: ArrayLike | None = None,
    ) -> float | np.ndarray | pd.DataFrame:
        """Return the covariance of the packed parameters, of some of them, or of R params.

        Parameters
        ----------
        r_matrix : array_like (r, k), optional
            Return R cov R', or R cov `other`'.
        column : int or array_like, optional
            Return the variance of one parameter, or the covariance of some.
        scale : float, optional
            Residual variance to use instead of the estimate.
        cov_p : array_like (k, k), optional
            Covariance to use.
        """
        covariance = self._covariance if cov_p is None else np.asarray(cov_p)
        if scale is not None:
            covariance = covariance * (scale / self.scale)
        if column is not None:
            column = np.asarray(column)
            return covariance[column, column] if column.ndim == 0 else covariance[np.ix_(column, column)]
        if r_matrix is not None:
            r_matrix = np.atleast_2d(r_matrix)
            return r_matrix @ covariance @ np.transpose(r_matrix if other is None else other)
        return self._square(covariance, self.model.data.param_names)

    @property
    def normalized_cov_params(self) -> np.ndarray:
        """Covariance of the packed parameters divided by the scale."""
        return self._covariance / self.scale

    @property
    def bse(self) -> np.ndarray | pd.Series:
        """Standard errors of `params`."""
        with np.errstate(invalid="ignore"):
            return self._series(np.sqrt(np.diag(self._covariance)), self.model.data.param_names)

    @property
    def bse_fe(self) -> np.ndarray | pd.Series:
        """Standard errors of the fixed effects."""
        return self._series(np.asarray(self.bse)[: self.k_fe], self.model.exog_names)

    @property
    def _natural_errors(self) -> np.ndarray:
        """Standard errors of the variance parameters σ²ψ in natural units, from those of ψ and log σ²."""
        psi = self.params_object.get_packed(use_sqrt=False)
        part = self._joint_covariance[self.k_fe :, self.k_fe :]
        with_scale, variance_scale = part[:-1, -1], part[-1, -1]
        variance = np.diag(part)[:-1] + 2.0 * psi * with_scale + psi**2 * variance_scale
        return self.scale * np.sqrt(np.where(self._free[self.k_fe :], variance, 0.0))

    @property
    def bse_re(self) -> np.ndarray | pd.Series:
        """Standard errors of the entries of `cov_re` and of `vcomp`, in natural units."""
        return self._series(self._natural_errors, self.model.data.param_names[self.k_fe :])

    @property
    def tvalues(self) -> np.ndarray | pd.Series:
        """`params` over `bse`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.params / self.bse

    @property
    def pvalues(self) -> np.ndarray | pd.Series:
        """Two-sided p-values of `tvalues` from the normal distribution."""
        from ..inference.distributions import two_sided  # brings scipy.special

        return self._series(two_sided(np.asarray(self.tvalues), inf), self.model.data.param_names)

    def conf_int(self, alpha: float = 0.05) -> np.ndarray | pd.DataFrame:
        """Return Wald intervals of `params`, (k, 2)."""
        from ..inference.distributions import t_quantile

        margin = t_quantile(1.0 - alpha / 2.0, inf) * np.asarray(self.bse)
        params = np.asarray(self.params)
        limits = np.column_stack([params - margin, params + margin])
        return limits if self.model._index is None else pd.DataFrame(limits, index=self.model.data.param_names)

    def _information_criterion(self, weight: float) -> float:
        """Return -2 llf plus a weight per parameter, NaN under REML."""
        return np.nan if self.reml else -2.0 * self.llf + weight * (self._free.sum() + 1)

    @property
    def aic(self) -> float:
        """Akaike's criterion; NaN under REML."""
        return self._information_criterion(2.0)

    @property
    def bic(self) -> float:
        """Schwarz's criterion; NaN under REML."""
        return self._information_criterion(np.log(self.nobs))

    def t_test(self, r_matrix: Any, use_t: bool | None = None) -> Any:
        """Return a z test (t test, if `use_t`) of each linear hypothesis on the fixed effects.

        Parameters
        ----------
        r_matrix : str, array_like (r, k_fe), or tuple (R, r)
            Such as ``"x = 0, a = b"``.
        """
        R, r = contrasts.constraints(r_matrix, self.model.exog_names)
        if R.shape[1] != self.k_fe:
            raise ValueError(f"r_matrix for t-test should have {self.k_fe} columns")
        effect, cov = R @ self.params_object.fe_params, R @ self._covariance[: self.k_fe, : self.k_fe] @ R.T
        return contrasts.t_result(effect, r, np.sqrt(np.diag(cov)), bool(use_t), self.df_resid)

    def wald_test(
        self, r_matrix: Any, cov_p: ArrayLike | None = None, use_f: bool | None = None, scalar: bool = True
    ) -> Any:
        """Return the joint test of linear hypotheses on the parameters.

        Parameters
        ----------
        r_matrix : str, array_like (r, k_fe) or (r, k), or tuple (R, r)
        cov_p : array_like (k, k), optional
            Covariance of the parameters to use.
        use_f : bool
            Whether to use the F distribution instead of the chi-squared.
        scalar : bool
            Whether the statistic is a number instead of a (1, 1) array.
        """
        R, r = contrasts.constraints(r_matrix, self.model.data.param_names)
        if R.shape[1] == self.k_fe:
            R = np.column_stack([R, np.zeros((len(R), self.k_re2 + self.k_vc))])
        used = np.flatnonzero(R.any(axis=0))  # others may have no standard error
        R, params = R[:, used], np.asarray(self.params)[used]
        covariance = self._covariance if cov_p is None else np.asarray(cov_p)
        statistic, rank = wald(R, covariance[np.ix_(used, used)], R @ params - r)
        return contrasts.wald_result(statistic if scalar else np.array([[statistic]]), rank, use_f, self.df_resid)

    def f_test(self, r_matrix: Any, cov_p: ArrayLike | None = None) -> Any:
        """Return the joint F test of linear hypotheses."""
        return self.wald_test(r_matrix, cov_p=cov_p, use_f=True)
