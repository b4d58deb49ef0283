"""Dense blocks of Φ = Z'V⁻¹Z by group: traces of the Hessian and conditional covariances."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from .params import lower_root

LARGEST_WORK = 4e9  # multiplications up to which blocks are formed; beyond, Φ's sums are differentiated
STEP = 1e-4  # of a variance (or of its natural size, if it is smaller) in that difference


def trace_products(likelihood, factors) -> np.ndarray:
    """Return tr(ΦD_pΦD_q) for all entries p, q of Ψ, D_p = ∂Ψ/∂p in every level.

    From dense blocks by group; for groups too large for these, from differences of tr(ΦD_p), whose derivative in q is
    -tr(ΦD_qΦD_p), NaN for an entry whose change makes Ψ indefinite.
    """
    sizes = np.bincount(likelihood.owner).astype(float)
    if (sizes**3).sum() * len(likelihood.entries) > LARGEST_WORK:
        return _differences(likelihood, factors)
    batches, m = GroupBlocks(likelihood.cross, likelihood.owner), len(likelihood.entries)
    patterns = [pattern(likelihood.cross.shapes, *entry) for entry in likelihood.entries]
    total = np.zeros((m, m))
    for batch, Phi in batches.marginal(factors):
        products = [Phi @ batches.dense(D, batch) for D in patterns]
        for p in range(m):
            for q in range(p + 1):
                total[p, q] += np.einsum("kab,kba->", products[p], products[q])
    return total + np.tril(total, -1).T


def pattern(shapes, k, i, j) -> sp.csr_array:
    """Return D, sparse (q, q): ones at (i, j) and (j, i) in every level of term k."""
    blocks = [np.zeros((shape.n_columns, shape.n_columns)) for shape in shapes]
    blocks[k][i, j] = blocks[k][j, i] = 1.0
    return repeated(shapes, blocks)


def repeated(shapes, blocks) -> sp.csr_array:
    """Return blockdiag(I ⊗ block_k), sparse (q, q)."""
    parts = []
    for shape, block in zip(shapes, blocks, strict=True):
        data = np.broadcast_to(block, (shape.n_levels, *block.shape))
        parts.append(_block_diagonal(data, shape.n_effects))
    return sp.block_diag(parts, format="csr")


def gram(cross) -> sp.csr_array:
    """Return S = Z'Z, sparse (q, q)."""
    K = len(cross.shapes)
    grid = [[None] * K for _ in range(K)]
    for k, block in enumerate(cross.diagonal):
        grid[k][k] = block if sp.issparse(block) else _block_diagonal(block, cross.shapes[k].n_effects)
    for (k, m), block in cross.cross.items():
        grid[k][m], grid[m][k] = block, block.T
    return sp.csr_array(sp.block_array(grid))


def _block_diagonal(blocks, size):
    """Return the block-diagonal matrix of blocks (l, c, c), (size, size)."""
    count = len(blocks)
    return sp.bsr_array((blocks, np.arange(count), np.arange(count + 1)), shape=(size, size))


class GroupBlocks:
    """The random columns of every group, in batches of groups with as many columns.

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

    def __init__(self, cross, owner):
        self.cross = cross
        order, sizes = np.argsort(owner, kind="stable"), np.bincount(owner)
        first = np.cumsum(sizes) - sizes
        self.groups = [np.flatnonzero(sizes == size) for size in np.unique(sizes[sizes > 0])]
        self.batches = [order[first[rows][:, None] + np.arange(sizes[rows[0]])] for rows in self.groups]
        self._member, self._place = np.empty_like(order), np.empty_like(order)
        for batch in self.batches:
            self._member[batch] = np.arange(len(batch))[:, None]
            self._place[batch] = np.arange(batch.shape[1])

    def dense(self, matrix, batch) -> np.ndarray:
        """Return the blocks of a sparse block-diagonal (q, q) matrix for a batch, (k, s, s)."""
        part = matrix[batch.ravel()].tocoo()
        row, column = batch.ravel()[part.row], part.col
        blocks = np.zeros((len(batch), batch.shape[1], batch.shape[1]))
        blocks[self._member[row], self._place[row], self._place[column]] = part.data
        return blocks

    def marginal(self, factors):
        """Yield every batch with its blocks of Φ = (I + SΨ)⁻¹S, (k, s, s)."""
        S, Psi = gram(self.cross), repeated(self.cross.shapes, [factor @ factor.T for factor in factors])
        for batch in self.batches:
            blocks = self.dense(S, batch)
            system = blocks @ self.dense(Psi, batch)
            np.einsum("kii->ki", system)[...] += 1.0
            yield batch, np.linalg.solve(system, blocks)

    def conditional(self, factors):
        """Yield the groups of every batch with the blocks of Ψ - ΨΦΨ, (k, s, s)."""
        Psi = repeated(self.cross.shapes, [factor @ factor.T for factor in factors])
        for groups, (batch, Phi) in zip(self.groups, self.marginal(factors), strict=True):
            prior = self.dense(Psi, batch)
            yield groups, prior - prior @ Phi @ prior


def _differences(likelihood, factors):
    """Return tr(ΦD_pΦD_q) from central differences of tr(ΦD_p)."""
    sizes = [1.0 / (np.diag(block) + 1e-300) for block in _mean_blocks(likelihood.cross)]
    columns = []
    for k, i, j in likelihood.entries:
        Psi = factors[k] @ factors[k].T
        step = STEP * np.sqrt(max(Psi[i, i], sizes[k][i]) * max(Psi[j, j], sizes[k][j]))
        change = np.zeros_like(Psi)
        change[i, j] = change[j, i] = step
        roots = [lower_root(Psi + change), lower_root(Psi - change)]
        if any(root is None for root in roots):
            columns.append(np.full(len(likelihood.entries), np.nan))
            continue
        ahead, behind = (_marginal_sums(likelihood, [*factors[:k], root, *factors[k + 1 :]]) for root in roots)
        columns.append((behind - ahead) / (2.0 * step))
    likelihood.profiled.factorize(likelihood.map.pack(factors))
    products = np.array(columns)
    return 0.5 * (products + products.T)


def _mean_blocks(cross):
    """Return the mean diagonal block of S of every term, (c, c) each."""
    blocks = []
    for block, shape in zip(cross.diagonal, cross.shapes, strict=True):
        total = np.array([[block.diagonal().sum()]]) if sp.issparse(block) else block.sum(axis=0)
        blocks.append(total / shape.n_levels)
    return blocks


def _marginal_sums(likelihood, factors):
    """Return tr(ΦD_p) for every entry p of Ψ."""
    likelihood.profiled.factorize(likelihood.map.pack(factors))
    sums = likelihood.profiled.engine.marginal_block_sums()
    return np.array([(1 + (i != j)) * sums[k][i, j] for k, i, j in likelihood.entries])
