"""Race a power analysis against loops of lme4's lmer(), as simr makes them, on the same design.

    OPENBLAS_NUM_THREADS=1 python benchmarks/power.py [--simulations 2000] [--loops 50]

Prints simulated, fitted and tested responses a second: 30 subjects by 24 items, two conditions in a Latin square. R
loops over `loops` responses on one core: refit() as simr does, lmer() anew, and lmerTest with Satterthwaite's test.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import sparselmm
from sparselmm.resampling.simulate import simulate

PROGRAM = """
suppressPackageStartupMessages({library(lme4); library(lmerTest)})
arguments <- commandArgs(TRUE)
data <- read.csv(arguments[1], stringsAsFactors = TRUE)
formula <- as.formula(arguments[2])
control <- lmerControl(calc.derivs = FALSE, check.conv.singular = "ignore")
fit <- lme4::lmer(formula, data, control = control)
Y <- simulate(fit, as.integer(arguments[3]), seed = 1)
rate <- function(run) ncol(Y) / system.time(for (y in Y) run(y))[["elapsed"]]
with_y <- function(y) { data$y <- y; data }
cat(jsonlite::toJSON(list(
  refit = rate(function(y) coef(summary(lme4::refit(fit, y, control = control)))),
  lmer = rate(function(y) coef(summary(lme4::lmer(formula, with_y(y), control = control)))),
  lmerTest = rate(function(y) coef(summary(lmerTest::lmer(formula, with_y(y), control = control))))
), auto_unbox = TRUE, digits = NA))
"""
FORMULAS = (
    "y ~ condition + (1 | subject) + (1 | item)",
    "y ~ condition + (condition | subject) + (1 | item)",
    "y ~ condition + (condition | subject) + (condition | item)",
)


def lme4(data, formula, loops):
    """Return the rates of the R program on one simulated response of a design."""
    with tempfile.TemporaryDirectory() as folder:
        data.to_csv(Path(folder) / "data.csv", index=False)
        script = Path(folder) / "loop.R"
        script.write_text(PROGRAM)
        command = ["Rscript", str(script), str(Path(folder) / "data.csv"), formula, str(loops)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=2_000)
    parser.add_argument("--loops", type=int, default=50)
    options = parser.parse_args()
    design = sparselmm.simulate_design({"subject": 30, "item": 24}, within={"condition": ["a", "b"]}, latin_square=True)
    columns, rows = {"Intercept": 40.0, "condition[T.b]": 20.0}, {}
    for formula in FORMULAS:
        sd = {name: columns if f"condition | {name}" in formula else 40.0 for name in ("subject", "item")}
        truth = {"params": {"condition[T.b]": 20.0}, "sd": sd, "sigma": 100.0}
        rates = {}
        for test in ("z", "satterthwaite", "kenward-roger"):
            begin = time.perf_counter()
            study = sparselmm.power(formula, None, design, **truth, test=test, n_sim=options.simulations, rng=1)
            rates[test] = options.simulations / (time.perf_counter() - begin)
        theirs = lme4(response(formula, design, truth), formula, options.loops)
        rows[formula] = {**rates, **{f"R: {name}": rate for name, rate in theirs.items()}}
        rows[formula]["times lmerTest"] = rates["satterthwaite"] / theirs["lmerTest"]
        rows[formula]["singular"] = study["singular"].iloc[0]
    print(pd.DataFrame(rows).T.to_string(float_format=lambda x: f"{x:.3g}"))


def response(formula, design, truth):
    """Return the design with one response drawn from the assumed parameters."""
    noise = np.random.default_rng(1).standard_normal(len(design))
    model = sparselmm.LinearMixedModel.from_formula(formula, design.assign(y=noise))
    sds = {name: list(sd.values()) if isinstance(sd, dict) else [sd] for name, sd in truth["sd"].items()}
    cov_re = {name: np.diag(np.square(values)) for name, values in sds.items()}
    y = simulate(model, [0.0, *truth["params"].values()], cov_re, truth["sigma"] ** 2, rng=1)
    return design.assign(y=y[0])


if __name__ == "__main__":
    main()
