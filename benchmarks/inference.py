"""Inference against R's packages in one run: `python benchmarks/inference.py docs/inference.json`, ten minutes.

A second argument chooses the work whose name contains it.

Ours is the median of five calls on five fresh fits, after one that compiles; the fit itself is not timed. R's is one
call, on a fit that is not timed either; a call that exceeds LIMIT seconds is given up. Run it alone.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import sparselmm

LIMIT = 420

PROGRAM = """
suppressPackageStartupMessages({{library(lme4); library(lmerTest); library(pbkrtest)}})
data <- read.csv("{path}", stringsAsFactors = FALSE)
for (name in c({factors})) data[[name]] <- factor(data[[name]])
fit <- {fitter}({formula}, data, REML = {reml})
cat(system.time({call})[["elapsed"]])
"""


def crossed():
    """Return 3,000 rows of 150 subjects and 60 items in random pairs, a condition in four levels."""
    rng = np.random.default_rng(5)
    s, i, c = rng.integers(0, 150, 3_000), rng.integers(0, 60, 3_000), rng.integers(0, 4, 3_000)
    y = 0.2 * c + 0.6 * rng.standard_normal(150)[s] + 0.4 * rng.standard_normal(60)[i] + rng.standard_normal(3_000)
    return pd.DataFrame({"y": y, "c": np.array(list("abcd"))[c], "s": s, "i": i})


def insteval():
    return sparselmm.datasets.load("InstEval")


def sleepstudy():
    return sparselmm.datasets.load("sleepstudy")


SLEEP = "Reaction ~ Days + (Days | Subject)"
SERVICE = "y ~ service * dept + (1 | s) + (1 | d)"

# work: data, formula, factors in R, our call, R's package and call (None: nothing in R can)
WORK = {
    "Satterthwaite, all coefficients, InstEval p = 28": (
        insteval, SERVICE, ["s", "d", "dept", "service"], lambda fit: fit.inference().table, "lmerTest",
        "coef(summary(as_lmerModLmerTest(fit)))",
    ),
    "Kenward-Roger, all coefficients, 3,000 rows crossed": (
        crossed, "y ~ c + (1 | s) + (1 | i)", ["s", "i"], lambda fit: fit.inference("kenward-roger").table, "pbkrtest",
        'coef(summary(fit, ddf = "Kenward-Roger"))',
    ),
    "Kenward-Roger, all coefficients, InstEval p = 28": (
        insteval, SERVICE, ["s", "d", "dept", "service"], lambda fit: fit.inference("kenward-roger").table, None, None,
    ),
    "profile intervals, sleepstudy, 6 parameters": (
        sleepstudy, SLEEP, ["Subject"], lambda fit: fit.profile().conf_int(), "lme4",
        'suppressMessages(confint(fit, method = "profile"))',
    ),
    "1,000 parametric bootstrap refits, sleepstudy": (
        sleepstudy, SLEEP, ["Subject"], lambda fit: fit.bootstrap(1_000, rng=1).conf_int(), "lme4",
        "suppressMessages(bootMer(fit, fixef, nsim = 1000, seed = 1))",
    ),
    "influence of each of 2,972 students on InstEval's coefficients": (
        insteval, SERVICE, ["s", "d", "dept", "service"], lambda fit: fit.influence("s").params, None, None,
    ),
}  # fmt: skip


def ours(data, formula, call):
    """Return the median seconds of our call, each on a fit that has computed nothing yet."""
    model, seconds = sparselmm.LinearMixedModel.from_formula(formula, data), []
    for _ in range(6):
        fit = model.fit()
        begin = time.perf_counter()
        call(fit)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def theirs(data, formula, factors, package, call):
    """Return the seconds of one call in R, None if it exceeds LIMIT."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        data.to_csv(path, index=False)
        program = PROGRAM.format(
            path=path,
            factors=", ".join(f'"{name}"' for name in factors),
            fitter="lmerTest::lmer" if package == "pbkrtest" else "lme4::lmer",
            formula=formula,
            reml="TRUE",
            call=call,
        )
        try:
            result = subprocess.run(
                ["Rscript", "-e", program], capture_output=True, text=True, timeout=LIMIT + 60, check=True
            )
        except subprocess.TimeoutExpired:
            return None
    return float(result.stdout.split()[-1])


def main():
    """Run all work and write the record."""
    file = Path(sys.argv[1])
    record = json.loads(file.read_text()) if file.exists() else {}
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    for name, (make, formula, factors, call, package, r_call) in WORK.items():
        if wanted not in name:
            continue
        data = make()
        row = {"seconds": ours(data, formula, call), "peer": package}
        if package is not None:
            row["peer_seconds"] = theirs(data, formula, factors, package, r_call)
            row["ratio"] = None if row["peer_seconds"] is None else row["peer_seconds"] / row["seconds"]
        record[name] = row
        print(name, row, flush=True)
        file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
