"""AllFit: one likelihood minimised by several optimisers, from several starts, by several engines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..boundary import column_scale
from ..export import Block, aligned
from ..printout import Printed, Printout
from .findings import plural
from .searches import OPTIMIZERS, Outcome, by_engine, by_newton, by_scipy, other_engines, starts

if TYPE_CHECKING:
    from ..likelihood import Evaluation
    from ..results import LinearMixedModelResults

NAMES = ("newton", *OPTIMIZERS, "engines")
SAME = 1e-3  # difference of deviances that nobody would see in an estimate
COLUMNS = ["optimizer", "start", "engine", "deviance_difference", "evaluations", "seconds", "fe_difference"]
COLUMNS += ["sd_difference", "note"]
TITLE = "Agreement of optimisers: differences from the lowest deviance and its estimates"
HEADER = ("optimizer", "start", "engine", "above best", "evaluations", "seconds", "fixed effects", "sd", "note")


@dataclass(frozen=True, eq=False, repr=False)
class AllFit(Printed):
    """How searches for the optimum of one likelihood agree; prints itself.

    Attributes
    ----------
    frame : DataFrame
        A row for each search:

        - optimizer, start, engine;
        - deviance_difference: deviance above the lowest that any search, or the fit, has found;
        - evaluations, seconds;
        - fe_difference: largest difference from the estimates of the lowest deviance in a fixed effect, in its standard
          errors;
        - sd_difference: the same in a standard deviation of random effects or residuals, relative to it (a small one
          relative to the smallest that rows could show);
        - note: why it stopped, if before its own criterion held.
    fit_difference : float
        Deviance of the fit above the lowest.
    theta : ndarray (m,)
        Where the deviance is lowest: ``fit.model.fit(start=found.theta)``.
    tolerance : float
        Difference of deviances up to which searches agree.
    """

    frame: pd.DataFrame
    fit_difference: float
    theta: np.ndarray
    tolerance: float = SAME

    @property
    def agree(self) -> bool:
        """True if no search found a lower deviance than the fit, and all that ended by themselves found it."""
        ended = self.frame[self.frame["note"] == ""]
        return self.fit_difference < self.tolerance and bool((ended["deviance_difference"] < self.tolerance).all())

    @property
    def verdict(self) -> str:
        """What follows, in a sentence."""
        above = self.frame["deviance_difference"] >= self.tolerance
        early, count = self.frame["note"] != "", plural(len(self.frame), "search", "es")
        if self.fit_difference >= self.tolerance:
            return (
                f"A lower deviance was found, by {self.fit_difference:.3g}: fit again with "
                "model.fit(start=found.theta), found being this object."
            )
        if self.frame.empty:
            return "No search had the time to compute a deviance: give seconds= and max_evaluations= more."
        if not above.any():
            same = f"All {count} end within {self.tolerance:.1g} of the deviance of the fit"
            return f"{same}: the optimum does not depend on the optimiser."
        stopped = int((above & early).sum())
        if stopped == above.sum():
            return f"{stopped} of {count} stopped early, above the deviance of the fit; all others agree with it."
        text = f"{int((above & ~early).sum())} of {count} end above the deviance of the fit: other stationary points"
        return f"{text}, or optimisers that stop too soon. None is lower: the fit stands."

    def to_frame(self) -> pd.DataFrame:
        """Return `frame`, a copy."""
        return self.frame.copy()

    @property
    def printout(self) -> Printout:
        """The table, and the verdict below."""
        columns = [self.frame[name] for name in ("optimizer", "start", "engine")]
        columns.append(aligned(f"{value:.1e}" for value in self.frame["deviance_difference"]))
        columns.append([str(value) for value in self.frame["evaluations"]])
        columns.append([f"{value:.2f}" for value in self.frame["seconds"]])
        columns += [[f"{value:.0e}" for value in self.frame[name]] for name in ("fe_difference", "sd_difference")]
        if (self.frame["note"] != "").any():
            columns.append(self.frame["note"])
        rows = list(zip(*columns, strict=True))
        return Printout("", [Block(TITLE, HEADER[: len(columns)], rows, labels=3)], [self.verdict])


def allfit(
    fit: LinearMixedModelResults,
    optimizers: tuple[str, ...] | None,
    random_starts: int,
    max_evaluations: int,
    seconds: float,
    rng: int | np.random.Generator,
) -> AllFit:
    """Return the AllFit of a fit; see `CheckupMethods.allfit`."""
    optimizers = NAMES if optimizers is None else (optimizers,) if isinstance(optimizers, str) else tuple(optimizers)
    for name in optimizers:
        if name not in NAMES:
            raise ValueError(f"optimizers holds {name!r}; it can hold {', '.join(NAMES)}.")
    begin = starts(fit, random_starts, rng)
    searches = _searches(fit, optimizers, begin, max_evaluations, seconds)
    found = [(outcome, outcome.theta) for outcome in searches if outcome.theta is not None]
    likelihood = fit.likelihood  # one judge of all: other engines round otherwise, and other probes differ
    points = [likelihood.evaluate(theta) for theta in (fit.theta, *(theta for _, theta in found))]
    best = min(points, key=lambda at: at.deviance)
    rows = [
        (
            *(outcome.optimizer, outcome.start, outcome.engine, at.deviance - best.deviance, outcome.evaluations),
            *(outcome.seconds, _fixed_difference(fit, at, best), _sd_difference(fit, at, best), outcome.note),
        )
        for (outcome, _), at in zip(found, points[1:], strict=True)
    ]
    tolerance = max(SAME, likelihood.engine.slack)
    return AllFit(pd.DataFrame(rows, columns=COLUMNS), points[0].deviance - best.deviance, best.theta.copy(), tolerance)


def _searches(
    fit: LinearMixedModelResults,
    optimizers: tuple[str, ...],
    begin: dict[str, np.ndarray],
    max_evaluations: int,
    seconds: float,
) -> Iterator[Outcome]:
    """Yield the outcomes of all searches."""
    if "newton" in optimizers:
        for name, start in begin.items():
            yield by_newton(fit, name, start, max_evaluations)
    for optimizer in OPTIMIZERS:
        if optimizer in optimizers:
            yield by_scipy(fit, optimizer, "moments", begin["moments"], max_evaluations, seconds)
    if "engines" in optimizers:
        for engine in other_engines(fit):
            yield by_engine(fit, engine)


def _fixed_difference(fit: LinearMixedModelResults, one: Evaluation, best: Evaluation) -> float:
    """Return the largest difference of a fixed effect in standard errors."""
    to_params = fit.model.cross.to_params
    difference = to_params(one.beta) - to_params(best.beta)
    return float(np.max(np.abs(difference / fit.bse_fe.to_numpy()), initial=0.0))


def _sd_difference(fit: LinearMixedModelResults, one: Evaluation, best: Evaluation) -> float:
    """Return the largest relative difference of a standard deviation."""
    first, second = _sds(fit, one), _sds(fit, best)
    return float(np.max(np.abs(first - second) / np.maximum(second, _least(fit, best))))


def _sds(fit: LinearMixedModelResults, at: Evaluation) -> np.ndarray:
    """Return the standard deviations of the random columns in units of their root mean squares, σ last."""
    map_, scale = fit.likelihood.map, fit.likelihood.theta_scale
    factors = enumerate(map_.unpack(at.theta))
    norms = [np.linalg.norm(factor / column_scale(map_, scale, k)[:, None], axis=1) for k, factor in factors]
    return np.sqrt(at.scale) * np.append(np.concatenate(norms), 1.0)


def _least(fit: LinearMixedModelResults, at: Evaluation) -> np.ndarray:
    """Return the standard deviations that level means of the residuals have, in the units of `_sds`; zero for σ."""
    shares = [np.full(s.n_columns, s.n_levels / fit.model.nobs) for s in fit.likelihood.map.shapes]
    return np.sqrt(at.scale * np.append(np.concatenate(shares), 0.0))
