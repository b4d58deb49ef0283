"""Fits by a stochastic engine: as many probes as the variance parameters need, and the errors that are left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from .optimize import minimize
from .progress import SILENT

if TYPE_CHECKING:
    from .engines.protocol import StochasticEngine
    from .likelihood import Evaluation, ProfiledLikelihood
    from .progress import Progress
    from .record import FitRecord, Step

GOAL = 0.02  # Monte-Carlo error of a variance parameter in its standard errors
MOST_PROBES = 1_024


@dataclass(frozen=True, eq=False)
class MonteCarlo:
    """Monte-Carlo errors of a fit.

    Attributes
    ----------
    probes : int
    theta : ndarray (m,)
        Standard deviations of θ over the draw of the probes.
    relative : float
        The largest of them in standard errors of θ.
    deviance : float
        Standard deviation of the deviance.
    iterations : int
        Largest number of conjugate-gradient iterations for one set of right-hand sides.
    rng : Generator
        As it was before the probes were drawn.
    """

    probes: int
    theta: np.ndarray
    relative: float
    deviance: float
    iterations: int
    rng: np.random.Generator

    def __str__(self) -> str:
        deviance = f"has one of {self.deviance:.2g}" if self.deviance else "is exact"
        return (
            f"Traces are estimated from {self.probes} random probes: the variance parameters have a Monte-Carlo error "
            f"of at most {100 * self.relative:.2g} % of a standard error, the deviance {deviance}."
        )


def minimize_with_probes(
    likelihood: ProfiledLikelihood,
    start: np.ndarray,
    scale: np.ndarray,
    tolerance: float,
    max_evaluations: int,
    progress: Progress = SILENT,
) -> tuple[FitRecord, Evaluation]:
    """Return what `minimize` does, after as many probes as bring the Monte-Carlo error of θ below GOAL."""
    engine = cast("StochasticEngine", likelihood.engine)
    evaluations: list[Step] = []
    while True:
        left = max_evaluations - len(evaluations)
        record, at = minimize(likelihood, start, scale, tolerance, left, progress=progress)
        evaluations += record.steps
        errors = monte_carlo(likelihood, at)
        if errors.relative < GOAL or engine.probes >= MOST_PROBES or len(evaluations) >= max_evaluations:
            return replace(record, steps=evaluations, monte_carlo=errors), at
        wanted = int(np.ceil(1.3 * engine.probes * (errors.relative / GOAL) ** 2))
        engine.add_probes(min(wanted, 8 * engine.probes, MOST_PROBES) - engine.probes)
        start = at.theta


def monte_carlo(likelihood: ProfiledLikelihood, at: Evaluation) -> MonteCarlo:
    """Return the Monte-Carlo errors at an optimum: those of the gradient through the average information."""
    engine, derivatives = cast("StochasticEngine", likelihood.engine), likelihood.derivatives(at)
    gradients = engine.gradient_samples()
    covariance = np.atleast_2d(np.cov(gradients, rowvar=False)) / len(gradients)
    inverse = np.linalg.pinv(derivatives.hessian, hermitian=True)
    errors = np.sqrt(np.maximum(np.diag(inverse @ covariance @ inverse), 0.0))
    standard_errors = np.sqrt(np.maximum(2.0 * np.diag(inverse), 0.0))
    relative = np.divide(errors, standard_errors, out=np.zeros_like(errors), where=standard_errors > 0)
    largest, deviance = float(relative.max(initial=0.0)), engine.logdet_error()
    return MonteCarlo(engine.probes, errors, largest, deviance, engine.iterations, engine.seed)
