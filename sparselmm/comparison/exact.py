"""The test of one variance with its null distribution simulated exactly (Crainiceanu & Ruppert 2004).

With one variance, y = Xβ + Zb + ε and b ~ N(0, σ²λI), the (restricted) likelihood ratio of λ = 0 depends on the data
through a few chi-squared variables. With μ_s the eigenvalues of Z'P₀Z, ξ_s those of Z'Z, P₀ the least-squares
projection, and n - p independent standard normal w_s,

    RLRT = sup_λ (n - p) log(1 + N/D) - Σ log(1 + λμ_s),    N = Σ λμ_s/(1 + λμ_s) w_s²,  N + D = Σ w_s²,
    LRT  = sup_λ  n      log(1 + N/D) - Σ log(1 + λξ_s).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..covariance import triangle
from ..errors import DataError
from ..printout import Printed, Printout
from .likelihood_ratio import chi_squared
from .ranova import replaced, term_label, without_columns

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts
    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults

GRID = 200  # values of λ, evenly spaced in log λ
LOWEST, HIGHEST = 1e-4, 1e4  # the first and last λ, times the largest and the smallest eigenvalue
ROUNDING = 1e-8  # of a difference of two deviances
DIGITS = 10  # to which eigenvalues of one multiplicity agree
CHUNK = 2_000_000  # numbers of a simulated block in memory
GREVEN = "With further random effects the distribution is that of a model that knows them (Greven et al. 2008)."
ZERO = 1e-10  # of the largest eigenvalue of Z'Z
MOST = 6_000  # eigenvalues of a dense matrix


@dataclass(frozen=True, eq=False, repr=False)
class ExactTest(Printed):
    """The simulated test of one variance; prints itself.

    Attributes
    ----------
    kind : str
        "RLRT" (fit by REML) or "LRT" (by maximum likelihood).
    tested : str
        What the null hypothesis leaves out.
    statistic : float
    sample : ndarray (n_simulations,)
        The statistic under the null hypothesis.
    notes : tuple of str
    """

    kind: str
    tested: str
    statistic: float
    sample: np.ndarray
    notes: tuple[str, ...] = ()

    @cached_property
    def pvalue(self) -> float:
        """(1 + number of simulated statistics as large, but for rounding) / (1 + number of simulations)."""
        return float((1 + (self.sample >= self.statistic - ROUNDING).sum()) / (1 + self.sample.size))

    @property
    def pvalue_error(self) -> float:
        """Monte-Carlo standard error of the p-value."""
        return float(np.sqrt(self.pvalue * (1.0 - self.pvalue) / self.sample.size))

    def quantile(self, probability: float | Sequence[float] | np.ndarray) -> float | np.ndarray:
        """Return quantiles of the null distribution."""
        return np.quantile(self.sample, probability)

    @property
    def printout(self) -> Printout:
        """The statistic, its p-value with the Monte-Carlo error, and what was simulated."""
        error = f" ± {self.pvalue_error:.1g}" if self.pvalue_error > 0 else ""
        first = f"{self.kind} of {self.tested}: {self.statistic:.4g}, p = {self.pvalue:.4g}{error}"
        return Printout(f"{first} ({self.sample.size:,} simulations)", [], self.notes)


def exact_test(
    fit: LinearMixedModelResults,
    term: str | None = None,
    column: str | None = None,
    n_simulations: int = 10_000,
    rng: int | np.random.Generator | None = None,
) -> ExactTest:
    """Return the simulated test of one variance; see `LinearMixedModelResults.exact_test`."""
    k, j = _tested(fit.model, term, column)
    one, name = fit.model.terms[k], term_label(fit.model, k)
    several = one.n_columns > 1
    reduced = replaced(fit, k, without_columns(one, [j]) if several else None)
    statistic = chi_squared(reduced, fit, 1)["chisq"]
    mu, xi = spectrum(fit.model.cross, k, j)
    n, p = fit.nobs, fit.model.cross.n_fixed
    sample = simulate(mu, mu if fit.reml else xi, n - p, n - p if fit.reml else n, n_simulations, rng)
    others = fit.theta.size > 1
    tested = f"{one.columns[j]} in {name}" if several else name
    return ExactTest("RLRT" if fit.reml else "LRT", tested, statistic, sample, (GREVEN,) if others else ())


def _tested(model: LinearMixedModel, term: str | None, column: str | None) -> tuple[int, int]:
    """Return the positions of the term and of its column with the variance that is tested."""
    names = [one.name for one in model.terms]
    if term is None and len(names) > 1:
        raise ValueError(f"The model has several random-effects terms: give term=, one of {', '.join(names)}.")
    if term is not None and term not in names:
        raise ValueError(f"term={term!r} is none of the random-effects terms {', '.join(names)}.")
    k = 0 if term is None else names.index(term)
    one = model.terms[k]
    if one.n_columns > 1 and one.structure != "diagonal":
        raise ValueError(
            f"Term {one.name!r} has {one.n_columns} correlated columns; the exact test is of one variance. "
            f"Fit it with '||', or test it with ranova (p.boundary)."
        )
    if column is None and one.n_columns > 1:
        raise ValueError(f"Term {one.name!r} has several columns: give column=, one of {', '.join(one.columns)}.")
    if column is not None and column not in one.columns:
        raise ValueError(f"column={column!r} is none of the columns {', '.join(one.columns)} of term {one.name!r}.")
    return k, 0 if column is None else one.columns.index(column)


def spectrum(cross: CrossProducts, k: int, j: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the positive eigenvalues of Z'P₀Z and of Z'Z, for the columns Z of column j of term k.

    Z'Z is diagonal for a grouping factor, and P₀ takes away rank p. Within levels of the same Z'Z only as many
    directions as there are fixed effects see them: the dense problem has (different values) times p of them.
    """
    shape, part = cross.shapes[k], cross.relative_factor.effect_slices[k]
    B = cross.ZX[part].reshape(shape.n_levels, shape.n_columns, -1)[:, j]
    half = np.linalg.cholesky(np.linalg.inv(cross.XX)) if B.shape[1] else np.zeros((0, 0))
    B = B @ half
    block = cross.diagonal[k]
    if not isinstance(block, np.ndarray):
        gram = block.toarray()
        mu, xi = np.linalg.eigvalsh(gram - B @ B.T), np.linalg.eigvalsh(gram)
        return _positive(mu, xi[-1]), _positive(xi, xi[-1])
    sizes = block[:, j, j]
    unseen, seen_sizes, seen_rows = [], [], []
    for size in np.unique(sizes):
        mine = B[sizes == size]
        seen = triangle(mine) if len(mine) > mine.shape[1] else mine
        seen_sizes.append(np.full(len(seen), size))
        unseen.append(np.full(len(mine) - len(seen), size))
        seen_rows.append(seen)
    diagonal, rows = np.concatenate(seen_sizes), np.vstack(seen_rows)
    if diagonal.size > MOST:
        raise DataError(
            f"The exact test needs the {diagonal.size:,} eigenvalues of a dense matrix, more than {MOST:,}. "
            "With so many levels the chi-squared mixture of ranova (p.boundary) is accurate."
        )
    mu = np.linalg.eigvalsh(np.diag(diagonal) - rows @ rows.T)
    return _positive(np.concatenate([mu, *unseen]), sizes.max()), _positive(sizes, sizes.max())


def _positive(values: np.ndarray, largest: float) -> np.ndarray:
    """Return the eigenvalues that are not zero, next to the largest of Z'Z."""
    return values[values > ZERO * largest]


def simulate(
    mu: np.ndarray,
    xi: np.ndarray,
    df: int,
    weight: float,
    n_simulations: int,
    rng: int | np.random.Generator | None = None,
) -> np.ndarray:
    """Return draws of sup_λ weight log(1 + N/D) - Σ log(1 + λξ_s), (n_simulations,).

    Parameters
    ----------
    mu, xi : ndarray (r,)
    df : int
        n - p, the number of w_s.
    weight : int
        n - p for the restricted likelihood, n for the likelihood.
    rng : int or numpy.random.Generator, optional
    """
    if not mu.size:  # Z in the span of X
        return np.zeros(n_simulations)
    rng = np.random.default_rng(rng)
    unit = mu.max()
    mu, counts = np.unique(np.round(mu / unit, DIGITS), return_counts=True)
    grid = np.geomspace(LOWEST, HIGHEST / mu[0], GRID)  # λ in units of the largest eigenvalue
    shrunk = 1.0 / (1.0 + np.outer(mu, grid))
    penalty = np.log1p(np.outer(grid, xi / unit)).sum(axis=1)
    sample = np.empty(n_simulations)
    for part in np.array_split(sample, max(1, n_simulations * max(mu.size, GRID) // CHUNK)):
        squares = rng.chisquare(counts, (part.size, mu.size))
        rest = rng.chisquare(df - counts.sum(), (part.size, 1)) if df > counts.sum() else 0.0
        total = squares.sum(axis=1, keepdims=True) + rest
        part[:] = _highest(weight * np.log(total / (squares @ shrunk + rest)) - penalty)
    return sample


def _highest(curves: np.ndarray) -> np.ndarray:
    """Return the maximum of each row and zero, by a parabola through the highest point and its neighbours."""
    at = np.clip(curves.argmax(axis=1), 1, curves.shape[1] - 2)
    rows = np.arange(len(curves))
    left, middle, right = (curves[rows, at + step] for step in (-1, 0, 1))
    bend = 2.0 * middle - left - right
    vertex = middle + np.divide((right - left) ** 2, 8.0 * bend, out=np.zeros_like(bend), where=bend > 0)
    inside = (middle >= left) & (middle >= right)
    return np.maximum(np.where(inside, vertex, np.maximum(left, right)), 0.0)
