"""The penalised log-likelihood in packed parameters, square roots or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import DataError, EngineError
from .likelihood import CovarianceLikelihood, Point, factors_of
from .params import MixedLMParams


class Penalty(Protocol):
    """A penalty on the fixed effects, as statsmodels' Penalty."""

    alpha: Any  #: weights

    def func(self, params: np.ndarray, /) -> float:
        """Return the penalty at β."""

    def deriv(self, params: np.ndarray, /) -> np.ndarray:
        """Return its derivatives in β, (p,)."""


class CovariancePenalty(Protocol):
    """A penalty on the covariance of the random effects, as statsmodels' CovariancePenalty."""

    def func(self, mat: np.ndarray, mat_inv: np.ndarray, /) -> float:
        """Return the penalty at a covariance, given with its inverse."""

    def deriv(self, mat: np.ndarray, mat_inv: np.ndarray, /) -> np.ndarray:
        """Return its derivatives in the lower triangle of the covariance, row after row."""


@dataclass(frozen=True, eq=False)
class PenalizedLikelihood:
    """ℓ(β, Ψ) minus penalties on β and on the covariance of the correlated random effects.

    Attributes
    ----------
    likelihood : CovarianceLikelihood
    k_re : int
        Correlated random effects: the first term, if there are any.
    fe_pen, cov_pen : Penalty or None, CovariancePenalty or None
    """

    likelihood: CovarianceLikelihood
    k_re: int
    fe_pen: Penalty | None = None
    cov_pen: CovariancePenalty | None = None

    def point(self, factors: list[np.ndarray] | None, beta: np.ndarray | None = None) -> Point | None:
        """Return the point at Ψ_k = λ_kλ_k' and β (default: the best), None where there is no likelihood."""
        try:
            return None if factors is None else self.likelihood.point(factors, beta)
        except (EngineError, DataError):
            return None

    def value(self, point: Point | None, factors: list[np.ndarray], beta: np.ndarray | None = None) -> float:
        """Return the penalised log-likelihood at a point, -inf for None."""
        if point is None:
            return -np.inf
        value = self.likelihood.value(point)
        if self.cov_pen is not None and self.k_re:
            value -= self.cov_pen.func(*_with_inverse(factors[0]))
        if self.fe_pen is not None:
            value -= self.fe_pen.func(self._beta(point, beta))
        return float(value)

    def _beta(self, point: Point, beta: np.ndarray | None) -> np.ndarray:
        """Return β in the user's columns, by default the best."""
        return self.likelihood.cross.to_params(point.at.beta) if beta is None else np.asarray(beta)

    def fixed_score(self, point: Point, beta: np.ndarray | None) -> np.ndarray:
        """Return the derivatives in β, (p,)."""
        score = self.likelihood.N * self.likelihood.exog_residual(point) / point.qf
        return score if self.fe_pen is None else score - self.fe_pen.deriv(self._beta(point, beta))

    def gradient(self, point: Point, factors: list[np.ndarray], beta: np.ndarray | None = None) -> list[np.ndarray]:
        """Return the derivatives in Ψ_k as symmetric matrices; β follows Ψ if it is not given."""
        gradient = self.likelihood.gradient(point)
        if self.cov_pen is not None and self.k_re:
            gradient[0] -= _symmetric(self.cov_pen.deriv(*_with_inverse(factors[0])), self.k_re)
        if self.fe_pen is not None and beta is None:
            slope = self.fe_pen.deriv(self._beta(point, None)) @ self.likelihood.fixed_effects_jacobian(point)
            start = 0
            for k, matrix in enumerate(gradient):
                stop = start + matrix.shape[0] * (matrix.shape[0] + 1) // 2
                gradient[k] = matrix - _symmetric(slope[start:stop], matrix.shape[0])
                start = stop
        return gradient

    def packed_score(
        self, point: Point, factors: list[np.ndarray], use_sqrt: bool, beta: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the derivatives in the lower triangles of λ_k (`use_sqrt`) or of Ψ_k, row after row."""
        parts = []
        for matrix, factor in zip(self.gradient(point, factors, beta), factors, strict=True):
            derivative = 2.0 * matrix @ factor if use_sqrt else 2.0 * matrix - np.diag(np.diag(matrix))
            parts.append(derivative[np.tril_indices(len(matrix))])
        return np.concatenate(parts)


def _with_inverse(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return λλ' and its inverse, a pseudo-inverse if it is singular."""
    cov = factor @ factor.T
    try:
        return cov, np.linalg.inv(cov)
    except np.linalg.LinAlgError:
        return cov, np.linalg.pinv(cov)


def _symmetric(lower: np.ndarray, size: int) -> np.ndarray:
    """Return the symmetric G with Σ_ij G_ij dΨ_ij = lower'd(lower triangle of Ψ)."""
    matrix = np.zeros((size, size))
    matrix[np.tril_indices(size)] = lower
    return 0.5 * (matrix + matrix.T)


def unpack_roots(packed: np.ndarray, k_re: int, use_sqrt: bool) -> list[np.ndarray] | None:
    """Return the λ_k in packed variance parameters; None if a covariance is not positive semidefinite."""
    if not use_sqrt:
        params = MixedLMParams.from_packed(packed, 0, k_re, False, False)
        return factors_of(params.cov_re, params.vcomp)
    k_re2 = k_re * (k_re + 1) // 2
    lower = np.zeros((k_re, k_re))
    lower[np.tril_indices(k_re)] = packed[:k_re2]
    return [lower] * bool(k_re) + [np.array([[value]]) for value in packed[k_re2:]]
