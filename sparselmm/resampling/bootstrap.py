"""The bootstrap of a fit: draws, refits and the distribution of what is estimated."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from ..caller import listening
from ..errors import DataError, EngineError
from ..export import frame_block, number
from ..habits import alpha_of
from ..labels import variance_names
from ..printout import Printed, Printout
from ..seeds import generator
from .parallel import Progress, run
from .refits import estimate, standard_deviations
from .responses import Responses
from .schemes import RESPONSES, ClusterSampler, clusters, response_sampler

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..results import LinearMixedModelResults
    from .schemes import Sampler

    Statistic = Callable[[LinearMixedModelResults], Any]  # a number, or a mapping or Series of numbers
    Replicate = tuple[np.ndarray, bool, bool, str]  # estimates, converged, singular, failure
    Found = tuple[np.ndarray, np.ndarray, np.ndarray, dict[int, str]]  # the same of all replicates, failures by number

KINDS = (*RESPONSES, "cluster")
INTERVALS = ("percentile", "basic", "normal", "shortest")
LOT, NUMBERS = 1000, 20_000_000  # responses drawn at a time, and the most numbers that they have


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap(Printed):
    """The bootstrap distribution of what a fit estimates; prints itself.

    Attributes
    ----------
    replicates : DataFrame (n, s)
        A row for each replicate, a column for each estimate: fixed effects by their names, standard deviations and
        correlations as ``sd__x|group`` and ``cor__x.z|group``, ``sigma``; or what `statistic` returned. NaN where the
        refit failed, or an estimate is not defined (a correlation where a standard deviation is zero).
    estimate : Series (s,)
        Of the fit itself.
    kind : str
    description : str
        What is drawn.
    converged, singular : ndarray of bool (n,)
        Whether the optimum of the replicate is certified, and whether a covariance is singular.
    failures : Series
        Why replicates have no estimates, by number.
    """

    replicates: pd.DataFrame
    estimate: pd.Series
    kind: str
    description: str
    converged: np.ndarray
    singular: np.ndarray
    failures: pd.Series

    def __len__(self) -> int:
        return len(self.replicates)

    @property
    def bse(self) -> pd.Series:
        """Standard deviation of the replicates, (s,)."""
        return self.replicates.std()

    @property
    def bias(self) -> pd.Series:
        """Mean of the replicates minus the estimate, (s,)."""
        return self.replicates.mean() - self.estimate

    @property
    def missing(self) -> pd.Series:
        """How many replicates have no value, (s,): failures and undefined correlations; the rest is used."""
        return self.replicates.isna().sum()

    def conf_int(self, alpha: float = 0.05, kind: str = "percentile", *, level: float | None = None) -> pd.DataFrame:
        """Return intervals of level 1 - alpha, (s, 2): columns lower and upper.

        Parameters
        ----------
        alpha, level : float
            Either of them; `level` is 1 - alpha.
        kind : {"percentile", "basic", "normal", "shortest"}
            Quantiles of the replicates; the same reflected at the estimate; the estimate less the bias and plus or
            minus normal quantiles of the standard error; the shortest interval that holds that share of the replicates.

        References
        ----------
        Davison & Hinkley (1997), Bootstrap Methods and their Application, chapter 5.
        """
        if kind not in INTERVALS:
            raise ValueError(f"kind must be one of {INTERVALS}, not {kind!r}.")
        alpha = alpha_of(alpha, level)
        if kind == "normal":
            margin = -ndtri(alpha / 2.0) * self.bse
            centre = self.estimate - self.bias
            return pd.DataFrame({"lower": centre - margin, "upper": centre + margin})
        of_values = _shortest if kind == "shortest" else _quantiles
        limits = np.array([of_values(self.replicates[name].dropna().to_numpy(), alpha) for name in self.replicates])
        table = pd.DataFrame(limits.reshape(-1, 2), index=self.replicates.columns, columns=["lower", "upper"])
        if kind == "basic":
            twice = 2.0 * self.estimate
            return pd.DataFrame({"lower": twice - table["upper"], "upper": twice - table["lower"]})
        return table

    def summary(self, alpha: float = 0.05, kind: str = "percentile") -> pd.DataFrame:
        """Return estimate, bias, std.error, conf.low, conf.high and missing, a row for each estimate."""
        interval = self.conf_int(alpha, kind)
        columns = {"estimate": self.estimate, "bias": self.bias, "std.error": self.bse}
        columns |= {"conf.low": interval["lower"], "conf.high": interval["upper"], "missing": self.missing}
        return pd.DataFrame(columns)

    @property
    def printout(self) -> Printout:
        """The summary with 95 % percentile intervals, and what became of the replicates."""
        counts = [f"{self.singular.sum()} singular"]
        unsure = len(self) - len(self.failures) - int(self.converged.sum())
        counts += [f"{unsure} not converged"] if unsure else []
        counts += [f"{len(self.failures)} failed: {self.failures.iloc[0]}"] if len(self.failures) else []
        table = self.summary()
        numbers = table.drop(columns="missing").apply(_numbers, axis=1)
        missing = table[["missing"]] if table["missing"].any() else []
        title = f"{self.kind.capitalize()} bootstrap, {len(self)} replicates ({', '.join(counts)})"
        notes = [f"Drawn: {self.description}.", "Intervals: 95 %, percentile."]
        return Printout(title, [frame_block("", numbers.join(missing))], notes)


def _numbers(row: pd.Series) -> pd.Series:
    """Return a row of the summary as texts with the decimals that its standard error deserves."""
    return row.map(lambda value: number(value, like=row["std.error"]))


def _quantiles(values: np.ndarray, alpha: float) -> np.ndarray | list[float]:
    """Return the quantiles alpha/2 and 1 - alpha/2, NaN without values."""
    return np.quantile(values, [alpha / 2, 1 - alpha / 2], method="weibull") if values.size else [np.nan, np.nan]


def _shortest(values: np.ndarray, alpha: float) -> list[float]:
    """Return the ends of the shortest interval that holds a share 1 - alpha of the values."""
    if not values.size:
        return [np.nan, np.nan]
    values, inside = np.sort(values), int(np.ceil((1.0 - alpha) * values.size))
    widths = values[inside - 1 :] - values[: values.size - inside + 1]
    first = int(np.argmin(widths))
    return [values[first], values[first + inside - 1]]


def estimates(fit: LinearMixedModelResults, names: pd.Index | None = None) -> pd.Series:
    """Return the fixed effects, standard deviations, correlations and σ of a fit, by `names` if those are known."""
    variance = standard_deviations(fit._map, fit.theta[None], np.array([fit.scale]))[0]
    names = [*fit.model.exog_names, *variance_names(fit.model)] if names is None else names
    return pd.Series(np.r_[fit.beta, variance], index=names)


def bootstrap(
    fit: LinearMixedModelResults,
    n: int,
    kind: str,
    statistic: Statistic | None,
    cluster: str | ArrayLike | None,
    rng: int | np.random.Generator | None,
    n_jobs: int,
    progress: bool,
) -> Bootstrap:
    """Return the bootstrap of a fit; see `LinearMixedModelResults.bootstrap`."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, not {kind!r}.")
    if n < 1:
        raise ValueError(f"n={n}: at least one replicate is needed.")
    if cluster is not None and kind in ("parametric", "residual"):
        raise ValueError(f"kind={kind!r} does not resample clusters: leave out cluster=, or use 'cluster' or 'wild'.")
    rng = generator(rng, "responses")
    tasks: Iterable[np.ndarray]
    observed = estimates(fit) if statistic is None else _as_series(statistic(fit))
    if kind == "cluster":
        codes, name = clusters(fit.model, cluster)
        sampler = ClusterSampler.of(fit.model, codes)
        description = _describe(sampler, name)
        tasks = rng.integers(0, sampler.n_clusters, (n, sampler.n_clusters))
        found = _one_by_one(partial(_resampled, fit, sampler, statistic, observed.index), tasks, n, n_jobs, progress)
    else:
        sample, description = response_sampler(fit, kind, cluster)
        lots = _lots(fit, sample, n, rng)
        if statistic is None:
            found = _in_batches(fit, lots, n, progress)
        else:
            tasks = (y for Y in lots for y in np.ascontiguousarray(Y.T))
            found = _one_by_one(partial(_refitted, fit, statistic, observed.index), tasks, n, n_jobs, progress)
    values, converged, singular, failures = found
    return Bootstrap(
        replicates=pd.DataFrame(values, columns=observed.index),
        estimate=observed,
        kind=kind,
        description=description,
        converged=converged,
        singular=singular,
        failures=pd.Series(failures, dtype=object, name="failure"),
    )


def _lots(fit: LinearMixedModelResults, sample: Sampler, n: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield n responses in lots (n_obs, r) whose size depends on the design only."""
    lot = int(np.clip(NUMBERS // fit.nobs, 1, LOT))
    for done in range(0, n, lot):
        yield sample(min(lot, n - done), rng)


def _in_batches(fit: LinearMixedModelResults, lots: Iterable[np.ndarray], n: int, progress: bool) -> Found:
    """Return estimates, converged, singular and failures of lots of responses, all of a lot refitted at once."""
    values, converged, singular, done = [], [], [], 0
    failures: dict[int, str] = {}
    with Progress(n, progress) as ticks:
        for Y in lots:
            found = estimate(fit, Responses.from_rows(fit.model, Y))
            values.append(np.column_stack([found.beta, standard_deviations(fit._map, found.theta, found.scale)]))
            converged.append(found.converged)
            singular.append(found.singular)
            failures |= {done + i: reason for i, reason in found.failures.items()}
            done += Y.shape[1]
            ticks.step(Y.shape[1])
    return np.concatenate(values), np.concatenate(converged), np.concatenate(singular), failures


def _one_by_one(
    function: Callable[[np.ndarray], Replicate], tasks: Iterable[np.ndarray], n: int, n_jobs: int, progress: bool
) -> Found:
    """Return the same of n tasks, a refit each."""
    if n_jobs > 1:
        _check_picklable(function)
    values, converged, singular, reasons = zip(*run(function, tasks, n, n_jobs, progress), strict=True)
    failures = {i: reason for i, reason in enumerate(reasons) if reason}
    return np.array(values), np.array(converged), np.array(singular), failures


def _refitted(fit: LinearMixedModelResults, statistic: Statistic, names: pd.Index, y: np.ndarray) -> Replicate:
    """Return the statistic of a refit, whether it converged, whether it is singular, and why it failed."""
    return _guarded(lambda: fit.refit(y), statistic, names)


def _resampled(
    fit: LinearMixedModelResults,
    sampler: ClusterSampler,
    statistic: Statistic | None,
    names: pd.Index,
    drawn: np.ndarray,
) -> Replicate:
    """Return the same of the fit to the rows of drawn clusters."""

    def refit() -> LinearMixedModelResults:
        model = sampler.model_of(drawn)
        if model.dropped:
            raise DataError(f"The fixed effects {', '.join(model.dropped)} are not estimable from the drawn clusters.")
        return model.fit(reml=fit.reml, start=fit.theta, engine=fit._engine)

    return _guarded(refit, statistic or partial(estimates, names=names), names)


def _guarded(refit: Callable[[], LinearMixedModelResults], statistic: Statistic, names: pd.Index) -> Replicate:
    """Return statistic, converged, singular and failure of a refit; a failure has NaN."""
    with listening():  # what did not converge is counted
        try:
            result = refit()
        except (DataError, EngineError) as error:
            return np.full(len(names), np.nan), False, False, str(error)
    values = _as_series(statistic(result)).reindex(names).to_numpy()
    return values, result.converged, result.singular, ""


def _as_series(values: Any) -> pd.Series:
    """Return what a statistic returned as a Series of numbers."""
    try:
        return pd.Series(values if hasattr(values, "keys") else np.atleast_1d(values)).astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"statistic must return a number, or a mapping or Series of numbers: {error}.") from None


def _check_picklable(function: object) -> None:
    """Raise a ValueError if work cannot be sent to other processes."""
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"n_jobs > 1 sends the fit and the statistic to other processes, and they cannot be pickled ({error}). "
            "Define the statistic as a function of a module, or use n_jobs=1."
        ) from None


def _describe(sampler: ClusterSampler, name: str) -> str:
    """Return what a cluster bootstrap draws."""
    kept = [t.name for t, nested in zip(sampler.model.terms, sampler.nested, strict=True) if not nested]
    crossed = f"; levels of {', '.join(kept)} stay as they are" if kept else ""
    return f"the {sampler.n_clusters} levels of {name} with their rows, with replacement{crossed}"
