"""Shares of variance (R², intraclass correlations) and variance inflation of the fixed effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..covariance import correlation, cov_re

if TYPE_CHECKING:
    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults
    from ..terms import RandomTerm

    Measures = Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, np.ndarray]]


class VarianceShares:
    """Variances of the parts of a linear mixed model over its rows, as functions of its parameters.

    Attributes
    ----------
    fixed : ndarray (p, p)
        Covariance of the rows of X.
    random : list of ndarray (c_k, c_k)
        Means of z_iz_i' over the rows, of every term.
    residual : float
        Mean of 1/weight.
    """

    def __init__(self, model: LinearMixedModel) -> None:
        self.map = model.cross.relative_factor
        if not model.keeps_rows and model.weights is None and "Intercept" in model.exog_names:
            self.fixed, self.random = _of_sums(model)
        else:
            self.fixed = np.atleast_2d(np.cov(model.exog, rowvar=False)) if model.exog.shape[1] else np.zeros((0, 0))
            self.random = [_mean_square(term) for term in model.terms]
        self.residual = 1.0 if model.weights is None else float(np.mean(1.0 / model.weights))

    def __call__(
        self, beta: np.ndarray, theta: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the variances of Xβ (k,), of the terms (k, K) and of the residual (k,) for k parameter sets."""
        fixed = np.einsum("ki,ij,kj->k", beta, self.fixed, beta)
        random = np.empty((len(beta), len(self.random)))
        for i, (row, sigma2) in enumerate(zip(theta, scale, strict=True)):
            factors = self.map.unpack(row)
            random[i] = [np.sum(cov_re(f, sigma2) * mean) for f, mean in zip(factors, self.random, strict=True)]
        return fixed, random, scale * self.residual


def _of_sums(model: LinearMixedModel) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return `VarianceShares.fixed` and `random` from cross-products of rows that are not kept."""
    cross, n = model.cross, model.nobs
    inverse = np.linalg.inv(cross.basis)
    mean = cross.XX @ inverse[:, model.exog_names.index("Intercept")] / n  # of the rows in the pilot basis
    fixed = inverse.T @ (cross.XX - n * np.outer(mean, mean)) @ inverse / (n - 1)
    return fixed, [block.sum(axis=0) / n for block in cross.diagonal]


def _mean_square(term: RandomTerm) -> np.ndarray:
    """Return the mean of z_iz_i' over the rows of a term, (c, c)."""
    if term.matrix is not None:
        return np.array([[term.matrix.multiply(term.matrix).sum() / term.nobs]])
    return term.values.T @ term.values / term.nobs


def r_squared(fixed: np.ndarray, random: np.ndarray, residual: np.ndarray) -> dict[str, np.ndarray]:
    """Return marginal and conditional R²."""
    total = fixed + random.sum(axis=1) + residual
    return {"marginal": fixed / total, "conditional": (fixed + random.sum(axis=1)) / total}


def intraclass(fixed: np.ndarray, random: np.ndarray, residual: np.ndarray) -> dict[str, np.ndarray]:
    """Return the adjusted and the conditional intraclass correlation."""
    of_groups = random.sum(axis=1)
    return {
        "adjusted": of_groups / (of_groups + residual),
        "conditional": of_groups / (fixed + of_groups + residual),
    }


def intraclass_by_group(names: Sequence[str]) -> Measures:
    """Return the function that returns the intraclass correlation of every term."""

    def by_group(fixed: np.ndarray, random: np.ndarray, residual: np.ndarray) -> dict[str, np.ndarray]:
        total = random.sum(axis=1) + residual
        return {name: random[:, k] / total for k, name in enumerate(names)}

    return by_group


def shares(
    fit: LinearMixedModelResults,
    measures: Measures,
    bootstrap: int = 0,
    level: float = 0.95,
    rng: int | np.random.Generator | None = None,
) -> pd.DataFrame:
    """Return measures of the variances of a fit, with bootstrap intervals if asked for.

    Parameters
    ----------
    fit : LinearMixedModelResults
    measures : callable
        Takes what `VarianceShares` returns and returns a dictionary of arrays (k,).
    bootstrap : int
        Number of responses simulated from the fit; 0 for no interval.
    level : float
    rng : int or numpy.random.Generator, optional

    Returns
    -------
    DataFrame
        Column estimate; with a bootstrap conf.low and conf.high, percentiles.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level} is not between 0 and 1; 0.95 gives 95 % intervals.")
    variances = VarianceShares(fit.model)
    estimates = measures(*variances(fit.beta[None], fit.theta[None], np.array([fit.scale])))
    table = pd.DataFrame({"estimate": {name: float(value[0]) for name, value in estimates.items()}})
    if bootstrap:
        found = fit.refit_many(fit.simulate(bootstrap, rng)).estimates
        done = np.isfinite(found.scale)
        replicates = measures(*variances(found.beta[done], found.theta[done], found.scale[done]))
        tails = [0.5 - level / 2.0, 0.5 + level / 2.0]
        limits = np.array([np.quantile(replicates[name], tails) for name in table.index])
        table["conf.low"], table["conf.high"] = limits.T
    return table


def variance_inflation(fit: LinearMixedModelResults) -> pd.DataFrame:
    """Return GVIF, df and gvif^(1/(2 df)) of the terms; see `DiagnosticMethods.vif`."""
    terms = [term for term in fit.model.fixed_terms if term.factors and term.columns.size]
    columns = np.concatenate([term.columns for term in terms]) if terms else np.zeros(0, dtype=int)
    R = correlation(fit.cov_params().to_numpy()[np.ix_(columns, columns)])[1]
    rows = {}
    for term in terms:
        inside = np.isin(columns, term.columns)
        logs = [np.linalg.slogdet(part)[1] for part in (R[np.ix_(inside, inside)], R[np.ix_(~inside, ~inside)], R)]
        gvif, df = np.exp(logs[0] + logs[1] - logs[2]), term.columns.size
        rows[term.name] = (gvif, df, gvif ** (0.5 / df))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["gvif", "df", "gvif^(1/(2 df))"])
