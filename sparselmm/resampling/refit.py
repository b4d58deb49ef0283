"""One more response on the design of a fit: a whole new result, warm-started."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from ..caller import warn
from ..errors import ConvergenceWarning, DataError, EngineError
from ..likelihood import ProfiledLikelihood
from ..montecarlo import monte_carlo
from ..optimize import minimize
from ..start import moment_start
from .responses import check_varies, response_array

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from ..likelihood import Evaluation
    from ..record import FitRecord
    from ..results import LinearMixedModelResults


def refit(fit: LinearMixedModelResults, y: ArrayLike) -> LinearMixedModelResults:
    """Return the results of the same model on another response; see `LinearMixedModelResults.refit`."""
    Y, names = response_array(fit.model, y, "y")
    if len(names) != 1:
        raise DataError(f"y has {len(names)} columns; refit takes one response. Use refit_many for several.")
    model, values = copy(fit.model), Y[:, 0]
    response = values if model.offset is None else values - model.offset
    model.endog = values
    model.cross = fit.model.cross.with_response(response, model.exog, model.terms, model.weights)
    check_varies(model, Y, model.cross.yy, [getattr(y, "name", None) or model.endog_name])
    if model.design is not None:
        model.design = replace(model.design, endog=values)  # type: ignore[arg-type]  # a model with rows
    likelihood = ProfiledLikelihood(model.cross, fit.reml, fit._refit_engine)
    record, evaluation = best_fit(likelihood, fit.theta, moment_start(model.cross))
    if likelihood.engine.slack:
        record = replace(record, monte_carlo=monte_carlo(likelihood, evaluation))
    if not record.converged:
        warn(record.message, ConvergenceWarning)
    result = type(fit)(model, likelihood, record, evaluation)
    del result._own.likelihood  # the engine goes on to other responses: the result makes its own when it needs one
    return result


def best_fit(likelihood: ProfiledLikelihood, *starts: np.ndarray) -> tuple[FitRecord, Evaluation]:
    """Return the FitRecord and the Evaluation of the minimum reached from the start of lowest deviance."""
    start = min(starts, key=lambda theta: _deviance(likelihood, theta))
    return minimize(likelihood, start, likelihood.theta_scale)


def _deviance(likelihood: ProfiledLikelihood, theta: np.ndarray) -> float:
    """Return the deviance at θ, infinite where it cannot be computed."""
    try:
        return likelihood.evaluate(theta).deviance
    except (DataError, EngineError):
        return float("inf")
