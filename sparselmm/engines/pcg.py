"""PcgEngine: the largest term eliminated by blocks, conjugate gradients on the rest, traces from random probes.

With D the diagonal blocks of the Schur complement C = Λ₂'(S₂₂ - B'H₁B)Λ₂ + I, H₁ = Λ₁M₁⁻¹Λ₁', D = L_DL_D', all
iterations are on A = L_D⁻¹CL_D⁻ᵀ, whose diagonal blocks are I. Equations (S1)-(S6) of docs/math/pcg.md.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import scipy.sparse as sp

from ..errors import EngineError
from . import blocks
from .conjugate import conjugate_gradients
from .gram import GramPlan
from .products import CoreBlocks, Matrix, diagonal_blocks, outer_sums
from .schur import coupling_pieces

PROBES = 8
EXACT, ROUGH = 1e-10, 1e-5  # residuals, relative, of solutions for β and u, and of those for probes and the information
FEW = 64  # columns of a term up to which none is left to the random probes
MOST_SOLVING = 1e11  # multiplications of conjugate gradients for many columns (minutes); more are an error
BLOCK = 64  # columns solved for at a time
RAISED = 0.03  # relative standard deviation, scaled, that (6) replaces smaller ones by


class PcgEngine:
    """The O(N) engine: see `Engine` for the verbs; log|M| and the traces have a Monte-Carlo error.

    Parameters
    ----------
    cross : CrossProducts
        Of two terms or more, one of them with a grouping factor.
    eliminated : int
        The term eliminated by blocks.
    probes : int
        Random probes. The same ones serve at every θ, so that the likelihood is smooth.
    rng : int or Generator

    Attributes
    ----------
    iterations : int
        Largest number of iterations for one set of right-hand sides.
    seed : Generator
        As it was before the probes were drawn.
    """

    slack, tolerance = 1.0, 1e-6  # see `Engine`

    def __init__(self, cross, eliminated, probes=PROBES, rng=0):
        self.map, self.eliminated = cross.relative_factor, eliminated
        self._rest = [k for k in range(len(cross.shapes)) if k != eliminated]
        self._first = self.map.effect_slices[eliminated]
        self._gram = np.ascontiguousarray(cross.diagonal[eliminated])
        pieces = coupling_pieces(cross, eliminated, self._rest)
        plan = GramPlan(cross, self._rest)
        self.core_map, self._S = plan.map, Matrix(plan.matrix)
        self._pieces = [
            CoreBlocks(p, self._gram.shape[1], s.n_columns) for p, s in zip(pieces, plan.map.shapes, strict=True)
        ]
        self._diagonals = [diagonal_blocks(cross.diagonal[k]) for k in self._rest]
        B = sp.csr_array(sp.hstack(pieces))
        self._B, self._Bt = Matrix(B), Matrix(sp.csr_array(B.T))
        self._scales = [cross.column_scale(k) * np.sqrt(cross.nobs / s.n_levels) for k, s in enumerate(cross.shapes)]
        self.rng = np.random.default_rng(rng)
        self.seed = deepcopy(self.rng)
        self._signs = np.empty((plan.size, 0))
        self.iterations = 0
        self.add_probes(probes)

    @property
    def description(self) -> str:
        """How M is solved, in one phrase."""
        shape = self.map.shapes[self.eliminated]
        return (
            f"{shape.name} eliminated as {shape.n_levels:,} blocks, conjugate gradients on the remaining "
            f"{self.core_map.n_effects:,} columns, {self.probes} probes"
        )

    @property
    def probes(self) -> int:
        """Number of random probes."""
        return self._signs.shape[1]

    def add_probes(self, count):
        """Draw further probes, one after the other: signs of every column of the core."""
        more = self.rng.integers(0, 2, (count, self._signs.shape[0])).T * 2.0 - 1.0
        self._signs = np.ascontiguousarray(np.concatenate([self._signs, more], axis=1))
        self._solved = None

    def factorize(self, theta):
        """Eliminate the first term and take the diagonal blocks of what is left, at θ."""
        self.factors = self.map.unpack(theta)
        self._lambda = [self.factors[k] for k in self._rest]
        factor = self.factors[self.eliminated]
        M = blocks.transform(self._gram, factor)
        np.einsum("jii->ji", M)[...] += 1.0
        root, self._first_logdet = blocks.cholesky_inverse(M)
        self._inverse = blocks.product(root, root, transpose=True)  # M₁⁻¹
        half = root @ factor.T
        self._H = blocks.product(half, half, transpose=True)
        self._roots, self._core_logdet = [], 0.0  # L_D⁻¹
        for piece, S, lambda_ in zip(self._pieces, self._diagonals, self._lambda, strict=True):
            D = blocks.transform(S - piece.sandwich(self._H), lambda_)
            np.einsum("jii->ji", D)[...] += 1.0
            root, logdet = blocks.cholesky_inverse(D)
            self._roots.append(root)
            self._core_logdet += logdet
        self._solved = None

    def _whiten(self, V):
        """Return L_D⁻¹V."""
        return self._by_term(V, blocks.dot)

    def _color(self, V):
        """Return L_D⁻ᵀV."""
        return self._by_term(V, blocks.tdot)

    def _by_term(self, V, multiply):
        return np.concatenate(
            [multiply(root, V[part]) for root, part in zip(self._roots, self.core_map.effect_slices, strict=True)]
        )

    def _apply(self, V):
        """Return AV."""
        V = self._color(V)
        W = self.core_map.dot(self._lambda, V)
        inner = self._S @ W - self._Bt @ blocks.dot(self._H, self._B @ W)
        return self._whiten(self.core_map.tdot(self._lambda, inner) + V)

    def _conjugate(self, rhs, tolerance):
        """Return the Solution of A x = rhs."""
        solution = conjugate_gradients(self._apply, rhs, tolerance)
        self.iterations = max(self.iterations, solution.iterations)
        return solution

    def _split(self, V):
        return V[self._first], np.concatenate([V[: self._first.start], V[self._first.stop :]])

    def _join(self, first, rest):
        return np.concatenate([rest[: self._first.start], first, rest[self._first.start :]])

    def solve(self, rhs, rough=False):
        """Return M⁻¹ rhs, (q, r)."""
        first, rest = self._split(rhs)
        factor = self.factors[self.eliminated]
        first = blocks.dot(self._inverse, first)
        levels = np.matmul(factor, first.reshape(*self._gram.shape[:2], -1)).reshape(first.shape)  # Λ₁M₁⁻¹ rhs₁
        rest = rest - self.core_map.tdot(self._lambda, self._Bt @ levels)
        rest = self._color(self._conjugate(self._whiten(rest), ROUGH if rough else EXACT).x)
        return self._join(first - self._coupled(rest), rest)

    def _coupled(self, V):
        """Return M₁⁻¹Λ₁'BΛ₂V."""
        levels = self._B @ self.core_map.dot(self._lambda, V)
        factor = self.factors[self.eliminated]
        levels = np.matmul(factor.T, levels.reshape(*self._gram.shape[:2], -1)).reshape(levels.shape)
        return blocks.dot(self._inverse, levels)

    def gram_dot(self, V):
        """Return S V, (q, r)."""
        first, rest = self._split(V)
        return self._join(blocks.dot(self._gram, first) + self._B @ rest, self._S @ rest + self._Bt @ first)

    def _probed(self):
        """Return v and z, A⁻¹z (q₂, v + t), z'log(A)z: v orthonormal modes, then t random probes orthogonal to them."""
        if self._solved is None:
            modes = np.linalg.qr(self._modes())[0]
            z = np.column_stack([modes, self._signs - modes @ (modes.T @ self._signs)])
            solution = self._conjugate(z, ROUGH)
            self._solved = modes.shape[1], z, solution.x, solution.log_quadratic()
        return self._solved

    def _modes(self):
        """Return columns that are not left to chance, (q₂, v).

        All of a small term; of others what A all but annihilates, a shift of the first column of all levels: L_D'λ⁻¹1.
        """
        modes = []
        for root, lambda_, part in zip(self._roots, self._lambda, self.core_map.effect_slices, strict=True):
            size = part.stop - part.start
            columns = np.zeros((self.core_map.n_effects, size if size <= FEW else 1))
            if size <= FEW:
                columns[part] = np.eye(size)
            else:
                columns[part].reshape(len(root), -1)[:, 0] = 1.0 / (root[:, 0, 0] * max(abs(lambda_[0, 0]), RAISED))
            modes.append(columns)
        return np.concatenate(modes, axis=1)

    def logdet(self) -> float:
        """Return the estimate of log|M|, by stochastic Lanczos quadrature."""
        return self._first_logdet + self._core_logdet + float(self._log_samples().mean())

    def _log_samples(self):
        """Return an estimate of log|A| from every probe, (t,): the constant modes exact, tr(A - I) = 0 as control."""
        modes, z, _, logs = self._probed()
        Az = self._apply(z)
        controls = np.einsum("ij,ij->j", z, Az) - np.einsum(
            "ij,ij->j", z, z
        )  # z'(A - I)z; their mean is -that of modes
        exact = logs[:modes].sum() - controls[:modes].sum()
        return exact + logs[modes:] - controls[modes:]

    def logdet_error(self) -> float:
        """Return the Monte-Carlo standard error of `logdet`."""
        samples = self._log_samples()
        return float(samples.std(ddof=1) / np.sqrt(samples.size))

    def inverse_block_sums(self):
        """Return estimates of T_k = Σ_j [M⁻¹]_jj, (c_k, c_k) each."""
        return [samples.mean(axis=0) for samples in self._trace_samples()]

    def _trace_samples(self):
        """Return an estimate of every T_k from every probe, (t, c_k, c_k): A⁻¹ = E zz' is exact, A⁻¹ - I probed."""
        modes, z, x, _ = self._probed()
        difference, plain = self._color(x - z), self._color(z)
        samples = [None] * len(self.map.shapes)
        for k, root, part in zip(self._rest, self._roots, self.core_map.effect_slices, strict=True):
            exact = blocks.product(root, root, transpose=True).sum(axis=0)  # Σ_j D_j⁻¹
            samples[k] = exact + outer_sums(difference[part], plain[part], len(root), modes)
        levels = len(self._gram)
        left, right = self._coupled(difference), self._coupled(plain)
        exact = self._inverse.sum(axis=0) + self._first_control()
        samples[self.eliminated] = exact + outer_sums(left, right, levels, modes)
        return samples

    def _first_control(self):
        """Return Σ_j of the diagonal blocks of M₁⁻¹Λ₁'BΛ₂D⁻¹Λ₂'B'Λ₁M₁⁻¹, (c, c)."""
        outer = self._inverse @ self.factors[self.eliminated].T
        total = 0.0
        for piece, root, lambda_ in zip(self._pieces, self._roots, self._lambda, strict=True):
            half = root @ lambda_.T  # L_D⁻¹λ'
            total = total + piece.trace(outer, half)
        return total

    def check_solves(self, count):
        """Raise an EngineError if solutions for so many columns would take more than minutes."""
        work = 2.0 * count * max(self.iterations, 10) * (self._B.nnz + self._S.nnz)
        if work > MOST_SOLVING:
            raise EngineError(
                f"Exact variances of random effects need {count:,} solutions by conjugate gradients, {work:.1g} "
                "operations. Fit with engine='cholmod' if its factor fits, or ask for fewer: predict(new, se=True) "
                "with some rows."
            )

    def inverse_blocks(self, k):
        """Return the diagonal blocks of M⁻¹ of term k, (l_k, c_k, c_k): by solves for the columns of the core."""
        if k == self.eliminated:
            out = self._inverse.copy()  # + M₁⁻¹Λ₁'BΛ₂C⁻¹Λ₂'B'Λ₁M₁⁻¹
            for _, unit, solved in self._core_inverse(slice(0, self.core_map.n_effects), BLOCK):
                left, right = (self._coupled(V).reshape(*self._gram.shape[:2], -1) for V in (solved, unit))
                out += left @ right.transpose(0, 2, 1)
            return 0.5 * (out + out.transpose(0, 2, 1))
        shape, part = self.map.shapes[k], self.core_map.effect_slices[self._rest.index(k)]
        c, found = shape.n_columns, []
        for columns, _, solved in self._core_inverse(part, max(1, BLOCK // c) * c):
            levels = np.arange(columns.size // c)
            found.append(solved[columns].reshape(levels.size, c, levels.size, c)[levels, :, levels])
        return np.concatenate(found)

    def _core_inverse(self, part, width):
        """Yield some columns of the core at a time, their columns E of I and C⁻¹E."""
        self.check_solves(part.stop - part.start)
        for start in range(part.start, part.stop, width):
            columns = np.arange(start, min(start + width, part.stop))
            unit = np.zeros((self.core_map.n_effects, columns.size))
            unit[columns, np.arange(columns.size)] = 1.0
            yield columns, unit, self._color(self._conjugate(self._whiten(unit), EXACT).x)

    def marginal_block_sums(self):
        """Return estimates of Σ_j [Z'V⁻¹Z]_jj, (c_k, c_k) each, by (6); where λ_k is singular, at a nearby θ."""
        sums = self.inverse_block_sums()
        singular = [k for k in range(len(sums)) if self._smallest(k) < RAISED]
        out = [None if k in singular else self._from_trace(k, T) for k, T in enumerate(sums)]
        if singular:
            here = self.map.pack(self.factors)
            raised = [self._raised(k) if k in singular else f for k, f in enumerate(self.factors)]
            try:
                self.factorize(self.map.pack(raised))
                sums = self.inverse_block_sums()
                for k in singular:
                    out[k] = self._from_trace(k, sums[k])
            finally:
                self.factorize(here)
        return out

    def _from_trace(self, k, T):
        inverse = np.linalg.inv(self.factors[k])
        return inverse.T @ (self.map.shapes[k].n_levels * np.eye(len(T)) - T) @ inverse

    def _smallest(self, k):
        """Return the smallest singular value of λ_k in its natural scale."""
        return np.linalg.svd(self.factors[k] * self._scales[k][:, None], compute_uv=False)[-1]

    def _raised(self, k):
        """Return λ_k with its small singular values raised."""
        size = self._scales[k][:, None]
        if self.map.shapes[k].structure == "diagonal":
            return np.diag(np.maximum(np.abs(np.diag(self.factors[k])), RAISED / size[:, 0]))
        left, values, _ = np.linalg.svd(self.factors[k] * size)
        return np.linalg.qr((left * np.maximum(values, RAISED)).T, mode="r").T / size

    def gradient_samples(self):
        """Return ∂d/∂θ's random part from every probe, (t, m)."""
        traces = self._trace_samples()
        inverses = [np.linalg.pinv(factor) for factor in self.factors]
        parts = [-2.0 * inverse.T @ T for inverse, T in zip(inverses, traces, strict=True)]
        return np.array([self.map.pack([part[t] for part in parts]) for t in range(self.probes)])
