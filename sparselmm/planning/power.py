"""Power by simulation: responses drawn from assumed parameters, refitted all at once, tested, counted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import product
from numbers import Real
from typing import Any

import numpy as np

from ..errors import DataError
from ..inference.ddf import method_name
from ..resampling.bootstrap import LOT, NUMBERS
from ..resampling.parallel import Progress
from ..resampling.refits import estimate
from ..resampling.responses import Responses
from ..results import LinearMixedModelResults
from ..seeds import generator
from .hypotheses import Hypothesis, read_hypotheses
from .many import likelihood_ratios, wald_tests
from .models import further_models, planned_models
from .result import Power, Runs
from .truth import Truth, read_truth

TESTS = ("satterthwaite", "kenward-roger", "z", "lrt")
ALIASES = {"wald": "z", "likelihood-ratio": "lrt", "chisq": "lrt"}


def simulated_power(
    model: LinearMixedModelResults | str,
    term: str | Sequence[str] | None,
    data: object,
    truth: Mapping[str, Any],
    sizes: Mapping[str, int | Sequence[int]],
    contrasts: Mapping[str, object] | None,
    test: str,
    alpha: float,
    n_sim: int,
    rng: int | np.random.Generator | None,
    progress: bool,
) -> Power:
    """Return the power at the parameters that `truth` changes or gives; see `sparselmm.power`."""
    test = _test_name(test)
    if not isinstance(alpha, Real) or not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha={alpha!r} is no number between 0 and 1; alpha=0.05 is customary.")
    if n_sim < 1:
        raise ValueError(f"n_sim={n_sim}: at least one response has to be drawn.")
    grid = _grid(sizes)
    if isinstance(model, str):
        fit, formula, models = None, model, planned_models(model, data, grid, contrasts)
    else:
        fit, formula, models = _checked(model), model.model.what, further_models(model, data, grid)
    reml = {"lrt": False, "kenward-roger": True}.get(test, True if fit is None else fit.reml)
    rng, studies = generator(rng, "responses"), []
    with Progress(n_sim * len(grid), progress, "power") as ticks:
        for size, planned in zip(grid, models, strict=True):
            assumed = read_truth(planned, reml, fit, **truth)
            hypotheses = read_hypotheses(planned, term)
            if test == "lrt" and any(one.values.any() for one in hypotheses):
                raise ValueError("Likelihood ratio tests are of effects that are zero. Use test='satterthwaite'.")
            studies.append(_simulated(assumed, hypotheses, test, n_sim, rng, ticks, size))
    averaged = any(one.of_term and one.is_single for one in hypotheses)
    return Power(formula, test, float(alpha), studies, fit is not None and not truth["params"], averaged)


def _checked(fit: object) -> LinearMixedModelResults:
    """Return what is given if it is a fit that can be simulated, or raise."""
    remedy = "Give a formula with data=, params=, sd= and sigma=."
    if not isinstance(fit, LinearMixedModelResults):
        raise DataError(f"power() takes a fit of lmer or a formula, not {type(fit).__name__}. {remedy}")
    if not fit.model.keeps_rows:
        raise DataError(f"The fit is of data that were read in chunks and whose rows are not kept. {remedy}")
    return fit


def _test_name(test: str) -> str:
    """Return the name of the test, any case."""
    name = str(test).lower().replace("_", "-")
    name = ALIASES.get(name, name)
    if name != "lrt":
        try:
            name = method_name(name)
        except ValueError:
            name = ""
    if name not in TESTS:
        raise ValueError(f"test={test!r} is not one of {', '.join(TESTS)}.")
    return name


def _grid(sizes: Mapping[str, int | Sequence[int]]) -> list[dict[str, int]]:
    """Return all combinations of the sizes."""
    if not isinstance(sizes, Mapping):
        raise DataError(f"sizes is {sizes!r}. Give a dictionary, {{'subject': [20, 40]}}.")
    lists = [[v] if isinstance(v, str) or not np.iterable(v) else list(v) for v in sizes.values()]
    for name, values in zip(sizes, lists, strict=True):
        if not values:
            raise DataError(f"sizes[{name!r}] is empty. Give numbers of levels, such as [20, 40].")
    return [dict(zip(sizes, values, strict=True)) for values in product(*lists)]


def _simulated(
    truth: Truth,
    hypotheses: list[Hypothesis],
    test: str,
    n_sim: int,
    rng: np.random.Generator,
    ticks: Progress,
    size: dict[str, int],
) -> Runs:
    """Return the tests of n_sim responses drawn from the truth."""
    begin, lots = time.perf_counter(), []
    lot = int(np.clip(NUMBERS // truth.model.nobs, 1, LOT))
    for done in range(0, n_sim, lot):
        Y = truth.simulate(min(lot, n_sim - done), rng)
        responses = Responses.from_rows(truth.model, Y)
        found = estimate(truth, responses)
        wald = "z" if test == "lrt" else test
        error, p_value = wald_tests(truth, responses, found, hypotheses, wald)
        if test == "lrt":
            p_value = likelihood_ratios(truth, Y, found, hypotheses)
        values = np.column_stack([found.beta @ one.L[0] if one.is_single else _nothing(Y) for one in hypotheses])
        lots.append((values, error, p_value, found.singular, found.converged, list(found.failures.values())))
        ticks.step(Y.shape[1])
    estimates, errors, p_values, singular, converged, failures = zip(*lots, strict=True)
    return Runs(
        size=size,
        names=[one.name for one in hypotheses],
        effects=np.array([one.effect(truth.beta) for one in hypotheses]),
        nulls=np.array([one.values[0] for one in hypotheses]),
        estimates=np.concatenate(estimates),
        errors=np.concatenate(errors),
        p_values=np.concatenate(p_values),
        singular=np.concatenate(singular),
        converged=np.concatenate(converged),
        failures=[reason for reasons in failures for reason in reasons],
        seconds=time.perf_counter() - begin,
    )


def _nothing(Y: np.ndarray) -> np.ndarray:
    """Return estimates of a joint hypothesis, which has none, (k,)."""
    return np.full(Y.shape[1], np.nan)
