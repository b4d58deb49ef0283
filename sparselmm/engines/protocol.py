"""The engine protocol: who factors M(θ) = Λ'Z'WZΛ + I."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..covariance import RelativeFactor


class Engine(Protocol):
    """Four verbs with four lifetimes; arrays only.

    The constructor analyses the pattern of S = Z'WZ once. `factorize` is called once per θ and everything
    else refers to the last θ. Vectors are in the order of the model's terms, length q.
    """

    @property
    def description(self) -> str:
        """One sentence: how M is factored."""

    @property
    def slack(self) -> float:
        """By how much the deviance may be at odds with its derivatives; zero for an exact engine."""

    @property
    def tolerance(self) -> float:
        """Decrease of the deviance below which derivatives promise nothing; zero for an exact engine."""

    def factorize(self, theta: np.ndarray) -> None:
        """Factor M(θ)."""

    def solve(self, rhs: np.ndarray, rough: bool = False) -> np.ndarray:
        """Return M⁻¹ rhs, (q, r); `rough`: five digits do, which an exact engine need not know."""

    def logdet(self) -> float:
        """Return log|M|."""

    def gram_dot(self, V: np.ndarray) -> np.ndarray:
        """Return S V, (q, r); independent of θ."""

    def inverse_blocks(self, k: int) -> np.ndarray:
        """Return the diagonal blocks of M⁻¹ of term k, (l_k, c_k, c_k)."""

    def marginal_block_sums(self) -> list[np.ndarray]:
        """Return Σ_j [Z'V⁻¹Z]_jj over the levels of term k, (c_k, c_k); V in units of σ²."""


class StochasticEngine(Engine, Protocol):
    """An engine whose log|M| and traces have a Monte-Carlo error, from random probes."""

    report: Callable[[int], None] | None  #: called with the number of iterations of the solve at work

    @property
    def probes(self) -> int:
        """Number of random probes."""

    @property
    def iterations(self) -> int:
        """Largest number of iterations for one set of right-hand sides."""

    @property
    def seed(self) -> np.random.Generator:
        """The generator as it was before the probes were drawn."""

    def add_probes(self, count: int) -> None:
        """Draw further probes."""

    def gradient_samples(self) -> np.ndarray:
        """Return the random part of ∂d/∂θ from every probe, (t, m)."""

    def logdet_error(self) -> float:
        """Return the Monte-Carlo standard error of `logdet`."""


class Core(Protocol):
    """The Schur complement C of the eliminated term: `DenseCore` or `SparseCore`."""

    map: RelativeFactor  #: of the terms that are not eliminated

    @property
    def rank(self) -> np.ndarray | None:
        """Position of every column in the order of the factor, (q,); None if that is the terms'."""

    @property
    def permutation(self) -> np.ndarray | None:
        """The inverse of `rank`."""

    @property
    def size(self) -> int:
        """Columns q."""

    def describe(self) -> str:
        """Return how the remainder is factored."""

    def factorize(self, factors: Sequence[np.ndarray], coupling: Any) -> None:
        """Form C for the given λ_k, subtract the R'R of a coupling of its kind, or None, and factor it."""

    def logdet(self) -> float:
        """Return log|C|."""

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """Return C⁻¹ rhs, (q, r)."""

    def gram_dot(self, V: np.ndarray) -> np.ndarray:
        """Return S V, (q, r)."""

    def inverse_blocks(self, k: int) -> np.ndarray:
        """Return the diagonal blocks of C⁻¹ of term k, (l, c, c)."""


class CoreCoupling(Protocol):
    """The block R of the factor between the eliminated term and the others: `DenseCoupling` or `SparseCoupling`."""

    def update(self, factor: np.ndarray, factors: Sequence[np.ndarray], inverse_cholesky: np.ndarray) -> None:
        """Set R for λ₁, the λ_k of the other terms and the blocks L_j⁻¹."""

    def dot(self, V: np.ndarray) -> np.ndarray:
        """Return RV."""

    def tdot(self, V: np.ndarray) -> np.ndarray:
        """Return R'V."""

    def gram_dot(self, V: np.ndarray) -> np.ndarray:
        """Return BV."""

    def gram_tdot(self, V: np.ndarray) -> np.ndarray:
        """Return B'V."""

    def quadratic(self, core: Any, scaled: bool) -> np.ndarray:
        """Return R_jC⁻¹R_j' per level, (l, c, c), or (BΛ₂)_jC⁻¹(BΛ₂)_j' if not `scaled`, of a core of its kind."""
