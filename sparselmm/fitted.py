"""FittedModel: a model at its optimum, read-only, with an engine for every thread that asks."""

from __future__ import annotations

from copy import deepcopy
from threading import local
from typing import TYPE_CHECKING, Any, cast

from .criteria import InformationCriteria
from .habits import RESULTS, missing

if TYPE_CHECKING:
    from .engines.protocol import Engine, StochasticEngine
    from .likelihood import Evaluation, ProfiledLikelihood
    from .model import LinearMixedModel
    from .record import FitRecord
    from .results import LinearMixedModelResults

STATE = ("model", "reml", "optimizer", "evaluation")


class FittedModel(InformationCriteria):
    """What the optimiser left, and the likelihood there; see `LinearMixedModelResults`."""

    model: LinearMixedModel
    reml: bool
    optimizer: FitRecord
    evaluation: Evaluation

    def __init__(
        self, model: LinearMixedModel, likelihood: ProfiledLikelihood, record: FitRecord, evaluation: Evaluation
    ) -> None:
        vars(self).update(model=model, reml=likelihood.reml, optimizer=record, evaluation=evaluation)
        self._own.likelihood = likelihood

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Results are read-only: {name!r} cannot be set.")

    if not TYPE_CHECKING:  # to type checkers a wrong name is an error

        def __getattr__(self, name):
            return missing(self, "A fit", name, RESULTS)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: no factor of M(θ), which `likelihood` computes again."""
        return {name: vars(self)[name] for name in STATE}

    @property
    def _own(self) -> local:
        """What belongs to the thread that asks: an engine holds the factor of one θ at a time."""
        return vars(self).setdefault("_threads", local())

    @property
    def likelihood(self) -> ProfiledLikelihood:
        """The profiled likelihood of the model (`ProfiledLikelihood`); another one in every thread."""
        if not hasattr(self._own, "likelihood"):
            self._own.likelihood = self._same_likelihood()
        return self._own.likelihood

    def _same_likelihood(self) -> ProfiledLikelihood:
        """Return the likelihood of the model with an engine as that of the fit, its random probes included."""
        record = self.optimizer.monte_carlo
        likelihood = self.model.likelihood(self.reml, self._engine, 0 if record is None else deepcopy(record.rng))
        if record is not None:
            engine = cast("StochasticEngine", likelihood.engine)
            engine.add_probes(record.probes - engine.probes)
        return likelihood

    def update(
        self, new_rows: Any = None, *, progress: bool = False, chunk_rows: int | None = None, **options: Any
    ) -> LinearMixedModelResults:
        """Fit the rows of this fit and further ones together, from this optimum; see `sparselmm.update`."""
        from .streaming.public import update

        return update(
            cast("LinearMixedModelResults", self), new_rows, progress=progress, chunk_rows=chunk_rows, **options
        )

    @property
    def _engine(self) -> str:
        """Name of the engine that the fit ended with, for further fits of the same kind."""
        return "cholmod" if self.optimizer.monte_carlo is None else "pcg"

    def engine_at_optimum(self) -> Engine:
        """Return the engine, holding the factor of M(θ) at the optimum."""
        self.likelihood.factorize(self.evaluation.theta)
        return self.likelihood.engine

    @property
    def method(self) -> str:
        """``"REML"`` or ``"ML"``."""
        return "REML" if self.reml else "ML"

    @property
    def converged(self) -> bool:
        """True if the optimum is certified; `optimizer.message` says more."""
        return self.optimizer.converged

    @property
    def singular(self) -> bool:
        """True if a covariance of random effects is singular: a variance of zero or a correlation of ±1."""
        return self.optimizer.singular
