"""Power: what simulated studies found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..export import Block, aligned
from ..printout import Printed, Printout

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLES = {
    "satterthwaite": "tests with Satterthwaite's degrees of freedom",
    "kenward-roger": "tests with Kenward and Roger's degrees of freedom",
    "z": "Wald tests with the normal distribution",
    "lrt": "likelihood ratio tests",
}
MANY_SINGULAR = 0.1  # share of singular fits from which they get a sentence


@dataclass(frozen=True, eq=False)
class Runs:
    """The tests of k responses simulated on one design.

    Attributes
    ----------
    size : dict of str to int
        Levels of the grouping factors, where they were asked for.
    names : list of str
        Of the h hypotheses.
    effects, nulls : ndarray (h,)
        True values of what is tested, NaN for joint hypotheses, and the values that the tests compare with.
    estimates, errors, p_values : ndarray (k, h)
        NaN where a refit failed; estimates and standard errors also for joint hypotheses.
    singular, converged : ndarray of bool (k,)
    failures : list of str
        Why refits failed.
    seconds : float
    """

    size: dict[str, int]
    names: list[str]
    effects: np.ndarray
    nulls: np.ndarray
    estimates: np.ndarray
    errors: np.ndarray
    p_values: np.ndarray
    singular: np.ndarray
    converged: np.ndarray
    failures: list[str]
    seconds: float

    def table(self, alpha: float, level: float) -> pd.DataFrame:
        """Return a row for every hypothesis; see `Power.to_frame`."""
        k, failed = len(self.p_values), len(self.failures)
        tested = np.isfinite(self.p_values)
        found = tested & (self.p_values < alpha)
        hits, trials = found.sum(axis=0), tested.sum(axis=0)
        low, high = binomial_interval(hits, trials, level)
        distance, truth = self.estimates - self.nulls, self.effects - self.nulls
        truth = np.where(truth == 0, np.nan, truth)
        with np.errstate(invalid="ignore", divide="ignore"):
            wrong = found & (np.sign(distance) != np.sign(truth))
            columns = {
                "term": self.names,
                "effect": self.effects,
                "power": hits / trials,
                "conf.low": low,
                "conf.high": high,
                "std.error": _mean(self.errors, tested),
                "type.s": np.where(np.isnan(truth), np.nan, wrong.sum(axis=0) / hits),
                "type.m": _mean(np.abs(distance), found) / np.abs(truth),
                "n_sim": k,
                "singular": self.singular.sum() / max(k - failed, 1),
                "uncertified": k - failed - int(self.converged.sum()),
                "failed": k - trials,
            }
        return pd.DataFrame({**{name: [size] * len(self.names) for name, size in self.size.items()}, **columns})


@dataclass(frozen=True, eq=False, repr=False)
class Power(Printed):
    """Power of tests of the fixed effects, from simulated studies; prints itself.

    ``study["power"]`` is a column of `to_frame()`.

    Attributes
    ----------
    formula : str
    test : {"satterthwaite", "kenward-roger", "z", "lrt"}
    alpha : float
        Level of the tests.
    runs : list of Runs
        The simulated studies, one for each size.
    observed : bool
        Whether the effects are the estimates of a fit.
    averaged : bool
        Whether the effect of a term is among them.
    """

    formula: str
    test: str
    alpha: float
    runs: list[Runs]
    observed: bool = False
    averaged: bool = False

    def to_frame(self, alpha: float | None = None, level: float = 0.95) -> pd.DataFrame:
        """Return the table, a row for every size and hypothesis.

        Parameters
        ----------
        alpha : float, optional
            Another level of the tests.
        level : float
            Of the intervals of the power.

        Returns
        -------
        DataFrame
            Sizes, term, effect (the true value; that of a term with one degree of freedom is the mean of its second
            category minus that of the first, or the slope, averaged over what it interacts with), power with the limits
            conf.low and conf.high that the number of simulations leaves (Clopper & Pearson 1934), std.error (mean),
            type.s (share of significant estimates with the wrong sign), type.m (how many times too large significant
            estimates are on average), n_sim, the share of singular fits, and the numbers of those whose optimum is not
            certified and of those that failed: these have no p-value and are left out.
        """
        alpha = self.alpha if alpha is None else alpha
        return pd.concat([run.table(alpha, level) for run in self.runs], ignore_index=True)

    @property
    def frame(self) -> pd.DataFrame:
        """The table of `to_frame` with its default values."""
        return self.to_frame()

    def __getitem__(self, column: str) -> pd.Series:
        frame = self.to_frame()
        if column not in frame:
            raise KeyError(f"{column!r} is no column of this table; its columns are {', '.join(frame)}.")
        return frame[column]

    @property
    def replicates(self) -> pd.DataFrame:
        """Every simulated test: sizes, term, replicate, estimate, std.error and p.value."""
        parts = []
        for run in self.runs:
            k, h = run.p_values.shape
            columns = {
                "term": np.tile(np.array(run.names, dtype=object), k),
                "replicate": np.repeat(np.arange(k), h),
                "estimate": run.estimates.ravel(),
                "std.error": run.errors.ravel(),
                "p.value": run.p_values.ravel(),
            }
            parts.append(pd.DataFrame({**{name: np.full(k * h, size) for name, size in run.size.items()}, **columns}))
        return pd.concat(parts, ignore_index=True)

    @property
    def seconds(self) -> float:
        """Seconds that the simulations took."""
        return sum(run.seconds for run in self.runs)

    @property
    def failures(self) -> pd.Series:
        """How many refits failed, by reason; empty if none did."""
        reasons = Counter(reason for run in self.runs for reason in run.failures)
        return pd.Series(reasons, name="failures", dtype=int)

    def plot(self, ax: Axes | None = None, target: float | None = 0.8) -> Axes:
        """Draw the power against the first of the sizes, a line for each test and combination of other sizes.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
        target : float or None
            Power that a line marks.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from ..plots.power import power

        return power(self, ax, target)

    @property
    def notes(self) -> list[str]:
        """Sentences on what was done and what the numbers do not show."""
        k, frame = len(self.runs[0].p_values), self.to_frame()
        refits = sum(len(run.p_values) - len(run.failures) for run in self.runs)
        each = " for each size" if len(self.runs) > 1 else ""
        notes = [
            f"{k:,} simulated responses{each} in {self.seconds:.1f} s. Intervals: 95 %, for the number of simulations."
        ]
        if frame["type.s"].notna().any():
            notes.append(
                "type S: share of the significant estimates with the wrong sign. type M: how many times too large the "
                "significant ones are on average."
            )
        if self.averaged:
            notes.append(
                "The effect of a term: mean of its second category minus that of the first, or slope, averaged over "
                "what it interacts with."
            )
        if any((run.effects == run.nulls).any() for run in self.runs):
            notes.append("Where the hypothesis is true, the power is the rate of false positives.")
        if self.observed:
            notes.append(
                "The effects are the estimates of the fit itself, and such power says no more than its p-values. "
                "Give the smallest effect that would matter in params=."
            )
        singular = sum(run.singular.sum() for run in self.runs) / max(refits, 1)
        if singular >= MANY_SINGULAR:
            notes.append(f"{singular:.0%} of the fits are singular. That is no failure: their tests are counted.")
        if uncertified := refits - sum(int(run.converged.sum()) for run in self.runs):
            notes.append(f"{uncertified} fits are counted whose optimum could not be certified.")
        if len(self.failures):
            notes.append(f"{self.failures.sum()} fits failed and are left out: {self.failures.index[0]}")
        without = int(frame["failed"].sum()) - self.failures.sum() * len(self.runs[0].names)
        if without > 0:
            notes.append(f"{without} tests have no p-value and are left out.")
        return notes

    @property
    def printout(self) -> Printout:
        """Table of `to_frame` in short, formula and notes."""
        frame = self.to_frame()
        sizes = list(self.runs[0].size)
        interval = [f"{low:.3f} to {high:.3f}" for low, high in zip(frame["conf.low"], frame["conf.high"], strict=True)]
        cells = {name: [str(value) for value in frame[name]] for name in sizes}
        cells |= {"term": list(frame["term"]), "effect": [_number(value) for value in frame["effect"]]}
        cells |= {"power": [f"{value:.3f}" for value in frame["power"]], "95 % interval": interval}
        cells |= {"std. error": [_number(value) for value in frame["std.error"]]}
        cells |= {"type S": [_number(value, ".3f") for value in frame["type.s"]]}
        cells |= {"type M": [_number(value, ".2f") for value in frame["type.m"]]}
        cells |= {"singular": [f"{value:.0%}" for value in frame["singular"]]}
        cells = {name: values for name, values in cells.items() if any(values)}
        title = f"Power at alpha = {self.alpha:g}, {TITLES[self.test]}"
        block = Block(title, tuple(cells), list(zip(*map(aligned, cells.values()), strict=True)), labels=len(sizes) + 1)
        return Printout("", [block], [f"Model: {self.formula}.", *self.notes])


def binomial_interval(hits: np.ndarray, trials: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact limits of a share (Clopper & Pearson 1934); NaN without trials."""
    from scipy.special import betaincinv

    tail = 0.5 * (1.0 - level)
    hits, trials = np.asarray(hits, dtype=float), np.asarray(trials, dtype=float)
    none, all_ = hits == 0, hits == trials
    low = np.where(none, 0.0, betaincinv(np.where(none, 1.0, hits), trials - hits + 1.0, tail))
    high = np.where(all_, 1.0, betaincinv(hits + 1.0, np.where(all_, 1.0, trials - hits), 1.0 - tail))
    return np.where(trials > 0, low, np.nan), np.where(trials > 0, high, np.nan)


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return the means (h,) of the values (k, h) that count; NaN without any."""
    return np.where(where, values, 0.0).sum(axis=0) / where.sum(axis=0)


def _number(value: float, form: str = ".4g") -> str:
    """Return a number as text, nothing where there is none."""
    return "" if np.isnan(value) else f"{value:{form}}"
