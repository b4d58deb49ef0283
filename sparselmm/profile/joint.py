"""The ML deviance as a function of θ and s = log σ², with exact derivatives, and the same with a fixed effect held."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve

from ..likelihood import ProfiledLikelihood

if TYPE_CHECKING:
    from ..covariance import RelativeFactor
    from ..likelihood import Evaluation

EXACT = 200  # random effects up to which every Hessian is exact; beyond, its distance from (9) is that at the optimum


@dataclass(frozen=True, eq=False)
class Expansion:
    """Value, gradient and Hessian of the deviance at one point of some coordinates.

    Attributes
    ----------
    deviance : float
    gradient, hessian : ndarray (r,), ndarray (r, r)
    beta : ndarray (p,)
        The best fixed effects there, in the pilot basis.
    """

    deviance: float
    gradient: np.ndarray
    hessian: np.ndarray
    beta: np.ndarray


class Joint:
    """D(θ, s), β profiled out and σ² = exp(s) not; x = (θ, s).

    Parameters
    ----------
    likelihood : ProfiledLikelihood
        Of maximum likelihood.
    theta : ndarray (m,)
        The optimum.
    order : tuple, optional
        Which term has its columns in another order than the model, and where the model's columns are.
    """

    def __init__(
        self, likelihood: ProfiledLikelihood, theta: np.ndarray, order: tuple[int, np.ndarray] | None = None
    ) -> None:
        self.likelihood, self.order = likelihood, order
        self.units = np.append(likelihood.theta_scale, 1.0)
        self.correction = None
        if likelihood.map.n_effects > EXACT:
            at = likelihood.evaluate(theta)
            derivatives = likelihood.derivatives(at)
            self.correction = likelihood.hessian(at, derivatives) - derivatives.hessian

    def factors(self, x: np.ndarray) -> list[np.ndarray]:
        """Return the λ_k at x, rows in the order of the model's columns."""
        factors = self.likelihood.map.unpack(x[: self.likelihood.map.n_theta])
        if self.order is not None:
            k, rows = self.order
            factors[k] = factors[k][rows]
        return factors

    def expand(self, x: np.ndarray) -> Expansion:
        """Return the expansion at x = (θ, s): equations (L1) and (L2)."""
        at = self.likelihood.evaluate(x[:-1])
        return Expansion(*self._expand(self.likelihood, at, x[-1]), at.beta)

    def _expand(self, likelihood: ProfiledLikelihood, at: Evaluation, s: float) -> tuple[float, np.ndarray, np.ndarray]:
        """Return deviance, gradient and Hessian in (θ, s) of a likelihood evaluated at θ."""
        N, m, scale = likelihood.n_effective, at.theta.size, np.exp(s)
        misfit = N * at.scale / scale  # r²/σ²
        deviance = at.deviance + N * (s - 1.0 - np.log(at.scale)) + misfit
        at = replace(at, scale=scale)
        derivatives = likelihood.derivatives(at)
        if self.correction is None:
            hessian = likelihood.hessian(at, derivatives)
        else:
            hessian = derivatives.hessian + self.correction
        mixed = slopes(likelihood.map, at.theta, at.w, at.w) / scale
        H = np.empty((m + 1, m + 1))
        H[:m, :m] = hessian + np.outer(mixed, mixed) / N
        H[:m, m] = H[m, :m] = mixed
        H[m, m] = misfit
        return deviance, np.append(derivatives.gradient, N - misfit), H


class JointWithFixedEffect(Joint):
    """D(θ, s, b) with fixed effect number j held at b and the others profiled out; x = (θ, s, b).

    The likelihood of y - (b - b₀)h on the columns orthogonal to h, in the pilot basis: equation (L3).

    Parameters
    ----------
    joint : Joint
        Of the same likelihood.
    likelihood : ProfiledLikelihood
        With an engine that `joint` does not use.
    j : int
    """

    def __init__(self, joint: Joint, likelihood: ProfiledLikelihood, j: int) -> None:
        self.likelihood, self.order, self.correction = likelihood, joint.order, joint.correction
        self.units = np.append(joint.units, 1.0)
        cross = likelihood.cross
        row = cross.basis[j]
        length = np.linalg.norm(row)
        self.direction = row / length**2  # of β in the pilot basis where b grows by one
        self.others = np.linalg.svd(row[None, :])[2][1:].T  # (p, p-1), the directions that leave b alone
        self.center = float(row @ cross.center)  # b₀
        h, B = self.direction, self.others
        self.Zh, self.Xh = cross.ZX @ h, B.T @ cross.XX @ h
        self.hh, self.hy = float(h @ cross.XX @ h), float(h @ cross.Xy)
        self.cross = replace(
            cross,
            XX=B.T @ cross.XX @ B,
            Xy=B.T @ cross.Xy,
            ZX=cross.ZX @ B,
            basis=np.eye(row.size - 1),
            center=np.zeros(row.size - 1),
        )

    def expand(self, x: np.ndarray) -> Expansion:
        """Return the expansion at x = (θ, s, b): equations (L3)-(L4)."""
        cross, shift, m = self.cross, x[-1] - self.center, x.size - 2
        held = replace(
            cross,
            Xy=cross.Xy - shift * self.Xh,
            Zy=cross.Zy - shift * self.Zh,
            yy=cross.yy - shift * (2.0 * self.hy - shift * self.hh),
        )
        likelihood = ProfiledLikelihood(held, reml=False, engine=self.likelihood.engine)
        at = likelihood.evaluate(x[:m])
        deviance, gradient, hessian = self._expand(likelihood, at, x[m])

        map_, scale = likelihood.map, np.exp(x[m])
        factors = map_.unpack(at.theta)
        LZh = map_.tdot(factors, self.Zh[:, None])
        u = likelihood.engine.solve(LZh)[:, 0]
        XVh = self.Xh - at.U.T @ LZh[:, 0]
        gamma = cho_solve((at.R, False), XVh) if XVh.size else XVh
        hPh = self.hh - LZh[:, 0] @ u - XVh @ gamma
        b = map_.dot(factors, (u - at.U @ gamma)[:, None])
        f = self.Zh - cross.ZX @ gamma - likelihood.engine.gram_dot(b)[:, 0]  # Z'Ph
        slope = -2.0 / scale * (self.hy - shift * self.hh - self.Xh @ at.beta - self.Zh @ at.b)

        last = np.concatenate([2.0 / scale * slopes(map_, at.theta, f, at.w), [-slope, 2.0 * hPh / scale]])
        H = np.empty((m + 2, m + 2))
        H[: m + 1, : m + 1] = hessian
        H[m + 1] = H[:, m + 1] = last
        beta = self.others @ at.beta + shift * self.direction
        return Expansion(deviance, np.append(gradient, slope), H, beta)


def slopes(map_: RelativeFactor, theta: np.ndarray, f: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return f'D_p w summed over levels for every entry of θ, (m,): f'(wλ) + w'(fλ)."""
    products = []
    for factor, shape, part in zip(map_.unpack(theta), map_.shapes, map_.effect_slices, strict=True):
        left = f[part].reshape(shape.n_levels, shape.n_columns)
        right = w[part].reshape(left.shape)
        products.append((left.T @ right + right.T @ left) @ factor)
    return map_.pack(products)
