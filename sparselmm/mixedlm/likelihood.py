"""The likelihood at any parameters: ℓ(β, Ψ) with σ² profiled out, its gradient and its Hessian.

Ψ_k = λ_kλ_k' is the covariance of one level of term k in units of σ². With r = y - Xβ, V = I + ZΨZ', C = X'V⁻¹X:

    ℓ = -½(log|V| + [REML] log|C| + N(1 + log(2π r'V⁻¹r/N)))

Everything is computed in the q random columns: Φ = Z'V⁻¹Z, F = Z'V⁻¹X, w = Z'V⁻¹r, g = X'V⁻¹r.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg as sla

from ..likelihood import Evaluation, ProfiledLikelihood
from ..traces import Reduced
from .blocks import trace_products
from .params import lower_root, tril_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..crossproducts import CrossProducts
    from ..engines.protocol import Engine


@dataclass(frozen=True, eq=False)
class Point:
    """The likelihood at (β, Ψ).

    Attributes
    ----------
    at : Evaluation
        At Ψ and its best β, in the pilot basis.
    shift : ndarray (p,)
        β minus the best β, in the pilot basis.
    qf : float
        r'V⁻¹r.
    """

    at: Evaluation
    shift: np.ndarray
    qf: float


class CovarianceLikelihood:
    """ℓ(β, Ψ) of one model by maximum likelihood or REML.

    Parameters
    ----------
    cross : CrossProducts
        Of the correlated random effects, if there are any, and then of the variance components.
    owner : ndarray (q,)
        Group of every random column: columns of different groups share no row.
    reml : bool
    engine : Engine, optional
        Of another likelihood of the same design, which is not used any more.
    """

    def __init__(self, cross: CrossProducts, owner: np.ndarray, reml: bool, engine: Engine | None = None) -> None:
        self.cross, self.owner, self.reml = cross, owner, reml
        self.profiled = ProfiledLikelihood(cross, reml, engine)
        self.map, self.N = self.profiled.map, self.profiled.n_effective
        self.entries = [
            (k, i, j) for k, shape in enumerate(cross.shapes) for i, j in tril_of(shape.n_columns)
        ]  # of Ψ: term, row and column

    def point(self, factors: list[np.ndarray], beta: ArrayLike | None = None) -> Point:
        """Return the likelihood at Ψ_k = λ_kλ_k' and at β (p,) in the user's columns; by default the best β."""
        at = self.profiled.evaluate(self.map.pack(factors))
        shift = np.zeros(self.cross.n_fixed)
        if beta is not None and shift.size:
            pilot = sla.solve_triangular(self.cross.basis, np.asarray(beta, dtype=float))
            shift = pilot - self.cross.center - at.beta
        return Point(at, shift, float(self.N * at.scale + np.sum((at.R @ shift) ** 2)))

    def value(self, point: Point) -> float:
        """Return ℓ."""
        return -0.5 * (point.at.deviance + self.N * np.log(point.qf / (self.N * point.at.scale)))

    def exog_gram(self, point: Point) -> np.ndarray:
        """Return C = X'V⁻¹X in the user's columns, (p, p)."""
        root = self._in_user_basis(point.at.R.T)
        return root @ root.T

    def exog_residual(self, point: Point) -> np.ndarray:
        """Return g = X'V⁻¹(y - Xβ) in the user's columns, (p,)."""
        R = point.at.R
        return -self._in_user_basis(R.T @ (R @ point.shift))

    def _in_user_basis(self, values: np.ndarray) -> np.ndarray:
        """Return T⁻ᵀ values: rows by the columns of X instead of those of the pilot basis."""
        return sla.solve_triangular(self.cross.basis, values, trans=1) if len(values) else values

    def _random_exog(self, point: Point) -> np.ndarray:
        """Return F in the pilot basis, (q, p)."""
        factors = self.map.unpack(point.at.theta)
        return self.cross.ZX - self.profiled.engine.gram_dot(self.map.dot(factors, point.at.U))

    def residual_effects(self, point: Point) -> np.ndarray:
        """Return w = Z'V⁻¹(y - Xβ), (q,)."""
        w = point.at.w
        return w - self._random_exog(point) @ point.shift if point.shift.any() else w

    def _levels(self, k: int, values: np.ndarray) -> np.ndarray:
        """Return the rows of values (q, ...) of term k by level, (l, c, ...)."""
        shape = self.cross.shapes[k]
        return values[self.map.effect_slices[k]].reshape(shape.n_levels, shape.n_columns, *values.shape[1:])

    def quadratic_sums(self, values: np.ndarray) -> np.ndarray:
        """Return values'D_p values for every entry p of Ψ, D_p = ∂Ψ/∂p in every level; values (q,)."""
        sums = [v.T @ v for v in (self._levels(k, values) for k in range(len(self.cross.shapes)))]
        return np.array([(1 + (i != j)) * sums[k][i, j] for k, i, j in self.entries])

    def gradient(self, point: Point) -> list[np.ndarray]:
        """Return ∂ℓ/∂Ψ_k as symmetric matrices (c_k, c_k): -½(Σ_j Φ_jj - [REML] F_jC⁻¹F_j' - N w_jw_j'/qf)."""
        A = self.profiled.derivatives(point.at).A  # at the best β
        best, w = point.at.w, self.residual_effects(point)
        gradients = []
        for k, A_k in enumerate(A):
            here, there = self._levels(k, w), self._levels(k, best)
            gradients.append(0.5 * (self.N * here.T @ here / point.qf - there.T @ there / point.at.scale - A_k))
        return gradients

    def fixed_effects_jacobian(self, point: Point) -> np.ndarray:
        """Return the derivatives of the best β in the entries of Ψ, (p, entries): -C⁻¹F'D_pw."""
        FDw = self._random_exog(point).T @ self._scaled(point.at.w[:, None])[:, 0]
        return -self.cross.basis @ sla.cho_solve((point.at.R, False), FDw)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        """Return D_p values for every entry p of Ψ, (q, r, entries), of values (q, r)."""
        scaled = np.zeros((*values.shape, len(self.entries)))
        for p, (k, i, j) in enumerate(self.entries):
            source, target = self._levels(k, values), self._levels(k, scaled[:, :, p])
            target[:, i] = source[:, j]
            target[:, j] = source[:, i]
            scaled[self.map.effect_slices[k], :, p] = target.reshape(-1, values.shape[1])
        return scaled

    def hessian(self, point: Point) -> np.ndarray:
        """Return the Hessian of ℓ in (β, entries of Ψ), in the user's columns.

        With Q = Φ - [REML] FC⁻¹F' and b_p = w'D_pw its blocks are

            ββ  -N(C/qf - 2gg'/qf²)          βp  -N(F'D_pw/qf - g b_p/qf²)
            pq   ½tr(QD_pQD_q) - ½N(2w'D_pΦD_qw/qf - b_pb_q/qf²)
        """
        reduced, N, qf = Reduced(self.profiled, point.at), self.N, point.qf
        q, p, m = self.map.n_effects, self.cross.n_fixed, len(self.entries)
        F = self._random_exog(point)
        w = self.residual_effects(point)
        g, C = self.exog_residual(point), self.exog_gram(point)
        Dw = self._scaled(w[:, None])[:, 0]
        b = w @ Dw
        cross = self._in_user_basis(F.T @ Dw)
        hessian = np.empty((p + m, p + m))
        hessian[:p, :p] = -N * (C / qf - 2.0 * np.outer(g, g) / qf**2)
        hessian[:p, p:] = -N * (cross / qf - np.outer(g, b) / qf**2)
        hessian[p:, :p] = hessian[:p, p:].T
        curvature = Dw.T @ reduced.marginal_dot(Dw)
        hessian[p:, p:] = -0.5 * N * (2.0 * curvature / qf - np.outer(b, b) / qf**2)
        if self.reml and p:
            G = reduced.FR  # FC⁻¹F' = GG'
            DG = self._scaled(G)
            flat = DG.reshape(q, p * m)
            product = reduced.marginal_dot(flat).reshape(q, p, m)
            GDG = np.einsum("qa,qbp->pab", G, DG)
            hessian[p:, p:] += 0.5 * np.einsum("pab,rba->pr", GDG, GDG) - np.einsum("qap,qar->pr", DG, product)
        hessian[p:, p:] += 0.5 * trace_products(self, reduced.factors)
        return 0.5 * (hessian + hessian.T)


def factors_of(cov_re: Any, vcomp: Any) -> list[np.ndarray] | None:
    """Return the λ_k of a relative covariance (if it has rows) and variance components; None if one is negative."""
    matrices = [np.asarray(cov_re, dtype=float)] if len(cov_re) else []
    matrices += [np.array([[float(value)]]) for value in vcomp]
    factors = [factor for factor in map(lower_root, matrices) if factor is not None]
    return factors if len(factors) == len(matrices) else None


def existing_factors(cov_re: Any, vcomp: Any) -> list[np.ndarray]:
    """Return the λ_k; raise a ValueError if a covariance is not positive semidefinite."""
    factors = factors_of(cov_re, vcomp)
    if factors is None:
        raise ValueError("cov_re or vcomp is no covariance: it is not positive semidefinite. Correct it.")
    return factors
