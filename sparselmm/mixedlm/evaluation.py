"""EvaluatedModel: the likelihood of the classical interface and its derivatives at any parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..checks import check_sizes
from ..engines.choose import choose_engine
from ..errors import DataError
from ..threads import single_threaded
from . import fitting
from .base import GroupedModel
from .likelihood import CovarianceLikelihood, existing_factors, factors_of
from .params import MixedLMParams
from .penalized import PenalizedLikelihood, unpack_roots

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class EvaluatedModel(GroupedModel):
    """A model whose likelihood has values and derivatives; see `MixedLM`."""

    def likelihood(self, reml: bool = True) -> CovarianceLikelihood:
        """Return the likelihood at any β and covariance, with an engine analysed for this design."""
        if self._current is None:
            engine = choose_engine(self._cross, self._engine, self._terms)
            self._current = CovarianceLikelihood(self._cross, self._owner, reml, engine)
        elif self._current.reml != reml:
            self._current = CovarianceLikelihood(self._cross, self._owner, reml, self._current.profiled.engine)
        return self._current

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


def _check_params(*arrays: ArrayLike) -> None:
    """Raise a DataError if parameters are missing, infinite or huge."""
    for values in (np.asarray(part, dtype=float) for part in arrays):
        if np.isnan(values).any():
            raise DataError("params holds missing values. Give a number for every parameter.")
        check_sizes([("params", values.ravel())], smallest=0.0)
