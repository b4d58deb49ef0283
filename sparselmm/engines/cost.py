"""Predicted seconds and memory of the engines, from sizes alone. Measured constants: docs/math/choice.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from .memory import shown

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts

EVALUATIONS = 4  # of the likelihood in a fit
DENSE_RATE = 4e10  # q³/s of LAPACK: a factorisation (0.4 of it) and an inverse
PAIR_RATE = 1.5e9  # products/s of two entries of one row of B, in R'R and again in the quadratic forms
FACTOR_RATE, INVERSE_RATE = 2.5e10, 2e10  # Σ counts²/s of CHOLMOD and of the recursion for its selected inverse
FACTOR_ENTRY, INVERSE_ENTRY = 5e-8, 1e-7  # seconds for every entry of L besides
ANALYSIS_ENTRY, PRODUCT_RATE = 1.5e-6, 3e8  # seconds for every entry of C in its symbolic analysis, pairs/s in B'B
COUPLING_BYTES, FACTOR_BYTES, PATTERN_BYTES = 100, 64, 100  # for every entry of B, of L and of C
PCG_RATE = 3e9  # products/s of an entry of B or S with a vector's
PCG_FIRST, PCG_CORE = 4, 100  # and as much as so many entries costs every effect of the first term and of the others
PCG_BYTES = 24  # for every entry of B: a transposed copy in the worst case
PROBES, ITERATIONS = 9, 20  # columns of a rough solve, iterations of it; an exact one takes twice as many
BYTES = 8  # of a number


@dataclass(frozen=True)
class Cost:
    """What a fit costs.

    Attributes
    ----------
    factor, inverse : float
        Seconds of one evaluation: for the deviance (a factorisation), and for its derivatives besides.
    memory : float
        Bytes at the peak, beyond the model's own.
    """

    factor: float
    inverse: float
    memory: float

    @property
    def evaluation(self) -> float:
        """Seconds of one evaluation with derivatives."""
        return self.factor + self.inverse

    @property
    def seconds(self) -> float:
        """Seconds of a fit."""
        return EVALUATIONS * self.evaluation

    def __str__(self) -> str:
        return f"{seconds(self.seconds)} and {shown(self.memory)}"


def seconds(value: float) -> str:
    """Return a time as text, two digits of it."""
    return f"{float(f'{value:.2g}'):,g} s" if value >= 0.01 else "less than 0.01 s"


@dataclass(frozen=True)
class Sizes:
    """The sizes of a design that costs follow from, one term eliminated.

    Attributes
    ----------
    first, core : int
        Random effects of the eliminated term, and of the others.
    entries : int
        Entries of B = Z₁'WZ₂.
    pairs : float
        Σ over the rows of B of the squared number of their entries: the products in B'B.
    gram : int
        Entries of S₂₂ outside its diagonal blocks.
    columns : int
        Right-hand sides of one evaluation that are solved exactly, p + 1.
    n_theta : int
    """

    first: int
    core: int
    entries: int
    pairs: float
    gram: int
    columns: int
    n_theta: int

    @classmethod
    def of(cls, cross: CrossProducts, eliminated: int | None, rest: Sequence[int]) -> Sizes:
        """Return the sizes of cross-products; no term is eliminated if that is None."""
        effects = [shape.n_effects for shape in cross.shapes]
        counts: int | np.ndarray = 0
        if eliminated is not None:
            for k in rest:
                counts = counts + _row_counts(cross, eliminated, k)
        gram = sum(2 * block.nnz for pair, block in cross.cross.items() if eliminated not in pair)
        own = sum(sp.csr_array(block).nnz for block in cross.diagonal if sp.issparse(block))
        return cls(
            first=0 if eliminated is None else effects[eliminated],
            core=sum(effects[k] for k in rest),
            entries=int(np.sum(counts)),
            pairs=float(np.sum(np.square(counts, dtype=float))),
            gram=gram + own,
            columns=cross.n_fixed + 1,
            n_theta=cross.relative_factor.n_theta,
        )

    @property
    def vectors(self) -> float:
        """Bytes of the right-hand sides, their solutions and work arrays."""
        return 4 * BYTES * (self.first + self.core) * (self.columns + self.n_theta)


def _row_counts(cross: CrossProducts, eliminated: int, k: int) -> np.ndarray:
    """Return the number of entries of every row of Z₁'WZ_k."""
    if eliminated < k:
        return np.diff(cross.cross[eliminated, k].indptr)
    block = cross.cross[k, eliminated]
    return np.bincount(block.indices, minlength=block.shape[1])


def dense_cost(sizes: Sizes) -> Cost:
    """Return the cost of the exact engine with a dense Schur complement: C and its inverse."""
    cube, pairs = sizes.core**3 / DENSE_RATE, sizes.pairs / PAIR_RATE
    memory = 2 * BYTES * sizes.core**2 + COUPLING_BYTES * sizes.entries + sizes.vectors
    return Cost(0.4 * cube + pairs, 0.6 * cube + pairs, memory)


def sparse_cost(sizes: Sizes, entries: float, operations: float, pattern: float) -> Cost:
    """Return the cost of the exact engine with a sparse one.

    Parameters
    ----------
    entries, operations : float
        Entries of L, and Σ of its squared column counts.
    pattern : float
        Entries of the lower triangle of C.
    """
    pairs = sizes.pairs / PAIR_RATE
    memory = FACTOR_BYTES * entries + PATTERN_BYTES * pattern + COUPLING_BYTES * sizes.entries + sizes.vectors
    return Cost(
        operations / FACTOR_RATE + FACTOR_ENTRY * entries + pairs,
        operations / INVERSE_RATE + INVERSE_ENTRY * entries + pairs,
        memory,
    )


def pcg_cost(sizes: Sizes) -> Cost:
    """Return the cost of conjugate gradients: two passes over B for every iteration and column."""
    products = 2 * sizes.entries + sizes.gram + PCG_FIRST * sizes.first + PCG_CORE * sizes.core
    iteration = ITERATIONS * products / PCG_RATE  # seconds for one column
    work = BYTES * (PROBES + sizes.columns) * (8 * sizes.core + 3 * sizes.first)
    memory = PCG_BYTES * (sizes.entries + sizes.gram) + work + sizes.vectors
    return Cost(iteration * (2 * sizes.columns + PROBES), iteration * sizes.n_theta, memory)


def classical_memory(Z: sp.sparray) -> float:
    """Return the bytes of the classical engine: Z_i and V_i of the groups of rows that share no level, dense."""
    from scipy.sparse.csgraph import connected_components

    n = Z.shape[0]
    graph = sp.block_array([[None, Z], [Z.T, None]], format="csr")
    count, labels = connected_components(graph, directed=False)
    rows, columns = np.bincount(labels[:n], minlength=count), np.bincount(labels[n:], minlength=count)
    return BYTES * float((rows * columns + columns**2).sum() + (2 * rows**2 + 2 * rows * columns).max(initial=0))
