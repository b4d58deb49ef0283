"""Tidy tables of a fitted model in the columns of R's broom.mixed; every printed view is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .covariance import correlation
from .errors import DataError
from .inference.variance import standard_errors
from .labels import Wide, variance_labels

if TYPE_CHECKING:
    from .model import LinearMixedModel
    from .results import LinearMixedModelResults

KINDS = ("fixed", "ran_pars", "ran_vals", "ran_coefs")
ALIASES = {"all": ("fixed", "ran_pars"), "random": ("ran_pars",)}
LABELS = ("effect", "group", "level", "term")
NUMBERS = ("estimate", "std.error", "df", "statistic", "p.value", "conf.low", "conf.high")
BOUNDARY = "at the boundary: no standard error"
NOT_POSITIVE = "observed information not positive definite: no standard error"


def fixed_effects(fit: LinearMixedModelResults, level: float = 0.95, ddf: str = "satterthwaite") -> pd.DataFrame:
    """Return the fixed effects, a row each: term and the columns of `Inference.estimates`."""
    names = fit.model.exog_names
    table = fit.inference(ddf).estimates(np.eye(len(names)), level)
    table.insert(0, "term", names)
    return table


def variance_parameters(fit: LinearMixedModelResults, kinds: tuple[str, str] = ("sd", "cor")) -> pd.DataFrame:
    """Return the variance parameters in the order of θ, the residual's last: group, term, estimate.

    `kinds` is ("sd", "cor") for standard deviations and correlations, ("var", "cov") for variances and covariances.
    """
    values = []
    for cov, shape in zip(fit.cov_re.values(), fit.model.cross.shapes, strict=True):
        entries = cov.to_numpy()
        if kinds[0] == "sd":
            sd, corr = correlation(entries)
            entries = np.where(np.eye(sd.size, dtype=bool), sd, corr)
        values.extend(entries[shape.entries])
    values.append(fit.sigma if kinds[0] == "sd" else fit.scale)
    table = pd.DataFrame([label[:2] for label in variance_labels(fit.model, kinds)], columns=["group", "term"])
    return table.assign(estimate=values)


def variance_params(fit: LinearMixedModelResults) -> pd.DataFrame:
    """Return variances, covariances, standard deviations and correlations with std.error and note."""
    errors = standard_errors(fit.likelihood, fit.evaluation)
    parts = [variance_parameters(fit, kinds) for kinds in (("var", "cov"), ("sd", "cor"))]
    table = pd.concat([part.assign(**{"std.error": error}) for part, error in zip(parts, errors, strict=True)])
    missing = table["std.error"].isna()
    singular = table["group"].isin(fit.singular_terms)
    table["note"] = np.select([missing & singular, missing], [BOUNDARY, NOT_POSITIVE], "")
    return table.reset_index(drop=True)


def tidy(
    fit: LinearMixedModelResults,
    effects: str | Sequence[str] = "all",
    conf_int: bool = False,
    conf_level: float = 0.95,
    ddf: str = "satterthwaite",
) -> pd.DataFrame:
    """Return estimates, a row each; see `LinearMixedModelResults.tidy`."""
    kinds = [kind for name in ([effects] if isinstance(effects, str) else effects) for kind in _kinds(name)]
    if not 0.0 < conf_level < 1.0:
        raise ValueError(f"conf_level={conf_level} is not between 0 and 1; conf_level=0.95 gives 95 % intervals.")
    make = {
        "fixed": lambda: fixed_effects(fit, conf_level, ddf),
        "ran_pars": lambda: variance_parameters(fit),
        "ran_vals": lambda: _with_interval(random_values(fit), conf_level),
        "ran_coefs": lambda: _with_interval(random_coefficients(fit), conf_level),
    }
    columns = dict.fromkeys(LABELS, object) | dict.fromkeys(NUMBERS, float)
    parts = [make[kind]().assign(effect=kind).reindex(columns=list(columns)) for kind in dict.fromkeys(kinds)]
    table = pd.concat([part.astype(columns) for part in parts], ignore_index=True)
    left_out = [] if {"ran_vals", "ran_coefs"} & set(kinds) else ["level"]
    return Wide(table.drop(columns=left_out if conf_int else [*left_out, "conf.low", "conf.high"]))


def _kinds(name: str) -> tuple[str, ...]:
    """Return the kinds of effects that a name stands for."""
    if name not in KINDS and name not in ALIASES:
        raise ValueError(f"effects must be one or more of {(*ALIASES, *KINDS)}, not {name!r}.")
    return ALIASES.get(name, (name,))


def random_values(fit: LinearMixedModelResults) -> pd.DataFrame:
    """Return random effects and their standard deviations given the data: group, level, term, estimate, std.error."""
    return _stacked(fit.random_effects, fit.random_effects_sd)


def random_coefficients(fit: LinearMixedModelResults) -> pd.DataFrame:
    """Return fixed plus random effects of every level with standard errors, in the columns of `random_values`."""
    return _stacked(fit.coefficients, fit.coefficients_se)


def _stacked(estimates: Mapping[str, pd.DataFrame], errors: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return tables (l, c) of every term with their standard errors, a row for each number, column after column."""
    parts = []
    for name, table in estimates.items():
        l, c = table.shape
        columns = {
            "group": name,
            "level": np.tile(np.asarray(table.index, dtype=object), c),
            "term": np.repeat(table.columns, l),
            "estimate": table.to_numpy().ravel(order="F"),
            "std.error": errors[name].to_numpy().ravel(order="F"),
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts)


def _with_interval(table: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return a table with normal intervals."""
    margin = NormalDist().inv_cdf(0.5 + 0.5 * level) * table["std.error"]
    return table.assign(**{"conf.low": table["estimate"] - margin, "conf.high": table["estimate"] + margin})


def glance(fit: LinearMixedModelResults) -> pd.DataFrame:
    """Return the fit in one row; see `LinearMixedModelResults.glance`."""
    return Wide(
        {
            "nobs": fit.nobs,
            "sigma": fit.sigma,
            "logLik": fit.llf,
            "AIC": fit.aic,
            "BIC": fit.bic,
            "REMLcrit" if fit.reml else "deviance": fit.deviance,
            "df.residual": fit.nobs - fit.n_parameters,
            "converged": fit.converged,
            "singular": fit.singular,
        },
        index=[0],
    )


def augment(
    fit: LinearMixedModelResults, data: Any = None, se_fit: bool = False, influence: bool = False
) -> pd.DataFrame:
    """Return data with .fitted, .resid, .fixed and more; see `LinearMixedModelResults.augment`."""
    columns = {".fitted": fit.fittedvalues, ".resid": fit.resid, ".fixed": fit.predict(random=False)}
    frame = _model_frame(fit.model) if data is None else _kept_rows(fit.model, data)
    if se_fit:
        columns[".se.fit"] = fit.predict(se=True)["std.error"]
    if influence:
        columns |= {".hat": fit.leverage(), ".cooksd": fit.cooks_distance()}
    return frame.assign(**{name: values.to_numpy() for name, values in columns.items()})


def _kept_rows(model: LinearMixedModel, data: Any) -> pd.DataFrame:
    """Return the rows of the data that the model was fitted to."""
    if not isinstance(data, pd.DataFrame):
        data = _pandas(data)
    kept = None if model.design is None else model.design.kept
    rows = model.nobs if kept is None else kept.size
    if len(data) != rows:
        raise DataError(f"The data have {len(data)} rows; the fit was given {rows}. Give the data of the fit.")
    data = data if kept is None else data[kept]
    if isinstance(data.index, pd.Index) and model.index is not None and not data.index.equals(model.index):
        raise DataError("The rows of the data are not in the order of the fit. Give the data of the fit.")
    return data


def _pandas(data: Any) -> pd.DataFrame:
    """Return any data frame, a lazy one collected, or a dict of arrays as pandas."""
    if not isinstance(data, Mapping):
        import narwhals as nw

        data = nw.from_native(data)
        data = data.collect() if isinstance(data, nw.LazyFrame) else data
        return pd.DataFrame({name: data[name].to_numpy() for name in data.columns})
    return pd.DataFrame({name: np.asarray(values) for name, values in data.items()})


def _model_frame(model: LinearMixedModel) -> pd.DataFrame:
    """Return response, fixed-effects columns and grouping factors of the model."""
    columns = {model.endog_name: model.endog} | dict(zip(model.exog_names, model.exog.T, strict=True))
    for term in model.terms:
        if term.matrix is None:
            columns.setdefault(term.name, term.levels.take(term.codes))
    return pd.DataFrame({name: np.asarray(values) for name, values in columns.items()}, index=model.index)
