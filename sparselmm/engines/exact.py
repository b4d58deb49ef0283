"""ExactPlan: which term the exact engine eliminates, whether the remainder is dense or sparse, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from .core import DenseCore
from .cost import ANALYSIS_ENTRY, PATTERN_BYTES, PRODUCT_RATE, Sizes, dense_cost, sparse_cost
from .coupling import DenseCoupling, SparseCoupling
from .schur import SchurEngine, coupling_pieces

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts
    from .cholmod import SparseCore
    from .cost import Cost
    from .memory import Limit
    from .protocol import CoreCoupling

SMALL_CORE = 400  # columns up to which a dense remainder is always fastest
SMALL_COUPLING = 300_000  # entries up to which a dense coupling beats the compiled loops' overheads
LARGEST_DENSE_COUPLING = 50_000_000  # entries: 400 MB each for B, BΛ₂ and R
FULL = 0.35  # share of non-zero entries above which dense products of the coupling beat the compiled loops
FILLS = 0.1  # share of entries in B'B from which L is all but full, and a symbolic analysis not worth its time
MOST_ENTRIES = 2**31  # of L, whose positions are 32-bit


class ExactPlan:
    """The exact engine of a design before it is made; nothing is analysed before it is asked for.

    Parameters
    ----------
    cross : CrossProducts
    limit : Limit
        Of memory: of a dense and a sparse remainder the faster one that fits is taken.
    """

    def __init__(self, cross: CrossProducts, limit: Limit) -> None:
        self.cross, self.limit = cross, limit
        self.eliminated = largest_term(cross)
        self.rest = [k for k in range(len(cross.shapes)) if k != self.eliminated]

    @cached_property
    def sizes(self) -> Sizes:
        """Sizes of the design."""
        return Sizes.of(self.cross, self.eliminated, self.rest)

    @property
    def small(self) -> bool:
        """True if the remainder is so small that nothing else can be faster."""
        return sum(self.cross.shapes[k].n_effects for k in self.rest) <= SMALL_CORE

    @property
    def trivial(self) -> bool:
        """True if the whole problem is so small that nothing need be predicted."""
        return self.small and sum(block.nnz for block in self.cross.cross.values()) <= SMALL_COUPLING

    @cached_property
    def pieces(self) -> list[sp.csr_array]:
        """The blocks Z₁'WZ_k of B."""
        return [] if self.eliminated is None else coupling_pieces(self.cross, self.eliminated, self.rest)

    @cached_property
    def patterns(self) -> list[sp.csr_array]:
        """The patterns of the pieces of R by levels of the eliminated term, see `level_pattern`."""
        if self.eliminated is None:
            return []
        shapes = self.cross.shapes
        columns = (shapes[k].n_columns for k in self.rest)
        return [
            level_pattern(piece, shapes[self.eliminated].n_columns, d)
            for piece, d in zip(self.pieces, columns, strict=True)
        ]

    @cached_property
    def density(self) -> float:
        """Share of non-zero entries of R'R, from some of its columns."""
        return sampled_density(self.patterns) if self.patterns else 0.0

    @property
    def pattern(self) -> float:
        """Entries of the lower triangle of C, about."""
        core = self.sizes.core
        return min(0.5 * self.density * core**2 + 0.5 * self.sizes.gram + core, 0.5 * core**2 + core)

    @property
    def fills(self) -> bool:
        """True if the remainder is dense for certain."""
        return self.small or self.density > FILLS

    @cached_property
    def floor(self) -> Cost:
        """The least that the engine can cost, known without a symbolic analysis: no fill at all."""
        dense = dense_cost(self.sizes)
        if self.fills:
            return dense
        sparse = sparse_cost(self.sizes, self.pattern, self.pattern**2 / self.sizes.core, self.pattern)
        return min(dense, sparse, key=self._order)

    @property
    def analysis_seconds(self) -> float:
        """Seconds of the symbolic analysis."""
        return 0.0 if self.fills else ANALYSIS_ENTRY * self.pattern + self.sizes.pairs / PRODUCT_RATE

    @property
    def cost(self) -> Cost:
        """The cost of the engine, after a symbolic analysis of the remainder where that can be sparse."""
        return self._analysis[0]

    @property
    def memory(self) -> float:
        """Bytes that the engine needs: at least those, if they do not fit."""
        return self.cost.memory if self.limit.admits(self.floor.memory) else self.floor.memory

    @property
    def described(self) -> str:
        """What needs the memory."""
        without = "" if self.eliminated is None else f" that remain without {self.cross.shapes[self.eliminated].name}"
        return f"the Cholesky factor of the {self.sizes.core:,} columns{without}"

    @cached_property
    def _analysis(self) -> tuple[Cost, SparseCore | None]:
        """The cost, and the remainder if it is sparse."""
        dense = dense_cost(self.sizes)
        if self.fills or not self.limit.admits(PATTERN_BYTES * self.pattern):
            return dense, None
        from .cholmod import SparseCore
        from .kernels import column_counts

        pattern = product_pattern(self.patterns) if self.patterns else None
        core = SparseCore(self.cross, self.rest, pattern)
        counts = column_counts(core.plan.indptr, core.plan.indices).astype(float)
        sparse = sparse_cost(self.sizes, counts.sum(), (counts**2).sum(), core.plan.indices.size)
        if counts.sum() >= MOST_ENTRIES or min(dense, sparse, key=self._order) is dense:
            return dense, None
        return sparse, core

    def _order(self, cost: Cost) -> tuple[float, float]:
        """Return a key by which costs that fit come first, then faster ones."""
        return (0.0, cost.seconds) if self.limit.admits(cost.memory) else (cost.memory, cost.seconds)

    def engine(self) -> SchurEngine:
        """Return the engine."""
        cross, eliminated = self.cross, self.eliminated
        if not self.rest:
            return SchurEngine(cross, eliminated, None, None)
        sparse = None if self.small else self._analysis[1]
        core = DenseCore(cross, self.rest) if sparse is None else sparse
        if eliminated is None:
            return SchurEngine(cross, None, core, None)
        c = cross.shapes[eliminated].n_columns
        size, filled = cross.shapes[eliminated].n_effects * core.size, sum(piece.nnz for piece in self.pieces)
        full = size <= LARGEST_DENSE_COUPLING and filled > FULL * size
        if core.rank is None and (size <= SMALL_COUPLING or full):
            coupling: CoreCoupling = DenseCoupling(sp.hstack(self.pieces), c, core.map)
        else:
            coupling = SparseCoupling(self.pieces, c, core.map, core.rank)
        return SchurEngine(cross, eliminated, core, coupling)


def largest_term(cross: CrossProducts) -> int | None:
    """Return the position of the term with most effects among those with a grouping factor, None if there is none."""
    grouped = [k for k, block in enumerate(cross.diagonal) if not sp.issparse(block)]
    return max(grouped, key=lambda k: cross.shapes[k].n_effects, default=None)


def is_nested(cross: CrossProducts) -> bool:
    """Return whether the terms are a chain: each level of one lies within one level of the next larger one."""
    shapes = cross.shapes
    if any(sp.issparse(block) for block in cross.diagonal):
        return False
    order = sorted(range(len(shapes)), key=lambda k: -shapes[k].n_levels)
    for fine, coarse in pairwise(order):
        block = cross.cross[min(fine, coarse), max(fine, coarse)]
        if block.nnz > shapes[fine].n_effects * shapes[coarse].n_columns:
            return False
    return True


def level_pattern(piece: sp.csr_array, c: int, d: int) -> sp.csr_array:
    """Return the columns of Z₁'WZ_k that belong to every level of the eliminated term, (l, q_k): whole blocks (c, d).

    λ₁ and λ_k mix the rows and columns of a block, so that zeros of Z inside it do not stay.
    """
    if c * d > 1:
        piece = sp.csr_array(piece).tobsr((c, d))
    indices = piece.indices if d == 1 else (piece.indices[:, None] * d + np.arange(d)).ravel()
    shape = piece.shape[0] // c, piece.shape[1]
    return sp.csr_array((np.ones(indices.size, dtype=bool), indices, piece.indptr * d), shape=shape)


def sampled_density(patterns: Sequence[sp.csr_array], samples: int = 64) -> float:
    """Return the mean share of non-zero entries in some columns of P'P, evenly spread; P in pieces side by side."""
    starts = np.cumsum([0, *(piece.shape[1] for piece in patterns)])
    columns = np.linspace(0, starts[-1] - 1, min(samples, starts[-1])).astype(int)
    entries = 0
    for pattern, start, stop in zip(patterns, starts[:-1], starts[1:], strict=True):
        chosen = pattern[:, columns[(columns >= start) & (columns < stop)] - start].T
        entries += sum((chosen @ other).nnz for other in patterns)
    return entries / (columns.size * starts[-1])


def product_pattern(patterns: Sequence[sp.csr_array]) -> sp.csr_array:
    """Return the pattern of P'P, P in pieces side by side; sums of true values are true."""
    pattern = sp.hstack(patterns, format="csr")
    return sp.csr_array(pattern.T @ pattern).astype(float)
