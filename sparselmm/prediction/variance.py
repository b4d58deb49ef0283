"""Variances of prediction errors, from the joint covariance of β̂ and b̂ - b (Henderson 1975).

The conditional part z'ΛM⁻¹Λ'z of a row needs the blocks of M⁻¹ between the levels that occur together in it. They come
from block solves with the columns of all terms but the largest. Levels of different connected components of Z'Z share
one right-hand side, as M⁻¹ has no entries between components: of a nested or single factor, a few solves serve all
levels. Work arrays hold `CHUNK` numbers, whatever the number of rows.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.linalg import solve_triangular
from scipy.sparse.csgraph import connected_components

from ..covariance import cov_re
from ..threads import single_threaded
from .rows import Part, Rows

CHUNK = 4_000_000  # numbers in a work array: 32 MB
FEW = 256  # right-hand sides up to which a solve beats the selected inverse


@single_threaded
def relative_variance(likelihood, at, rows) -> np.ndarray:
    """Return the variance of x'β̂ + z'b̂ - x'β - z'b for every row in units of σ², (n,): equation (P3).

    b has the random effects of the terms that are included in the rows; a level that the fit has not seen has a
    prediction of zero and its prior variance. So have the levels of `rows.fresh`, which the rows leave out of b̂.

    Parameters
    ----------
    likelihood : ProfiledLikelihood
    at : Evaluation
        At the θ that is taken as known.
    rows : Rows
    """
    covariances = [cov_re(factor) for factor in likelihood.map.unpack(at.theta)]
    variance = _fixed_part(likelihood, at, rows)
    if any(part.matrix is not None for part in rows.parts.values()):
        variance += _by_rows(likelihood, at, rows.parts)
    elif rows.parts:
        variance += LevelPairs(likelihood, at, rows.parts).quadratic()
    for k, part in rows.parts.items():
        if part.matrix is None and (part.codes < 0).any():
            variance += np.where(part.codes < 0, _quadratic(part.values, covariances[k]), 0.0)
    for k, values in rows.fresh.items():
        variance += _quadratic(values, covariances[k])
    return variance


def coefficient_variances(fit, k) -> np.ndarray:
    """Return the variances of the errors of fixed plus random effects of every level of term k, as `coefficients`."""
    names, term = fit.model.exog_names, fit.model.terms[k]
    levels, columns = np.arange(term.n_levels), dict.fromkeys([*names, *term.columns])
    variances = np.empty((levels.size, len(columns)))
    for i, name in enumerate(columns):
        x, z = (np.tile([float(name == other) for other in among], (levels.size, 1)) for among in (names, term.columns))
        rows = Rows(x, None, {k: Part(levels, z)}, {}, None)
        variances[:, i] = fit.scale * relative_variance(fit.likelihood, fit.evaluation, rows)
    return variances


def _quadratic(values, covariance):
    """Return v_i'Gv_i for every row of values, (n,)."""
    if sp.issparse(values):
        return covariance[0, 0] * values.multiply(values).sum(axis=1)
    return np.einsum("ia,ia->i", values @ covariance, values)


def _fixed_part(likelihood, at, rows):
    """Return |R⁻ᵀ(T'x - U'Λ'z)|² for every row, (n,): what the error of β̂ adds."""
    map_, T = likelihood.map, likelihood.cross.basis
    n, p = rows.exog.shape
    out = np.zeros(n)
    if not p:
        return out
    LU = map_.dot(map_.unpack(at.theta), at.U)
    LU = {k: LU[map_.effect_slices[k]].reshape(-1, map_.shapes[k].n_columns, p) for k in rows.parts}
    width = p * max([1, *(block.shape[1] for block in LU.values())])
    for part in chunks(n, width):
        x = rows.exog[part] @ T
        for k, term in rows.parts.items():
            if term.matrix is not None:
                x -= term.matrix[part] @ LU[k][:, 0]
            else:
                known = (term.codes[part] >= 0)[:, None]
                x -= np.einsum("ia,iap->ip", np.where(known, term.values[part], 0.0), LU[k][term.codes[part]])
        half = solve_triangular(at.R, x.T, trans=1, check_finite=False)
        out[part] = np.einsum("pi,pi->i", half, half)
    return out


def _by_rows(likelihood, at, parts):
    """Return z'ΛM⁻¹Λ'z for every row, (n,), by a solve for each: for blocks of Z that the user supplied."""
    likelihood.factorize(at.theta)
    map_, n = likelihood.map, next(iter(parts.values())).Z.shape[0]
    factors = map_.unpack(at.theta)
    blocks = [parts[k].Z if k in parts else sp.csr_array((n, shape.n_effects)) for k, shape in enumerate(map_.shapes)]
    Z = sp.hstack(blocks, format="csr")
    out = np.empty(n)
    for part in chunks(*Z.shape):
        LZ = map_.tdot(factors, Z[part].toarray().T)
        out[part] = np.einsum("qi,qi->i", LZ, likelihood.engine.solve(LZ))
    return out


def chunks(n, width):
    """Yield slices of n rows that hold CHUNK numbers of `width` each."""
    step = max(1, CHUNK // width)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


class LevelPairs:
    """The quadratic forms z'ΛM⁻¹Λ'z of rows that have one level of each term.

    Parameters
    ----------
    likelihood, at : ProfiledLikelihood, Evaluation
    parts : mapping of int to Part or RandomTerm
        Levels and columns of the rows.
    """

    def __init__(self, likelihood, at, parts):
        likelihood.factorize(at.theta)
        self.engine, self.map, self.parts = likelihood.engine, likelihood.map, parts
        factors = self.map.unpack(at.theta)
        self.components = level_components(likelihood.cross)
        self.left = {}  # Λ'z of every row, (n, c); zero for a level that is not known
        for k, part in parts.items():
            self.left[k] = np.where((part.codes >= 0)[:, None], part.values @ factors[k], 0.0)
        self.sides = {k: self._right_hand_sides(k) for k in parts}

    def _right_hand_sides(self, k):
        """Return the right-hand side of every level of term k, (l,), -1 for one that does not occur in the rows.

        Two levels share one only if they belong to different components.
        """
        codes, n_levels = self.parts[k].codes, self.map.shapes[k].n_levels
        used = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=n_levels))
        component = self.components[k][used]
        order = np.argsort(component, kind="stable")
        first = np.searchsorted(component[order], component[order])
        sides = np.full(n_levels, -1)
        sides[used[order]] = np.arange(used.size) - first
        return sides

    def quadratic(self):
        """Return Σ_kl z_k'λ_k[M⁻¹]_kl λ_l'z_l, (n,)."""
        total = np.zeros(next(iter(self.left.values())).shape[0])
        width = {k: (self.sides[k].max(initial=-1) + 1) * self.map.shapes[k].n_columns for k in self.parts}
        order = sorted(self.parts, key=width.get)
        for position, k in enumerate(order):
            if position == len(order) - 1 and width[k] > FEW:
                self._add_selected(total, k)
            else:
                self._add_solved(total, k, order[position:])
        return total

    def _add_selected(self, total, k):
        """Add the diagonal blocks of term k, from the selected inverse."""
        blocks, codes, left = self.engine.inverse_blocks(k), self.parts[k].codes, self.left[k]
        for part in chunks(codes.size, left.shape[1] ** 2):
            v = left[part]
            total[part] += np.einsum("ia,iab,ib->i", v, blocks[codes[part]], v, optimize=True)

    def _add_solved(self, total, k, others):
        """Add the blocks of term k with itself and twice those with the other terms, from block solves."""
        c, sides = self.map.shapes[k].n_columns, self.sides[k]
        row_side = np.where(self.parts[k].codes >= 0, sides[self.parts[k].codes], -1)
        rows = np.argsort(row_side, kind="stable")
        n_sides, step = int(sides.max(initial=-1)) + 1, max(1, CHUNK // (self.map.n_effects * c))
        for start in range(0, n_sides, step):
            stop = min(start + step, n_sides)
            solved = self._solve(k, start, stop)
            bounds = np.searchsorted(row_side[rows], [start, stop])
            here = rows[slice(*bounds)]
            for part in chunks(here.size, c * max(self.map.shapes[m].n_columns for m in others)):
                for m in others:
                    total[here[part]] += (1.0 if m == k else 2.0) * self._between(solved, start, k, m, here[part])

    def _solve(self, k, start, stop):
        """Return the columns of M⁻¹ of the right-hand sides start, ..., stop - 1 of term k, (q, (stop - start)c)."""
        c, sides = self.map.shapes[k].n_columns, self.sides[k]
        rhs = np.zeros((self.map.n_effects, (stop - start) * c))
        levels = np.flatnonzero((sides >= start) & (sides < stop))[:, None]
        rhs[self._columns(k, levels), (sides[levels] - start) * c + np.arange(c)] = 1.0
        return self.engine.solve(rhs)

    def _between(self, solved, start, k, m, rows):
        """Return z_m'λ_m[M⁻¹]_mk λ_k'z_k of the given rows; zero between components."""
        level_k, level_m = self.parts[k].codes[rows], self.parts[m].codes[rows]
        c = self.map.shapes[k].n_columns
        columns = (self.sides[k][level_k, None] - start) * c + np.arange(c)
        block = solved[self._columns(m, level_m[:, None])[:, :, None], columns[:, None, :]]
        forms = np.einsum("ia,iab,ib->i", self.left[m][rows], block, self.left[k][rows], optimize=True)
        return np.where(self.components[k][level_k] == self.components[m][level_m], forms, 0.0)

    def _columns(self, k, levels):
        """Return the columns of Z of levels (r, 1) of term k, (r, c)."""
        c = self.map.shapes[k].n_columns
        return self.map.effect_slices[k].start + levels * c + np.arange(c)


def level_components(cross) -> list[np.ndarray]:
    """Return the connected component of Z'Z of every level of every term, (l_k,) each."""
    map_, q = cross.relative_factor, cross.n_effects
    starts = [part.start for part in map_.effect_slices]
    blocks = [(starts[k], starts[m], block.tocoo()) for (k, m), block in cross.cross.items()]
    for k, shape in enumerate(map_.shapes):
        if sp.issparse(cross.diagonal[k]):
            blocks.append((starts[k], starts[k], cross.diagonal[k].tocoo()))
        elif shape.n_columns > 1:
            first = np.arange(shape.n_levels) * shape.n_columns
            star = first.repeat(shape.n_columns), np.arange(shape.n_effects)
            blocks.append((starts[k], starts[k], sp.coo_array((np.ones(shape.n_effects), star))))
    if not blocks:
        return [np.arange(shape.n_levels) for shape in map_.shapes]
    rows = np.concatenate([row + block.row for row, _, block in blocks])
    columns = np.concatenate([column + block.col for _, column, block in blocks])
    graph = sp.coo_array((np.ones(rows.size), (rows, columns)), shape=(q, q))
    label = connected_components(graph, directed=False)[1]
    return [label[part][:: shape.n_columns] for part, shape in zip(map_.effect_slices, map_.shapes, strict=True)]
