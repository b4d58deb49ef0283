"""Run the campaign: ``python -m campaign --seed 1 [--long] [--only designs,values] [--workers 2] --out FILE``."""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import pkgutil
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from . import __path__ as folder
from .outcome import Outcome, run_module

PART = 500  # trials of a task: parts, and so the trials, do not depend on the number of workers
STRIDE = 10**6  # between the seeds of the parts of a module


def modules() -> list[str]:
    """Return the names of the modules that have trials."""
    names = (module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("_"))
    return [name for name in names if hasattr(importlib.import_module(f"campaign.{name}"), "run")]


def parts(name: str, long: bool, seed: int, count: int | None = None) -> list[tuple[str, int, int]]:
    """Return the tasks (module, number of trials, seed) of a module."""
    module = importlib.import_module(f"campaign.{name}")
    count = count or (module.LONG if long else module.SHORT)
    part = getattr(module, "PART", PART)
    return [(name, min(part, count - first), seed + STRIDE * k) for k, first in enumerate(range(0, count, part))]


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for, write what came and return the number of failures."""
    parser = argparse.ArgumentParser(prog="campaign", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--long", action="store_true", help="the counts of the published run")
    parser.add_argument("--count", type=int, help="trials of each module, in place of its own count")
    parser.add_argument("--only", default="", help="names of modules, with commas between")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON; results of modules that did not run are kept in it")
    options = parser.parse_args(arguments)
    names = options.only.split(",") if options.only else modules()
    tasks = [task for name in names for task in parts(name, options.long, options.seed, options.count)]
    found: dict[str, Outcome] = {}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=spawn, max_tasks_per_child=1) as pool:
        for future in as_completed([pool.submit(run_module, *task) for task in tasks]):
            outcome = future.result()
            name = outcome.name
            found[name] = found[name] + outcome if name in found else outcome
            found[name].failures.sort(key=lambda failure: (failure.get("seed", 0), failure.get("number", 0)))
            print(f"{name}: {found[name].tried} tried, {len(found[name].failures)} failures", flush=True)
            if options.out:
                write(options.out, options.seed, options.long, found)
    return sum(len(outcome.failures) for outcome in found.values())


def write(path: Path, seed: int, long: bool, found: dict[str, Outcome]) -> None:
    """Write the outcomes, keeping those of modules that were not run now."""
    report = json.loads(path.read_text()) if path.exists() else {}
    report.update({name: {"seed": seed, "long": long} | asdict(outcome) for name, outcome in found.items()})
    path.write_text(json.dumps(dict(sorted(report.items())), indent=1, default=str) + "\n")


if __name__ == "__main__":
    sys.exit(min(main(), 1))
