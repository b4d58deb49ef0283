"""Responses drawn from a linear mixed model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..seeds import generator

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults
    from ..terms import RandomTerm

RANDOM = ("new", "conditional")


def simulate(
    model: LinearMixedModel,
    beta: ArrayLike,
    cov_re: Mapping[str, ArrayLike],
    scale: float,
    n: int = 1,
    rng: int | np.random.Generator | None = None,
) -> pd.DataFrame:
    """Return responses drawn from a model at given parameters, (n_obs, n): a column each.

    Parameters
    ----------
    model : LinearMixedModel
        Its response does not matter.
    beta : array_like, shape (p,)
        Fixed effects, in the order of `model.exog_names`.
    cov_re : mapping of str to array_like, shape (c, c)
        Covariance of the random effects of each term, as `fit.cov_re` has it; may be singular. A number is the variance
        of a term with one column.
    scale : float
        Residual variance σ²; of a row with weight w it is σ²/w.
    n : int
        Number of responses.
    rng : int or numpy.random.Generator, optional

    Raises
    ------
    ValueError
        Naming the parameter that does not fit the model.

    Examples
    --------
    >>> import sparselmm
    >>> from sparselmm.resampling.simulate import simulate
    >>> data = sparselmm.datasets.load("Dyestuff")
    >>> model = sparselmm.LinearMixedModel.from_formula("Yield ~ 1 + (1 | Batch)", data)
    >>> simulate(model, [1500.0], {"Batch": 1800.0}, 2500.0, n=4, rng=1).shape
    (30, 4)
    """
    beta = np.asarray(beta, dtype=float)
    if beta.shape != (len(model.exog_names),):
        raise ValueError(f"beta has shape {beta.shape}; the model has {len(model.exog_names)} fixed effects.")
    if set(cov_re) != set(model.groups):
        raise ValueError(f"cov_re names {sorted(cov_re)}; the terms of the model are {sorted(model.groups)}.")
    if not scale > 0:
        raise ValueError(f"scale={scale}: the residual variance must be positive.")
    roots = [_root(cov_re[term.name], term) for term in model.terms]
    values = draw(model, linear_part(model, beta), roots, scale, _count(n), generator(rng, "responses"))
    return pd.DataFrame(values, index=model.index)


def simulate_fit(
    fit: LinearMixedModelResults, n: int, rng: int | np.random.Generator | None, random: str
) -> pd.DataFrame:
    """Return responses drawn from a fit, (n_obs, n); see `LinearMixedModelResults.simulate`."""
    if random not in RANDOM:
        raise ValueError(f"random must be one of {RANDOM}, not {random!r}.")
    rng = generator(rng, "responses")
    if random == "conditional":
        values = draw(fit.model, fit.fittedvalues.to_numpy(), None, fit.scale, _count(n), rng)
    else:
        values = draw(fit.model, linear_part(fit.model, fit.beta), roots_of(fit), fit.scale, _count(n), rng)
    return pd.DataFrame(values, index=fit.model.index)


def linear_part(model: LinearMixedModel, beta: np.ndarray) -> np.ndarray:
    """Return Xβ plus the offset, (n_obs,)."""
    mean = model.exog @ beta
    return mean if model.offset is None else mean + model.offset


def roots_of(fit: LinearMixedModelResults) -> list[np.ndarray]:
    """Return σλ of every term: roots of the covariances of a fit."""
    return [fit.sigma * factor for factor in fit._map.unpack(fit.theta)]


def draw(
    model: LinearMixedModel,
    mean: np.ndarray,
    roots: list[np.ndarray] | None,
    scale: float,
    n: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return mean + Zb + ε for n draws of b ~ N(0, BB') per term and of ε, (n_obs, n); without roots of ε alone."""
    noise = np.sqrt(scale if model.weights is None else scale / model.weights[:, None])
    Y = noise * rng.standard_normal((model.nobs, n))
    Y += mean[:, None]
    for term, root in zip(model.terms if roots else (), roots or (), strict=True):
        effects = np.einsum("ab,jbr->jar", root, rng.standard_normal((term.n_levels, term.n_columns, n)))
        Y += term.Z @ effects.reshape(-1, n)
    return Y


def _root(cov: ArrayLike, term: RandomTerm) -> np.ndarray:
    """Return B with BB' = cov, (c, c), for a positive semidefinite covariance of a term."""
    cov = np.atleast_2d(np.asarray(cov, dtype=float))
    if cov.shape != (term.n_columns, term.n_columns):
        raise ValueError(f"cov_re[{term.name!r}] has shape {cov.shape}; the term has {term.n_columns} columns.")
    values, vectors = np.linalg.eigh(cov)
    if not np.allclose(cov, cov.T) or values[0] < -1e-10 * max(values[-1], 0.0):
        raise ValueError(f"cov_re[{term.name!r}] is not symmetric and positive semidefinite.")
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _count(n: int) -> int:
    """Return the number of responses, or raise."""
    if n < 1:
        raise ValueError(f"n={n}: at least one response has to be drawn.")
    return n
