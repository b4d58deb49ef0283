"""Refits, fits, predictions, saves and loads again and again: the memory of the process does not grow."""

from __future__ import annotations

import gc
import os
import resource
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from sparselmm import DataError, LinearMixedModel, MixedLM, MixedLMResults, lmer, load_model

from .outcome import Outcome, described

SHORT, LONG, PART = 12, 1_000, 1_000
NOTE = (
    "Each operation as often as the count says, after a warm-up: growth of the resident memory, and of Python's "
    "objects in the second half of up to 400 more."
)
RESIDENT = 8e6  # bytes: a vector of the model's rows kept by each of 1,000 operations would be 16 MB
TRACED = 1e5  # and half a kilobyte kept by each of 200 operations
MOST_TRACED = 400
FORMULA = "y ~ x + (1 + x | g) + (1 | h)"


def run(count: int, seed: int) -> Outcome:
    """Return the Outcome of `count` repetitions of every operation."""
    outcome, begin = Outcome("memory", 0, note=NOTE), time.perf_counter()
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, operation in operations(rng, Path(folder)):
            outcome.tried += count
            outcome.counts[name] = count
            try:
                resident, traced = growth(operation, count)
                assert resident < RESIDENT, f"{name}: resident memory grew by {resident / 1e6:.1f} MB in {count}"
                assert traced < TRACED, f"{name}: Python's objects grew by {traced / 1e3:.0f} kB in {halves(count)}"
            except Exception as error:
                outcome.failures.append({"seed": seed, "number": outcome.tried, "operation": name, **described(error)})
    outcome.seconds = time.perf_counter() - begin
    return outcome


def growth(operation: Callable[[], object], count: int) -> tuple[float, float]:
    """Return the bytes by which the process grows in `count` operations, and Python's objects in half of `halves`."""
    warm = min(max(count // 5, 3), 20)
    for _ in range(warm):
        operation()
    gc.collect()
    before = resident_bytes()
    for _ in range(count):
        operation()
    gc.collect()
    resident = resident_bytes() - before
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(2):  # caches made before the tracing are made anew in the first half
            for _ in range(halves(count)):
                operation()
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    return resident, sizes[1] - sizes[0]


def halves(count: int) -> int:
    """Return half the number of operations whose objects are traced."""
    return max(min(count, MOST_TRACED) // 2, 1)


def resident_bytes() -> float:
    """Return the resident memory of this process; its largest so far where the system does not say more."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def operations(rng: np.random.Generator, folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the operations by name."""
    data = panel(rng)
    model = LinearMixedModel.from_formula(FORMULA, data, context={})
    Y = rng.standard_normal((len(data), 4))
    for engine in ("cholmod", "dense", "pcg", "polish"):
        yield f"model.fit(engine={engine!r})", lambda engine=engine: model.fit(engine=engine)
    for engine in ("cholmod", "pcg"):
        fit = model.fit(engine=engine)
        yield f"refit, {engine}", lambda fit=fit: fit.refit(Y[:, 0])
        yield f"refit_many, {engine}", lambda fit=fit: fit.refit_many(Y)
    fit = model.fit()
    yield "lmer", lambda: lmer(FORMULA, data, context={})
    yield "MixedLM", lambda: MixedLM.from_formula("y ~ x", data, groups="g", re_formula="~x").fit()
    yield "predict", lambda: fit.predict(data.head(50), interval="prediction")
    yield "summary of a fit", lambda: model.fit().summary().as_text()
    yield "random_effects_cov of a fit", lambda: model.fit().random_effects_cov
    yield "bootstrap", lambda: fit.bootstrap(4, rng=1)
    yield "emmeans", lambda: fit.emmeans("1", at={"x": 0.0}).frame
    grouped = MixedLM.from_formula("y ~ x", data, groups="g", re_formula="~x").fit()
    yield "save and load a fit", lambda: (grouped.save(folder / "fit"), MixedLMResults.load(folder / "fit"))
    streamed = lmer(FORMULA, (part for part in (data[:400], data[400:])), context={}).model
    yield "save and load a model", lambda: (streamed.save(folder / "model"), load_model(folder / "model").fit())
    yield "chunks", lambda: lmer(FORMULA, (part for part in (data[:400], data[400:])), context={})
    yield "error", lambda: failed(data)


def failed(data: pd.DataFrame) -> None:
    """Take a fit that ends in an error."""
    try:
        lmer("y ~ x + (1 | one)", data.assign(one=1), context={})
    except DataError:
        return
    raise AssertionError("a factor with a single level was fitted")


def panel(rng: np.random.Generator, n: int = 800) -> pd.DataFrame:
    """Return crossed data with a slope."""
    g, h, x = rng.integers(0, 30, n), rng.integers(0, 12, n), rng.standard_normal(n)
    y = x + rng.standard_normal(30)[g] * (1.0 + 0.5 * x) + rng.standard_normal(12)[h] + rng.standard_normal(n)
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h})
