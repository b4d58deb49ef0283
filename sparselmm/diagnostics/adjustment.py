"""The adjustment matrices of CR2, cluster after cluster: equation (I13) of docs/math/diagnostics.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from ..covariance import cov_re
from ..errors import DataError

if TYPE_CHECKING:
    from ..results import LinearMixedModelResults
    from ..terms import RandomTerm

BATCH = 4_000_000  # entries of the dense blocks of a batch of small clusters
SMALL = 200  # rows up to which a cluster is one of a batch
LARGEST = 3_000  # rows of a dense block: 72 MB, some copies of it, a minute
WIDEST = 50_000_000  # entries of a cluster's rows of ZΛ, dense: 400 MB
RANK = 1e-10  # relative eigenvalue that counts as zero


def adjusted(fit: LinearMixedModelResults, codes: np.ndarray, rows: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return A_g rows_g of every cluster, (n, r), with A_g symmetric and A_g(V_g - X_gX_g')A_g = V_g.

    Parameters
    ----------
    fit : LinearMixedModelResults
    codes : ndarray of int (n,)
        Cluster of each row.
    rows : ndarray (n, r)
    X : ndarray (n, p)
        Such that XX' is X(X'V⁻¹X)⁻¹X' of the model's X.
    """
    counts, result = np.bincount(codes), np.empty_like(rows)
    order, first = np.argsort(codes, kind="stable"), np.r_[0, np.cumsum(counts)]
    weights = np.ones(codes.size) if fit.model.weights is None else fit.model.weights
    factors = fit.likelihood.map.unpack(fit.evaluation.theta)
    parts, ZL = list(zip(fit.model.terms, factors, strict=True)), relative_rows(fit)
    for size in np.unique(counts):
        members = np.flatnonzero(counts == size)
        together = max(1, BATCH // int(size) ** 2) if size <= SMALL else 1
        for start in range(0, members.size, together):
            places = order[first[members[start : start + together], None] + np.arange(size)]
            if size <= SMALL:
                result[places] = _adjustment(_covariances(parts, weights, places), X[places]) @ rows[places]
            else:
                place = places[0]
                result[place] = _large(ZL[place], weights[place], X[place], rows[place])
    return result


def relative_rows(fit: LinearMixedModelResults) -> sp.csr_array:
    """Return ZΛ, sparse (n, q)."""
    factors = fit.likelihood.map.unpack(fit.evaluation.theta)
    parts = [
        term.Z @ sp.kron(sp.eye_array(term.n_levels), factor, format="csr")
        for term, factor in zip(fit.model.terms, factors, strict=True)
    ]
    return sp.hstack(parts, format="csr")


def _adjustment(V: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return A = L(L'(V - XX')L)^(-1/2)L' with V = LL', (c, n, n)."""
    L = np.linalg.cholesky(V)
    half = L.swapaxes(-1, -2) @ X
    values, Q = np.linalg.eigh(L.swapaxes(-1, -2) @ V @ L - half @ half.swapaxes(-1, -2))
    kept = values > RANK * values[..., -1:]
    root = np.where(kept, values, np.inf) ** -0.25
    LQ = L @ (Q * root[..., None, :])
    return LQ @ LQ.swapaxes(-1, -2)


def _covariances(parts: Sequence[tuple[RandomTerm, np.ndarray]], weights: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return V over σ² of the rows of some clusters of the same size, (c, n, n)."""
    V = np.zeros((*places.shape, places.shape[1]))
    np.einsum("cii->ci", V)[...] = 1.0 / weights[places]
    for term, factor in parts:
        if term.matrix is not None:
            for block, place in zip(V, places, strict=True):
                rows = factor[0, 0] * term.matrix[place]
                block += (rows @ rows.T).toarray()
            continue
        codes, values = term.codes[places], term.values[places]
        same = codes[:, :, None] == codes[:, None, :]
        V += np.where(same, values @ cov_re(factor) @ values.swapaxes(-1, -2), 0.0)
    return V


def _large(ZL: sp.csr_array, weights: np.ndarray, X: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return A rows of one large cluster, in the span of ZΛ and X where V is σ²/weight times I outside of it."""
    ZL = ZL[:, np.unique(ZL.indices)]
    n, width = ZL.shape[0], ZL.shape[1] + X.shape[1]
    spanned = np.ptp(weights) == 0 and width < n
    if min(width, n) > LARGEST or (not spanned and n > LARGEST) or n * width > WIDEST:
        raise DataError(
            f"A cluster has {n:,} rows and {ZL.shape[1]:,} random effects: CR2 would need a dense matrix too large for "
            "it. Use kind='CR1', or smaller clusters."
        )
    ZL = ZL.toarray()
    if not spanned:
        return _adjustment(np.diag(1.0 / weights) + ZL @ ZL.T, X) @ rows
    O = np.linalg.qr(np.column_stack([ZL, X]))[0]
    ZL, inner = O.T @ ZL, O.T @ rows
    V = np.eye(O.shape[1]) / weights[0] + ZL @ ZL.T
    return rows + O @ (_adjustment(V, O.T @ X) @ inner - inner)
