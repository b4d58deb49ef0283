"""Outcome of a module of the campaign, and the loop over its trials."""

from __future__ import annotations

import importlib
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

LONGEST = 600  #: characters of a failure's text that are kept


@dataclass
class Outcome:
    """What a module of the campaign found.

    Attributes
    ----------
    name : str
        Of the module.
    tried : int
        Number of trials.
    failures : list of dict
        Enough to reproduce each: seed, number, what was expected, what came.
    note : str
        A sentence for the page: what was measured.
    seconds : float
    counts : dict
        How many trials were of which kind, for the page.
    """

    name: str
    tried: int
    failures: list[dict] = field(default_factory=list)
    note: str = ""
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)

    def __add__(self, other: Outcome) -> Outcome:
        kinds = {**self.counts, **other.counts}
        return Outcome(
            self.name,
            self.tried + other.tried,
            self.failures + other.failures,
            self.note or other.note,
            self.seconds + other.seconds,
            {kind: self.counts.get(kind, 0) + other.counts.get(kind, 0) for kind in kinds},
        )


Trial = Callable[[np.random.Generator, int], str | Iterable[str] | None]


def attempt(name: str, count: int, seed: int, trial: Trial, note: str = "", first: int = 0) -> Outcome:
    """Return the Outcome of trials ``first`` to ``first + count - 1``.

    Trial number i is ``trial(rng, i)`` with a generator of its own, from ``[seed, i]``: each can be repeated alone. It
    fails by raising anything, an AssertionError or a warning that it did not expect; it may return the kinds of trial
    that it was, which are counted.
    """
    outcome, begin = Outcome(name, count, note=note), time.perf_counter()
    for number in range(first, first + count):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                kinds = trial(np.random.default_rng([seed, number]), number)
        except Exception as error:
            outcome.failures.append({"seed": seed, "number": number, **described(error)})
            kinds = None
        for kind in [kinds] if isinstance(kinds, str) else kinds or ():
            outcome.counts[kind] = outcome.counts.get(kind, 0) + 1
    outcome.seconds = time.perf_counter() - begin
    return outcome


def described(error: BaseException) -> dict[str, str]:
    """Return what came, in place of what was expected, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno}" for f in reversed(frames[-4:]))
    return {"came": f"{type(error).__name__}: {error}"[:LONGEST], "where": where}


def run_module(name: str, count: int, seed: int) -> Outcome:
    """Return the Outcome of one task; a module that breaks is a failure, not the end of the campaign."""
    try:
        return importlib.import_module(f"campaign.{name}").run(count, seed)
    except Exception as error:
        return Outcome(name, count, [{"seed": seed, "number": -1, **described(error)}])
