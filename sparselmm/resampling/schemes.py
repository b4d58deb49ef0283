"""What a bootstrap draws: responses on the same design, or clusters of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from ..terms import RandomTerm, factorize
from .simulate import draw, linear_part, roots_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults

    Sampler = Callable[[int, np.random.Generator], np.ndarray]

RESPONSES = ("parametric", "residual", "wild")


def response_sampler(fit: LinearMixedModelResults, kind: str, cluster: str | ArrayLike | None) -> tuple[Sampler, str]:
    """Return a function (n, rng) -> responses (n_obs, n) of a bootstrap that keeps the design, and what it draws."""
    mean = linear_part(fit.model, fit.beta)
    if kind == "parametric":
        roots = roots_of(fit)
        return lambda n, rng: draw(fit.model, mean, roots, fit.scale, n, rng), "random effects and residuals, normal"
    if kind == "residual":
        return _residual_sampler(fit, mean), "reflated conditional modes and residuals, with replacement"
    codes, name = clusters(fit.model, cluster, independent=True)
    residuals = _leveraged(fit.model, fit.model.endog - mean)
    levels = codes.max() + 1

    def sample(n: int, rng: np.random.Generator) -> np.ndarray:
        signs = rng.integers(0, 2, (levels, n)) * 2.0 - 1.0  # Rademacher
        return mean[:, None] + residuals[:, None] * signs[codes]

    return sample, f"signs of the marginal residuals, one for each of the {levels} levels of {name}"


def _leveraged(model: LinearMixedModel, residuals: np.ndarray) -> np.ndarray:
    """Return marginal residuals over √(1 - h), h the leverages of (weighted) least squares: the correction HC2."""
    X = model.exog @ model.cross.basis
    h = np.einsum("ip,ip->i", X @ np.linalg.inv(model.cross.XX), X)
    if model.weights is not None:
        h = h * model.weights
    return residuals / np.sqrt(np.maximum(1.0 - h, np.finfo(float).eps))


def _residual_sampler(fit: LinearMixedModelResults, mean: np.ndarray) -> Sampler:
    """Return the sampler of Carpenter, Goldstein & Rasbash (2003): modes and residuals with the fitted covariances."""
    model = fit.model
    weights = np.ones(model.nobs) if model.weights is None else model.weights
    residuals = fit.resid.to_numpy() * np.sqrt(weights)
    residuals = residuals - residuals.mean()
    residuals *= fit.sigma / np.sqrt(np.mean(residuals**2))
    effects = []
    for term, root in zip(model.terms, roots_of(fit), strict=True):
        modes = fit.modes[term.name] - fit.modes[term.name].mean(axis=0)
        values, Q = np.linalg.eigh(modes.T @ modes / len(modes))
        positive = values > 1e-12 * max(values.max(), np.finfo(float).tiny)
        whiten = Q * np.where(positive, 1.0 / np.sqrt(np.where(positive, values, 1.0)), 0.0)
        effects.append(modes @ whiten @ _aligned(root @ root.T, Q).T)

    def sample(n: int, rng: np.random.Generator) -> np.ndarray:
        Y = residuals[rng.integers(0, model.nobs, (model.nobs, n))] / np.sqrt(weights)[:, None]
        Y += mean[:, None]
        for term, values in zip(model.terms, effects, strict=True):
            drawn = values[rng.integers(0, term.n_levels, (term.n_levels, n))]  # (l, n, c)
            Y += term.Z @ drawn.transpose(0, 2, 1).reshape(-1, n)
        return Y

    return sample


def _aligned(cov: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """Return the B with BB' = cov that moves the directions Q least."""
    values, vectors = np.linalg.eigh(cov)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T @ Q


def clusters(
    model: LinearMixedModel, cluster: str | ArrayLike | None = None, independent: bool = False
) -> tuple[np.ndarray, str]:
    """Return the cluster of each row (n,) and what it is called.

    `cluster` is the name of a term, or labels (n,). Default: the factor in which all others are nested; if there is
    none, the one with most levels, or an error if the clusters have to be `independent`.
    """
    grouped = [term for term in model.terms if term.matrix is None]
    if isinstance(cluster, str):
        for term in grouped:
            if cluster == term.name:
                return term.codes, term.name
        names = ", ".join(repr(term.name) for term in grouped)
        raise ValueError(f"cluster={cluster!r} is no random-effects term of this model ({names}); give its labels.")
    if cluster is not None:
        codes, levels = factorize(cluster, "cluster")
        if codes.size != model.nobs:
            raise DataError(f"cluster has {codes.size} labels for {model.nobs} rows. Give one for each row.")
        if len(levels) < 2:
            raise DataError("cluster has a single level: nothing can be resampled. Give a factor with more.")
        return codes, getattr(cluster, "name", None) or "cluster"
    if not grouped:
        raise DataError("The model has no grouping factor: give cluster= the label of each row.")
    tops = [g for g in grouped if all(is_nested(other.codes, g.codes) for other in grouped)]
    if independent and not tops:
        raise ValueError(
            "The random effects are crossed: no factor splits the rows into independent clusters, which the wild "
            "bootstrap needs. Use kind='parametric' or 'residual', or give cluster=."
        )
    term = min(tops, key=lambda g: g.n_levels) if tops else max(grouped, key=lambda g: g.n_levels)
    return term.codes, term.name


def is_nested(inner: np.ndarray, outer: np.ndarray) -> bool:
    """Return True if every level of `inner` (codes, (n,)) lies in one level of `outer`."""
    first = np.zeros(inner.max() + 1, dtype=outer.dtype)
    first[inner] = outer
    return bool((first[inner] == outer).all())


@dataclass(frozen=True, eq=False)
class ClusterSampler:
    """Draws of clusters with replacement, and the models of the drawn rows.

    Attributes
    ----------
    model : LinearMixedModel
    codes : ndarray of int (n,)
        Cluster of each row.
    nested : tuple of bool
        Which terms' levels lie within clusters: a cluster drawn twice then has two sets of them. The levels of the
        others stay what they are.
    """

    model: LinearMixedModel
    codes: np.ndarray
    nested: tuple[bool, ...]

    @classmethod
    def of(cls, model: LinearMixedModel, codes: np.ndarray) -> ClusterSampler:
        """Return the sampler for a model and the cluster of each row."""
        return cls(model, codes, tuple(t.matrix is None and is_nested(t.codes, codes) for t in model.terms))

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return int(self.codes.max()) + 1

    def model_of(self, drawn: np.ndarray) -> LinearMixedModel:
        """Return the model of the rows of the drawn clusters, (n_clusters,) positions."""
        model, order = self.model, np.argsort(self.codes, kind="stable")
        ends = np.cumsum(np.bincount(self.codes))
        sizes = np.diff(ends, prepend=0)[drawn]
        rows = np.concatenate([order[ends[j] - size : ends[j]] for j, size in zip(drawn, sizes, strict=True)])
        copies = np.repeat(np.arange(drawn.size), sizes)
        terms = []
        for term, nested in zip(model.terms, self.nested, strict=True):
            if term.matrix is not None:
                terms.append(RandomTerm.from_matrix(term.matrix[rows], term.name, term.levels))
                continue
            groups = copies * term.n_levels + term.codes[rows] if nested else term.codes[rows]
            terms.append(RandomTerm(groups, term.values[rows], term.name, term.columns, term.structure))
        weights, offset = (None if values is None else values[rows] for values in (model.weights, model.offset))
        return type(model)(
            model.endog[rows],
            model.exog[rows],
            terms,
            weights=weights,
            offset=offset,
            exog_names=model.exog_names,
            endog_name=model.endog_name,
        )
