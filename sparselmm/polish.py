"""Searches for the optimum by one engine or two: conjugate gradients go most of the way, the exact engine ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from .errors import EngineError, FitInterrupted
from .likelihood import ProfiledLikelihood
from .montecarlo import minimize_with_probes
from .optimize import minimize

if TYPE_CHECKING:
    import numpy as np

    from .crossproducts import CrossProducts
    from .engines.choose import Choice
    from .likelihood import Evaluation
    from .progress import Progress
    from .record import FitRecord

    Found = tuple[ProfiledLikelihood, FitRecord, Evaluation]

ENOUGH = 0.02  # Monte-Carlo error of a deviance that no factorisation need remove


class Search:
    """A search for the optimum of one model.

    Parameters
    ----------
    choice : Choice
        Of the engines, see `choose`.
    cross : CrossProducts
    reml : bool
    rng : int or Generator
    tolerance, max_evaluations, progress
        See `minimize`.
    """

    def __init__(
        self,
        choice: Choice,
        cross: CrossProducts,
        reml: bool,
        rng: int | np.random.Generator,
        tolerance: float,
        max_evaluations: int,
        progress: Progress,
    ) -> None:
        self.choice, self.cross, self.reml, self.rng = choice, cross, reml, rng
        self.tolerance, self.max_evaluations, self.progress = tolerance, max_evaluations, progress

    def run(self, start: np.ndarray) -> Found:
        """Return the likelihood that the search ends with, the FitRecord and the Evaluation at the optimum."""
        if self.choice.reason:
            self.progress.note(self.choice.reason)
        found = {"exact": self.exact, "polish": self.polished, "deviance": self.with_deviance, "pcg": self.probed}
        likelihood, record, at = found[self.choice.route](start)
        return likelihood, replace(record, choice=self.choice.reason), at

    def exact(self, start: np.ndarray, before: int = 0) -> Found:
        """Search by the exact engine."""
        assert self.choice.exact is not None, self.choice.route
        likelihood = ProfiledLikelihood(self.cross, self.reml, self.choice.exact())
        left = max(1, self.max_evaluations - before)
        scale = likelihood.theta_scale
        return likelihood, *minimize(likelihood, start, scale, self.tolerance, left, progress=self.progress)

    def probed(
        self, start: np.ndarray, minimize: Callable[..., tuple[FitRecord, Evaluation]] = minimize_with_probes
    ) -> Found:
        """Search by conjugate gradients, with as many probes as the errors ask for."""
        assert self.choice.stochastic is not None, self.choice.route
        engine = self.choice.stochastic(self.rng)
        engine.report = self.progress.iterations
        likelihood = ProfiledLikelihood(self.cross, self.reml, engine)
        scale = likelihood.theta_scale
        options = self.tolerance, self.max_evaluations
        return likelihood, *minimize(likelihood, start, scale, *options, progress=self.progress)

    def polished(self, start: np.ndarray) -> Found:
        """Search by conjugate gradients with the first few probes, then by the exact engine from their optimum."""
        try:
            first, at = self.probed(start, minimize)[1:]  # nothing holds that engine during the exact steps
        except EngineError:  # conjugate gradients that do not converge
            return self.exact(start)
        try:
            likelihood, second, at = self.exact(at.theta, first.evaluations)
        except KeyboardInterrupt as stop:
            raise _stopped(first, stop) from None
        return likelihood, _joined(first, second), at

    def with_deviance(self, start: np.ndarray) -> Found:
        """Search by conjugate gradients; take the deviance at their optimum by a factorisation if theirs is vague."""
        try:
            likelihood, record, at = self.probed(start)
        except EngineError:
            return self.exact(start)
        if record.monte_carlo is None or record.monte_carlo.deviance <= ENOUGH:
            return likelihood, record, at
        assert self.choice.exact is not None, self.choice.route
        try:
            exact = ProfiledLikelihood(self.cross, self.reml, self.choice.exact()).evaluate(at.theta)
        except KeyboardInterrupt as stop:
            raise _stopped(record, stop) from None
        errors = replace(record.monte_carlo, deviance=0.0)
        record = replace(record, deviance=exact.deviance, monte_carlo=errors)
        return likelihood, record, replace(at, deviance=exact.deviance)


def _joined(first: FitRecord, second: FitRecord) -> FitRecord:
    """Return the record of two runs, the second from where the first ended."""
    steps = [*first.steps, *second.steps]
    return replace(second, start=first.start, steps=steps, seconds=first.seconds + second.seconds)


def _stopped(first: FitRecord, stop: KeyboardInterrupt) -> FitInterrupted:
    """Return what a stop by Ctrl-C in the second of two runs leaves."""
    if isinstance(stop, FitInterrupted):
        return FitInterrupted(_joined(first, stop.record))
    message = "Interrupted before the exact steps. Go on with model.fit(start=...) from this record."
    return FitInterrupted(replace(first, converged=False, message=message))
