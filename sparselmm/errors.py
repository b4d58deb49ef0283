"""Exceptions and warnings of the package: each says what was wrong, where, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import LinearMixedModel
    from .record import FitRecord


class FormulaError(ValueError):
    """A formula that cannot be read; the message names the place and the remedy."""


class DataError(ValueError):
    """Data that cannot be fitted; the message names the column or term and the remedy."""


class EngineError(RuntimeError):
    """A numerical library that is missing or failed; the message holds the remedy."""


class ConvergenceWarning(UserWarning):
    """The fit stopped before its optimum was certified."""


class DataWarning(UserWarning):
    """The data were changed before the fit (columns dropped), or do not determine a part of the model."""


class FitInterrupted(KeyboardInterrupt):
    """A fit that Ctrl-C stopped: go on with ``stop.model.fit(start=stop.record)``.

    Attributes
    ----------
    record : FitRecord
        What was done, `theta` the best so far.
    model : LinearMixedModel or None
    """

    def __init__(self, record: FitRecord, model: LinearMixedModel | None = None) -> None:
        super().__init__(record.message)
        self.record, self.model = record, model
