"""What the runner and a worker say to each other: JSON lines, and columns as plain binary files.

Runner to worker: a task line {"directory", "formula", "reml", ...}, then one line {"fit": k} for each repetition.
Worker to runner: one line for each, {"versions"}, {"result"}, {"unsupported"} or {"error"}.
Lines that do not start with "{" are chatter of the peer and are skipped.
"""

import gc
import json
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Fit = tuple[Callable[[], Any], Callable[[Any], dict]]


class UnsupportedError(Exception):
    """The peer cannot fit this model in reasonable time; the message says why."""


def write_columns(data: pd.DataFrame, directory: Path) -> None:
    """Write factors as 0-based little-endian int32 codes, numbers as float64, and `columns.json` describing them."""
    columns = []
    for k, name in enumerate(data.columns):
        column, entry = data[name], {"name": name, "file": f"{k}.bin"}
        if isinstance(column.dtype, pd.CategoricalDtype):
            entry["levels"] = [str(level) for level in column.cat.categories]
            column.cat.codes.to_numpy().astype("<i4").tofile(directory / entry["file"])
        else:
            column.to_numpy().astype("<f8").tofile(directory / entry["file"])
        columns.append(entry)
    (directory / "columns.json").write_text(json.dumps({"rows": len(data), "columns": columns}))


def read_columns(directory: Path) -> pd.DataFrame:
    """The data frame written by `write_columns`, factors as strings in their level order."""
    data = {}
    for entry in json.loads((directory / "columns.json").read_text())["columns"]:
        file = directory / entry["file"]
        if "levels" in entry:
            data[entry["name"]] = pd.Categorical.from_codes(np.fromfile(file, "<i4"), entry["levels"])
        else:
            data[entry["name"]] = np.fromfile(file, "<f8")
    return pd.DataFrame(data)


def memory_mb(field: str) -> float | None:
    """A field of the kernel's status of this process in MB: VmHWM is the peak, VmRSS the present."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    return next(int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith(field))


def libraries(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of the packages and of the BLAS and OpenMP libraries in this process, without paths."""
    from threadpoolctl import threadpool_info

    pools = {f"{p['internal_api']} {p['version'] or ''}".strip() + f", {p['num_threads']}t" for p in threadpool_info()}
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except ModuleNotFoundError:
            found[package] = "checkout"
    return {**found, "python": sys.version.split()[0], "threads": "; ".join(sorted(pools))}


def serve(prepare: Callable[[dict, pd.DataFrame], Fit], packages: tuple[str, ...]) -> None:
    """Answer the runner until its end of the pipe closes.

    `prepare(task, data)` returns (fit, describe): the timed call, which includes the standard errors of
    the fixed effects, and the untimed reading of its result.
    """
    warnings.simplefilter("ignore")
    replies = sys.stdout
    sys.stdout = sys.stderr
    timed = describe = None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if "formula" in message:
                timed, describe = prepare(message, read_columns(Path(message["directory"])))
                reply = {"versions": libraries(packages), "loaded_mb": memory_mb("VmRSS")}
            else:
                gc.collect()
                start = time.perf_counter()
                fitted = timed()
                seconds = time.perf_counter() - start
                reply = {"result": {"seconds": seconds, **describe(fitted), "peak_mb": memory_mb("VmHWM")}}
        except UnsupportedError as problem:
            reply = {"unsupported": str(problem)}
        except Exception as problem:
            reply = {"error": f"{type(problem).__name__}: {problem}"[:300]}
        print(json.dumps(reply), file=replies, flush=True)
