"""Race refits of many responses on one design against loops of lme4's lmer() and refit().

    OPENBLAS_NUM_THREADS=1 python benchmarks/refits.py [--responses 10000] [--loops 20]

Prints milliseconds a response. sparselmm refits all responses at once on the cores it may use, R loops over the first
`loops` of the same responses on one. Both start from data in memory; the largest difference of a deviance is printed.
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

PROGRAM = """
suppressPackageStartupMessages(library(lme4))
arguments <- commandArgs(TRUE)
data <- read.csv(file.path(arguments[1], "data.csv"), stringsAsFactors = TRUE)
for (name in strsplit(arguments[3], ",")[[1]]) data[[name]] <- factor(data[[name]])
Y <- read.csv(file.path(arguments[1], "responses.csv"))
formula <- as.formula(arguments[2])
control <- lmerControl(calc.derivs = FALSE, check.conv.singular = "ignore")
fit <- lmer(formula, data, control = control)
seconds <- function(run) system.time(values <<- vapply(Y, run, 0))[["elapsed"]] / ncol(Y)
lmers <- seconds(function(y) { data$y <- y; -2 * as.numeric(logLik(lmer(formula, data, control = control))) })
deviances <- values
refits <- seconds(function(y) -2 * as.numeric(logLik(refit(fit, y, control = control))))
cat(jsonlite::toJSON(list(lmer = lmers, refit = refits, deviances = unname(deviances)), auto_unbox = TRUE, digits = NA))
"""


def crossed(rng):
    """Return 50 subjects by 40 items with a condition within both, 2,000 rows."""
    s, i = np.repeat(np.arange(50), 40), np.tile(np.arange(40), 50)
    c = np.where((s + i) % 2, 0.5, -0.5)
    b = rng.standard_normal((50, 2)) * [0.5, 0.3]
    y = 1.0 + 0.5 * c + b[s, 0] + b[s, 1] * c + 0.4 * rng.standard_normal(40)[i] + rng.standard_normal(2000)
    return pd.DataFrame({"y": y, "c": c, "subject": s, "item": i})


def sleepstudy(rng):
    """Return the sleepstudy data."""
    data = sparselmm.datasets.load("sleepstudy").rename(columns={"Reaction": "y"})
    return data.assign(Subject=data["Subject"].cat.codes)


DESIGNS = {
    "50 x 40 crossed": (crossed, "y ~ c + (1 | subject) + (1 | item)", "subject,item"),
    "50 x 40 crossed, slopes": (crossed, "y ~ c + (c | subject) + (1 | item)", "subject,item"),
    "sleepstudy slopes": (sleepstudy, "y ~ Days + (Days | Subject)", "Subject"),
}


def lme4(data, responses, formula, factors):
    """Return what the R program says of the responses."""
    with tempfile.TemporaryDirectory() as folder:
        data.to_csv(Path(folder) / "data.csv", index=False)
        responses.to_csv(Path(folder) / "responses.csv", index=False)
        script = Path(folder) / "loop.R"
        script.write_text(PROGRAM)
        command = ["Rscript", str(script), folder, formula, factors]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--responses", type=int, default=10_000)
    parser.add_argument("--loops", type=int, default=20)
    options = parser.parse_args()
    rows = {}
    for name, (make, formula, factors) in DESIGNS.items():
        data = make(np.random.default_rng(1))
        fit = sparselmm.lmer(formula, data)
        Y = fit.simulate(options.responses, rng=2)
        begin = time.perf_counter()
        many = fit.refit_many(Y)
        ours = 1e3 * (time.perf_counter() - begin) / options.responses
        begin = time.perf_counter()
        fit.bootstrap(1000, rng=1)
        boot = time.perf_counter() - begin
        theirs = lme4(data, Y.iloc[:, : options.loops], formula, factors)
        excess = many.deviance.to_numpy()[: options.loops] - theirs["deviances"]
        rows[name] = {
            "refit_many (ms)": ours,
            "lmer (ms)": 1e3 * theirs["lmer"],
            "refit (ms)": 1e3 * theirs["refit"],
            "times lmer": 1e3 * theirs["lmer"] / ours,
            "times refit": 1e3 * theirs["refit"] / ours,
            "1000 replicates (s)": boot,
            "most above lme4": excess.max(),
            "converged": many.converged.mean(),
        }
    print(pd.DataFrame(rows).T.to_string(float_format=lambda x: f"{x:.3g}"))


if __name__ == "__main__":
    main()
