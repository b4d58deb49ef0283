"""Batched algebra of l small blocks (c, c): the eliminated term's part of M."""

from __future__ import annotations

import numpy as np

FEW = 200  # levels below which batched matmul beats one product with λ ⊗ λ
MANY = 10_000  # levels from which a compiled loop beats batched matmul


def transform(blocks: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Return λ'B_jλ for blocks (l, c, c)."""
    l, c, _ = blocks.shape
    if c == 1:
        return blocks * factor[0, 0] ** 2
    if l < FEW:
        return factor.T @ blocks @ factor
    return (blocks.reshape(l, c * c) @ np.kron(factor, factor)).reshape(l, c, c)


def cholesky_inverse(blocks: np.ndarray) -> tuple[np.ndarray, float]:
    """Return L_j⁻¹ with B_j = L_jL_j', (l, c, c) lower triangular, and Σ_j log|B_j|."""
    c = blocks.shape[1]
    if c == 1:
        return 1.0 / np.sqrt(blocks), float(np.log(blocks).sum())
    if c == 2:
        a = np.sqrt(blocks[:, 0, 0])
        b = blocks[:, 1, 0] / a
        d = np.sqrt(blocks[:, 1, 1] - b * b)
        inverse = np.zeros_like(blocks)
        inverse[:, 0, 0] = 1.0 / a
        inverse[:, 1, 1] = 1.0 / d
        inverse[:, 1, 0] = -b / (a * d)
        return inverse, 2.0 * float(np.log(a * d).sum())
    factor = np.linalg.cholesky(blocks)
    diagonal = np.einsum("jii->ji", factor)
    return np.linalg.inv(factor), 2.0 * float(np.log(diagonal).sum())


def dot(blocks: np.ndarray, V: np.ndarray, transpose: bool = False) -> np.ndarray:
    """Return B_jV_j (or B_j'V_j) stacked, (l*c, r), for blocks (l, c, c) and V (l*c, r)."""
    l, c, _ = blocks.shape
    if c == 1:
        return blocks[:, 0] * V
    V = V.reshape(l, c, V.shape[1])
    if l >= MANY:
        from .kernels import block_dot

        out = np.empty(V.shape)
        block_dot(blocks, V, out, transpose)
    else:
        out = np.matmul(blocks.transpose(0, 2, 1) if transpose else blocks, V)
    return out.reshape(l * c, V.shape[2])


def tdot(blocks: np.ndarray, V: np.ndarray) -> np.ndarray:
    """Return B_j'V_j stacked, (l*c, r)."""
    return dot(blocks, V, transpose=True)


def product(left: np.ndarray, right: np.ndarray, transpose: bool = False) -> np.ndarray:
    """Return L_jR_j (or L_j'R_j) for blocks (l, c, c)."""
    l, c, _ = left.shape
    return dot(left, right.reshape(l * c, c), transpose).reshape(l, c, c)


def sandwich(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return O_j I_j O_j' for blocks (l, c, c)."""
    half = product(outer, inner)
    return half @ outer.transpose(0, 2, 1) if len(half) < MANY else product(half, outer.transpose(0, 2, 1))
