"""The engine protocol: who factors M(θ) = Λ'Z'WZΛ + I."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Engine(Protocol):
    """Four verbs with four lifetimes; arrays only.

    The constructor analyses the pattern of S = Z'WZ once. `factorize` is called once per θ and everything
    else refers to the last θ. Vectors are in the order of the model's terms, length q.
    """

    description: str  #: one sentence: how M is factored
    slack: float  #: by how much the deviance may be at odds with its derivatives; zero for an exact engine
    tolerance: float  #: decrease of the deviance below which derivatives promise nothing; zero for an exact engine

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

    def inverse_block_sums(self) -> list[np.ndarray]:
        """Return T_k = Σ_j [M⁻¹]_jj, the sum over the levels of term k, (c_k, c_k)."""

    def marginal_block_sums(self) -> list[np.ndarray]:
        """Return Σ_j [Z'V⁻¹Z]_jj over the levels of term k, (c_k, c_k); V in units of σ²."""
