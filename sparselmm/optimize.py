"""The minimum of the deviance over θ: descents until one ends in a minimum, and the record of the run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from .boundary import find_boundary, flat_terms
from .descent import ROUNDING, Run, trust_region_step
from .errors import FitInterrupted
from .progress import SILENT
from .record import FitRecord, Step

if TYPE_CHECKING:
    from .boundary import Boundary
    from .descent import Criterion, Quadratic
    from .likelihood import Evaluation
    from .progress import Progress

TOLERANCE = 1e-11  # predicted decrease of the deviance that ends the run: errors of about 3e-6 standard errors
MAX_EVALUATIONS = 200


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
    cross = run.likelihood.cross
    if at.scale * cross.nobs < 1e-9 * cross.yy:
        return (
            f"Stopped: the residual variance goes to zero, as the random effects of {names} determine the response. "
            "Use a response that varies within their levels."
        )
    if len(flat) > 1:
        return (
            f"Stopped where rounding decides: the data do not tell the variances of {names} apart. Remove a term, or a "
            "column of one."
        )
    return (
        "Stopped where no step lowers the deviance although one was predicted: the likelihood is dominated by "
        f"rounding. Centre and scale the columns of the random effects of {names}, or leave some out."
    )
