"""Tidy tables of a fitted model in the columns of R's broom.mixed; every printed view is made of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .covariance import correlation
from .errors import DataError
from .inference.variance import standard_errors

EFFECTS = ("all", "fixed", "random")
BOUNDARY = "at the boundary: no standard error"
NOT_POSITIVE = "observed information not positive definite: no standard error"


def fixed_effects(fit, level=0.95) -> pd.DataFrame:
    """Return the fixed effects, a row each: term, estimate, std.error, statistic, p.value, conf.low, conf.high."""
    interval = fit.conf_int(1.0 - level)
    columns = {
        "term": fit.params.index,
        "estimate": fit.params,
        "std.error": fit.bse,
        "statistic": fit.tvalues,
        "p.value": fit.pvalues,
        "conf.low": interval["lower"],
        "conf.high": interval["upper"],
    }
    return pd.DataFrame({name: np.asarray(values) for name, values in columns.items()})


def variance_parameters(fit, kinds=("sd", "cor")) -> pd.DataFrame:
    """Return the variance parameters in the order of θ, the residual's last: group, term, estimate.

    `kinds` is ("sd", "cor") for standard deviations and correlations, ("var", "cov") for variances and covariances.
    """
    on_diagonal, off_diagonal = kinds
    rows = []
    for (name, cov), shape in zip(fit.cov_re.items(), fit.model.cross.shapes, strict=True):
        values = cov.to_numpy()
        if on_diagonal == "sd":
            sd, values = correlation(values)
            values = np.where(np.eye(sd.size, dtype=bool), sd, values)
        for i, j in zip(*shape.entries, strict=True):
            first, second = cov.columns[j], cov.columns[i]
            term = f"{on_diagonal}__{first}" if i == j else f"{off_diagonal}__{first}.{second}"
            rows.append((name, term, values[i, j]))
    rows.append(("Residual", f"{on_diagonal}__Observation", fit.sigma if on_diagonal == "sd" else fit.scale))
    return pd.DataFrame(rows, columns=["group", "term", "estimate"])


def variance_params(fit) -> pd.DataFrame:
    """Return variances, covariances, standard deviations and correlations with std.error and note."""
    errors = standard_errors(fit.likelihood, fit.evaluation)
    parts = [variance_parameters(fit, kinds) for kinds in (("var", "cov"), ("sd", "cor"))]
    table = pd.concat([part.assign(**{"std.error": error}) for part, error in zip(parts, errors, strict=True)])
    missing = table["std.error"].isna()
    singular = table["group"].isin(fit.singular_terms)
    table["note"] = np.select([missing & singular, missing], [BOUNDARY, NOT_POSITIVE], "")
    return table.reset_index(drop=True)


def tidy(fit, effects="all", conf_int=False, conf_level=0.95) -> pd.DataFrame:
    """Return fixed effects and variance parameters, a row each; see `LinearMixedModelResults.tidy`."""
    if effects not in EFFECTS:
        raise ValueError(f"effects must be one of {EFFECTS}, not {effects!r}.")
    fixed = fixed_effects(fit, conf_level)
    fixed.insert(0, "group", None)
    fixed.insert(0, "effect", "fixed")
    random = variance_parameters(fit).reindex(columns=fixed.columns).assign(effect="ran_pars")
    parts = {"all": [fixed, random], "fixed": [fixed], "random": [random]}[effects]
    table = pd.concat(parts, ignore_index=True)
    return table if conf_int else table.drop(columns=["conf.low", "conf.high"])


def glance(fit) -> pd.DataFrame:
    """Return the fit in one row; see `LinearMixedModelResults.glance`."""
    return pd.DataFrame(
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


def augment(fit, data=None) -> pd.DataFrame:
    """Return data with .fitted, .resid and .fixed; see `LinearMixedModelResults.augment`."""
    frame = _model_frame(fit.model) if data is None else _kept_rows(fit.model, data)
    fitted = {".fitted": fit.fittedvalues, ".resid": fit.resid, ".fixed": fit.predict(random=False)}
    return frame.assign(**{name: values.to_numpy() for name, values in fitted.items()})


def _kept_rows(model, data):
    """Return the rows of the data that the model was fitted to."""
    if not isinstance(data, pd.DataFrame):
        from .data import column_names  # brings narwhals

        data = pd.DataFrame({name: np.asarray(data[name]) for name in column_names(data)})
    kept = None if model.design is None else model.design.kept
    rows = model.nobs if kept is None else kept.size
    if len(data) != rows:
        raise DataError(f"The data have {len(data)} rows; the fit was given {rows}. Give the data of the fit.")
    data = data if kept is None else data[kept]
    if isinstance(data.index, pd.Index) and model.index is not None and not data.index.equals(model.index):
        raise DataError("The rows of the data are not in the order of the fit. Give the data of the fit.")
    return data


def _model_frame(model):
    """Return response, fixed-effects columns and grouping factors of the model."""
    columns = {model.endog_name: model.endog} | dict(zip(model.exog_names, model.exog.T, strict=True))
    for term in model.terms:
        if term.matrix is None:
            columns.setdefault(term.name, term.levels.take(term.codes))
    return pd.DataFrame({name: np.asarray(values) for name, values in columns.items()}, index=model.index)
