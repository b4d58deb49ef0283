"""How time and memory of a fit grow: every cell, one program on one data set, runs in a process of its own.

    python benchmarks/scale.py --out docs/scale.json
    python benchmarks/scale.py --out docs/scale.json --only 'ratings-25M,panel-*' --who auto,pcg

The record is written after each cell and cells that are in it are not run again, so a campaign can be cut into
parts. A program that is stopped by its time or memory is not tried on larger data of the family, nor where growth in
proportion to the rows would take it beyond its time. Data sets are drawn into the directory --scratch, and deleted
after use.
"""

import argparse
import fnmatch
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from large import SHAPES, Panel
from race import busy_seconds, machine
from worker import HERE, Worker, environment

OURS = ("auto", "pcg", "polish", "cholmod")
PEERS = ("lme4", "mixedlm", "gpboost-iterative", "statsmodels")
WHO = (*OURS, *PEERS)
ALONE = ("ratings-100M", "stream-1e8")  # shapes that are on no curve, for pcg only
POLISHED = ("ratings-tiny", "ratings-1M")  # where "polish" is run by name
SHORT = 5.0  # seconds; a peer whose call takes less is called twice more
OUR_TIME = 600.0  # seconds that auto and pcg may take


@dataclass
class Watch:
    """Kills a process when its resident memory exceeds a limit, and knows that it did."""

    process: subprocess.Popen
    limit_mb: float
    exceeded: bool = field(default=False, init=False)

    def __enter__(self):
        self._done = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._done.set()

    def _look(self) -> None:
        status = Path(f"/proc/{self.process.pid}/status")
        while not self._done.wait(0.2):
            try:
                lines = status.read_text().splitlines()
                used = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
            except (OSError, StopIteration):  # another system, or the process has ended
                return
            if used > self.limit_mb:
                self.exceeded = True
                self.process.kill()
                return


def run_ours(task: dict, timeout: float, limit_mb: float) -> dict:
    """Return the record of one of our engines; `timeout` is for each of its calls."""
    command = [sys.executable, str(HERE / "scale_cell.py"), json.dumps(task)]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment())
        with Watch(process, limit_mb) as watch:
            try:
                out, _ = process.communicate(timeout=timeout + 60.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                return {"status": "timeout", "reason": timeout}
        if watch.exceeded:
            return {"status": "memory", "reason": limit_mb}
        lines = [line for line in out.splitlines() if line.startswith("{")]
        if lines:
            return json.loads(lines[-1])
        log.seek(0)
        print(log.read()[-2000:], file=sys.stderr)
        return {"status": "error", "reason": f"ended with code {process.returncode}"}


def run_peer(peer: str, task: dict, timeout: float, limit_mb: float) -> dict:
    """Return the record of a peer: its first call, or the median of three if that is short."""
    worker = Worker(peer)
    try:
        with Watch(worker.process, limit_mb) as watch:
            worker.load(task, 600.0)
            if worker.running:
                worker.fit(timeout, first=True)
            for _ in range(2):
                if worker.running and worker.result["first_call"] < SHORT:
                    worker.fit(timeout)
    finally:
        worker.stop()
    result = worker.result
    runs = [result["first_call"]] if "first_call" in result and not result["seconds"] else result.pop("seconds")
    if watch.exceeded:
        return {"status": "memory", "reason": limit_mb}
    return {**result, "seconds": statistics.median(runs), "runs": runs} if result["status"] == "ok" else result


def draw(name: str, scratch: Path) -> tuple[Path, dict]:
    """Return the path of the data of a shape, drawn into `scratch`, and what drawing took."""
    shape = SHAPES[name]
    needed = shape.rows * (32 if isinstance(shape, Panel) else 16) * 1.2
    if shutil.disk_usage(scratch).free < needed:
        raise SystemExit(f"{name} needs {needed / 1e9:.1f} GB in {scratch}: choose another directory with --scratch.")
    path = scratch / (f"{name}.parquet" if name.startswith("stream") else name)
    command = [sys.executable, str(HERE / "large.py"), name, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    return path, json.loads(done.stdout)


def cells(only: str, who: str) -> list[tuple[str, list[str]]]:
    """Return the shapes whose names fit and the programs to run on each: ours, then peers; small before large."""
    patterns, programs = only.split(","), who.split(",")
    names = [name for name in SHAPES if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    names = [name for name in names if "tiny" not in name or name in patterns]  # those are asked for by name
    return [
        (name, [who for who in group if who in programs and runs_on(who, name)])
        for group in (OURS, PEERS)
        for name in names
    ]


def runs_on(who: str, name: str) -> bool:
    """Return whether a program is run on a shape at all."""
    if name in ALONE:
        return who == "pcg"
    return who in OURS if name.startswith("stream") else who != "polish" or name in POLISHED


def family(name: str) -> str:
    return name.partition("-")[0]


def settled(record: dict, name: str, who: str, timeout: float) -> dict | None:
    """Return the record of a cell that need not be run, None if it must be."""
    rows = SHAPES[name].rows
    for other, cell in record["cells"].items():
        shape, _, program = other.partition(" ")
        if program != who or family(shape) != family(name) or SHAPES[shape].rows >= rows:
            continue
        if cell["status"] != "ok":
            return {"status": "skipped", "reason": f"stopped at {SHAPES[shape].rows:,} rows"}
        if (expected := cell["seconds"] * rows / SHAPES[shape].rows) > timeout:
            return {"status": "skipped", "reason": f"at least {expected:.0f} s in proportion to {shape}"}
    auto = record["cells"].get(f"{name} auto", {"status": ""})
    if who == "pcg" and auto["status"] == "ok" and auto.get("deviance_error", 0.0) > 0.0:  # pcg from end to end
        return {**auto, "same_as": "auto"}
    return None


def line(who: str, cell: dict) -> str:
    """Return one outcome for the terminal."""
    if cell["status"] != "ok":
        return f"  {who:18} {cell['status']}: {cell.get('reason', '')}"
    parts = f" ({cell['model_seconds']:.2f} + {cell['fit_seconds']:.2f})" if "fit_seconds" in cell else ""
    work = f"{cell['iterations']} it." if "iterations" in cell else f"{cell.get('evaluations', '')} ev."
    theta = " ".join(f"{value:.4f}" for value in cell.get("theta", []))
    memory = f"{cell['loaded_mb']:,.0f} -> {cell['peak_mb']:,.0f} MB"
    return f"  {who:18} {cell['seconds']:9.2f} s{parts:18} {memory:22} {work:>8} {cell['deviance']:.4f} {theta}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help=f"patterns of names, of {', '.join(SHAPES)}")
    parser.add_argument("--who", default=",".join(WHO), help=f"of {', '.join(WHO)}")
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON record; cells in it are not run again, but for errors"
    )
    parser.add_argument("--scratch", type=Path, help="directory for the data, 2 GB; default: a temporary one")
    parser.add_argument("--timeout", type=float, default=150, help="seconds for a call of a peer or of cholmod")
    parser.add_argument("--minutes", type=float, default=32, help="begin no further cell after so long")
    parser.add_argument("--memory", type=float, help="GB at which a process is stopped; default: 85 %% of the machine")
    asked = parser.parse_args()
    record = {"machine": machine(), "data": {}, "cells": {}}
    if asked.out.exists():
        record = json.loads(asked.out.read_text())
        if record["machine"] != machine():
            parser.error("the record in --out comes from another machine; choose another file")
    if unknown := set(asked.who.split(",")) - set(WHO):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    limit_mb = 1000.0 * (asked.memory or 0.85 * (machine()["memory_gb"] or 8))
    begin, failed = time.perf_counter(), False
    with tempfile.TemporaryDirectory(dir=asked.scratch) as scratch:
        for name, programs in cells(asked.only, asked.who):
            path = None
            for who in programs:
                if record["cells"].get(f"{name} {who}", {"status": "error"})["status"] not in ("error", "skipped"):
                    continue
                if time.perf_counter() - begin > 60.0 * asked.minutes:
                    print(f"stopped before {name} {who}, after --minutes {asked.minutes:g}; run again to go on")
                    return int(failed)
                timeout = OUR_TIME if who in ("auto", "pcg") else asked.timeout
                cell = settled(record, name, who, timeout)
                if cell is None:
                    if path is None:
                        path, record["data"][name] = draw(name, Path(scratch))
                        print(f"{name}: {SHAPES[name].rows:,} rows, {SHAPES[name].levels}", flush=True)
                    cell = run(name, who, path, timeout, limit_mb)
                print(line(who, cell), flush=True)
                failed |= cell["status"] == "error"
                record["cells"][f"{name} {who}"] = cell
                asked.out.write_text(json.dumps(record, indent=1) + "\n")
            if path is not None:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(f"took {(time.perf_counter() - begin) / 60:.1f} minutes")
    return int(failed)


def run(name: str, who: str, path: Path, timeout: float, limit_mb: float) -> dict:
    """Return the record of one cell, with the processor time that others took meanwhile."""
    shape = SHAPES[name]
    start, (busy, own) = time.perf_counter(), busy_seconds()
    if who in OURS:
        task = {"source": str(path), "formula": shape.formula, "levels": shape.levels, "engine": who}
        cell = run_ours({**task, "memory_limit": None, "repeat": 3}, timeout, limit_mb)
    else:
        task = {"directory": str(path), "formula": shape.formula, "reml": True}
        cell = run_peer(who, task, timeout, limit_mb)
    took, (busy_after, own_after) = time.perf_counter() - start, busy_seconds()
    others = max(0.0, busy_after - busy - (own_after - own)) / took
    return {**cell, "took": round(took, 1), "others": round(others, 2)}


if __name__ == "__main__":
    sys.exit(main())
