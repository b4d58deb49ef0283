"""The profiled likelihood of θ: deviance, gradient and average information. Reads beside docs/math.md."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve, lapack

from .engines.choose import choose_engine
from .errors import DataError
from .traces import Reduced

if TYPE_CHECKING:
    from .crossproducts import CrossProducts
    from .engines.protocol import Engine

MOST_WORK = 2e8  # multiplications of exact traces (some 0.1 s) above which differences of the gradient are faster
PROBES = 8  # of the traces of a Hessian
STEP = 1e-5  # of the natural size of θ in differences: larger ones truncate (InstEval), smaller ones round (Machines)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What the likelihood is at one θ.

    Attributes
    ----------
    theta : ndarray (m,)
    deviance : float
        -2 log-likelihood, or the REML criterion.
    beta : ndarray (p,)
        Fixed effects in the pilot basis (`CrossProducts.to_params` takes them to the user's).
    scale : float
        σ², the residual variance.
    u, b : ndarray (q,)
        Spherical and actual random effects, b = Λu.
    R : ndarray (p, p)
        Upper Cholesky factor of X'V⁻¹X in the pilot basis (V in units of σ²).
    U, w : ndarray (q, p), ndarray (q,)
        M⁻¹Λ'Z'X and Z'Py, equations (1) and (5).
    """

    theta: np.ndarray
    deviance: float
    beta: np.ndarray
    scale: float
    u: np.ndarray
    b: np.ndarray
    R: np.ndarray
    U: np.ndarray
    w: np.ndarray


@dataclass(frozen=True, eq=False)
class Derivatives:
    """First and second derivatives of the deviance in θ at one evaluation.

    Attributes
    ----------
    gradient : ndarray (m,)
    hessian : ndarray (m, m)
        Average information plus the exact curvature of Λ in θ, equation (9).
    information : ndarray (m, m)
        v_p'W_Pv_q/σ², the part of the average information that the data decide.
    A : list of ndarray (c_k, c_k)
        Derivatives in the relative covariance λ_kλ_k', equation (8): they decide the boundary.
    """

    gradient: np.ndarray
    hessian: np.ndarray
    information: np.ndarray
    A: list[np.ndarray]


class ProfiledLikelihood:
    """d(θ) of a linear mixed model, β and σ² profiled out (Bates et al. 2015, section 3.4).

    Parameters
    ----------
    cross : CrossProducts
    reml : bool
    engine : Engine, optional
        Who factors M(θ); chosen from the cross-products by default.
    """

    def __init__(self, cross: CrossProducts, reml: bool = True, engine: Engine | None = None) -> None:
        self.cross = cross
        self.reml = reml
        self.engine = choose_engine(cross) if engine is None else engine
        self.map = cross.relative_factor
        self.n_effective = cross.nobs - (cross.n_fixed if reml else 0)  # N
        self._factored: np.ndarray | None = None
        self._ZXy = np.column_stack([cross.ZX, cross.Zy])

    def evaluate(self, theta: np.ndarray) -> Evaluation:
        """Return the deviance and its by-products at θ: equations (1)-(5)."""
        cross, engine, p, N = self.cross, self.engine, self.cross.n_fixed, self.n_effective
        theta = np.array(theta, dtype=float)
        factors = self.map.unpack(theta)
        self.factorize(theta)

        LZXy = self.map.tdot(factors, self._ZXy)
        solved = engine.solve(LZXy)
        U, u_y = solved[:, :p], solved[:, p]
        reduced = LZXy.T @ solved  # (1)
        XVX = cross.XX - reduced[:p, :p]
        XVy = cross.Xy - reduced[:p, p]
        R, info = lapack.dpotrf(XVX, lower=0) if p else (XVX, 0)
        if info:
            raise DataError("The fixed effects are not estimable: X'V⁻¹X is singular. Take another start=.")
        beta = cho_solve((R, False), XVy, check_finite=False) if p else XVy  # (2)
        u = u_y - U @ beta
        r2 = cross.yy - reduced[p, p] - beta @ XVy  # (3)
        if not r2 > 0:
            raise DataError("The residual variance is zero: the model fits the response exactly. Leave out a term.")
        deviance = engine.logdet() - cross.log_weights + N * (1.0 + np.log(2.0 * np.pi * r2 / N))  # (4)
        if self.reml:
            deviance += 2.0 * np.log(np.diag(R)).sum() - cross.basis_logdet
        b = self.map.dot(factors, u[:, None])
        w = cross.Zy - cross.ZX @ beta - engine.gram_dot(b)[:, 0]  # (5)
        return Evaluation(theta, float(deviance), beta, r2 / N, u, b[:, 0], R, U, w)

    def factorize(self, theta: np.ndarray) -> None:
        """Have the engine hold the factor of M(θ); nothing is done if it does."""
        if theta is not self._factored:
            self._factored = None
            self.engine.factorize(theta)
            self._factored = theta

    def derivatives(self, at: Evaluation) -> Derivatives:
        """Return gradient and information at an evaluation: equations (7)-(9)."""
        self.factorize(at.theta)
        engine, cross, shapes, scale = self.engine, self.cross, self.map.shapes, at.scale
        factors = self.map.unpack(at.theta)
        F = cross.ZX - engine.gram_dot(self.map.dot(factors, at.U))  # (5)
        FR = lapack.dtrtrs(at.R, F.T, lower=0, trans=1)[0].T if F.shape[1] else F  # F(R'R)⁻¹F' = FR FR'

        A, V = [], np.zeros((self.map.n_effects, self.map.n_theta))
        curvature = np.zeros((self.map.n_theta, self.map.n_theta))
        for k, D in enumerate(engine.marginal_block_sums()):
            shape, part = shapes[k], self.map.effect_slices[k]
            w = at.w[part].reshape(shape.n_levels, shape.n_columns)
            u = at.u[part].reshape(w.shape)
            A_k = D - w.T @ w / scale  # (8)
            if self.reml:
                level_FR = FR[part].reshape(shape.n_levels, shape.n_columns, -1).transpose(1, 0, 2)
                level_FR = level_FR.reshape(shape.n_columns, -1)
                A_k = A_k - level_FR @ level_FR.T
            A.append(A_k)
            rows, cols = shape.entries
            theta_part = self.map.theta_slices[k]
            v = V[part, theta_part].reshape(shape.n_levels, shape.n_columns, -1)
            for p, (i, j) in enumerate(zip(rows, cols, strict=True)):  # D_p w_j with D_p = E_ij λ' + λ E_ij'
                v[:, j:, p] = w[:, i, None] * factors[k][j:, j]
                v[:, i, p] += u[:, j]
            V[part, theta_part] = v.reshape(shape.n_effects, -1)
            curvature[theta_part, theta_part] = 2.0 * A_k[np.ix_(rows, rows)] * (cols[:, None] == cols)
        gradient = self.map.pack([2.0 * A_k @ factor for A_k, factor in zip(A, factors, strict=True)])

        a = V.T @ at.w / scale
        SV = engine.gram_dot(V)
        LSV = self.map.tdot(factors, SV)
        FV = FR.T @ V
        information = (V.T @ SV - LSV.T @ engine.solve(LSV, rough=True) - FV.T @ FV) / scale  # V'W_PV/σ²
        hessian = information - np.outer(a, a) / self.n_effective + curvature  # (9)
        return Derivatives(gradient, 0.5 * (hessian + hessian.T), information, A)

    def hessian(self, at: Evaluation, derivatives: Derivatives) -> np.ndarray:
        """Return the Hessian of the deviance, (m, m): equation (10).

        Where q is large, an exact engine takes differences of the gradient, and a stochastic one probes for the traces.
        """
        reduced, grams = Reduced(self, at), None
        if reduced.work > MOST_WORK:
            if not self.engine.slack:
                return self._differenced_hessian(at)
            estimates = reduced.probed_grams(np.random.default_rng(0), PROBES, rough=True)
            grams = {pair: np.sum([found[pair] for found in estimates], axis=0) / PROBES for pair in estimates[0]}
        traces = reduced.criterion_traces(reduced.directions, self.reml, grams)
        hessian = derivatives.hessian + derivatives.information - traces
        return 0.5 * (hessian + hessian.T)

    def _differenced_hessian(self, at: Evaluation) -> np.ndarray:
        """Return the central difference of the gradient, 2m evaluations."""
        hessian = np.empty((self.map.n_theta, self.map.n_theta))
        for p, size in enumerate(self.theta_scale):
            step = np.zeros(self.map.n_theta)
            step[p] = STEP * max(size, abs(at.theta[p]))
            ahead, behind = (self.derivatives(self.evaluate(at.theta + s)).gradient for s in (step, -step))
            hessian[p] = (ahead - behind) / (2.0 * step[p])
        return 0.5 * (hessian + hessian.T)

    @cached_property
    def theta_scale(self) -> np.ndarray:
        """Natural size of every entry of θ, (m,): one over the root mean square of its row's column."""
        rows = [1.0 / self.cross.column_scale(k) for k in range(len(self.map.shapes))]
        return self.map.pack([np.tile(row[:, None], (1, row.size)) for row in rows])
