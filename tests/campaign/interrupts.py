"""Ctrl-C at any line of the package: FitInterrupted where it is promised, and nothing left behind.

A trial runs a piece of work and raises KeyboardInterrupt at one line, drawn from all that the work executes, the
clean-up included. Then no file is half written, the same work gives the same answer, a fit goes on from where it was
stopped, and threads, BLAS limits, warnings filters and NumPy's error state are what they were.
"""

from __future__ import annotations

import gc
import linecache
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd
from threadpoolctl import ThreadpoolController

import sparselmm
from sparselmm import FitInterrupted, LinearMixedModel, MixedLM
from sparselmm.crossproducts import CrossProducts
from sparselmm.mixedlm import MixedLMResults

from .outcome import Outcome, attempt

SHORT, LONG = 40, 2_000
NOTE = "KeyboardInterrupt at a random line of model building, fits by every engine, streams, resampling, files"
PACKAGE = str(Path(sparselmm.__file__).parent)
FORMULA = "y ~ x + f + (x | g) + (1 | h)"
BLAS_THREADS = 2  # so that a limit that is left behind shows


class Interrupt:
    """A KeyboardInterrupt at one line of the package that the block executes; without a place it counts the lines."""

    def __init__(self, place: int | None = None):
        self.place, self.lines, self.raised = place, 0, False

    def __enter__(self) -> Interrupt:
        sys.settrace(self._called)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, event: str, argument: object) -> Callable | None:
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, frame: FrameType, event: str, argument: object) -> Callable:
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not text.lstrip().startswith("with "):  # Python lets none in before a block's exit
            self.lines += 1
            if self.lines == self.place:
                self.raised = True
                raise KeyboardInterrupt
        return self._line


def run(count: int, seed: int) -> Outcome:
    """Return the Outcome of `count` interrupted pieces of work."""
    with blas_threads():
        return attempt("interrupts", count, seed, trial, NOTE)


def trial(rng: np.random.Generator, number: int) -> list[str]:
    """Interrupt one piece of work and return its name and how it ended."""
    name = str(rng.choice(list(WORK)))
    work, (expected, lines) = WORK[name], answer(name)
    before, stop = state(), Interrupt(int(rng.integers(1, lines + 1)))
    with folder() as (home, temporary):
        (home / "old").write_text("old")
        caught = None
        try:
            with stop:
                work(home)
        except KeyboardInterrupt as error:
            caught = error
        where = place_of(caught)
        if stop.raised:
            assert caught is not None, f"{name}: Ctrl-C at line {stop.place} was swallowed"
            check_stop(name, caught, where)
        caught = None if caught is None else type(caught).__name__
        left = [path.name for path in home.iterdir() if path.name not in ("old", "out.parquet", "saved")]
        assert not left, f"{name}, stopped at {where}: left {left}"
        assert same(work(home), expected), f"{name}, stopped at {where}: another answer afterwards"
        gc.collect()
        left = [path.name for path in temporary.iterdir()]
        assert not left, f"{name}, stopped at {where}: left the temporary {left}"
    assert not (change := changes(before)), f"{name}, stopped at {where}: {change}"
    return [name, caught or "finished"]


def check_stop(name: str, caught: KeyboardInterrupt, where: str) -> None:
    """Raise an AssertionError unless a stop within a search is a FitInterrupted from which a fit goes on."""
    functions = [frame.name for frame in traceback.extract_tb(caught.__traceback__)]
    if not isinstance(caught, FitInterrupted):
        assert "_optimum" not in functions, f"{name}, stopped at {where}: {type(caught).__name__}, not FitInterrupted"
        return
    assert np.isfinite(caught.record.theta).all() and not caught.record.converged, f"{name}, stopped at {where}: record"
    if name.startswith("fit by"):
        assert isinstance(caught.model, LinearMixedModel), f"{name}, stopped at {where}: the stop has no model"
        engine = name.removeprefix("fit by ")
        fit = quiet(lambda: caught.model.fit(start=caught, engine=engine))
        slack = 1e-6 if engine != "pcg" else 0.05
        difference = abs(-2.0 * fit.llf - answer(name)[0][0])
        assert difference < slack, f"{name}, stopped at {where}: {difference} from the optimum when it went on"


def place_of(error: BaseException | None) -> str:
    """Return where an interrupt was raised, "nowhere" without one."""
    while error is not None and error.__context__ is not None:
        error = error.__context__
    frames = traceback.extract_tb(error.__traceback__) if error else []
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-4:])) or "nowhere"


# what is interrupted ---------------------------------------------------------------------------------------------


@cache
def rows() -> pd.DataFrame:
    """Return rows for all pieces of work."""
    rng = np.random.default_rng(8)
    n = 160
    data = pd.DataFrame({"x": rng.normal(size=n), "f": rng.choice(list("abc"), n), "g": np.arange(n) % 16})
    data["h"] = rng.integers(7, size=n)
    effects = (
        rng.normal(size=16)[data["g"]] + rng.normal(size=16)[data["g"]] * data["x"] + rng.normal(size=7)[data["h"]]
    )
    return data.assign(y=data["x"] + effects + rng.normal(size=n))


@cache
def fitted() -> sparselmm.LinearMixedModelResults:
    """Return a fit of the rows."""
    return sparselmm.lmer(FORMULA, rows())


def chunks() -> list[pd.DataFrame]:
    """Return the rows in parts."""
    return [rows()[:60], rows()[60:100], rows()[100:]]


def fit_by(engine: str) -> Callable[[Path], list]:
    """Return a fit by an engine."""

    def work(home: Path) -> list:
        fit = LinearMixedModel.from_formula(FORMULA, rows()).fit(engine=engine)
        return [-2.0 * fit.llf, *fit.params]

    return work


def build(home: Path) -> list:
    """Build a model."""
    model = LinearMixedModel.from_formula("y ~ bs(x, df=4) * f + (x || g) + (1 | h)", rows())
    return [model.cross.yy, *model.cross.Zy]


def stream(home: Path) -> list:
    """Fit an iterator, which is kept in a temporary folder."""
    return list(sparselmm.lmer(FORMULA, iter(chunks())).params)


def stream_file(home: Path) -> list:
    """Fit a Parquet file."""
    with tempfile.TemporaryDirectory(dir=home.parent) as place:
        rows().to_parquet(f"{place}/rows.parquet")
        return list(sparselmm.lmer(FORMULA, f"{place}/rows.parquet").params)


def summarize(home: Path) -> list:
    """Summarize a new fit with Satterthwaite's and Kenward and Roger's degrees of freedom."""
    fit = sparselmm.lmer(FORMULA, rows())
    text = str(fit.summary())
    return [len(text), float(fit.wald_test(np.eye(4)[1:]).pvalue)]


def refit_many(home: Path) -> list:
    """Fit other responses."""
    Y = rows()["y"].to_numpy()[:, None] + np.random.default_rng(1).normal(size=(160, 5))
    return list(fitted().refit_many(Y).params.to_numpy().ravel())


def bootstrap(home: Path) -> list:
    """Bootstrap parametrically."""
    return list(fitted().bootstrap(3, rng=1).replicates.to_numpy().ravel())


def profile(home: Path) -> list:
    """Profile a fixed effect."""
    return list(fitted().profile(["x"]).conf_int().to_numpy().ravel())


def influence(home: Path) -> list:
    """Leave out levels."""
    return list(fitted().influence("h").cooks_distance)


def save_cross(home: Path) -> list:
    """Save and load cross-products."""
    fitted().model.cross.save(home / "saved")
    return [CrossProducts.load(home / "saved").yy]


def save_model(home: Path) -> list:
    """Save and load a model without rows."""
    streamed().save(home / "saved")
    return [sparselmm.load_model(home / "saved").cross.yy]


@cache
def streamed() -> LinearMixedModel:
    """Return a model without rows."""
    return sparselmm.lmer(FORMULA, iter(chunks())).model


def save_fit(home: Path) -> list:
    """Fit a MixedLM, save and load it."""
    fit = MixedLM.from_formula("y ~ x", rows(), groups="g").fit()
    fit.save(home / "saved")
    return list(MixedLMResults.load(home / "saved").params)


def predict(home: Path) -> list:
    """Write predictions to a file."""
    fitted().predict(iter(chunks()), sink=home / "out.parquet")
    return list(pd.read_parquet(home / "out.parquet")["estimate"])


WORK: dict[str, Callable[[Path], list]] = {
    **{f"fit by {engine}": fit_by(engine) for engine in ("cholmod", "pcg", "polish", "dense")},
    **{work.__name__: work for work in (build, stream, stream_file, summarize, refit_many, bootstrap, profile)},
    **{work.__name__: work for work in (influence, save_cross, save_model, save_fit, predict)},
}


@cache
def answer(name: str) -> tuple[list, int]:
    """Return what a piece of work gives, and how many lines of the package it executes."""
    with folder() as (home, _):
        WORK[name](home)  # compiles, imports and caches
        with Interrupt() as counter:
            given = WORK[name](home)
    return given, counter.lines


# what has to stay ------------------------------------------------------------------------------------------------


def state() -> dict:
    """Return what an interrupt may not change."""
    with ThreadPoolExecutor(1) as other:  # which waits for ever where this thread holds the lock
        lock = other.submit(blas_lock().acquire, timeout=1.0).result() and other.submit(blas_lock().release)
    return {
        "lock": "free" if lock else "held",
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "BLAS threads": [pool.num_threads for pool in controller().lib_controllers],
        "errors": np.geterr(),
        "filters": list(warnings.filters),
    }


def changes(before: dict) -> list[str]:
    """Return what is other than before, a second later at the most."""
    end = time.monotonic() + 1.0
    while (after := state()) != before and time.monotonic() < end:
        time.sleep(0.01)
    pairs = {name: (before[name], after[name]) for name in before}
    for name in ("filters", "threads"):
        old, new = pairs[name]
        if old != new:
            pairs[name] = [part for part in old if part not in new], [part for part in new if part not in old]
    return [f"{name}: {old} became {new}" for name, (old, new) in pairs.items() if before[name] != after[name]]


def blas_lock() -> threading.RLock:
    """Return the lock of the limit of BLAS threads."""
    return sparselmm.threads._one_thread._lock


@cache
def controller() -> ThreadpoolController:
    """Return the controller of all BLAS libraries."""
    quiet(lambda: fit_by("cholmod")(Path()))  # loads CHOLMOD's
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def blas_threads():
    """Run the block with BLAS_THREADS threads of every BLAS."""
    with controller().limit(limits=BLAS_THREADS):
        yield


@contextmanager
def folder():
    """Yield a folder for results and one for the temporary files of the process, which are removed at the end."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="campaign-") as place:
        home, temporary = Path(place) / "home", Path(place) / "temporary"
        home.mkdir()
        temporary.mkdir()
        tempfile.tempdir = str(temporary)
        try:
            yield home, temporary
        finally:
            tempfile.tempdir = before


def quiet(function: Callable) -> object:
    """Return what a function returns, its warnings ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function()


def same(ours: list, theirs: list) -> bool:
    """Return whether answers are equal to rounding."""
    return len(ours) == len(theirs) and np.allclose(ours, theirs, rtol=1e-6, atol=1e-8)
