"""One cell of scale.py: one model in a process of its own, so that its peak of memory is its own.

Reads a JSON task from the first argument: {"source", "formula", "levels", "engine", "memory_limit", "repeat"}. The
source is a directory of binary columns or a Parquet file, which is streamed. Writes one line of JSON.
"""

import gc
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from large import SHAPES
from peers.protocol import libraries, memory_mb

import sparselmm

QUICK = 20.0  # seconds; what takes less is repeated


def read_columns(directory: Path) -> pd.DataFrame:
    """Return the columns that `large.write_columns` wrote, factors as integers, without a copy."""
    entries = json.loads((directory / "columns.json").read_text())["columns"]
    columns = {e["name"]: np.fromfile(directory / e["file"], "<i4" if "levels" in e else "<f8") for e in entries}
    return pd.DataFrame(columns, copy=False)


def warm_up(task: dict) -> None:
    """Fit a little model of the kind: imports, and what numba compiles, are not what is measured."""
    tiny = SHAPES["panel-tiny" if "w" in task["levels"] else "ratings-tiny"]
    data = pd.DataFrame(next(tiny.chunks()))
    for engine in {"cholmod", task["engine"]}:
        sparselmm.lmer(tiny.formula, data, engine=engine)


def run(task: dict, data) -> tuple[dict, object]:
    """Return what one model and fit took, and the fit."""
    arguments = {} if task["memory_limit"] is None else {"memory_limit": task["memory_limit"]}
    begin, used = time.perf_counter(), time.process_time()
    model = sparselmm.LinearMixedModel.from_formula(task["formula"], data)
    between, used = time.perf_counter(), time.process_time() - used
    model_mb = memory_mb("VmHWM")
    fit = model.fit(engine=task["engine"], **arguments)
    np.asarray(fit.bse)
    end = time.perf_counter()
    took = {"model_seconds": between - begin, "model_cpu_seconds": used, "fit_seconds": end - between}
    return {**took, "seconds": end - begin, "model_mb": model_mb, "peak_mb": memory_mb("VmHWM")}, fit


def describe(fit) -> dict:
    """Return what the fit says of itself."""
    record = fit.optimizer
    chance = record.monte_carlo
    about = {
        "deviance": -2.0 * float(fit.llf),
        "theta": [float(value) for value in record.theta],
        "converged": bool(record.converged),
        "evaluations": int(record.evaluations),
        "used": record.engine,
        "choice": record.choice,
    }
    if chance is not None:
        about |= {"probes": chance.probes, "iterations": int(chance.iterations), "error_in_se": float(chance.relative)}
        about |= {"deviance_error": float(chance.deviance)}
    return about


def main() -> None:
    warnings.simplefilter("ignore")
    task = json.loads(sys.argv[1])
    replies, sys.stdout = sys.stdout, sys.stderr
    warm_up(task)
    base_mb = memory_mb("VmRSS")
    source = Path(task["source"])
    data = read_columns(source) if source.is_dir() else str(source)
    gc.collect()
    result = {"base_mb": base_mb, "loaded_mb": memory_mb("VmRSS")}
    result |= {"versions": libraries(("sparselmm", "scikit-sparse", "numpy", "numba"))}
    try:
        runs, fit = [], None
        while not runs or (len(runs) < task["repeat"] and runs[0]["seconds"] < QUICK):
            fit = None
            gc.collect()
            took, fit = run(task, data)
            runs.append(took)
        median = sorted(runs, key=lambda took: took["seconds"])[len(runs) // 2]
        memory = {name: runs[0][name] for name in ("model_mb", "peak_mb")}
        result |= {"status": "ok", **median, **memory, "runs": [r["seconds"] for r in runs], **describe(fit)}
    except Exception as problem:
        result |= {"status": "refused" if isinstance(problem, sparselmm.EngineError) else "error"}
        result |= {"reason": f"{type(problem).__name__}: {problem}"[:500], "peak_mb": memory_mb("VmHWM")}
    print(json.dumps(result), file=replies, flush=True)


if __name__ == "__main__":
    main()
