"""Choice of the engine, and of the factorisation: which term to eliminate, dense or sparse remainder."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from .core import DenseCore
from .coupling import DenseCoupling, SparseCoupling
from .schur import SchurEngine, coupling_pieces

ENGINES = ("auto", "cholmod", "pcg", "dense")
SMALL_CORE = 400  # columns up to which a dense remainder is always fastest
SMALL_COUPLING = 300_000  # entries up to which a dense coupling beats the compiled loops' overheads
LARGEST_DENSE_COUPLING = 50_000_000  # entries: 400 MB each for B, BΛ₂ and R
FULL = 0.35  # share of non-zero entries above which dense products of the coupling beat the compiled loops
FILLS = 0.1  # share of entries in B'B from which L is all but full, and a symbolic analysis not worth its time
LARGEST_DENSE_CORE = 30_000  # columns: 7 GB
DENSE_RATE, SPARSE_RATE = 4e10, 4e9  # q³/s of LAPACK, Σ counts²/s of CHOLMOD, inverses included (measured)


def choose_engine(cross, name="auto", terms=(), weights=None, rng=0):
    """Return the engine of that name for the cross-products, analysed; "auto" is "cholmod".

    "pcg" is for two terms or more, one of them with a grouping factor; for other models it is "cholmod". Only "dense"
    looks at the `terms` and `weights` of the rows, only "pcg" draws from `rng`.
    """
    check_name(name)
    if name == "pcg" and len(cross.shapes) > 1 and (eliminated := largest_term(cross)) is not None:
        from .pcg import PcgEngine

        return PcgEngine(cross, eliminated, rng=rng)
    if name == "dense":
        from .dense import DenseGroupEngine

        return DenseGroupEngine(cross, sp.hstack([term.Z for term in terms], format="csr"), weights)
    return schur_engine(cross)


def check_name(name):
    """Raise a ValueError if there is no engine of that name."""
    if name not in ENGINES:
        raise ValueError(f"engine={name!r} is not one of {', '.join(ENGINES)}.")


def largest_term(cross):
    """Return the position of the term with most effects among those with a grouping factor, None if there is none."""
    grouped = [k for k, block in enumerate(cross.diagonal) if not sp.issparse(block)]
    return max(grouped, key=lambda k: cross.shapes[k].n_effects, default=None)


def schur_engine(cross):
    """Return the exact sparse engine, the term with most effects eliminated."""
    shapes, eliminated = cross.shapes, largest_term(cross)
    rest = [k for k in range(len(shapes)) if k != eliminated]
    if not rest:
        return SchurEngine(cross, eliminated, None, None)
    pieces = [] if eliminated is None else coupling_pieces(cross, eliminated, rest)
    core = choose_core(cross, rest, pieces)
    if eliminated is None:
        return SchurEngine(cross, None, core, None)
    c = shapes[eliminated].n_columns
    size, filled = shapes[eliminated].n_effects * core.size, sum(piece.nnz for piece in pieces)
    full = size <= LARGEST_DENSE_COUPLING and filled > FULL * size
    if core.rank is None and (size <= SMALL_COUPLING or full):
        coupling = DenseCoupling(sp.hstack(pieces), c, core.map)
    else:
        coupling = SparseCoupling(pieces, c, core.map, core.rank)
    return SchurEngine(cross, eliminated, core, coupling)


def choose_core(cross, rest, pieces):
    """Return a dense or sparse core for the terms in `rest`, whichever is predicted to be faster."""
    size = sum(cross.shapes[k].n_effects for k in rest)
    if size <= SMALL_CORE:
        return DenseCore(cross, rest)
    B = sp.hstack(pieces, format="csr") if pieces else None
    if size <= LARGEST_DENSE_CORE and B is not None and _sampled_density(B) > FILLS:
        return DenseCore(cross, rest)
    from .cholmod import SparseCore

    core = SparseCore(cross, rest, None if B is None else product_pattern(B))
    dense_time = size**3 / DENSE_RATE
    return DenseCore(cross, rest) if size <= LARGEST_DENSE_CORE and dense_time < core.flops / SPARSE_RATE else core


def _sampled_density(B, samples=64):
    """Return the mean share of non-zero entries in some columns of B'B, evenly spread."""
    columns = np.linspace(0, B.shape[1] - 1, min(samples, B.shape[1])).astype(int)
    product = abs(B[:, columns]).T @ abs(B)
    return product.nnz / (product.shape[0] * product.shape[1])


def product_pattern(B):
    """Return the pattern of B'B."""
    ones = sp.csr_array((np.ones(B.nnz), B.indices, B.indptr), shape=B.shape)
    return ones.T @ ones
