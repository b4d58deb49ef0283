"""MixedLMParams: fixed effects, covariance of the random effects and variance components, packed and unpacked.

The variance parameters of this parameterisation are divided by the residual variance. A packed vector holds the fixed
effects (or not), the lower triangle of the covariance or of its Cholesky factor row after row, and the variance
components or their square roots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

INDEFINITE = -1e-10  # eigenvalue, relative to the largest, below which a matrix is no covariance


class MixedLMParams:
    """Parameters of a mixed linear model whose scale is profiled out.

    Parameters
    ----------
    k_fe, k_re, k_vc : int
        Numbers of fixed effects, of correlated random effects and of variance components.

    Attributes
    ----------
    fe_params : ndarray (k_fe,)
    cov_re : ndarray (k_re, k_re)
        Covariance of the random effects divided by the residual variance.
    vcomp : ndarray (k_vc,)
        Variance components divided by the residual variance.
    """

    def __init__(self, k_fe: int, k_re: int, k_vc: int) -> None:
        self.k_fe, self.k_re, self.k_vc = k_fe, k_re, k_vc
        self.k_re2 = k_re * (k_re + 1) // 2
        self.k_tot = self.k_fe + self.k_re2 + self.k_vc
        self.fe_params, self.cov_re, self.vcomp = np.zeros(k_fe), np.zeros((k_re, k_re)), np.zeros(k_vc)

    @staticmethod
    def from_packed(params: ArrayLike, k_fe: int, k_re: int, use_sqrt: bool, has_fe: bool) -> MixedLMParams:
        """Return the parameters in a packed vector.

        Parameters
        ----------
        params : array_like
        k_fe, k_re : int
        use_sqrt : bool
            Whether the vector holds the Cholesky factor and square roots.
        has_fe : bool
            Whether it starts with the fixed effects; they are zero otherwise.
        """
        params = np.asarray(params, dtype=float)
        k_re2 = k_re * (k_re + 1) // 2
        first = k_fe if has_fe else 0
        self = MixedLMParams(k_fe, k_re, params.size - first - k_re2)
        if has_fe:
            self.fe_params = params[:k_fe]
        lower = np.zeros((k_re, k_re))
        lower[np.tril_indices(k_re)] = params[first : first + k_re2]
        self.cov_re = lower @ lower.T if use_sqrt else lower + np.tril(lower, -1).T
        vcomp = params[first + k_re2 :]
        self.vcomp = vcomp**2 if use_sqrt else vcomp
        return self

    @staticmethod
    def from_components(
        fe_params: Any = None, cov_re: Any = None, cov_re_sqrt: ArrayLike | None = None, vcomp: Any = None
    ) -> MixedLMParams:
        """Return the parameters from their parts; `cov_re_sqrt` is a lower-triangular root of `cov_re`."""
        fe_params = np.empty(0) if fe_params is None else fe_params
        vcomp = np.empty(0) if vcomp is None else vcomp
        if cov_re_sqrt is not None:
            cov_re = np.dot(cov_re_sqrt, np.transpose(cov_re_sqrt))
        cov_re = np.empty((0, 0)) if cov_re is None else cov_re
        self = MixedLMParams(len(fe_params), len(cov_re), len(vcomp))
        self.fe_params, self.cov_re, self.vcomp = fe_params, cov_re, vcomp
        return self

    def copy(self) -> MixedLMParams:
        """Return a copy."""
        fe_params, cov_re, vcomp = (np.array(part, dtype=float) for part in (self.fe_params, self.cov_re, self.vcomp))
        return MixedLMParams.from_components(fe_params, cov_re, vcomp=vcomp)

    def get_packed(self, use_sqrt: bool, has_fe: bool = False) -> np.ndarray:
        """Return the packed vector, with the fixed effects first if `has_fe`.

        With `use_sqrt` it holds the Cholesky factor of `cov_re`, the square roots of its diagonal if it is not
        positive definite.
        """
        lower, vcomp = np.asarray(self.cov_re, dtype=float), np.asarray(self.vcomp, dtype=float)
        if use_sqrt:
            vcomp = np.sqrt(vcomp)
            try:
                lower = np.linalg.cholesky(lower)
            except np.linalg.LinAlgError:
                lower = np.diag(np.sqrt(np.diag(lower)))
        parts = [lower[np.tril_indices(self.k_re)], vcomp]
        return np.concatenate([np.asarray(self.fe_params), *parts] if has_fe else parts)


def lower_root(cov: np.ndarray) -> np.ndarray | None:
    """Return a lower-triangular root of a covariance (c, c), singular or not; None if it is not semidefinite."""
    try:
        return np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(cov)
        if not values[0] >= INDEFINITE * max(abs(values[-1]), np.finfo(float).tiny):
            return None
        root = np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0.0))).T, mode="r").T  # type: ignore[attr-defined]  # this mode returns R alone
        return root * np.where(np.diag(root) < 0, -1.0, 1.0)


def tril_of(shape: int) -> list[tuple[int, int]]:
    """Return rows and columns of the lower triangle of a (c, c) matrix, row after row."""
    return list(zip(*map(np.ndarray.tolist, np.tril_indices(shape)), strict=True))
