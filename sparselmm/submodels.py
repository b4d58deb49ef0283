"""Cross-products of a part of a model: other columns of X, fewer random effects. No row is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from .crossproducts import CrossProducts


def with_columns(cross: CrossProducts, A: np.ndarray) -> CrossProducts:
    """Return the sums of XTA in the place of X, A (p, p₁) of full rank, orthonormal and around least squares."""
    R = np.linalg.cholesky(A.T @ cross.XX @ A).T
    basis = np.linalg.inv(R)
    B = A @ basis
    XX = B.T @ cross.XX @ B
    center = np.linalg.solve(XX, B.T @ (cross.Xy + cross.XX @ cross.center))
    return cross.combined(B, basis, center)


def with_effects(cross: CrossProducts, kept: Mapping[int, Sequence[int]]) -> CrossProducts:
    """Return the sums of some terms, each with some of its columns: `kept` are positions by term, ascending."""
    places = []
    for k, columns in kept.items():
        shape, part = cross.shapes[k], cross.relative_factor.effect_slices[k]
        inside = np.arange(shape.n_levels)[:, None] * shape.n_columns + np.asarray(columns)
        places.append((inside.ravel(), part.start))
    whole = np.concatenate([inside + start for inside, start in places])
    diagonal = tuple(
        cross.diagonal[k] if sp.issparse(cross.diagonal[k]) else cross.diagonal[k][:, columns][:, :, columns]
        for k, columns in kept.items()
    )
    order = list(kept)
    pairs = {
        (a, b): cross.cross[order[a], order[b]][places[a][0]][:, places[b][0]]
        for b in range(len(order))
        for a in range(b)
    }
    return replace(
        cross,
        ZX=cross.ZX[whole],
        Zy=cross.Zy[whole],
        diagonal=diagonal,
        cross=pairs,
        shapes=tuple(replace(cross.shapes[k], n_columns=len(columns)) for k, columns in kept.items()),
        levels=tuple(cross.levels[k] for k in kept),
    )
