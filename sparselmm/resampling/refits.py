"""Thousands of responses on one design, every one with an optimum of its own: the work and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from scipy.special import ndtr

from ..errors import DataError, EngineError
from ..labels import variance_labels, variance_names
from ..likelihood import ProfiledLikelihood
from ..optimize import minimize
from ..start import moment_starts
from .batched import BatchedLikelihood, Points
from .newton import Optima, minimize_many
from .refit import best_fit
from .responses import Responses, check_varies, response_array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..covariance import RelativeFactor
    from ..engines.protocol import Engine
    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults


@dataclass(frozen=True, eq=False)
class Estimates:
    """Optima of k responses, as arrays.

    Attributes
    ----------
    theta, beta, bse : ndarray (k, m), (k, p), (k, p)
        β and its standard errors in the user's columns.
    scale, deviance : ndarray (k,)
    converged, singular : ndarray of bool (k,)
    failures : dict
        Response to the reason why it has no estimates (its rows are NaN).
    """

    theta: np.ndarray
    beta: np.ndarray
    bse: np.ndarray
    scale: np.ndarray
    deviance: np.ndarray
    converged: np.ndarray
    singular: np.ndarray
    failures: dict[int, str]


class Known(Protocol):
    """A fit, or a model with assumed parameters: where refits start."""

    @property
    def model(self) -> LinearMixedModel:
        """The design."""

    @property
    def reml(self) -> bool:
        """Whether refits are by REML."""

    @property
    def theta(self) -> np.ndarray:
        """Where refits may start."""

    @property
    def _refit_engine(self) -> Engine:
        """An engine of the design."""


def estimate(fit: Known, responses: Responses) -> Estimates:
    """Return the optima of responses on the design of a fit, started at the better of fit.theta and their moments."""
    cross = fit.model.cross
    starts = moment_starts(cross, responses.Zy, responses.yy)
    scale = ProfiledLikelihood(cross, fit.reml, fit._refit_engine).theta_scale
    if BatchedLikelihood.suits(cross):
        optima = _stacked(fit, responses, starts, scale)
    else:
        optima = Optima.unknown(Points.nowhere(cross, len(responses)))
    points = optima.points
    failures: dict[int, str] = {}
    for i in np.flatnonzero(~optima.certified).tolist():
        one = ProfiledLikelihood(responses.cross_of(i), fit.reml, fit._refit_engine)
        try:
            if np.isfinite(points.deviance[i]):
                record, at = minimize(one, points.theta[i], scale)
            else:
                record, at = best_fit(one, fit.theta, starts[i])
        except (DataError, EngineError) as error:
            failures[i] = str(error)
            for array in points.arrays():
                array[i] = np.nan
            continue
        points.theta[i], optima.certified[i], optima.singular[i] = record.theta, record.converged, record.singular
        points.beta[i], points.scale[i], points.deviance[i] = at.beta, at.scale, at.deviance
        points.se[i] = np.linalg.norm(np.linalg.solve(at.R.T, cross.basis.T), axis=0)
    return Estimates(
        theta=points.theta,
        beta=(responses.center + points.beta) @ cross.basis.T,
        bse=points.se * np.sqrt(points.scale)[:, None],
        scale=points.scale,
        deviance=points.deviance,
        converged=optima.certified,
        singular=optima.singular,
        failures=failures,
    )


def _stacked(fit: Known, responses: Responses, starts: np.ndarray, scale: np.ndarray) -> Optima:
    """Return the Optima of the batched descents, θ canonical."""
    likelihood = BatchedLikelihood(fit.model.cross, fit.reml)
    points, other = likelihood.evaluate(fit.theta[None], responses).copy(), likelihood.evaluate(starts, responses)
    better = other.deviance < points.deviance
    points.put(better, other.take(better))
    optima = minimize_many(likelihood, responses, points, scale)
    points.theta[:] = likelihood.canonical(points.theta)
    return optima


def standard_deviations(map_: RelativeFactor, theta: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return standard deviations and correlations in the order of θ, σ last, (k, m+1), for θ (k, m), σ² (k,)."""
    values = [np.sqrt(scale)[:, None]]
    for shape, part in zip(map_.shapes[::-1], map_.theta_slices[::-1], strict=True):
        rows, columns = shape.entries
        factor = np.zeros((len(scale), shape.n_columns, shape.n_columns))
        factor[:, rows, columns] = theta[:, part]
        cov = scale[:, None, None] * factor @ factor.transpose(0, 2, 1)
        sd = np.sqrt(np.einsum("kii->ki", cov))
        with np.errstate(divide="ignore", invalid="ignore"):
            corr = cov[:, rows, columns] / (sd[:, rows] * sd[:, columns])
        values.insert(0, np.where(rows == columns, sd[:, rows], corr))
    return np.concatenate(values, axis=1)


def refit_many(fit: LinearMixedModelResults, Y: ArrayLike) -> Refits:
    """Return the fits of many responses on the design of a fit; see `LinearMixedModelResults.refit_many`."""
    Y, names = response_array(fit.model, Y)
    responses = Responses.from_rows(fit.model, Y)
    check_varies(fit.model, Y, responses.yy, names)
    return Refits(fit, names, estimate(fit, responses))


class Refits:
    """Fits of many responses on one design.

    Every table has a row for each response, in the order given and labelled by its name.

    Attributes
    ----------
    names : list
        Of the responses.
    estimates : Estimates
        The arrays behind the tables.
    """

    def __init__(self, fit: LinearMixedModelResults, names: list[Any], estimates: Estimates) -> None:
        self._fit, self.names, self.estimates = fit, names, estimates

    def __len__(self) -> int:
        return len(self.names)

    def _frame(self, values: np.ndarray, columns: Sequence[str]) -> pd.DataFrame:
        return pd.DataFrame(values, index=self.names, columns=columns)

    def _series(self, values: np.ndarray, name: str) -> pd.Series:
        return pd.Series(values, index=self.names, name=name)

    @property
    def params(self) -> pd.DataFrame:
        """Fixed effects, (k, p)."""
        return self._frame(self.estimates.beta, self._fit.model.exog_names)

    @property
    def bse(self) -> pd.DataFrame:
        """Standard errors of the fixed effects, (k, p)."""
        return self._frame(self.estimates.bse, self._fit.model.exog_names)

    @property
    def variance_params(self) -> pd.DataFrame:
        """Standard deviations and correlations of the random effects, and σ, (k, m+1), in natural units.

        Columns ``sd__x|group`` and ``cor__x.z|group``; a correlation is NaN where a standard deviation is zero.
        """
        values = standard_deviations(self._fit._map, self.estimates.theta, self.estimates.scale)
        return self._frame(values, variance_names(self._fit.model))

    @property
    def theta(self) -> pd.DataFrame:
        """θ, (k, m)."""
        return self._frame(self.estimates.theta, [f"theta{i + 1}" for i in range(self.estimates.theta.shape[1])])

    @property
    def scale(self) -> pd.Series:
        """Residual variance σ², (k,)."""
        return self._series(self.estimates.scale, "scale")

    @property
    def deviance(self) -> pd.Series:
        """-2 log-likelihood or REML criterion, (k,)."""
        return self._series(self.estimates.deviance, "deviance")

    @property
    def llf(self) -> pd.Series:
        """Log-likelihood, or the restricted one, (k,)."""
        return self._series(-0.5 * self.estimates.deviance, "llf")

    @property
    def converged(self) -> pd.Series:
        """Whether the optimum is certified, (k,)."""
        return self._series(self.estimates.converged, "converged")

    @property
    def singular(self) -> pd.Series:
        """Whether a covariance of random effects is singular, (k,)."""
        return self._series(self.estimates.singular, "singular")

    @property
    def failures(self) -> pd.Series:
        """Why responses have no estimates; empty if all have."""
        reasons = self.estimates.failures
        return pd.Series(list(reasons.values()), index=[self.names[i] for i in reasons], name="failure", dtype=object)

    def tidy(self) -> pd.DataFrame:
        """Return estimates, a row for each response and parameter.

        Columns response, effect, group, term, estimate, std.error, statistic and p.value (from the normal
        distribution); the last three for fixed effects only.
        """
        model, k = self._fit.model, len(self)
        fixed = pd.DataFrame({"group": None, "term": model.exog_names}, dtype=object).assign(effect="fixed")
        random = [(group, term, "ran_pars") for group, term, _ in variance_labels(model)]
        labels = pd.concat([fixed, pd.DataFrame(random, columns=["group", "term", "effect"])], ignore_index=True)
        empty = np.full((k, len(labels) - len(fixed)), np.nan)
        estimate = np.column_stack([self.estimates.beta, self.variance_params.to_numpy()]).ravel()
        error = np.column_stack([self.estimates.bse, empty]).ravel()
        statistic = estimate / error
        return pd.DataFrame(
            {
                "response": np.repeat(np.array(self.names, dtype=object), len(labels)),
                **{name: np.tile(labels[name].to_numpy(), k) for name in ("effect", "group", "term")},
                "estimate": estimate,
                "std.error": error,
                "statistic": statistic,
                "p.value": 2.0 * ndtr(-np.abs(statistic)),
            }
        )

    def __repr__(self) -> str:
        counts = f"{self.estimates.converged.sum()} converged, {self.estimates.singular.sum()} singular"
        failed = f", {len(self.estimates.failures)} failed" if self.estimates.failures else ""
        return f"<Refits: {len(self)} responses on {self._fit.model.what}, {self._fit.method}, {counts}{failed}>"
