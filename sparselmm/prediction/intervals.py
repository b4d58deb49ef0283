"""Predictions with standard errors and intervals: which variances belong to what is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import DataError
from ..inference.ddf import method_name
from ..inference.distributions import t_quantile
from ..inference.quadratic import ConditionalCovariance
from .degrees import degrees
from .rows import rows_of_fit
from .variance import relative_variance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..inference.ddf import Inference
    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults
    from .rows import Rows

INTERVALS = (None, "mean", "prediction")
NEW_LEVELS = ("raise", "zero")
CHUNK = 4_000_000  # numbers in a work array: 32 MB


def predict(
    fit: LinearMixedModelResults,
    new: Any,
    random: bool | str | Sequence[str] | None,
    new_levels: str,
    offset: ArrayLike | None,
    se: bool,
    interval: str | None,
    level: float,
    weights: str | ArrayLike | None,
    ddf: str | None,
) -> pd.Series | pd.DataFrame:
    """Return predictions, a Series (n,), or a DataFrame with their uncertainty; see `PredictionMethods.predict`."""
    model = fit.model
    included = included_terms(model, random)
    population = not included and interval != "prediction"
    _check(new_levels, interval, level, weights)
    fresh = [k for k in range(len(model.terms)) if k not in included] if interval == "prediction" else []
    rows = rows_of_fit(model, included, fresh) if new is None else _new(fit, new, included, fresh, new_levels, offset)
    estimate = rows.linear_predictor(fit)
    if not se and interval is None:
        return pd.Series(estimate, index=rows.index)
    ddf = _method(ddf, included, population)
    if population:
        error, df = _of_contrasts(fit.inference(ddf), rows.exog)
    else:
        K = ConditionalCovariance(fit.likelihood, fit.evaluation)
        residual = 1.0 / _weights(model, new, weights, estimate.size) if interval == "prediction" else 0.0
        error = np.sqrt(fit.scale * (relative_variance(K, rows) + residual))
        df = np.full(estimate.size, np.inf)
        if ddf == "satterthwaite" and interval is not None:
            df = degrees(K, rows, residual)
    table = pd.DataFrame({"estimate": estimate, "std.error": error}, index=rows.index)
    if interval is not None:
        margin = np.where(error > 0, t_quantile(0.5 + 0.5 * level, df), 1.0) * error
        table = table.assign(**{"df": df, "conf.low": estimate - margin, "conf.high": estimate + margin})
    return table


def _new(
    fit: LinearMixedModelResults,
    new: Any,
    included: Sequence[int],
    fresh: Sequence[int],
    new_levels: str,
    offset: ArrayLike | None,
) -> Rows:
    """Return the rows of new data."""
    if fit.model.design is None:
        raise DataError(
            "A model built from arrays cannot tell the columns of new data. Build it from a formula to predict, or "
            "compute exog @ fit.params plus the rows of fit.random_effects."
        )
    from .new import new_rows, warn_of  # brings narwhals

    warn_of(fit._spanning_columns)
    return new_rows(fit.model, new, included, fresh, new_levels, offset)


def included_terms(model: LinearMixedModel, random: bool | str | Sequence[str] | None) -> list[int]:
    """Return the positions of the terms whose random effects are included."""
    names = [term.name for term in model.terms]
    if random is None or isinstance(random, (bool, np.bool_)):
        return list(range(len(names))) if random else []
    wanted = [random] if isinstance(random, str) else list(random)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(f"random names {unknown}; the random-effects terms of this model are {names}.")
    return [k for k, name in enumerate(names) if name in wanted]


def _check(new_levels: str, interval: str | None, level: float, weights: str | ArrayLike | None) -> None:
    """Raise a ValueError for arguments that are none, or that would have no effect."""
    if new_levels not in NEW_LEVELS:
        raise ValueError(f"new_levels must be 'raise' or 'zero', not {new_levels!r}.")
    if interval not in INTERVALS:
        raise ValueError(f"interval must be one of {INTERVALS}, not {interval!r}.")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level} is not between 0 and 1; level=0.95 gives 95 % intervals.")
    if weights is not None and interval != "prediction":
        raise ValueError("weights are those of new observations: they belong to interval='prediction' only.")


def _method(ddf: str | None, included: Sequence[int], population: bool) -> str:
    """Return the method of the degrees of freedom: by default Satterthwaite's where no random effects are included."""
    method = method_name(("z" if included else "satterthwaite") if ddf is None else ddf)
    if not population and method not in ("satterthwaite", "z"):
        raise ValueError(
            f"ddf={ddf!r} is for population means (random=False with interval='mean'); other intervals take "
            "'satterthwaite' or 'z'."
        )
    return method


def _of_contrasts(inference: Inference, exog: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return standard errors and degrees of freedom of x'β for the rows of exog, (n,) each."""
    error, df = np.empty(len(exog)), np.empty(len(exog))
    step = max(1, CHUNK // max(1, exog.shape[1]) ** 2)
    for part in (slice(start, start + step) for start in range(0, len(exog), step)):
        table = inference.estimates(exog[part])
        error[part], df[part] = table["std.error"], table["df"]
    return error, df


def _weights(model: LinearMixedModel, new: Any, weights: str | ArrayLike | None, n: int) -> float | np.ndarray:
    """Return the weights of the observations that are predicted, one or (n,)."""
    if weights is None:
        if model.weights is None:
            return 1.0
        if new is None:
            return model.weights
        raise DataError(
            "The model was fitted with weights: an interval for a new observation needs its own. Give weights=, "
            "a column of the new data, one value for each row or one for all."
        )
    values: float | np.ndarray
    if isinstance(weights, str):
        if new is None:
            raise DataError("weights is the name of a column, but there are no new data. Give the values.")
        from ..data import read_table  # brings narwhals

        table = read_table(new, [weights])
        name, values = f"weights {weights!r}", np.asarray(table.columns[weights])
    else:
        name, values = "weights", float(weights) if isinstance(weights, Real) else np.asarray(weights, dtype=float)
    if isinstance(values, np.ndarray) and values.ndim and len(values) != n:
        raise DataError(f"{name} has {len(values)} values for {n} rows. Give one per row.")
    if not (np.asarray(values) > 0).all():
        raise DataError(f"{name} must be positive: the variance of a new observation is σ²/weight.")
    return values
