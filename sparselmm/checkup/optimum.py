"""Checks of the optimum, from the record of the optimiser."""

from __future__ import annotations

from collections.abc import Iterator

from .case import Case
from .findings import NOTE, OK, WARNING, Finding, sentences

MUCH = 0.1  # Monte-Carlo error of a variance parameter, in its standard errors, that one may see
STEEP = -1e-6  # derivative of the deviance, for each level, in a variance at zero below which it wants to grow


def certificate(case: Case) -> Iterator[Finding]:
    """Yield whether the optimum is certified: gradient, curvature, and what a further step promises."""
    record = case.fit.optimizer
    if record.converged:
        text = (
            f"Certified: no step lowers the deviance (gradient {record.gradient_norm:.0e}, smallest eigenvalue of the "
            f"Hessian {record.smallest_eigenvalue:.2g})."
        )
        yield Finding(OK, text, value=record.gradient_norm)
        return
    text, remedy = sentences(record.message)
    remedy = f"{remedy} Look whether optimisers agree: fit.allfit().".strip()
    yield Finding(WARNING, text, remedy=remedy, value=record.predicted_decrease)


def variances_at_zero(case: Case) -> Iterator[Finding]:
    """Yield whether variances that are zero should be."""
    record = case.fit.optimizer
    if not record.singular:
        yield Finding(OK, "No variance is at zero.")
    elif record.boundary_derivative < STEEP * max(case.model.groups.values()):
        text = "The deviance falls with a variance that was left at zero: there is a better fit."
        yield Finding(WARNING, text, remedy="Search from other starts: fit.allfit().", value=record.boundary_derivative)
    else:
        text = "The fit is at the boundary: letting a variance that is zero grow would not lower the deviance."
        yield Finding(OK, text, value=record.boundary_derivative)


def monte_carlo(case: Case) -> Iterator[Finding]:
    """Yield the Monte-Carlo error of a fit by conjugate gradients."""
    errors = case.fit.optimizer.monte_carlo
    if errors is None:
        return
    text = (
        f"Traces come from {errors.probes} random probes: Monte-Carlo errors of the variances reach "
        f"{100 * errors.relative:.2g} % of a standard error."
    )
    remedy = "Take exact steps at the end: fit with engine='polish'." if errors.relative > MUCH else ""
    yield Finding(NOTE if remedy else OK, text, remedy=remedy, value=errors.relative)
