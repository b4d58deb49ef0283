"""PcgEngine: the largest term eliminated by blocks, conjugate gradients on the rest, traces from random probes.

All iterations are on A, the preconditioned Schur complement C of the eliminated term (see `Complement`). Equations
(S1)-(S9) of docs/math/pcg.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np

from ..errors import EngineError
from . import blocks
from .complement import Complement
from .conjugate import conjugate_gradients
from .products import outer_sums

if TYPE_CHECKING:
    from collections.abc import Callable

    Probed = tuple[int, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]

    from ..crossproducts import CrossProducts
    from .conjugate import Solution

PROBES = 8
EXACT, ROUGH = 1e-10, 1e-5  # residuals, relative, of solutions for β and u, and of those for probes and the information
FEW = 64  # columns of a term up to which none is left to the random probes
MOST_SOLVING = 1e11  # multiplications of conjugate gradients for many columns (minutes); more are an error
BLOCK = 64  # columns solved for at a time
LEAST = 0.03  # relative standard deviation by which smaller ones are replaced in the modes
SMALL = 0.3  # singular value of a scaled λ_k below which (S9), which does not divide by it, beats (6)


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
    report : callable or None
        Called with the number of iterations of the solve at work, every few iterations.
    seed : Generator
        As it was before the probes were drawn.
    """

    slack, tolerance = 1.0, 1e-5  # see `Engine`

    def __init__(
        self, cross: CrossProducts, eliminated: int, probes: int = PROBES, rng: int | np.random.Generator = 0
    ) -> None:
        self.map, self.eliminated = cross.relative_factor, eliminated
        self._rest = [k for k in range(len(cross.shapes)) if k != eliminated]
        self._first = self.map.effect_slices[eliminated]
        self._core = Complement(cross, eliminated, FEW)
        self.core_map = self._core.map
        self._scales = [cross.column_scale(k) * np.sqrt(cross.nobs / s.n_levels) for k, s in enumerate(cross.shapes)]
        self.rng = np.random.default_rng(rng)
        self.seed = deepcopy(self.rng)
        self._signs = np.empty((self.core_map.n_effects, 0))
        self.iterations = 0
        self.report: Callable[[int], None] | None = None
        self._last: dict[tuple[int, ...], np.ndarray] = {}
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

    def add_probes(self, count: int) -> None:
        """Draw further probes, one after the other: signs of every column of the core."""
        more = self.rng.integers(0, 2, (count, self._signs.shape[0])).T * 2.0 - 1.0
        self._signs = np.ascontiguousarray(np.concatenate([self._signs, more], axis=1))
        self._solved: Probed | None = None
        self._marginal: list[np.ndarray] | None = None

    def factorize(self, theta: np.ndarray) -> None:
        """Eliminate the first term and take the preconditioner of what is left, at θ."""
        self._solved = self._marginal = None
        self.factors = self.map.unpack(theta)
        self._core.update(self.factors[self.eliminated], [self.factors[k] for k in self._rest])

    def _conjugate(self, rhs: np.ndarray, tolerance: float | np.ndarray, start: np.ndarray | None = None) -> Solution:
        """Return the Solution of A x = rhs."""
        solution = conjugate_gradients(self._core.apply, rhs, tolerance, start, self.report)
        self.iterations = max(self.iterations, solution.iterations)
        return solution

    def _solve_core(self, rhs: np.ndarray, rough: bool) -> np.ndarray:
        """Return C⁻¹ rhs."""
        rhs = self._core.whiten(rhs)
        return self._core.color(self._conjugate(rhs, ROUGH).x if rough else self._solve_exactly(rhs))

    def _solve_exactly(self, rhs: np.ndarray) -> np.ndarray:
        """Return A⁻¹ rhs, from where the last solution of as many columns ended.

        The probes of a new θ go along: a product costs little more for some columns more.
        """
        modes, z = self._probes() if self._solved is None else (0, rhs[:, :0])
        width, start = rhs.shape[1], np.zeros((len(rhs), rhs.shape[1] + z.shape[1]))
        start[:, :width] = self._last.get(rhs.shape, 0.0)
        tolerance = np.repeat([EXACT, ROUGH], [width, z.shape[1]])
        solution = self._conjugate(np.column_stack([rhs, z]), tolerance, start)
        if self._solved is None:
            self._solved = modes, z, solution.x[:, width:], _log_parts(solution, z, width)
        self._last = {rhs.shape: solution.x[:, :width]}
        return solution.x[:, :width]

    def _split(self, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return V[self._first], np.concatenate([V[: self._first.start], V[self._first.stop :]])

    def _join(self, first: np.ndarray, rest: np.ndarray) -> np.ndarray:
        return np.concatenate([rest[: self._first.start], first, rest[self._first.start :]])

    def solve(self, rhs: np.ndarray, rough: bool = False) -> np.ndarray:
        """Return M⁻¹ rhs, (q, r)."""
        first, rest = self._split(rhs)
        outer = self._core.inverse @ self.factors[self.eliminated].T  # M₁⁻¹Λ₁'
        rest = rest - self._core.coupled_back(blocks.tdot(outer, first))
        rest = self._solve_core(rest, rough)
        return self._join(blocks.dot(self._core.inverse, first) - blocks.dot(outer, self._core.coupled(rest)), rest)

    def gram_dot(self, V: np.ndarray) -> np.ndarray:
        """Return S V, (q, r)."""
        return self._join(*self._core.gram_dot(*self._split(V)))

    def _probed(self) -> Probed:
        """Return v and z, A⁻¹z (q₂, v + t), z'log(A)z and z'(A - I)z: v orthonormal modes, then t random probes."""
        if self._solved is None:
            modes, z = self._probes()
            solution = self._conjugate(z, ROUGH)
            self._solved = modes, z, solution.x, _log_parts(solution, z)
        return self._solved

    def _probes(self) -> tuple[int, np.ndarray]:
        """Return v and z: v orthonormal modes, then t random probes orthogonal to them."""
        modes = np.linalg.qr(self._modes())[0]
        return modes.shape[1], np.column_stack([modes, self._signs - modes @ (modes.T @ self._signs)])

    def _modes(self) -> np.ndarray:
        """Return columns that are not left to chance, (q₂, v).

        All of a small term; of others what A all but annihilates unless the coarse space holds it, a shift of the
        first column of all levels: L_D'λ⁻¹1.
        """
        modes = []
        for k, (root, part) in enumerate(zip(self._core.roots, self.core_map.effect_slices, strict=True)):
            size = part.stop - part.start
            columns = np.zeros((self.core_map.n_effects, size if size <= FEW else int(k not in self._core.covered)))
            if size <= FEW:
                columns[part] = np.eye(size)
            else:
                scale = root[:, 0, 0] * max(abs(self._core.factors[k][0, 0]), LEAST)
                columns[part].reshape(len(root), root.shape[1], -1)[:, 0] = 1.0 / scale[:, None]
            modes.append(columns)
        return np.concatenate(modes, axis=1)

    def logdet(self) -> float:
        """Return the estimate of log|M|, by stochastic Lanczos quadrature."""
        return self._core.logdet + float(self._log_samples().mean())

    def _log_samples(self) -> np.ndarray:
        """Return an estimate of log|A| from every probe, (t,): the modes exact, tr(A - I) as control."""
        modes, _, _, (logs, controls) = self._probed()
        exact = self._core.trace + logs[:modes].sum() - controls[:modes].sum()
        return exact + logs[modes:] - controls[modes:]

    def logdet_error(self) -> float:
        """Return the Monte-Carlo standard error of `logdet`."""
        samples = self._log_samples()
        return float(samples.std(ddof=1) / np.sqrt(samples.size))

    def _trace_samples(self) -> list[np.ndarray]:
        """Return an estimate of T_k = Σ_j [M⁻¹]_jj from every probe, (t, c_k, c_k): E zz' is exact, A⁻¹ - I probed."""
        modes, z, x, _ = self._probed()
        difference, plain = self._core.color(x - z), self._core.color(z)
        samples = [np.empty(0)] * len(self.map.shapes)
        for k, exact, part in zip(self._rest, self._core.controls(), self.core_map.effect_slices, strict=True):
            levels = self.map.shapes[k].n_levels
            samples[k] = exact + outer_sums(difference[part], plain[part], levels, modes)
        outer = self._core.inverse @ self.factors[self.eliminated].T  # M₁⁻¹Λ₁'
        exact = self._core.inverse + blocks.sandwich(outer, self._core.first_controls())
        left, right = (blocks.dot(outer, self._core.coupled(V)) for V in (difference, plain))
        samples[self.eliminated] = exact.sum(axis=0) + outer_sums(left, right, len(outer), modes)
        return samples

    def check_solves(self, count: int) -> None:
        """Raise an EngineError if solutions for so many columns would take more than minutes."""
        work = 2.0 * count * max(self.iterations, 10) * self._core.nnz
        if work > MOST_SOLVING:
            raise EngineError(
                f"Exact variances of random effects need {count:,} solutions by conjugate gradients, {work:.1g} "
                "operations. Fit with engine='cholmod' if its factor fits, or ask for fewer: predict(new, se=True) "
                "with some rows."
            )

    def inverse_blocks(self, k: int) -> np.ndarray:
        """Return the diagonal blocks of M⁻¹ of term k, (l_k, c_k, c_k): by solves for the columns of the core."""
        if k == self.eliminated:
            out = self._core.inverse.copy()  # + M₁⁻¹Λ₁'BΛ₂C⁻¹Λ₂'B'Λ₁M₁⁻¹
            outer = out @ self.factors[k].T
            for _, unit, solved in self._core_inverse(slice(0, self.core_map.n_effects), BLOCK):
                left, right = (
                    blocks.dot(outer, self._core.coupled(V)).reshape(*out.shape[:2], -1) for V in (solved, unit)
                )
                out += left @ right.transpose(0, 2, 1)
            return 0.5 * (out + out.transpose(0, 2, 1))
        shape, part = self.map.shapes[k], self.core_map.effect_slices[self._rest.index(k)]
        c, found = shape.n_columns, []
        for columns, _, solved in self._core_inverse(part, max(1, BLOCK // c) * c):
            levels = np.arange(columns.size // c)
            found.append(solved[columns].reshape(levels.size, c, levels.size, c)[levels, :, levels])
        return np.concatenate(found)

    def _core_inverse(self, part: slice, width: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield some columns of the core at a time, their columns E of I and C⁻¹E."""
        self.check_solves(part.stop - part.start)
        for start in range(part.start, part.stop, width):
            columns = np.arange(start, min(start + width, part.stop))
            unit = np.zeros((self.core_map.n_effects, columns.size))
            unit[columns, np.arange(columns.size)] = 1.0
            yield columns, unit, self._core.color(self._conjugate(self._core.whiten(unit), EXACT).x)

    def marginal_block_sums(self) -> list[np.ndarray]:
        """Return estimates of Σ_j [Z'V⁻¹Z]_jj, (c_k, c_k) each."""
        return [samples.mean(axis=0) for samples in self._marginal_samples()]

    def gradient_samples(self) -> np.ndarray:
        """Return ∂d/∂θ's random part from every probe, (t, m)."""
        parts = [2.0 * D @ factor for D, factor in zip(self._marginal_samples(), self.factors, strict=True)]
        return np.array([self.map.pack([part[t] for part in parts]) for t in range(self.probes)])

    def _marginal_samples(self) -> list[np.ndarray]:
        """Return an estimate of every Σ_j [Z'V⁻¹Z]_jj from every probe, (t, c_k, c_k): (6), or (S9) if λ_k is small."""
        if self._marginal is None:
            self._marginal = self._take_marginal_samples()
        return self._marginal

    def _take_marginal_samples(self) -> list[np.ndarray]:
        """Return `_marginal_samples`, computed; they are asked for by the derivatives and by their errors."""
        out = []
        for k, (T, factor, shape) in enumerate(zip(self._trace_samples(), self.factors, self.map.shapes, strict=True)):
            if np.linalg.svd(factor * self._scales[k][:, None], compute_uv=False)[-1] < SMALL:
                out.append(self._first_samples() if k == self.eliminated else self._core_samples(k, T))
            else:
                inverse = np.linalg.inv(factor)
                out.append(inverse.T @ (shape.n_levels * np.eye(len(factor)) - T) @ inverse)
        return out

    def _core_samples(self, k: int, T: np.ndarray) -> np.ndarray:
        """Return (S9) for a term of the core from the samples of T_k: along the small singular vectors of λ_k nothing
        is divided by their singular values."""
        modes, z, x, _ = self._probed()
        at, size, shape = self._rest.index(k), self._scales[k], self.map.shapes[k]
        part, levels = self.core_map.effect_slices[at], shape.n_levels
        U, s, Vt = np.linalg.svd(self.factors[k] * size[:, None])
        small, U = s < SMALL, U / size[:, None]
        inverse = np.where(small, 0.0, 1.0 / np.where(small, 1.0, s))

        def rows(V: np.ndarray) -> np.ndarray:
            V = self._core.color(V)
            product = self._core.schur_dot(self.core_map.dot(self._core.factors, V))[part]
            product, V = (values.reshape(levels, shape.n_columns, -1) for values in (product, V[part]))
            return ((U * small).T @ product - (Vt * inverse[:, None]) @ V).reshape(shape.n_effects, -1)

        G = -outer_sums(rows(x), rows(z), levels, modes)
        G += np.outer(small, small) * (U.T @ self._core.schur_sums[at] @ U)
        by_trace = np.outer(inverse, inverse) * (Vt @ (levels * np.eye(len(s)) - T) @ Vt.T)
        G = np.where(np.outer(small, small) | np.not_equal.outer(small, small), G, by_trace)
        back = np.linalg.inv(U)
        return back.T @ G @ back

    def _first_samples(self) -> np.ndarray:
        """Return (8) for the eliminated term: S₁ - S₁H₁S₁ - (I - S₁H₁)BΛ₂C⁻¹Λ₂'B'(I - S₁H₁)'."""
        modes, z, x, _ = self._probed()
        S, H = self._core.gram, self._core.H
        SH = blocks.product(S, H)
        outer = np.eye(SH.shape[1]) - SH
        left, right = (blocks.dot(outer, self._core.coupled(self._core.color(V))) for V in (x - z, z))
        exact = S - blocks.product(SH, S) - blocks.sandwich(outer, self._core.first_controls())
        return exact.sum(axis=0) - outer_sums(left, right, len(S), modes)


def _log_parts(solution: Solution, z: np.ndarray, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return z'log(A)z and z'(A - I)z of the solution's columns from `first`, which are those of A⁻¹z."""
    return solution.log_quadratic(first), solution.quadratic(first) - np.einsum("ij,ij->j", z, z)
