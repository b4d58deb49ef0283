"""compare_engines: one model fitted by every engine, side by side."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .mixedlm.model import MixedLM
    from .model import LinearMixedModel


def compare_engines(
    model: LinearMixedModel | MixedLM,
    reml: bool = True,
    engines: Sequence[str] = ("cholmod", "dense"),
    repeats: int = 3,
) -> pd.DataFrame:
    """Fit a model by several engines and say how the fits differ, how long they take and how much memory they need.

    Parameters
    ----------
    model : LinearMixedModel or MixedLM
    reml : bool
        Restricted maximum likelihood (default) or maximum likelihood.
    engines : sequence of str
        Names of engines, as in `LinearMixedModel.fit`. The first is the one that the others are compared with.
    repeats : int
        Fits that are timed. One more comes first, to compile what must be compiled, and one last, traced for memory.

    Returns
    -------
    DataFrame
        A row for each engine:

        - deviance: -2 log-likelihood, or the REML criterion;
        - fe_difference: largest difference from the first engine in a fixed effect, in its standard errors;
        - theta_difference: largest difference in an entry of θ;
        - re_difference: largest difference in a conditional mode of a random effect, in residual standard deviations;
        - evaluations: of the likelihood;
        - seconds: median time of a fit, the analysis of the design included;
        - peak_mb: largest memory that the fit holds in NumPy arrays, beyond the model's own (10⁶ bytes). What CHOLMOD
          allocates is not seen;
        - engine: what it did.

    Examples
    --------
    >>> import sparselmm
    >>> data = sparselmm.datasets.load("Penicillin")
    >>> model = sparselmm.LinearMixedModel.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", data)
    >>> table = sparselmm.compare_engines(model)
    >>> bool(abs(table.loc["dense", "deviance"] - table.loc["cholmod", "deviance"]) < 1e-8)
    True
    """
    lmm = cast("LinearMixedModel", getattr(model, "lmm", model))
    rows, first = [], None
    for engine in engines:
        fit = lmm.fit(reml=reml, engine=engine)
        first = first or fit
        rows.append(
            {
                "deviance": fit.deviance,
                "fe_difference": _largest((fit.fe_params - first.fe_params) / first.bse_fe),
                "theta_difference": _largest(fit.theta - first.theta),
                "re_difference": _largest(fit.evaluation.b - first.evaluation.b) / first.sigma,
                "evaluations": fit.optimizer.evaluations,
                "seconds": median(_seconds(lmm, reml, engine) for _ in range(repeats)),
                "peak_mb": _peak_memory(lmm, reml, engine) / 1e6,
                "engine": fit.optimizer.engine,
            }
        )
    return pd.DataFrame(rows, index=list(engines))


def _largest(differences: ArrayLike) -> float:
    """Return the largest magnitude, zero if there is none."""
    return float(np.abs(np.asarray(differences)).max(initial=0.0))


def _peak_memory(model: LinearMixedModel, reml: bool, engine: str) -> int:
    """Return the largest memory that a fit holds, in bytes."""
    tracemalloc.start()
    try:
        model.fit(reml=reml, engine=engine)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _seconds(model: LinearMixedModel, reml: bool, engine: str) -> float:
    """Return the time of one fit."""
    begin = time.perf_counter()
    model.fit(reml=reml, engine=engine)
    return time.perf_counter() - begin
