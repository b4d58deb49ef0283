"""Extreme shapes: a result or an error that says why, within bounded time and memory."""

from __future__ import annotations

import re
import resource
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sparselmm import ConvergenceWarning, DataError, DataWarning, LinearMixedModel, RandomTerm

from .outcome import Outcome, attempt

NOTE = "One row to a million, one random effect to more than rows, 200 fixed effects, 12 random terms: result or error."
SECONDS, MEGABYTES = 60.0, 2_500  # of processor time and memory that a shape may take
Rng = np.random.Generator


@dataclass(frozen=True)
class Shape:
    """One extreme: what makes the model (its fit is taken), and the error it must end in, if any."""

    name: str
    model: Callable[[Rng], LinearMixedModel]
    error: str = ""
    heavy: bool = False


def run(count: int, seed: int) -> Outcome:
    """Return the Outcome of the first `count` shapes, all of them again with other data from there on."""
    return attempt("shapes", count, seed, trial, NOTE)


def trial(rng: Rng, number: int) -> str:
    """Fit one shape and ask it for what a user asks first."""
    shape = SHAPES[number % len(SHAPES)]
    begin, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", (DataWarning))
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            fit = shape.model(rng).fit()
        except DataError as error:
            assert shape.error, f"{shape.name}: refused, {error}"
            assert re.search(shape.error, str(error)), f"{shape.name}: expected {shape.error!r}, came {error}"
        else:
            assert not shape.error, f"{shape.name}: expected {shape.error!r}, came a fit"
            answers(fit, shape)
    seconds, peak = time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert seconds < SECONDS, f"{shape.name}: {seconds:.0f} s"
    assert (peak - before) / 1024 < MEGABYTES, f"{shape.name}: {(peak - before) / 1024:.0f} MB"
    return "refused" if shape.error else "fitted"


def answers(fit, shape: Shape) -> None:
    """Assert that what a user asks for first is there and finite."""
    for name in ("params", "bse", "fittedvalues", "resid"):
        assert np.isfinite(getattr(fit, name).to_numpy()).all(), f"{shape.name}: {name} is not finite"
    assert np.isfinite([fit.llf, fit.scale, *fit.theta]).all(), f"{shape.name}: llf, scale or θ is not finite"
    assert fit.converged or fit.optimizer.message.startswith("Stopped"), shape.name
    for effects in fit.random_effects.values():
        assert np.isfinite(effects.to_numpy()).all(), f"{shape.name}: random effects are not finite"
    if not shape.heavy:
        assert np.isfinite(fit.inference().pvalues.to_numpy()).all(), f"{shape.name}: p-values are not finite"
        assert fit.summary().as_text() and fit.summary().as_html()
        assert not fit.tidy().empty


def _arrays(rng: Rng, n: int, p: int, *terms: tuple[int, int]) -> LinearMixedModel:
    """Return a model of n rows, p columns and terms of (levels, columns) each, every level occurring."""
    X = np.column_stack([np.ones(n), rng.standard_normal((n, max(p - 1, 0)))])[:, :p]
    y, made = X @ np.linspace(1.0, 2.0, p) + rng.standard_normal(n), []
    for k, (levels, c) in enumerate(terms):
        codes = rng.permutation(np.r_[np.arange(levels), rng.integers(0, levels, n - levels)])
        values = np.column_stack([np.ones(n), rng.standard_normal((n, c - 1))])
        made.append(RandomTerm(codes, values, f"g{k}"))
        y = y + made[-1].Z @ rng.standard_normal(made[-1].n_effects)
    return LinearMixedModel(y, X, made)


def _frame(rng: Rng, n: int, formula: str, **columns: Callable[[Rng, int], object]) -> LinearMixedModel:
    data = {"x": rng.standard_normal(n), "y": rng.standard_normal(n), "g": np.arange(n) % 5}
    data |= {name: make(rng, n) for name, make in columns.items()}
    return LinearMixedModel.from_formula(formula, pd.DataFrame(data), context={})


def _nested(rng: Rng) -> LinearMixedModel:
    n = 3_000
    data = {name: rng.integers(0, 3, n) for name in "abcde"} | {"y": rng.standard_normal(n)}
    data["y"] += rng.standard_normal(3)[data["a"]] + rng.standard_normal((3, 3))[data["a"], data["b"]]
    return LinearMixedModel.from_formula("y ~ 1 + (1 | a/b/c/d/e)", data, context={})


def _one_column(rng: Rng) -> LinearMixedModel:
    z = rng.standard_normal(50)
    return LinearMixedModel(rng.standard_normal(50) + 2.0 * z, np.ones((50, 1)), RandomTerm.from_matrix(z[:, None]))


def _single_rows(rng: Rng, n: int, doubled: int) -> LinearMixedModel:
    """Return a model with n levels, most of one row, beside a crossed factor."""
    level, item = np.r_[np.arange(n), np.arange(doubled)], rng.integers(0, 20, n + doubled)
    y = rng.standard_normal(n)[level] + rng.standard_normal(20)[item] + rng.standard_normal(level.size)
    return LinearMixedModel(y, np.ones((level.size, 1)), [RandomTerm(level, name="id"), RandomTerm(item, name="item")])


def _unbalanced(rng: Rng) -> LinearMixedModel:
    codes = np.r_[np.zeros(50_000, dtype=int), np.arange(1, 300)]
    y = rng.standard_normal(300)[codes] + rng.standard_normal(codes.size)
    return LinearMixedModel(y, np.ones((codes.size, 1)), RandomTerm(codes))


def _wide(rng: Rng) -> LinearMixedModel:
    """Return a model with 200 columns of X, 60 of them combinations of the others."""
    model = _arrays(rng, 1_000, 140, (20, 1))
    X = np.column_stack([model.exog, model.exog[:, :60] + model.exog[:, 60:120]])
    return LinearMixedModel(model.endog, X, model.terms)


def _exact_given_levels(rng: Rng) -> LinearMixedModel:
    codes = rng.permutation(np.arange(60) % 6)
    return LinearMixedModel(rng.standard_normal(6)[codes], np.ones((60, 1)), RandomTerm(codes))


SHAPES = (
    Shape("one random effect", _one_column),
    Shape("two levels", lambda rng: _arrays(rng, 40, 2, (2, 1))),
    Shape(
        "one level", lambda rng: _frame(rng, 20, "y ~ x + (1 | one)", one=lambda r, n: ["a"] * n), "'one' has a singl"
    ),
    Shape("more effects than rows", lambda rng: _arrays(rng, 60, 2, (25, 2), (25, 2), (10, 1))),
    Shape("as many levels as rows", lambda rng: _arrays(rng, 60, 1, (60, 1)), "60 random effects for 60 rows"),
    Shape("as many levels as rows, crossed", lambda rng: _arrays(rng, 60, 1, (60, 1), (6, 1)), "60 random effects for"),
    Shape("n = p + 1", lambda rng: _arrays(rng, 12, 11, (3, 1))),
    Shape("n = p", lambda rng: _arrays(rng, 12, 12, (3, 1)), "no residual"),
    Shape("one row", lambda rng: _frame(rng, 1, "y ~ 1 + (1 | g)"), "single level"),
    Shape("two rows", lambda rng: _frame(rng, 2, "y ~ 1 + (1 | g)"), "random effects for 2 rows"),
    Shape("three rows", lambda rng: _arrays(rng, 3, 1, (2, 1))),
    Shape("no rows", lambda rng: _frame(rng, 0, "y ~ 1 + (1 | g)"), "no rows"),
    Shape("no fixed effects", lambda rng: _arrays(rng, 80, 0, (8, 2))),
    Shape("200 fixed effects", lambda rng: _arrays(rng, 1_000, 200, (30, 2))),
    Shape("200 fixed effects, 60 dependent", _wide),
    Shape(
        "a factor of 150 categories",
        lambda rng: _frame(rng, 900, "y ~ C(f) + (1 | g)", f=lambda r, n: np.arange(n) % 150),
    ),
    Shape("12 random terms", lambda rng: _arrays(rng, 800, 2, *((int(rng.integers(3, 15)), 1) for _ in range(12)))),
    Shape("8 columns in a term", lambda rng: _arrays(rng, 800, 2, (40, 8))),
    Shape("nested five deep", _nested),
    Shape("levels of one row", lambda rng: _single_rows(rng, 2_000, 150)),
    Shape("one huge level", _unbalanced),
    Shape(
        "constant y", lambda rng: _frame(rng, 30, "y ~ x + (1 | g)", y=lambda r, n: np.full(n, 3.0)), "'y' is constant"
    ),
    Shape(
        "y exact in x",
        lambda rng: _frame(rng, 30, "y ~ x + (1 | g)", y=lambda r, n: np.arange(n), x=lambda r, n: np.arange(n) * 2.0),
        "exact linear",
    ),
    Shape("y constant within levels", _exact_given_levels),
    Shape(
        "the same factor twice",
        lambda rng: _frame(rng, 60, "y ~ x + (1 | g) + (1 | h)", h=lambda r, n: np.arange(n) % 5),
    ),
    Shape(
        "the response among the predictors", lambda rng: _frame(rng, 30, "y ~ x + y + (1 | g)"), "exact linear|response"
    ),
    Shape("10,000 levels of 3 columns", lambda rng: _arrays(rng, 50_000, 3, (10_000, 3)), heavy=True),
    Shape("100,000 levels of 3 columns", lambda rng: _arrays(rng, 400_000, 3, (100_000, 3)), heavy=True),
    Shape("a million levels of one row, crossed", lambda rng: _single_rows(rng, 1_000_000, 100_000), heavy=True),
    Shape("a million levels alone", lambda rng: _arrays(rng, 1_000_000, 1, (1_000_000, 1)), "1000000 random effects"),
)
SHORT = next(k for k, shape in enumerate(SHAPES) if shape.heavy)
LONG = 5 * len(SHAPES)
