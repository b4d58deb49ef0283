"""Dense blocks of Φ = Z'V⁻¹Z by group: traces of the Hessian and conditional covariances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import block_diag

from ..engines.products import core_gram
from .params import lower_root

if TYPE_CHECKING:
    from ..covariance import TermShape
    from ..crossproducts import CrossProducts
    from .likelihood import CovarianceLikelihood

LARGEST_WORK = 4e9  # multiplications up to which blocks are formed; beyond, Φ's sums are differentiated
STEP = 1e-4  # of a variance (or of its natural size, if it is smaller) in that difference


def trace_products(likelihood: CovarianceLikelihood, factors: list[np.ndarray]) -> np.ndarray:
    """Return tr(ΦD_pΦD_q) for all entries p, q of Ψ, D_p = ∂Ψ/∂p in every level.

    From dense blocks by group; for groups too large for these, from differences of tr(ΦD_p), whose derivative in q is
    -tr(ΦD_qΦD_p), NaN for an entry whose change makes Ψ indefinite.
    """
    sizes = np.bincount(likelihood.owner).astype(float)
    if (sizes**3).sum() * len(likelihood.entries) > LARGEST_WORK:
        return _differences(likelihood, factors)
    blocks, m = GroupBlocks(likelihood.cross, likelihood.owner), len(likelihood.entries)
    patterns = [_pattern(likelihood.cross.shapes, *entry) for entry in likelihood.entries]
    total = np.zeros((m, m))
    for batch, Phi in blocks.marginal(factors):
        products = [times(Phi, blocks.repeated(D, batch)) for D in patterns]
        for p in range(m):
            for q in range(p + 1):
                total[p, q] += np.einsum("kab,kba->", products[p], products[q])
    return total + np.tril(total, -1).T


def _pattern(shapes: tuple[TermShape, ...], k: int, i: int, j: int) -> list[np.ndarray]:
    """Return D in one level of every term, (c, c) each: ones at (i, j) and (j, i) of term k."""
    matrices = [np.zeros((shape.n_columns, shape.n_columns)) for shape in shapes]
    matrices[k][i, j] = matrices[k][j, i] = 1.0
    return matrices


class GroupBlocks:
    """The random columns of every group, in batches of groups that have the same columns in as many levels.

    Parameters
    ----------
    cross : CrossProducts
    owner : ndarray (q,)
        Group of every random column.

    Attributes
    ----------
    batches : list of ndarray (k, s)
        Random columns of k groups, in the order of the terms.
    groups : list of ndarray (k,)
        Those groups.
    """

    def __init__(self, cross: CrossProducts, owner: np.ndarray) -> None:
        order, sizes = np.argsort(owner, kind="stable"), np.bincount(owner)
        first = np.cumsum(sizes) - sizes
        widths = np.cumsum([0, *(shape.n_columns for shape in cross.shapes)])
        columns = [np.tile(np.arange(widths[k], widths[k + 1]), s.n_levels) for k, s in enumerate(cross.shapes)]
        self._column = np.concatenate(columns)  # position among the columns of one level of every term
        self._starts = np.isin(self._column, widths[:-1])
        self.groups, self.batches = [], []
        for size in np.unique(sizes[sizes > 0]):
            groups = np.flatnonzero(sizes == size)
            batch = order[first[groups][:, None] + np.arange(size)]
            for rows in _equal_rows(self._column[batch]):
                self.groups.append(groups[rows])
                self.batches.append(batch[rows])
        self._gram = core_gram(cross, range(len(cross.shapes)))
        self._member, self._place = np.empty_like(order), np.empty_like(order)
        for batch in self.batches:
            self._member[batch] = np.arange(len(batch))[:, None]
            self._place[batch] = np.arange(batch.shape[1])

    def gram(self, batch: np.ndarray) -> np.ndarray:
        """Return the blocks of S for a batch, (k, s, s)."""
        part = self._gram[batch.ravel()].tocoo()
        row, column = batch.ravel()[part.row], part.col
        blocks = np.zeros((len(batch), batch.shape[1], batch.shape[1]))
        blocks[self._member[row], self._place[row], self._place[column]] = part.data
        return blocks

    def repeated(self, matrices: list[np.ndarray], batch: np.ndarray) -> np.ndarray:
        """Return what every group of a batch has, (s, s), of the terms' matrices (c, c) repeated in every level."""
        columns, levels = self._column[batch[0]], np.cumsum(self._starts[batch[0]])
        return block_diag(*matrices)[np.ix_(columns, columns)] * (levels[:, None] == levels)

    def marginal(self, factors: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield every batch with its blocks of Φ = (I + SΨ)⁻¹S, (k, s, s)."""
        Psi = [factor @ factor.T for factor in factors]
        for batch in self.batches:
            S = self.gram(batch)
            system = times(S, self.repeated(Psi, batch))
            np.einsum("kii->ki", system)[...] += 1.0
            yield batch, np.linalg.solve(system, S)

    def conditional(self, factors: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the groups of every batch with the blocks of Ψ - ΨΦΨ, (k, s, s)."""
        Psi = [factor @ factor.T for factor in factors]
        for groups, (batch, Phi) in zip(self.groups, self.marginal(factors), strict=True):
            prior = self.repeated(Psi, batch)
            yield groups, prior - prior @ times(Phi, prior)


def times(blocks: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return every block (k, s, s) times one matrix (s, s), in one product."""
    return (blocks.reshape(-1, len(matrix)) @ matrix).reshape(blocks.shape)


def _equal_rows(values: np.ndarray) -> list[np.ndarray] | list[slice]:
    """Return the positions of the rows that are equal, an array for every distinct row of values (k, s)."""
    if (values == values[0]).all():
        return [slice(None)]
    _, labels = np.unique(values, axis=0, return_inverse=True)
    order = np.argsort(labels.ravel(), kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels.ravel()))[:-1])


def _differences(likelihood: CovarianceLikelihood, factors: list[np.ndarray]) -> np.ndarray:
    """Return tr(ΦD_pΦD_q) from central differences of tr(ΦD_p)."""
    cross = likelihood.cross
    sizes = [shape.n_levels / (cross.nobs * cross.column_scale(k) ** 2) for k, shape in enumerate(cross.shapes)]
    columns = []
    for k, i, j in likelihood.entries:
        Psi = factors[k] @ factors[k].T
        step = STEP * np.sqrt(max(Psi[i, i], sizes[k][i]) * max(Psi[j, j], sizes[k][j]))
        change = np.zeros_like(Psi)
        change[i, j] = change[j, i] = step
        roots = [root for root in map(lower_root, (Psi + change, Psi - change)) if root is not None]
        if len(roots) < 2:
            columns.append(np.full(len(likelihood.entries), np.nan))
            continue
        ahead, behind = (_marginal_sums(likelihood, [*factors[:k], root, *factors[k + 1 :]]) for root in roots)
        columns.append((behind - ahead) / (2.0 * step))
    likelihood.profiled.factorize(likelihood.map.pack(factors))
    products = np.array(columns)
    return 0.5 * (products + products.T)


def _marginal_sums(likelihood: CovarianceLikelihood, factors: list[np.ndarray]) -> np.ndarray:
    """Return tr(ΦD_p) for every entry p of Ψ."""
    likelihood.profiled.factorize(likelihood.map.pack(factors))
    sums = likelihood.profiled.engine.marginal_block_sums()
    return np.array([(1 + (i != j)) * sums[k][i, j] for k, i, j in likelihood.entries])
