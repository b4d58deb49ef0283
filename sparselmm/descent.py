"""A descent of the deviance by trust-region Newton, and what can happen where it ends: zeros, growth, saddles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .boundary import SINGULAR, column_scale
from .covariance import triangle
from .errors import DataError, EngineError
from .progress import SILENT
from .record import Step

if TYPE_CHECKING:
    from .boundary import Boundary
    from .covariance import RelativeFactor
    from .crossproducts import CrossProducts
    from .engines.protocol import Engine
    from .likelihood import Derivatives, Evaluation
    from .progress import Progress

ROUNDING = 1e-8  # predicted decrease, 1e-4 standard errors, that counts as reached if rounding hides it
CURVED = 1e-10  # share of the largest curvature below which a negative one is rounding
PATIENCE, LIMIT = 6, 60  # evaluations before the exact Hessian is taken if the descent crawls, and in any case


def trust_region_step(gradient: np.ndarray, hessian: np.ndarray, radius: float) -> np.ndarray:
    """Return the minimiser of g's + s'Hs/2 within |s| <= radius, hard case included (Moré & Sorensen 1983)."""
    eigenvalues, Q = np.linalg.eigh(hessian)
    g = Q.T @ gradient
    largest = np.abs(eigenvalues).max()
    shift = max(0.0, -eigenvalues[0])
    near = eigenvalues + shift <= 1e-10 * largest  # directions in which the shifted Hessian is singular
    size = np.linalg.norm(g[near])
    if size <= 1e-12 * max(np.linalg.norm(g), largest * radius):
        s = np.where(near, 0.0, -g / np.where(near, 1.0, eigenvalues + shift))
        length = np.linalg.norm(s)
        if length <= radius:
            if eigenvalues[0] < -CURVED * largest:  # hard case: go on where the curvature is most negative
                s[0] = np.sqrt(radius**2 - length**2) * (1.0 if g[0] <= 0 else -1.0)
            return Q @ s
        g = np.where(near, 0.0, g)
    mu = shift + size / radius
    for _ in range(50):  # Newton on 1/|s(mu)| = 1/radius, monotone from the left, where |s| >= radius
        s = np.where(g == 0.0, 0.0, -g / np.where(g == 0.0, 1.0, eigenvalues + mu))
        length = np.linalg.norm(s)
        if abs(length - radius) < 1e-6 * radius:
            break
        slope = np.sum(s**2 / np.where(s == 0.0, 1.0, eigenvalues + mu))
        mu += (length / radius - 1.0) * length**2 / slope
    return Q @ s


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The quadratic model of the deviance at one evaluation, in θ divided by its scale."""

    gradient: np.ndarray
    hessian: np.ndarray
    A: list[np.ndarray]

    def decrease(self, s: np.ndarray) -> float:
        """Return the decrease that the model promises for the step s."""
        return float(-(self.gradient @ s + 0.5 * s @ self.hessian @ s))


class Criterion(Protocol):
    """What is minimised: a `ProfiledLikelihood`, or one of which some entries of θ do not move."""

    @property
    def cross(self) -> CrossProducts:
        """The sums that it is computed from."""

    @property
    def map(self) -> RelativeFactor:
        """The map between θ and the λ_k."""

    @property
    def engine(self) -> Engine:
        """Who factors M(θ)."""

    def evaluate(self, theta: np.ndarray) -> Evaluation:
        """Return the deviance and its by-products at θ."""

    def derivatives(self, at: Evaluation) -> Derivatives:
        """Return gradient and information at an evaluation."""

    def hessian(self, at: Evaluation, derivatives: Derivatives) -> np.ndarray:
        """Return the Hessian of the deviance, (m, m)."""


class Run:
    """Evaluations of one likelihood, recorded; θ is measured in `scale`."""

    def __init__(
        self,
        likelihood: Criterion,
        scale: np.ndarray,
        tolerance: float,
        max_evaluations: int,
        progress: Progress = SILENT,
    ) -> None:
        self.likelihood = likelihood
        self.progress = progress
        self.scale = scale
        self.tolerance = max(tolerance, likelihood.engine.tolerance)
        self.slack = likelihood.engine.slack
        self.max_evaluations = max_evaluations
        self.steps: list[Step] = []
        self.gain = 1.0  # decrease of the last accepted step over what it promised
        self.crawls = False

    def evaluate(self, theta: np.ndarray, radius: float = np.nan) -> Evaluation | None:
        """Return the Evaluation at θ, or None where the likelihood cannot be computed."""
        try:
            evaluation = self.likelihood.evaluate(theta)
        except (EngineError, DataError):
            if not self.steps:
                raise
            evaluation = None
        deviance = np.inf if evaluation is None else evaluation.deviance
        self.steps.append(Step(theta, deviance, False, radius))
        self.progress.step(deviance)
        return evaluation

    def accept(self) -> None:
        """Mark the last evaluation as the current point."""
        self.steps[-1] = replace(self.steps[-1], accepted=True)

    @property
    def exhausted(self) -> bool:
        """True if no evaluation is left."""
        return len(self.steps) >= self.max_evaluations

    def quadratic(self, at: Evaluation) -> Quadratic:
        """Return the quadratic model at an evaluation: average information, or the exact Hessian where that crawls.

        The average information is far above the Hessian where a random column has a mean that is not among the fixed
        effects. Steps are then too short by orders of magnitude, and each gains twice what it promises.
        """
        d = self.likelihood.derivatives(at)
        self.crawls |= len(self.steps) >= (PATIENCE if self.gain > 1.5 else LIMIT)
        hessian = self.likelihood.hessian(at, d) if self.crawls else d.hessian
        gradient = d.gradient * self.scale
        self.steps[-1] = replace(self.steps[-1], gradient_norm=float(np.linalg.norm(gradient)))
        self.progress.step(at.deviance, self.steps[-1].gradient_norm)
        return Quadratic(gradient, hessian * np.outer(self.scale, self.scale), d.A)

    def negligible(self, decrease: float, deviance: float) -> bool:
        """True if a decrease is below the tolerance or below the rounding of the deviance."""
        return decrease < max(self.tolerance, 4.0 * np.finfo(float).eps * abs(deviance))

    def gained(self, decrease: float, predicted: float) -> float:
        """Return the decrease over what was predicted; one where they are closer than the engine tells them apart."""
        return 1.0 if abs(decrease - predicted) < self.slack else decrease / predicted

    def descend(self, at: Evaluation) -> tuple[Evaluation, Quadratic]:
        """Return the stationary point that trust-region Newton reaches from `at`, with its quadratic model."""
        self.accept()
        radius, model = 1.0, self.quadratic(at)
        while not self.exhausted:
            s = trust_region_step(model.gradient, model.hessian, radius)
            predicted = model.decrease(s)
            if self.negligible(predicted, at.deviance) or radius < 1e-12:
                break
            trial = self.evaluate(at.theta + self.scale * s, radius)
            length = float(np.linalg.norm(s))
            gain = -1.0 if trial is None else self.gained(at.deviance - trial.deviance, predicted)
            if gain < 0.25:
                radius = 0.25 * length
            elif gain > 0.75 and length > 0.9 * radius:
                radius *= 2.0
            if trial is not None and trial.deviance <= at.deviance + max(self.slack, 1e-13 * abs(at.deviance)):
                self.accept()
                self.gain = gain
                at, model = trial, self.quadratic(trial)
            elif predicted < ROUNDING:
                break
        return at, model

    def snap(self, at: Evaluation) -> Evaluation | None:
        """Return the evaluation with directions of λ_k that are all but zero set to zero, or None if that costs."""
        map_ = self.likelihood.map
        factors = [self._without_zeros(k, factor) for k, factor in enumerate(map_.unpack(at.theta))]
        theta = map_.canonical(map_.pack(factors))
        if self.exhausted or np.array_equal(theta, map_.canonical(at.theta)):
            return None
        trial = self.evaluate(theta)
        return trial if trial is not None and trial.deviance - at.deviance < self.tolerance else None

    def _without_zeros(self, k: int, factor: np.ndarray) -> np.ndarray:
        """Return λ_k with scaled singular values below SINGULAR removed, itself if there are none."""
        size = column_scale(self.likelihood.map, self.scale, k)[:, None]
        if self.likelihood.map.shapes[k].structure == "diagonal":
            return np.where(np.abs(factor / size) < SINGULAR, 0.0, factor)
        left, values, _ = np.linalg.svd(factor / size)
        if values[-1] >= SINGULAR or values[-1] == 0.0:
            return factor
        left = left * np.where(values < SINGULAR, 0.0, values)
        return triangle(left.T).T * size

    def escape(self, at: Evaluation, boundary: Boundary) -> Evaluation | None:
        """Return an evaluation with lower deviance where a variance at zero wants to grow, or None.

        θ = 0 is stationary whatever the data say, so a descent can end there; the sign of A_k tells.
        """
        map_, k = self.likelihood.map, boundary.term
        for size in (0.3, 0.03, 0.003):
            if self.exhausted:
                return None
            factors = map_.unpack(at.theta)
            factors[k] = boundary.grown(factors[k], size)
            trial = self.evaluate(map_.pack(factors))
            if trial is not None and at.deviance - trial.deviance > self.tolerance:
                return trial
        return None

    def leave_saddle(self, at: Evaluation, model: Quadratic) -> tuple[Evaluation | None, Quadratic]:
        """Return an evaluation with lower deviance along a direction of negative curvature, or None, and the model.

        Where a λ_k is singular the model holds no more than the first derivative in a variance: one that rounding made
        negative promises a decrease that no step finds. Such directions are flat in the model returned.
        """
        eigenvalues, Q = np.linalg.eigh(model.hessian)
        curved = eigenvalues < -CURVED * np.abs(eigenvalues).max()
        if self.negligible(model.decrease(trust_region_step(model.gradient, model.hessian, 1.0)), at.deviance):
            return None, model
        for direction in Q[:, curved].T:
            for size in (0.3, -0.3, 0.03, -0.03, 0.003, -0.003):
                if self.exhausted:
                    return None, model
                trial = self.evaluate(at.theta + size * self.scale * direction)
                if trial is not None and at.deviance - trial.deviance > max(ROUNDING, self.slack):
                    return trial, model
        return None, replace(model, hessian=Q * np.where(curved, 0.0, eigenvalues) @ Q.T)
