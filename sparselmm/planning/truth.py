"""Truth: a model and the parameters that are assumed of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..covariance import correlation
from ..engines.protocol import Engine
from ..errors import DataError
from ..habits import coefficients_of
from ..model import LinearMixedModel
from ..resampling.simulate import simulate
from ..results import LinearMixedModelResults
from ..terms import RandomTerm

EXAMPLE = "sd={'subject': {'Intercept': 40.0, 'x': 10.0}, 'item': 20.0}"


@dataclass(frozen=True, eq=False)
class Truth:
    """A linear mixed model at assumed parameters: what is simulated, and where refits start.

    Attributes
    ----------
    model : LinearMixedModel
        Its response does not matter.
    reml : bool
        Of the refits.
    beta : ndarray (p,)
    cov_re : dict of ndarray (c_k, c_k)
    scale : float
        Residual variance σ².
    """

    model: LinearMixedModel
    reml: bool
    beta: np.ndarray
    cov_re: dict[str, np.ndarray]
    scale: float

    def simulate(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return n responses, (n_obs, n)."""
        return simulate(self.model, self.beta, self.cov_re, self.scale, n, rng).to_numpy()

    @cached_property
    def theta(self) -> np.ndarray:
        """θ of the assumed covariances, (m,)."""
        factors = []
        for cov in self.cov_re.values():
            values, vectors = np.linalg.eigh(cov / self.scale)
            root = vectors * np.sqrt(np.maximum(values, 0.0))
            factors.append(np.linalg.qr(root.T).R.T)
        map_ = self.model.cross.relative_factor
        return map_.canonical(map_.pack(factors))

    @cached_property
    def _refit_engine(self) -> Engine:
        """An engine for the responses; see `LinearMixedModelResults.refit_many`."""
        return self.model.likelihood(self.reml).engine


def read_truth(
    model: LinearMixedModel,
    reml: bool,
    fit: LinearMixedModelResults | None = None,
    params: Mapping[str, float] | None = None,
    sd: Mapping[str, float | Mapping[str, float]] | None = None,
    corr: Mapping[str, object] | None = None,
    sigma: float | None = None,
) -> Truth:
    """Return the Truth of a model: the parameters of a fit, where there is one, changed as the others say; see `power`.

    Raises
    ------
    DataError
        If a parameter is unknown, missing or impossible.
    """
    if sigma is None:
        if fit is None:
            raise DataError("sigma is missing: give the standard deviation of the residuals.")
        sigma = fit.sigma
    if not (np.isfinite(sigma) and sigma > 0):
        raise DataError(f"sigma={sigma!r}: the standard deviation of the residuals must be positive.")
    beta = _beta(model, fit, dict(params or {}))
    cov_re = _covariances(model, fit, dict(sd or {}), dict(corr or {}))
    return Truth(model, reml, beta, cov_re, float(sigma) ** 2)


def _beta(model: LinearMixedModel, fit: LinearMixedModelResults | None, params: Mapping[str, float]) -> np.ndarray:
    """Return the fixed effects, (p,): zero where neither a fit nor `params` names them."""
    names = model.exog_names
    for name, value in params.items():
        if name not in names:
            own = coefficients_of(name, names)
            remedy = f" Did you mean {' or '.join(map(repr, own))}?" if own else ""
            raise DataError(f"params names {name!r}; the fixed effects are {', '.join(names)}.{remedy}")
        if not np.isfinite(value):
            raise DataError(f"params: {name!r} is {value!r}. Give a number.")
    known = {} if fit is None else fit.params.to_dict()
    unknown = [name for name in names if name not in known and name not in params]
    if fit is not None and unknown:
        raise DataError(
            f"The fit has no fixed effect {', '.join(map(repr, unknown))}, which the new data ask for. Give data with "
            f"the levels of those of the fit ({', '.join(known)}), or its value in params=."
        )
    return np.array([params.get(name, known.get(name, 0.0)) for name in names], dtype=float)


def _covariances(
    model: LinearMixedModel,
    fit: LinearMixedModelResults | None,
    sd: Mapping[str, float | Mapping[str, float]],
    corr: Mapping[str, object],
) -> dict[str, np.ndarray]:
    """Return the covariance of every term, (c, c)."""
    terms = {term.name: term for term in model.terms}
    for argument, given in (("sd", sd), ("corr", corr)):
        for name in given:
            if name not in terms:
                raise DataError(f"{argument} names {name!r}; the random-effects terms are {', '.join(terms)}.")
    covariances = {}
    for name, term in terms.items():
        old_sd, R = _known(fit, term)
        sds = _standard_deviations(term, old_sd, sd.get(name))
        R = _correlations(term, R, corr.get(name))
        covariances[name] = R * np.outer(sds, sds)
    return covariances


def _known(fit: LinearMixedModelResults | None, term: RandomTerm) -> tuple[dict[str, float], np.ndarray]:
    """Return the standard deviations of a term in a fit by column, and their correlations (c, c)."""
    if fit is None:
        return {}, np.eye(term.n_columns)
    if term.name not in fit.cov_re or set(fit.cov_re[term.name].columns) != set(term.columns):
        raise DataError(f"The fit has no random-effects term {term.name!r} with columns {', '.join(term.columns)}.")
    cov = fit.cov_re[term.name].loc[list(term.columns), list(term.columns)].to_numpy()
    sds, R = correlation(cov)
    return dict(zip(term.columns, sds, strict=True)), np.nan_to_num(R)


def _standard_deviations(
    term: RandomTerm, known: dict[str, float], given: float | Mapping[str, float] | None
) -> np.ndarray:
    """Return the standard deviations of a term, (c,): those given, else those known."""
    columns = ", ".join(term.columns)
    if given is not None and not isinstance(given, Mapping):
        if term.n_columns > 1:
            raise DataError(
                f"sd[{term.name!r}]: the term has columns {columns}; give a number for each, as in {EXAMPLE}."
            )
        given = {term.columns[0]: given}
    for column in given or ():
        if column not in term.columns:
            raise DataError(f"sd[{term.name!r}] names {column!r}; the columns of the term are {columns}.")
    known = {**known, **(given or {})}
    missing = [column for column in term.columns if column not in known]
    if missing:
        raise DataError(f"sd of {', '.join(missing)} of term {term.name!r} is missing: give it, as in {EXAMPLE}.")
    for column, value in known.items():
        if not (np.isfinite(value) and value >= 0):
            raise DataError(f"sd of {column} of term {term.name!r} is {value!r}. Give zero or a positive number.")
    return np.array([known[column] for column in term.columns], dtype=float)


def _correlations(term: RandomTerm, known: np.ndarray, given: object) -> np.ndarray:
    """Return the correlations of a term, (c, c): a number stands for all of them."""
    if given is None:
        return known
    c = term.n_columns
    R = np.asarray(given, dtype=float)
    R = np.where(np.eye(c, dtype=bool), 1.0, R) if R.ndim == 0 else R
    if term.structure == "diagonal":
        raise DataError(
            f"corr names {term.name!r}, whose columns are independent ('||'). Write one bar, or leave it out."
        )
    if R.shape != (c, c) or not np.allclose(R, R.T) or not np.allclose(np.diag(R), 1.0):
        raise DataError(
            f"corr[{term.name!r}]: give a number or a symmetric {c} x {c} matrix with ones on its diagonal."
        )
    if np.linalg.eigvalsh(R)[0] < -1e-10:
        raise DataError(f"corr[{term.name!r}] is impossible: it is not positive semidefinite. Make it less extreme.")
    return R
