"""MixedLM against statsmodels' class of that name in one run: `python benchmarks/classical.py docs/classical.json`.

Each case is the same call on both classes, from the formula to the standard errors of the fixed effects; median of ours
(second call on), one call of statsmodels where it takes more than ten seconds.
"""

import json
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import sparselmm


def slopes(rows, groups, seed=3):
    """Return rows with a random line in each of the groups."""
    rng = np.random.default_rng(seed)
    g, x = rng.integers(0, groups, rows), rng.standard_normal(rows)
    lines = rng.standard_normal((groups, 2)) * [1.0, 0.5]
    y = 1.0 + x + lines[g, 0] + lines[g, 1] * x + rng.standard_normal(rows)
    return pd.DataFrame({"y": y, "x": x, "g": g})


def crossed(levels, seed=4):
    """Return one group of levels x levels crossed random intercepts, rows in random pairs."""
    rng = np.random.default_rng(seed)
    s, i = rng.integers(0, levels, (2, levels**2))
    y = rng.standard_normal(levels)[s] + rng.standard_normal(levels)[i] + rng.standard_normal(s.size)
    return pd.DataFrame({"y": y, "s": s, "i": i, "one": 1})


def insteval():
    """Return InstEval as one group."""
    return sparselmm.datasets.load("InstEval").assign(one=1)


PAIR = {"s": "0 + C(s)", "i": "0 + C(i)"}
CASES = {
    "10,000 rows, 500 groups, slopes": (
        lambda: slopes(10_000, 500),
        "y ~ x",
        {"re_formula": "~x", "groups": "g"},
        True,
    ),
    "crossed 60 x 60 in one group": (lambda: crossed(60), "y ~ 1", {"vc_formula": PAIR, "groups": "one"}, True),
    "200,000 rows, 50,000 groups, slopes": (
        lambda: slopes(200_000, 50_000),
        "y ~ x",
        {"re_formula": "~x", "groups": "g"},
        True,
    ),
    "InstEval in one group": (
        insteval,
        "y ~ service",
        {"vc_formula": {"s": "0 + C(s)", "d": "0 + C(d)"}, "groups": "one"},
        False,
    ),
}


def timed(cls, formula, data, arguments):
    """Return seconds and log-likelihood of one fit."""
    begin = time.perf_counter()
    fit = cls.from_formula(formula, data, **arguments).fit()
    np.asarray(fit.bse_fe)
    return time.perf_counter() - begin, float(fit.llf)


def main():
    """Run every case and write the record."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    warnings.simplefilter("ignore")
    record = {}
    for name, (make, formula, arguments, can) in CASES.items():
        data = make()
        ours, theirs = [timed(sparselmm.MixedLM, formula, data, arguments)], []
        for _ in range(5):
            ours.append(timed(sparselmm.MixedLM, formula, data, arguments))
            if can and (len(theirs) < 1 or theirs[0][0] < 10.0):
                theirs.append(timed(MixedLM, formula, data, arguments))
        row = {"seconds": statistics.median(t for t, _ in ours[1:]), "llf": ours[-1][1]}
        if theirs:
            row |= {"statsmodels": statistics.median(t for t, _ in theirs), "statsmodels_llf": theirs[-1][1]}
            row["ratio"] = row["statsmodels"] / row["seconds"]
        record[name] = row
        print(name, row, flush=True)
        Path(sys.argv[1]).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
