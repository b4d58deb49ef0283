"""θ, the relative Cholesky factors λ_k and Λ = blockdiag(I ⊗ λ_k), and the covariances they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np

MANY, WIDE = 200, 32  # levels from which, and c*r up to which, one product with λ ⊗ I beats l small ones


@dataclass(frozen=True)
class TermShape:
    """Shape of one term's random effects: l levels of c coefficients, and which entries of λ are free."""

    n_levels: int
    n_columns: int
    structure: str = "unstructured"
    name: str = ""

    @property
    def n_effects(self) -> int:
        """Columns of Z that belong to the term, l*c."""
        return self.n_levels * self.n_columns

    @cached_property
    def entries(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the free entries of λ, column after column (lme4's order of θ)."""
        c = self.n_columns
        if self.structure == "diagonal":
            return np.arange(c), np.arange(c)
        columns, rows = np.triu_indices(c)
        return rows, columns


class RelativeFactor:
    """The map θ ↔ (λ_1, ..., λ_K) and the products with Λ(θ) = blockdiag(I_l ⊗ λ_k).

    Holds no θ: every method takes the list of λ_k that `unpack` returns.
    """

    def __init__(self, shapes: Iterable[TermShape]) -> None:
        self.shapes = tuple(shapes)
        self.n_theta = sum(s.entries[0].size for s in self.shapes)
        self.n_effects = sum(s.n_effects for s in self.shapes)
        self.theta_slices = _slices(s.entries[0].size for s in self.shapes)
        self.effect_slices = _slices(s.n_effects for s in self.shapes)

    def unpack(self, theta: np.ndarray) -> list[np.ndarray]:
        """Return the lower-triangular λ_k, each (c_k, c_k)."""
        factors = []
        for shape, part in zip(self.shapes, self.theta_slices, strict=True):
            factor = np.zeros((shape.n_columns, shape.n_columns))
            factor[shape.entries] = theta[part]
            factors.append(factor)
        return factors

    def pack(self, matrices: Iterable[np.ndarray]) -> np.ndarray:
        """Return θ, shape (m,): the free entries of K matrices (c_k, c_k), stacked."""
        return np.concatenate([a[s.entries] for a, s in zip(matrices, self.shapes, strict=True)])

    def canonical(self, theta: np.ndarray) -> np.ndarray:
        """Return the θ of equal likelihood whose λ_k have non-negative diagonals (columns flipped)."""
        flipped = []
        for factor in self.unpack(np.asarray(theta, dtype=float)):
            sign = np.where(np.diag(factor) < 0, -1.0, 1.0)
            flipped.append(factor * sign + 0.0)
        return self.pack(flipped)

    def dot(self, factors: Sequence[np.ndarray], V: np.ndarray) -> np.ndarray:
        """Return ΛV for V of shape (q, r): result[j, a] = Σ_b λ_k[a, b] V[j, b] within each level j."""
        return self._apply([f.T for f in factors], V)

    def tdot(self, factors: Sequence[np.ndarray], V: np.ndarray) -> np.ndarray:
        """Return Λ'V for V of shape (q, r)."""
        return self._apply(factors, V)

    def _apply(self, transposed: Sequence[np.ndarray], V: np.ndarray) -> np.ndarray:
        """Multiply every level's block of V from the left by the transpose of the given matrix."""
        out, r = np.empty(V.shape), V.shape[1]
        for shape, part, factor in zip(self.shapes, self.effect_slices, transposed, strict=True):
            l, c = shape.n_levels, shape.n_columns
            if c == 1:
                np.multiply(V[part], factor[0, 0], out=out[part])
            elif l >= MANY and c * r <= WIDE:  # one product over all levels at once
                out[part] = (V[part].reshape(l, c * r) @ np.kron(factor, np.eye(r))).reshape(l * c, r)
            else:
                out[part] = np.matmul(factor.T, V[part].reshape(l, c, r)).reshape(l * c, r)
        return out


def _slices(sizes: Iterable[int]) -> list[slice]:
    """Return consecutive slices of the given sizes."""
    ends = np.cumsum(list(sizes))
    return [slice(int(end - size), int(end)) for end, size in zip(ends, np.diff(ends, prepend=0), strict=True)]


def triangle(A: np.ndarray) -> np.ndarray:
    """Return the upper-triangular R of A = QR, so that R'R = A'A."""
    return cast(np.ndarray, np.linalg.qr(A, mode="r"))  # NumPy's stubs promise Q as well


def cov_re(factor: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Return the covariance G = scale λλ' of one term, (c, c), in natural units (scale = σ²)."""
    return scale * factor @ factor.T


def correlation(cov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return standard deviations (c,) and correlations (c, c) of a covariance; NaN where a variance is zero."""
    sd = np.sqrt(np.diag(cov))
    with np.errstate(divide="ignore", invalid="ignore"):
        corr = cov / np.outer(sd, sd)
    corr[np.diag_indices(sd.size)] = 1.0
    return sd, corr
