"""Race the peers side by side: every peer keeps its data in its own process and the repetitions alternate.

    python benchmarks/race.py --shapes insteval,sleepstudy --peers sparselmm,lme4 --reps 5 --timeout 900

The timing rule is: fit with standard errors of the fixed effects, data in memory, second call. A first call
that takes longer than a minute is reported itself and not repeated. `--smoke` runs sparselmm on reduced shapes.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers.protocol import write_columns
from shapes import SHAPES, Shape
from worker import HERE, PEERS, Worker, environment

DEFAULT_PEERS = ("sparselmm", "lme4", "mixedlm", "gpboost", "statsmodels")
IMPORTS = {
    "sparselmm": "import sparselmm; sparselmm.lmer",
    "lme4": "library(lme4)",
    "mixedlm": "import mixedlm; mixedlm.lmer",
    "gpboost": "import gpboost; gpboost.GPModel",
    "statsmodels": "import statsmodels.formula.api",
}


def machine() -> dict:
    """Cores, processor, memory, system and thread settings of this machine, without names that identify it."""
    cpu, memory = platform.processor() or platform.machine(), None
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if cpuinfo.exists() and meminfo.exists():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        cpu = models[0] if models else cpu
        memory = round(int(meminfo.read_text().split()[1]) / 1024**2)
    threads = ("OPENBLAS_", "OMP_", "MKL_", "NUMBA_NUM", "RAYON_")
    settings = {name: value for name, value in sorted(os.environ.items()) if name.startswith(threads)}
    here = {"cores": os.cpu_count(), "cpu": cpu, "memory_gb": memory, "system": platform.system()}
    return {**here, "settings": settings}


def busy_seconds() -> tuple[float, float]:
    """Processor seconds used so far by the whole machine, and by this run with its ended workers."""
    own = sum(os.times()[:4])
    stat = Path("/proc/stat")
    if not stat.exists():
        return own, own
    ticks = [int(count) for count in stat.read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK"), own


def race(shape: Shape, peers: list[str], reps: int, timeout: float, small: bool) -> dict:
    """The record of one shape: the peers take turns, repetition by repetition."""
    data = shape.make(**shape.small) if small else shape.make()
    workers = {peer: Worker(peer) for peer in peers}
    try:
        with tempfile.TemporaryDirectory() as directory:
            write_columns(data, Path(directory))
            task = {"directory": directory, "formula": shape.formula, "reml": shape.reml}
            for worker in workers.values():
                worker.load(task, timeout)
        for worker in workers.values():
            if worker.running:
                worker.fit(timeout, first=True)
        for _ in range(reps * shape.repeat):
            for worker in workers.values():
                if worker.running and not worker.result["once"]:
                    worker.fit(timeout)
    finally:
        for worker in workers.values():
            worker.stop()
    levels = {name: data[name].cat.categories.size for name in data if data[name].dtype == "category"}
    record = {"title": shape.title, "formula": shape.formula, "criterion": "REML" if shape.reml else "ML"}
    return {**record, "rows": len(data), "levels": levels, "peers": {p: w.result for p, w in workers.items()}}


def race_import(peers: list[str], reps: int, timeout: float) -> dict:
    """Seconds until a fresh interpreter knows the fitting function of each peer, taken in turns."""
    python = (
        "import json, sys, time; t = time.perf_counter(); {0}; t = time.perf_counter() - t; "
        "print(json.dumps(dict(seconds=t, numba='numba' in sys.modules)))"
    )
    r = "t <- system.time(suppressPackageStartupMessages({0}))[[3]]; cat(sprintf('{{\"seconds\": %f}}\\n', t))"
    results = {peer: {"status": "ok", "seconds": []} for peer in peers if peer in IMPORTS}
    for repetition in range(reps + 1):
        for peer, result in results.items():
            program = ["Rscript", "-e", r] if peer == "lme4" else [sys.executable, "-c", python]
            command = [*program[:2], program[2].format(IMPORTS[peer])]
            done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=timeout)
            lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
            if not lines:
                print(done.stderr[-2000:], file=sys.stderr)
                result.update(status="error", reason=f"the import ended with code {done.returncode}")
                continue
            answer = json.loads(lines[-1])
            if repetition:
                result["seconds"].append(answer.pop("seconds"))
            else:
                result["first_call"] = answer.pop("seconds")
            result |= answer
    return {"title": "Import in a fresh interpreter", "peers": results}


def line(peer: str, result: dict) -> str:
    """One peer's outcome for the terminal."""
    if not result["seconds"]:
        return f"  {peer:18} {result['status']}: {result.get('reason', '')}"
    work = result.get("evaluations", result.get("iterations", ""))
    deviance = f"{result['deviance']:.6f}" if "deviance" in result else ""
    peak = f"{result['peak_mb']:.0f} MB" if result.get("peak_mb") else ""
    median = statistics.median(result["seconds"])
    return f"  {peer:18} {median:9.4f} s {work!s:>6} {deviance:>18} {peak:>9} {result.get('note', '')}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join([*SHAPES, "import"]))
    parser.add_argument("--peers", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one fit")
    parser.add_argument("--out", type=Path, help="JSON record; shapes already in it and not raced now are kept")
    parser.add_argument("--smoke", action="store_true", help="sparselmm on reduced shapes, one repetition")
    asked = parser.parse_args()
    peers = (asked.peers or ("sparselmm" if asked.smoke else ",".join(DEFAULT_PEERS))).split(",")
    shapes = asked.shapes.split(",")
    if unknown := [name for name in shapes if name not in SHAPES and name != "import"] + [
        peer for peer in peers if peer not in PEERS
    ]:
        parser.error(f"unknown: {', '.join(unknown)}")
    reps = 1 if asked.smoke else asked.reps
    sys.path.insert(0, str(HERE.parent))
    record = {"machine": machine(), "races": {}}
    if asked.out and asked.out.exists():
        record = json.loads(asked.out.read_text())
        if record["machine"] != machine():
            parser.error("the record in --out comes from another machine; choose another file")
    failed = False
    for name in shapes:
        print(name, flush=True)
        start, (busy, own) = time.perf_counter(), busy_seconds()
        if name == "import":
            done = race_import(peers, reps, asked.timeout)
        else:
            done = race(SHAPES[name], peers, reps, asked.timeout, asked.smoke)
        for peer, result in done["peers"].items():
            print(line(peer, result), flush=True)
            failed |= result["status"] == "error"
        took, (busy_after, own_after) = time.perf_counter() - start, busy_seconds()
        others = max(0.0, busy_after - busy - (own_after - own)) / took
        print(f"  took {took:.1f} s, other work on the machine: {others:.2f} cores", flush=True)
        done |= {"reduced": asked.smoke and name in SHAPES}
        done |= {"reps": reps, "timeout": asked.timeout, "took": round(took, 1), "others": round(others, 2)}
        record["races"][name] = done
        if asked.out:
            asked.out.write_text(json.dumps(record, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
