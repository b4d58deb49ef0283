"""Conjugate gradients for many right-hand sides at once, and what they tell of the operator's logarithm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh_tridiagonal

from ..errors import EngineError

MOST_ITERATIONS = 2_000
REPORTED = 5  # iterations between reports


@dataclass(frozen=True, eq=False)
class Solution:
    """x (q, r) with Ax = b to a tolerance, and the coefficients of the iterations.

    Attributes
    ----------
    x : ndarray (q, r)
    iterations : int
        Of the slowest column.
    coefficients : list of (ndarray, ndarray, ndarray)
        Per iteration the columns that took part, their step lengths α and their β.
    norms : ndarray (r,)
        |b|.
    """

    x: np.ndarray
    iterations: int
    coefficients: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    norms: np.ndarray

    def quadratic(self, first: int = 0) -> np.ndarray:
        """Return b'Ab for the columns from `first`, which started at x = 0: |b|² over the first step length."""
        values = np.zeros(self.norms.size)
        if self.coefficients:
            columns, alpha, _ = self.coefficients[0]
            values[columns] = self.norms[columns] ** 2 / alpha
        return values[first:]

    def log_quadratic(self, first: int = 0) -> np.ndarray:
        """Return b'log(A)b for the columns from `first`, by Lanczos quadrature.

        Golub & Meurant (2010); Ubaru, Chen & Saad (2017). The coefficients of the iterations are those of Lanczos from
        b if they started at x = 0.
        """
        values = np.zeros(self.norms.size)
        for column in first + np.flatnonzero(self.norms[first:] > 0):
            pairs = [
                (a[where[0]], b[where[0]])
                for columns, a, b in self.coefficients
                if (where := np.flatnonzero(columns == column)).size
            ]
            alpha, beta = np.array(pairs).T
            diagonal = 1.0 / alpha
            diagonal[1:] += beta[:-1] / alpha[:-1]
            nodes, vectors = eigh_tridiagonal(diagonal, np.sqrt(beta[:-1]) / alpha[:-1])
            values[column] = self.norms[column] ** 2 * np.sum(vectors[0] ** 2 * np.log(nodes))
        return values[first:]


def conjugate_gradients(
    apply: Callable[[np.ndarray], np.ndarray],
    rhs: np.ndarray,
    tolerance: float | np.ndarray,
    start: np.ndarray | None = None,
    report: Callable[[int], None] | None = None,
) -> Solution:
    """Return the solution of Ax = b for every column of b.

    Columns that have converged take no part in further products.

    Parameters
    ----------
    apply : callable
        V (q, r) to AV, A symmetric positive definite with eigenvalues around one.
    rhs : ndarray (q, r)
    tolerance : float or ndarray (r,)
        Norm of the residual in units of |b|.
    start : ndarray (q, r), optional
        Where to start; columns whose residual there is larger than b start at zero.
    report : callable, optional
        Called with the number of iterations now and then.

    Raises
    ------
    EngineError
        If MOST_ITERATIONS do not suffice.
    """
    norms = np.sqrt(np.einsum("ij,ij->j", rhs, rhs))
    limit = (tolerance * norms) ** 2
    x, residual, squares = np.zeros(rhs.shape), rhs, norms**2
    if start is not None and (moved := start.any(axis=0)).any():
        residual = rhs.copy()
        residual[:, moved] -= apply(start[:, moved])
        squares = np.einsum("ij,ij->j", residual, residual)
        helps = squares < norms**2
        x, residual, squares = x + start * helps, np.where(helps, residual, rhs), np.where(helps, squares, norms**2)
    active = np.flatnonzero(squares > limit)
    coefficients: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    r, s, direction, part = residual[:, active], squares[active], residual[:, active], x[:, active]
    while active.size:
        if report is not None and len(coefficients) % REPORTED == 0:
            report(len(coefficients))
        if len(coefficients) == MOST_ITERATIONS:
            raise EngineError(
                f"Conjugate gradients did not converge in {MOST_ITERATIONS} iterations. Use engine='cholmod'."
            )
        product = apply(direction)
        alpha = s / np.einsum("ij,ij->j", direction, product)
        part += alpha * direction
        r -= alpha * product
        after = np.einsum("ij,ij->j", r, r)
        beta = after / s
        coefficients.append((active, alpha, beta))
        left = after > limit[active]
        if left.all():
            direction *= beta
            direction += r
            s = after
            continue
        x[:, active[~left]] = part[:, ~left]
        active, part, r, s = active[left], part[:, left], r[:, left], after[left]
        direction = r + beta[left] * direction[:, left]
    return Solution(x, len(coefficients), coefficients, norms)
