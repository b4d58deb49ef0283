"""Is one model a special case of another? Decided for the spans of X and for the covariances of the random effects.

The covariance of y is linear in the entries of the relative covariances γ: V = W⁻¹ + Σ_p γ_p K_p. One random part is a
special case of another if its kernels K_p are combinations of the other's, and a positive semidefinite
covariance of the one is then one of the other. Kernels are compared by their products with random vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .linear import LinearFit

if TYPE_CHECKING:
    from ..covariance import RelativeFactor, TermShape
    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults

PROBES, SEED = 4, 0
TOLERANCE = 1e-7  # relative residual, or eigenvalue, that counts as zero


@dataclass(frozen=True, eq=False)
class Nesting:
    """How the covariances of a smaller model are covariances of a larger one.

    Attributes
    ----------
    to_large : ndarray (m_large, m_small)
        γ of the larger model from γ of the smaller one, entries in the order of θ.
    gamma : ndarray (m_large,)
        γ of the larger model that is the fit of the smaller one.
    null : list of ndarray (c_k, r_k)
        For every term of the larger model the combinations of its columns without variance in the smaller one.
    """

    to_large: np.ndarray
    gamma: np.ndarray
    null: list[np.ndarray]

    @property
    def df(self) -> int:
        """Number of entries of γ that the larger model has more."""
        unit = self.to_large / np.linalg.norm(self.to_large, axis=0)
        return len(unit) - (int(np.linalg.matrix_rank(unit)) if unit.size else 0)

    @property
    def n_variances(self) -> int:
        """Number of variances among them that the smaller model holds at zero, the end of their range."""
        return sum(N.shape[1] for N in self.null)

    def is_bounded(self, shapes: Sequence[TermShape]) -> bool:
        """Return whether a covariance matrix grows by several columns, so that its cone is more than an orthant."""
        pairs = zip(self.null, shapes, strict=True)
        return any(N.shape[1] > 1 and shape.structure != "diagonal" for N, shape in pairs)

    def constraints(self, map_: RelativeFactor) -> np.ndarray:
        """Return C (r, m_large): Cγ are the variances of the larger model that are zero in the smaller one."""
        rows = []
        for shape, part, N in zip(map_.shapes, map_.theta_slices, self.null, strict=True):
            i, j = shape.entries
            for n in N.T:
                rows.append(np.zeros(map_.n_theta))
                rows[-1][part] = n[i] * n[j] * np.where(i == j, 1.0, 2.0)
        return np.array(rows).reshape(-1, map_.n_theta)


def spans(large: LinearMixedModel, small: LinearMixedModel) -> bool:
    """Return whether every column of X of the small model is a combination of those of the large one."""
    if not (large.keeps_rows and small.keeps_rows):
        return set(small.exog_names) <= set(large.exog_names)
    if not small.exog.shape[1]:
        return True
    Q = np.linalg.qr(large.exog)[0]
    columns = small.exog / np.linalg.norm(small.exog, axis=0)
    return bool(np.abs(columns - Q @ (Q.T @ columns)).max() < TOLERANCE)


def nesting(small: LinearFit | LinearMixedModelResults, large: LinearMixedModelResults) -> Nesting | None:
    """Return how the random effects of one fit are a special case of another's; None if they are not."""
    map_, shapes = large.likelihood.map, large.model.cross.shapes
    if isinstance(small, LinearFit):
        return Nesting(np.zeros((map_.n_theta, 0)), np.zeros(map_.n_theta), [np.eye(s.n_columns) for s in shapes])
    rng = np.random.default_rng(SEED)
    units, unit_small = _units(large.model), _units(small.model)
    if large.model.keeps_rows and small.model.keeps_rows:
        probes = rng.standard_normal((small.nobs, PROBES))
        K, K_small = _kernels(large.model, probes) * units, _kernels(small.model, probes) * unit_small
        J = np.linalg.lstsq(K, K_small, rcond=1e-10)[0]
        if np.linalg.norm(K_small - K @ J, axis=0).max() > TOLERANCE * np.linalg.norm(K_small, axis=0).max():
            return None
    else:
        J = _same_entries(small.model, large.model)
        if J is None:
            return None
        J = J * unit_small / units[:, None]
    inner = covariances_of(map_, J @ _random_covariances(small.likelihood.map, rng, full_rank=True))
    edge = covariances_of(map_, J @ _random_covariances(small.likelihood.map, rng, full_rank=False))
    if any(np.linalg.eigvalsh(G)[0] < -TOLERANCE * max(1.0, np.abs(G).max()) for G in (*inner, *edge)):
        return None
    null = [
        large.model.cross.column_scale(k)[:, None] * _null(G, shape)
        for k, (G, shape) in enumerate(zip(inner, shapes, strict=True))
    ]
    to_large = J * units[:, None] / unit_small
    small_map = small.likelihood.map
    gamma = small_map.pack([factor @ factor.T for factor in small_map.unpack(small.theta)])
    return Nesting(to_large, to_large @ gamma, null)


def _same_entries(small: LinearMixedModel, large: LinearMixedModel) -> np.ndarray | None:
    """Return which entries of γ of the larger model are those of the smaller one, (m_large, m_small), told by names.

    None if a term of the smaller model has a column that no term of that factor has in the larger one.
    """
    named = large.design is not None and small.design is not None
    ours, theirs = _entries(large, named), _entries(small, named)
    if not set(theirs) <= set(ours):
        return None
    return np.array([[float(entry == other) for other in theirs] for entry in ours])


def _entries(model: LinearMixedModel, named: bool) -> list[tuple[str, ...]]:
    """Return the name of every entry of γ: its factor, or term unless the factors are `named`, and its two columns."""
    names = [term.name for term in model.terms]
    if named and model.design is not None:
        names = [bar.name for bar in model.design.roles.bars]
    return [
        (name, *sorted((term.columns[i], term.columns[j])))
        for name, term, shape in zip(names, model.terms, model.cross.shapes, strict=True)
        for i, j in zip(*shape.entries, strict=True)
    ]


def _units(model: LinearMixedModel) -> np.ndarray:
    """Return the size of every entry of γ, (m,), one over the mean squares of its columns."""
    map_, units = model.cross.relative_factor, []
    for k, shape in enumerate(map_.shapes):
        scale = model.cross.column_scale(k)
        i, j = shape.entries
        units.append(1.0 / (scale[i] * scale[j]))
    return np.concatenate(units)


def _kernels(model: LinearMixedModel, probes: np.ndarray) -> np.ndarray:
    """Return the products of every kernel with the probes, stacked, (n * probes, m)."""
    products = []
    for term, shape in zip(model.terms, model.cross.shapes, strict=True):
        Z = term.Z
        b = (Z.T @ probes).reshape(shape.n_levels, shape.n_columns, -1)
        for i, j in zip(*shape.entries, strict=True):
            swapped = np.zeros_like(b)
            swapped[:, i] = b[:, j]
            swapped[:, j] = b[:, i]
            products.append((Z @ swapped.reshape(shape.n_effects, -1)).ravel())
    return np.column_stack(products)


def _random_covariances(map_: RelativeFactor, rng: np.random.Generator, full_rank: bool) -> np.ndarray:
    """Return the entries, (m,), of random positive (semi)definite covariances of every term."""
    matrices = []
    for shape in map_.shapes:
        root = rng.standard_normal((shape.n_columns, 2 * shape.n_columns if full_rank else 1))
        matrices.append(root @ root.T)
    return map_.pack(matrices)


def covariances_of(map_: RelativeFactor, gamma: np.ndarray) -> list[np.ndarray]:
    """Return the symmetric matrices (c_k, c_k) with the entries γ (m,)."""
    return [factor + np.tril(factor, -1).T for factor in map_.unpack(gamma)]


def _null(G: np.ndarray, shape: TermShape) -> np.ndarray:
    """Return a basis (c, r) of the combinations without variance, one that only their span decides."""
    if shape.structure == "diagonal":
        return np.eye(len(G))[:, np.diag(G) <= TOLERANCE * max(1.0, np.abs(G).max())]
    values, vectors = np.linalg.eigh(G)
    vectors = vectors[:, values <= TOLERANCE * max(1.0, values[-1])]
    P, basis = vectors @ vectors.T, np.zeros(vectors.shape)
    for column in basis.T:
        i = int(np.round(np.diag(P), 6).argmax())
        column[:] = P[:, i] / np.sqrt(P[i, i])
        P = P - np.outer(column, column)
    return basis
