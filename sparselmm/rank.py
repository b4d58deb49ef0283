"""Independent columns of X, leftmost kept: from the rows or from sums over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import scipy.linalg as sla

from .caller import warn
from .covariance import triangle
from .errors import DataWarning

RANK_TOLERANCE = 1e-7  # R's: a column whose part outside the others' span is smaller than this is dependent
SAFE_PIVOT = 1e-8  # Cholesky pivot (squared relative residual) above which a Gram matrix decides the rank
ROUNDING_PIVOT = 1e-10  # and below which sums over very many rows leave only rounding of a column


def full_rank_basis(X: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of independent columns of X (leftmost kept) and T with orthonormal X[:, kept] T.

    A Gram matrix decides where all its pivots are large; otherwise a QR decomposition does, with R's
    tolerance, column after column from the left.
    """
    p = X.shape[1]
    Xw = X if weights is None else X * np.sqrt(weights)[:, None]
    norms = np.sqrt(np.einsum("ij,ij->j", Xw, Xw))
    kept = np.flatnonzero(norms > 0)
    if kept.size == p:
        gram = Xw.T @ Xw / np.outer(norms, norms)
        R, info = sla.lapack.dpotrf(gram, lower=0)
        if info == 0 and (p == 0 or np.diag(R).min() ** 2 > SAFE_PIVOT):
            return kept, inverse_upper(R) / norms[:, None]
    while True:
        R = triangle(Xw[:, kept] / norms[kept])
        pivots = np.abs(np.diag(R))
        dependent = np.flatnonzero(pivots < RANK_TOLERANCE)
        first = dependent[0] if dependent.size else R.shape[0] if R.shape[0] < kept.size else None
        if first is None:
            return kept, inverse_upper(R) / norms[kept, None]
        kept = np.delete(kept, first)


def independent_columns(XX: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of r independent columns of X (leftmost kept) and R, (r, p), with XT = QR, Q orthonormal.

    T = `basis` (p, p) is upper triangular and XX = (XT)'W(XT). A column is dependent if its part outside the span of
    those to its left is smaller than 1e-7 of it, as R decides, or in the basis smaller than 1e-5 of it, which sums
    cannot tell from rounding. R is upper triangular in the columns that are kept.
    """
    p = len(XX)
    size = np.sqrt(np.where(np.diag(XX) > 0, np.diag(XX), 1.0))
    gram = XX / np.outer(size, size)
    inverse = inverse_upper(basis)
    norms = np.einsum("ij,ik,kj->j", inverse, XX, inverse)  # squared, of the columns of X
    kept: list[int] = []
    R = np.zeros((p, p))
    for j in range(p):
        r = len(kept)
        R[:r, j] = sla.solve_triangular(R[:r, kept], gram[kept, j], trans=1) if r else ()
        pivot = gram[j, j] - R[:r, j] @ R[:r, j]
        residual = pivot * (size[j] / basis[j, j]) ** 2
        if pivot > ROUNDING_PIVOT and residual > RANK_TOLERANCE**2 * norms[j]:
            R[r, j] = np.sqrt(pivot)
            kept.append(j)
    return np.array(kept, dtype=int), R[: len(kept)] * size


def dropped_columns(names: Sequence[str], kept: Iterable[int]) -> list[str]:
    """Return the names of the columns of X that are not `kept`, and warn of them if there are any."""
    positions = set(kept)
    dropped = [name for i, name in enumerate(names) if i not in positions]
    if dropped:
        warn(
            f"The fixed-effects columns {', '.join(dropped)} depend linearly on the others and were dropped. "
            "Leave them out: a column may be constant, or a combination of categories may have no rows. Centre a "
            "column that hardly varies about a large mean.",
            DataWarning,
        )
    return dropped


def inverse_upper(R: np.ndarray) -> np.ndarray:
    """Return R⁻¹ of an upper-triangular R, (p, p)."""
    return sla.solve_triangular(R, np.eye(R.shape[0])) if R.size else R
