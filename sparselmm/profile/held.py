"""Coordinates in which one parameter of a mixed model is a coordinate and the others are free.

Each class takes y, of the length of x = (θ, s), s = log σ², to x, and says which element of y is held. In these
coordinates the deviance is smooth, and even about every boundary: a standard deviation of zero, a correlation of ±1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..engines.choose import choose_engine
from ..likelihood import ProfiledLikelihood
from .interpolation import N
from .joint import Expansion, Joint

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts

ZERO_PIVOT = 1e-12  # of a variance: below it the rest of a Cholesky column is zero


class Held:
    """A parameter that is an element of x itself: σ, as log σ² = x[m], or a fixed effect.

    Parameters
    ----------
    joint : Joint
    x : ndarray
        The optimum.
    slot : int
        Which element is held.

    Attributes
    ----------
    caps : dict
        |zeta| where an element of `signs` is zero, as far as that is known.
    """

    low, high = -np.inf, np.inf  #: bounds of the held coordinate
    signs: tuple[int, ...] = ()  #: elements of y that are standard deviations: of one sign

    def __init__(self, joint: Joint, x: np.ndarray, slot: int) -> None:
        self.joint, self.slot, self.units = joint, slot, joint.units
        self.free = np.delete(np.arange(x.size), slot)
        self.start = x
        self.caps: dict[int, float] = {}

    def admits(self, y: np.ndarray) -> bool:
        """Return whether y stands for the value that is held: `signs` are of one sign."""
        return bool(np.prod(y[list(self.signs)]) >= 0.0)

    def x(self, y: np.ndarray) -> np.ndarray:
        """Return x = (θ, s, ...)."""
        return y

    def expand(self, y: np.ndarray) -> Expansion:
        """Return the expansion of the deviance in y."""
        return self.joint.expand(y)

    @staticmethod
    def value(t: N) -> N:
        """Return the parameter in natural units."""
        return t

    @staticmethod
    def rate(t: np.ndarray) -> np.ndarray:
        """Return the derivative of `value`."""
        return np.ones_like(t)


class ResidualSd(Held):
    """σ, held as log σ²."""

    @staticmethod
    def value(t: N) -> N:
        return np.exp(0.5 * t)

    @staticmethod
    def rate(t: np.ndarray) -> np.ndarray:
        return 0.5 * np.exp(0.5 * t)


class Transformed(Held, ABC):
    """A parameter held through a map from y to x with Jacobian J and second derivatives: equation (L5)."""

    def expand(self, y: np.ndarray) -> Expansion:
        at = self.joint.expand(self.x(y))
        J, bend = self.derivatives(y, at.gradient)
        return replace(at, gradient=J.T @ at.gradient, hessian=J.T @ at.hessian @ J + bend)

    @abstractmethod
    def derivatives(self, y: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ∂x/∂y and Σ_i gradient_i ∂²x_i/∂y²."""


class Sd(Transformed):
    """The standard deviation v = σθ_i of the first column of a term; y has v in place of θ_i."""

    low = 0.0

    def __init__(self, joint: Joint, x: np.ndarray, slot: int) -> None:
        super().__init__(joint, x, slot)
        self.start = x.copy()
        self.start[slot] = x[slot] * np.exp(0.5 * x[-1])

    def x(self, y: np.ndarray) -> np.ndarray:
        x = y.copy()
        x[self.slot] *= np.exp(-0.5 * y[-1])
        return x

    def derivatives(self, y: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ∂x/∂y and Σ_i gradient_i ∂²x_i/∂y²."""
        i, shrink = self.slot, np.exp(-0.5 * y[-1])
        J, bend = np.eye(y.size), np.zeros((y.size, y.size))
        J[i, i], J[i, -1] = shrink, -0.5 * y[i] * shrink
        bend[i, -1] = bend[-1, i] = -0.5 * shrink * gradient[i]
        bend[-1, -1] = 0.25 * y[i] * shrink * gradient[i]
        return J, bend


class Correlation(Transformed):
    """The correlation sin t of the first two columns of a term, whose second row is r (sin t, cos t).

    y has t and r in place of the entries (2, 1) and (2, 2) of λ.
    """

    low, high = -0.5 * np.pi, 0.5 * np.pi

    def __init__(self, joint: Joint, x: np.ndarray, first: int, slot: int, length: int) -> None:
        super().__init__(joint, x, slot)
        self.length, self.signs = length, (first, length)
        self.start = x.copy()
        self.start[slot] = np.arctan2(x[slot], x[length])
        self.start[length] = np.hypot(x[slot], x[length])

    def x(self, y: np.ndarray) -> np.ndarray:
        x, t, r = y.copy(), y[self.slot], y[self.length]
        x[self.slot], x[self.length] = r * np.sin(t), r * np.cos(t)
        return x

    def derivatives(self, y: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ∂x/∂y and Σ_i gradient_i ∂²x_i/∂y²."""
        i, k, r = self.slot, self.length, y[self.length]
        sin, cos = np.sin(y[i]), np.cos(y[i])
        J, bend = np.eye(y.size), np.zeros((y.size, y.size))
        J[i, i], J[i, k], J[k, i], J[k, k] = r * cos, sin, -r * sin, cos
        bend[i, i] = -r * (sin * gradient[i] + cos * gradient[k])
        bend[i, k] = bend[k, i] = cos * gradient[i] - sin * gradient[k]
        return J, bend

    @staticmethod
    def value(t: N) -> N:
        return np.sin(t)

    @staticmethod
    def rate(t: np.ndarray) -> np.ndarray:
        return np.cos(t)


def reordered(cross: CrossProducts, k: int, order: Sequence[int]) -> CrossProducts:
    """Return the cross-products with the columns of term k in another order."""
    part, c = cross.relative_factor.effect_slices[k], len(order)
    effects = np.arange(cross.n_effects)
    effects[part] = effects[part].reshape(-1, c)[:, order].ravel()
    own = effects[part] - part.start
    blocks = {}
    for (first, second), block in cross.cross.items():
        block = block[own] if first == k else block
        blocks[first, second] = block[:, own] if second == k else block
    diagonal = list(cross.diagonal)
    diagonal[k] = np.ascontiguousarray(diagonal[k][:, order][:, :, order])
    return replace(cross, ZX=cross.ZX[effects], Zy=cross.Zy[effects], diagonal=tuple(diagonal), cross=blocks)


def lower_factor(G: np.ndarray) -> np.ndarray:
    """Return λ, lower triangular, with λλ' = G, its columns zero at pivots of zero."""
    G, factor = G.copy(), np.zeros(G.shape)
    variances = np.diag(G).copy()
    for j in range(G.shape[0]):
        if G[j, j] > ZERO_PIVOT * variances[j]:
            factor[j:, j] = G[j:, j] / np.sqrt(G[j, j])
            G -= np.outer(factor[:, j], factor[:, j])
    return factor


class Orders:
    """The joint deviance and its optimum for each order of a term's columns, made when asked for."""

    def __init__(self, likelihood: ProfiledLikelihood, theta: np.ndarray, scale: float) -> None:
        self.likelihood, self.theta, self.scale = likelihood, theta, scale
        self._made: dict[tuple[int, ...], tuple[Joint, np.ndarray]] = {}

    def optimum(self, k: int = 0, order: Sequence[int] = ()) -> tuple[Joint, np.ndarray]:
        """Return the Joint with the columns of term k in the given order, and x = (θ, s) at the optimum."""
        key = () if list(order) == sorted(order) else (k, *order)
        if key not in self._made:
            likelihood, theta = self.likelihood, self.theta
            if key:
                cross = reordered(likelihood.cross, k, list(order))
                likelihood = ProfiledLikelihood(cross, reml=False, engine=choose_engine(cross))
            factors = likelihood.map.unpack(theta)
            for i, factor in enumerate(factors):
                rows = factor[list(order)] if key and i == k else factor
                factors[i] = lower_factor(rows @ rows.T)
            theta = likelihood.map.pack(factors)
            joint = Joint(likelihood, theta, (k, np.argsort(order)) if key else None)
            self._made[key] = joint, np.append(theta, np.log(self.scale))
        return self._made[key]
