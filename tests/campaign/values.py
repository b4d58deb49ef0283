"""NaN, infinite, huge and denormal values anywhere: an error that names the place, or the documented handling."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

from sparselmm import (
    ConvergenceWarning,
    DataError,
    DataWarning,
    EngineError,
    FormulaError,
    LinearMixedModel,
    MixedLM,
    RandomTerm,
    lmer,
)

from .outcome import Outcome, attempt

SHORT, LONG = 130, 3_000
NOTE = (
    "Values in the response, predictors, weights, offset, grouping factors, new data, start values, parameters and "
    "arguments of formulas, arrays, MixedLM and chunks: an error naming the column, rows left out, or finite results."
)
VALUES = (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e200, 1e150, 1e-320, 5e-324, 1e-200)
REFUSALS = (DataError, FormulaError, EngineError, ValueError, TypeError)
FORMULA = "y ~ x + f + (1 + z | g) + (1 | h)"
Rng = np.random.Generator
Data = pd.DataFrame


def run(count: int, seed: int) -> Outcome:
    """Return the Outcome of `count` injections."""
    return attempt("values", count, seed, trial, NOTE)


def trial(rng: Rng, number: int) -> str:
    """Put a value somewhere, and take what is there for it to disturb."""
    names = list(PLACES)
    name = names[number % len(names)]
    value = VALUES[(number // len(names)) % len(VALUES)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for expected in (ConvergenceWarning, DataWarning):
            warnings.simplefilter("ignore", expected)
        warnings.filterwarnings("ignore", "The (MLE|random effects covariance)")  # MixedLM's, of singular fits
        PLACES[name](rng, value)
    return name.split(",")[0]


def panel(rng: Rng, n: int = 160) -> Data:
    """Return crossed data with a slope, a factor, weights and an offset."""
    g, h = rng.integers(0, 10, n), rng.integers(0, 6, n)
    x, z, o = rng.standard_normal((3, n))
    y = x + rng.standard_normal(10)[g] * (1.0 + z) + rng.standard_normal(6)[h] + rng.standard_normal(n)
    f = rng.choice(["a", "b"], n)
    return Data({"y": y, "x": x, "z": z, "f": f, "g": g, "h": h, "w": rng.uniform(0.5, 2, n), "o": o})


def spoiled(data: Data, column: str, value: float, rng: Rng) -> tuple[Data, np.ndarray]:
    """Return the data with the value in one or more rows of a column, and these rows."""
    rows = np.zeros(len(data), dtype=bool)
    rows[rng.choice(len(data), int(rng.choice([1, 1, 5, len(data)])), replace=False)] = True
    return data.assign(**{column: data[column].astype(float).where(~rows, value)}), rows


def in_formula(column: str) -> Callable[[Rng, float], None]:
    """Return the trial of a value in a column of a data frame."""

    def place(rng: Rng, value: float) -> None:
        data = panel(rng)
        spoilt, rows = spoiled(data, column, value, rng)
        options = {"weights": "w", "offset": "o", "context": {}}
        chunked = rng.random() < 0.3
        halves = (spoilt[: len(data) // 2], spoilt[len(data) // 2 :])
        fit = answer(lambda: lmer(FORMULA, iter(halves) if chunked else spoilt, **options), column)
        if fit is None:
            assert not (np.isnan(value) and not rows.all()), "missing values are to be left out, not refused"
        elif np.isnan(value):
            same = lmer(FORMULA, data[~rows], **options)
            assert fit.nobs == same.nobs
            np.testing.assert_allclose(fit.params, same.params, rtol=1e-5, atol=1e-6)
        if np.isnan(value):
            refused(lambda: lmer(FORMULA, spoilt, missing="raise", **options), column)

    return place


def in_arrays(column: str) -> Callable[[Rng, float], None]:
    """Return the trial of a value in an array."""
    said = {  # names in the messages on arrays
        "y": "y",
        "x": "exog|x1",
        "z": "'g'",
        "g": "g",
        "w": "weights",
        "o": "offset",
    }[column]

    def place(rng: Rng, value: float) -> None:
        data, _ = spoiled(panel(rng), column, value, rng)
        X = np.column_stack([np.ones(len(data)), data.x])

        def fitted():
            terms = [RandomTerm(data.g, np.column_stack([np.ones(len(data)), data.z])), RandomTerm(data.h)]
            return LinearMixedModel(data.y, X, terms, weights=data.w, offset=data.o).fit()

        fit = answer(fitted, said)
        assert fit is None or not np.isnan(value), "missing values in arrays are to be refused"

    return place


def in_mixedlm(column: str) -> Callable[[Rng, float], None]:
    """Return the trial of a value in the data of MixedLM."""

    def place(rng: Rng, value: float) -> None:
        data, rows = spoiled(panel(rng), column, value, rng)
        said = f"{column}|response"
        fit = answer(lambda: MixedLM.from_formula("y ~ x", data, groups="g", re_formula="~z").fit(), said)
        assert fit is None or not np.isnan(value) or fit.nobs == (~rows).sum()

    return place


def in_new_data(column: str) -> Callable[[Rng, float], None]:
    """Return the trial of a value in the data of a prediction."""

    def place(rng: Rng, value: float) -> None:
        data = panel(rng)
        fit, new = lmer(FORMULA, data, context={}), data.head(12)
        spoilt, rows = spoiled(new, column, value, rng)
        reference = fit.predict(new, interval="prediction")
        try:
            found = fit.predict(spoilt, interval="prediction")
        except REFUSALS as error:
            assert not np.isnan(value), f"missing values are to give missing predictions, not {error}"
            assert column in str(error), f"the error does not name {column}: {error}"
            return
        np.testing.assert_allclose(found[~rows], reference[~rows], rtol=1e-9)
        missing = found[rows].isna().any(axis=1)
        assert missing.all() if np.isnan(value) else not missing.any(), f"{value} gives {found[rows].iloc[0].to_dict()}"

    return place


def in_start(rng: Rng, value: float) -> None:
    """Try a value as an entry of the start of θ."""
    model = LinearMixedModel.from_formula(FORMULA, panel(rng), context={})
    start = np.ones(4)
    start[rng.integers(4)] = value
    fit = answer(lambda: model.fit(start=start), "start|residual variance|θ|M")
    assert fit is None or np.isfinite(value), "a start that is not finite is to be refused"


def in_params(rng: Rng, value: float) -> None:
    """Try a value among the parameters of MixedLM's likelihood."""
    model = MixedLM.from_formula("y ~ x", panel(rng), groups="g", re_formula="~z")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        params = np.array(model.fit().params, dtype=float)
    params[rng.integers(params.size)] = value
    for call in (model.loglike, model.score):
        try:
            found = np.asarray(call(params), dtype=float)
        except REFUSALS as error:
            assert "param" in str(error) or "cov" in str(error), f"the error does not name params: {error}"
        else:
            assert not np.isnan(found).any(), f"{call.__name__} is {found} for {params}"


def in_refit(rng: Rng, value: float) -> None:
    """Try a value in the response of a refit, alone and among others."""
    data = panel(rng)
    fit = lmer(FORMULA, data, context={})
    spoilt, _ = spoiled(data, "y", value, rng)
    found = answer(lambda: fit.refit(spoilt.y), "y|response")
    assert found is None or np.isfinite(value), "missing values are to be refused"
    try:
        many = fit.refit_many(np.column_stack([data.y, spoilt.y]))
    except REFUSALS as error:
        assert "esponse" in str(error) or "Y" in str(error), f"the error does not name the response: {error}"
        return
    np.testing.assert_allclose(many.params.iloc[0], fit.params, rtol=1e-3, atol=1e-5)
    good = bool(many.converged.iloc[1])
    assert not good or np.isfinite(many.params.iloc[1]).all(), "a refit that is not finite counts as converged"


def in_arguments(rng: Rng, value: float) -> None:
    """Try a value as an argument of methods of a fit."""
    data = panel(rng)
    fit = lmer(FORMULA, data, context={})
    calls: dict[str, Callable[[], pd.DataFrame]] = {
        "level|alpha|between": lambda: fit.conf_int(value),
        "level": lambda: fit.predict(data.head(3), interval="mean", level=value),
        "weight": lambda: fit.predict(data.head(3), interval="prediction", weights=value).drop(columns="df"),
        "x": lambda: fit.emmeans("f", at={"x": value}).frame.drop(columns=["df", "f"]),
        "offset": lambda: fit.predict(data.head(3), offset=np.array([0.0, value, 0.0])).to_frame(),
        "tolerance": lambda: fit.model.fit(tolerance=value).params.to_frame(),
    }
    for name, call in calls.items():
        try:
            found = call()
        except REFUSALS as error:
            assert any(word in str(error) for word in name.split("|")), f"the error does not name {name}: {error}"
        else:
            assert not found.astype(float).isna().any(axis=None), f"{name} of {value} gives {found.to_dict()}"


def answer(call: Callable[[], object], name: str):
    """Return what a call returns, its numbers finite, or None if it refuses and names the place."""
    try:
        fit = call()
    except REFUSALS as error:
        assert any(word in str(error) for word in name.split("|")), f"the error does not name {name}: {error}"
        return None
    numbers = {"params": fit.fe_params, "bse": fit.bse_fe, "scale": fit.scale, "llf": fit.llf}
    if getattr(fit.model, "keeps_rows", True):
        numbers["fitted"] = fit.fittedvalues
    for what, value in numbers.items():
        finite = np.isfinite(np.asarray(value, dtype=float)).all()
        assert finite or not fit.converged, f"{what} is not finite: {np.asarray(value).ravel()[:4]}"
    return fit


def refused(call: Callable[[], object], name: str) -> None:
    """Assert that a call refuses and names the place."""
    assert answer(call, name) is None, "not refused"


PLACES: dict[str, Callable[[Rng, float], None]] = {
    **{f"formula, {column}": in_formula(column) for column in ("y", "x", "z", "g", "w", "o")},
    **{f"arrays, {column}": in_arrays(column) for column in ("y", "x", "z", "g", "w", "o")},
    **{f"MixedLM, {column}": in_mixedlm(column) for column in ("y", "x", "z", "g")},
    **{f"new data, {column}": in_new_data(column) for column in ("x", "z", "g")},
    "start": in_start,
    "params": in_params,
    "refit": in_refit,
    "arguments": in_arguments,
}
