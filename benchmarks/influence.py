"""Exact influence on InstEval (73,421 rows, 4,114 random effects): seconds, and the difference from other fits.

OPENBLAS_NUM_THREADS=1 python benchmarks/influence.py
"""

import resource
import time

import numpy as np

import sparselmm
from sparselmm.diagnostics.subset import on_rows

FORMULAS = ("y ~ service + (1 | s) + (1 | d) + (1 | dept)", "y ~ service * dept + (1 | s) + (1 | d)")


def difference(fit, influence, group, level):
    """Return the largest difference of β without a level from the likelihood of the other rows, in standard errors."""
    term = fit.model.terms[list(fit.model.groups).index(group)]
    other = on_rows(fit.model, term.codes != level)
    beta = other.cross.to_params(other.likelihood(fit.reml).evaluate(fit.theta).beta)
    return np.abs((influence.params.iloc[level] - beta) / fit.bse).max()


def main():
    """Print a row for each model and factor."""
    data = sparselmm.datasets.load("InstEval")
    print(f"{'model':<45}{'deleted':>10}{'levels':>8}{'seconds':>9}{'difference':>12}")
    for formula in FORMULAS:
        fit = sparselmm.lmer(formula, data)
        for group in (*fit.model.groups, None):
            begin = time.perf_counter()
            influence = fit.influence(group)
            seconds = time.perf_counter() - begin
            error = "" if group is None else f"{difference(fit, influence, group, 3):.1e}"
            print(f"{formula:<45}{group or 'rows':>10}{len(influence.counts):>8,}{seconds:>9.2f}{error:>12}")
    print(f"Largest resident memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


if __name__ == "__main__":
    main()
