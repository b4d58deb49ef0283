"""Trust-region Newton on θ with the average information, and the record of the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from .boundary import SINGULAR, column_scale, find_boundary, flat_terms
from .covariance import triangle
from .errors import DataError, EngineError, FitInterrupted
from .progress import SILENT
from .record import FitRecord, Step

if TYPE_CHECKING:
    from .boundary import Boundary
    from .covariance import RelativeFactor
    from .crossproducts import CrossProducts
    from .engines.protocol import Engine
    from .likelihood import Derivatives, Evaluation
    from .progress import Progress

TOLERANCE = 1e-11  # predicted decrease of the deviance that ends the run: errors of about 3e-6 standard errors
ROUNDING = 1e-8  # predicted decrease, 1e-4 standard errors, that counts as reached if rounding hides it
CURVED = 1e-10  # share of the largest curvature below which a negative one is rounding
PATIENCE, LIMIT = 6, 60  # evaluations before the exact Hessian is taken if the descent crawls, and in any case
MAX_EVALUATIONS = 200


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


def minimize(
    likelihood: Criterion,
    start: np.ndarray,
    scale: np.ndarray,
    tolerance: float = TOLERANCE,
    max_evaluations: int = MAX_EVALUATIONS,
    progress: Progress = SILENT,
) -> tuple[FitRecord, Evaluation]:
    """Return the FitRecord and the Evaluation at the minimum of the deviance.

    Parameters
    ----------
    likelihood : ProfiledLikelihood
    start : ndarray (m,)
    scale : ndarray (m,)
        Natural size of every entry of θ (constant along a row of λ_k); steps are measured in it, so that the units
        of the columns do not matter.
    tolerance : float
        Predicted decrease of the deviance at which the run ends.
    max_evaluations : int
    progress : Progress

    Raises
    ------
    FitInterrupted
        On Ctrl-C, with the record so far.
    """
    begin, start = time.perf_counter(), np.array(start, dtype=float)
    run = Run(likelihood, scale, tolerance, max_evaluations, progress)
    try:
        at, model, boundary = _optimum(run, start)
    except KeyboardInterrupt:
        raise FitInterrupted(_interrupted(run, start, time.perf_counter() - begin)) from None
    map_ = likelihood.map
    s = trust_region_step(model.gradient, model.hessian, 1.0)
    predicted, lowest = model.decrease(s), float(np.linalg.eigvalsh(model.hessian)[0])
    flat = flat_terms(map_, at.theta / scale, model.hessian, likelihood.cross.nobs)
    converged = bool(run.negligible(predicted, at.deviance) or (predicted < ROUNDING and not run.exhausted))
    record = FitRecord(
        theta=map_.canonical(at.theta),
        deviance=at.deviance,
        converged=converged,
        singular=not np.isnan(boundary.value),
        flat_terms=flat,
        message=_verdict(converged, run, boundary, flat, at),
        gradient_norm=float(np.linalg.norm(model.gradient)),
        predicted_decrease=predicted,
        smallest_eigenvalue=lowest,
        boundary_derivative=boundary.value,
        seconds=time.perf_counter() - begin,
        engine=likelihood.engine.description,
        start=start,
        steps=run.steps,
    )
    return record, at


def _optimum(run: Run, start: np.ndarray) -> tuple[Evaluation, Quadratic, Boundary]:
    """Return the Evaluation where descents from `start` end, its quadratic model and the state of the boundary."""
    map_, scale = run.likelihood.map, run.scale
    levels = [shape.n_levels for shape in map_.shapes]
    at = cast("Evaluation", run.evaluate(start))  # which raises what is wrong at the first θ
    while True:
        at, model = run.descend(at)
        boundary = find_boundary(map_, at.theta, scale, model.A, levels)
        escaped = run.escape(at, boundary) if boundary.wants_to_grow else None
        if escaped is None:
            escaped, model = run.leave_saddle(at, model)
        if escaped is None:
            break
        at = escaped
    snapped = run.snap(at) if not np.isnan(boundary.value) else None
    if snapped is not None:
        at, model = run.descend(snapped)
        model = run.leave_saddle(at, model)[1]
    return at, model, boundary


def _interrupted(run: Run, start: np.ndarray, seconds: float) -> FitRecord:
    """Return the record of a run that was stopped: the last accepted point, and nothing certified."""
    accepted = [step for step in run.steps if step.accepted]
    last = accepted[-1] if accepted else Step(start, np.nan, False, np.nan)
    return FitRecord(
        theta=run.likelihood.map.canonical(last.theta),
        deviance=last.deviance,
        converged=False,
        singular=False,
        flat_terms=[],
        message=f"Interrupted after {len(run.steps)} evaluations. Go on with model.fit(start=...) from this record.",
        gradient_norm=last.gradient_norm,
        predicted_decrease=np.nan,
        smallest_eigenvalue=np.nan,
        boundary_derivative=np.nan,
        seconds=seconds,
        engine=run.likelihood.engine.description,
        start=start,
        steps=run.steps,
    )


def _verdict(converged: bool, run: Run, boundary: Boundary, flat: Sequence[str], at: Evaluation) -> str:
    """Return the sentence that says why the run ended."""
    if converged and len(flat) > 1:
        return (
            f"Converged, but the data do not tell the variances of {' and '.join(flat)} apart: the likelihood is "
            "flat along a combination of them. Remove a term or a column of one."
        )
    if converged and flat:
        return (
            f"Converged, but the data say nothing about a variance of {flat[0]}: the likelihood is flat in it. Remove "
            "the term or a column of it."
        )
    if converged and np.isnan(boundary.value):
        return "Converged: no step promises a lower deviance and the Hessian is positive."
    if converged:
        return "Converged at the boundary: the deviance grows with every variance that is zero (singular fit)."
    names = " and ".join(flat or dict.fromkeys(shape.name for shape in run.likelihood.map.shapes))
    if run.exhausted:
        return (
            f"Stopped at the limit of evaluations ({run.max_evaluations}) before the optimum was certified. Continue "
            f"with start=fit.theta, or simplify the random effects of {names}."
        )
    if len(flat) > 1:
        return (
            f"Stopped where rounding decides: the data do not tell the variances of {names} apart. Remove a term, or a "
            "column of one."
        )
    cross = run.likelihood.cross
    if at.scale * cross.nobs < 1e-9 * cross.yy:
        return (
            f"Stopped: the residual variance goes to zero, as the random effects of {names} determine the response. "
            "Use a response that varies within their levels."
        )
    return (
        "Stopped where no step lowers the deviance although one was predicted: the likelihood is dominated by "
        f"rounding. Centre and scale the columns of the random effects of {names}, or leave some out."
    )
