"""Tests of the fixed effects for many responses on one design: p-values, a row for each response.

Satterthwaite's degrees of freedom come from the same equations as for one fit, (D1)-(D3), with a leading axis of
responses where Φ = Z'V⁻¹Z is small; Kenward and Roger's, and those of large designs, one response after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.special import chdtrc

from ..comparison.anova import constrained
from ..errors import DataError, EngineError
from ..inference.distributions import f_tail
from ..inference.kenward_roger import KenwardRoger
from ..inference.satterthwaite import FLAT, Satterthwaite
from ..inference.variance import pseudo_inverse, rounding, variance_ratios
from ..inference.wald import ConstantTests
from ..likelihood import ProfiledLikelihood
from ..resampling.absorption import Absorbed
from ..resampling.batched import BatchedLikelihood, Points, cores, t
from ..resampling.refits import Estimates, estimate
from ..resampling.responses import Responses
from ..traces import inverse_root
from .hypotheses import Hypothesis
from .truth import Truth

Tests = ConstantTests | Satterthwaite | KenwardRoger
MOST = 500  # random effects up to which all of Φ at once, for many responses, is the faster way
NUMBERS = 250_000  # of Φ that a chunk of responses holds: few enough for the caches


def wald_tests(
    truth: Truth, responses: Responses, found: Estimates, hypotheses: Sequence[Hypothesis], test: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return standard errors (NaN for joint hypotheses) and p-values, (k, h) each; NaN where a refit has none.

    Parameters
    ----------
    test : {"satterthwaite", "kenward-roger", "z"}
    """
    k, basis = len(responses), truth.model.cross.basis
    error, statistic, df = (np.full((k, len(hypotheses)), np.nan) for _ in range(3))
    numerator = np.array([np.linalg.matrix_rank(one.L @ basis) for one in hypotheses])
    rows = [one.L @ basis for one in hypotheses]
    single = [h for h, one in enumerate(hypotheses) if one.is_single]
    joint = [h for h, one in enumerate(hypotheses) if not one.is_single]
    singles = np.concatenate([np.empty((0, len(basis))), *(rows[h] for h in single)])
    for i, tests in _tests(truth, responses, found, test):
        variance = np.einsum("ra,ab,rb->r", singles, tests.covariance, singles)
        error[i, single] = np.sqrt(np.where(variance > 0, variance, np.nan))
        df[i, single] = tests.degrees(singles)
        for h in joint:
            difference = hypotheses[h].L @ found.beta[i] - hypotheses[h].values
            statistic[i, h], _, df[i, h] = tests.joint(rows[h], difference)
    for h in single:
        one = hypotheses[h]
        statistic[:, h] = ((found.beta @ one.L[0] - one.values[0]) / error[:, h]) ** 2
    return error, f_tail(statistic, numerator, df)


def likelihood_ratios(truth: Truth, Y: np.ndarray, found: Estimates, hypotheses: Sequence[Hypothesis]) -> np.ndarray:
    """Return the p-values (k, h) of likelihood ratio tests of responses Y (n, k), chi-squared.

    `found` are the estimates by maximum likelihood.
    """
    p_values = []
    for one in hypotheses:
        smaller = Truth(constrained(truth.model, one.L), False, np.empty(0), truth.cov_re, truth.scale)
        reduced = estimate(smaller, Responses.from_rows(smaller.model, Y))
        rank = truth.model.cross.n_fixed - smaller.model.cross.n_fixed
        p_values.append(chdtrc(rank, np.maximum(reduced.deviance - found.deviance, 0.0)))
    return np.column_stack(p_values)


def _tests(truth: Truth, responses: Responses, found: Estimates, test: str) -> Iterator[tuple[int, Tests]]:
    """Yield the number of every response that has estimates, and the tests of its fixed effects."""
    known = np.flatnonzero(np.isfinite(found.deviance))
    cross = truth.model.cross
    if test == "kenward-roger" or cross.n_effects > MOST or not BatchedLikelihood.suits(cross):
        yield from _one_by_one(truth, responses, found, test, known)
        return
    batch, width = _Batch(truth), max(1, NUMBERS // cross.n_effects**2)
    parts = [known[start : start + width] for start in range(0, known.size, width)]

    def tests_of(part: np.ndarray) -> list[Tests] | None:
        try:
            return batch.tests(responses.take(part), found.theta[part], test)
        except np.linalg.LinAlgError:  # of one of them
            return None

    with ThreadPoolExecutor(cores()) as pool:  # NumPy's loops over stacks let other threads run
        for part, tests in zip(parts, pool.map(tests_of, parts), strict=True):
            if tests is None:
                yield from _one_by_one(truth, responses, found, test, part)
            else:
                yield from zip(part, tests, strict=True)


def _one_by_one(
    truth: Truth, responses: Responses, found: Estimates, test: str, known: np.ndarray
) -> Iterator[tuple[int, Tests]]:
    """Yield the tests of responses, each from a likelihood of its own."""
    basis = truth.model.cross.basis
    for i in known:
        likelihood = ProfiledLikelihood(responses.cross_of(i), truth.reml, truth._refit_engine)
        try:
            at = likelihood.evaluate(found.theta[i])
            if test == "kenward-roger":
                yield i, KenwardRoger(likelihood, at, basis)
            elif test == "satterthwaite":
                yield i, Satterthwaite(likelihood, at)
            else:
                half = np.sqrt(at.scale) * inverse_root(at)
                yield i, ConstantTests(half @ half.T, np.inf)
        except (DataError, EngineError):
            continue


class _Moments(Satterthwaite):
    """Satterthwaite's tests from what the batch computed."""

    def __init__(self, half: np.ndarray, gradients: np.ndarray, spread: np.ndarray):
        self.half, self.gradients, self.spread = half, gradients, spread
        self.covariance = half @ half.T


class _Batch:
    """Tests of the responses on one design, each at its own θ.

    Vectors of length q are in the order of `DenseGram.order`.
    """

    def __init__(self, truth: Truth):
        cross = truth.model.cross
        self.cross, self.likelihood = cross, BatchedLikelihood(cross, truth.reml)
        self.theta_scale = ProfiledLikelihood(cross, truth.reml, truth._refit_engine).theta_scale
        self.ZX = self.likelihood.ZX
        self.S = self.likelihood.gram.dot(np.eye(cross.n_effects)[None])

    def tests(self, responses: Responses, theta: np.ndarray, test: str) -> list[Tests]:
        """Return the tests of every response at its θ (k, m)."""
        points = self.likelihood.evaluate(theta, responses)
        factors = self.likelihood.unpack(theta)
        M = Absorbed(self.likelihood.gram, factors)
        E, rest = M.reduce(self.ZX)
        root = t(np.linalg.inv(np.linalg.cholesky(self.cross.XX - t(E) @ E)))  # R⁻¹
        half = np.sqrt(points.scale)[:, None, None] * root
        if test == "z":
            return [ConstantTests(one @ one.T, np.inf) for one in half]
        FR = M.marginal(self.ZX, E, rest) @ root
        information = self._information(responses, points, factors, M, FR)
        k, p = len(points.scale), len(self.cross.basis)
        in_theta = [self._fixed_gram(FR, term, D) for term, D in enumerate(self._directions(factors))]
        gradients = np.concatenate([*in_theta, np.broadcast_to(np.eye(p), (k, 1, p, p))], axis=1)
        return [_Moments(*parts) for parts in zip(half, gradients, self._spreads(factors, information), strict=True)]

    def _information(
        self, responses: Responses, points: Points, factors: list[np.ndarray], M: Absorbed, FR: np.ndarray
    ) -> np.ndarray:
        """Return the observed information of (θ, log σ²), (k, m+1, m+1): see `inference.variance.information`."""
        likelihood, N = self.likelihood, self.likelihood.n_effective
        Zy = responses.Zy[:, likelihood.gram.order, None]
        w = M.marginal(Zy, *M.reduce(Zy)) - M.marginal(self.ZX, *M.reduce(self.ZX)) @ points.beta[:, :, None]
        Phi = M.marginal(self.S, *M.reduce(self.S))  # Z'V⁻¹Z
        Psi = Phi - FR @ t(FR)  # Z'PZ
        V, _ = likelihood._directions(factors, w, points.A)
        scale = points.scale[:, None, None]
        average = t(V) @ Psi @ V / scale
        hessian = points.hessian + average - self._traces(Psi if likelihood.reml else Phi, factors)  # (10)
        mixed = t(V) @ w / scale  # of the deviance in θ and log σ²
        below = np.concatenate([t(mixed), np.full((len(w), 1, 1), float(N))], axis=2)
        right = np.concatenate([hessian + mixed @ t(mixed) / N, mixed], axis=2)
        whole = np.concatenate([right, below], axis=1)
        return 0.25 * (whole + t(whole))

    def _directions(self, factors: list[np.ndarray]) -> list[np.ndarray]:
        """Return the D_p = E_ijλ' + λE_ij' of every term, (k, m_k, c, c)."""
        matrices = []
        for shape, factor in zip(self.likelihood.map.shapes, factors, strict=True):
            rows, columns = shape.entries
            D = np.zeros((len(factor), rows.size, *factor.shape[1:]))
            D[:, np.arange(rows.size), rows] = factor[:, :, columns].transpose(0, 2, 1)
            matrices.append(D + D.transpose(0, 1, 3, 2))
        return matrices

    def _traces(self, Psi: np.ndarray, factors: list[np.ndarray]) -> np.ndarray:
        """Return tr(QG_pQG_r), (k, m, m), for Ψ = Z'QZ (k, q, q) and the derivatives G_p of V in θ: equation (B7)."""
        map_, parts, D = self.likelihood.map, self.likelihood.gram.parts, self._directions(factors)
        traces = np.empty((len(Psi), map_.n_theta, map_.n_theta))
        for a, one in enumerate(map_.shapes):
            for b, other in enumerate(map_.shapes[: a + 1]):
                c, d = one.n_columns, other.n_columns
                block = Psi[:, parts[a], parts[b]].reshape(len(Psi), one.n_levels, c, other.n_levels, d)
                rows = block.transpose(0, 2, 4, 1, 3).reshape(len(Psi), c * d, -1)
                gram = (rows @ t(rows)).reshape(len(Psi), c, d, c, d)  # Σ Ψ[ja, j'b] Ψ[je, j'f]
                part = np.einsum("kpea,kqbf,kabef->kpq", D[a], D[b], gram, optimize=True)
                traces[:, map_.theta_slices[a], map_.theta_slices[b]] = part
                traces[:, map_.theta_slices[b], map_.theta_slices[a]] = t(part)
        return traces

    def _fixed_gram(self, FR: np.ndarray, term: int, D: np.ndarray) -> np.ndarray:
        """Return R⁻ᵀX'V⁻¹ZD_pZ'V⁻¹XR⁻¹ of one term, (k, m_k, p, p)."""
        shape, p = self.likelihood.map.shapes[term], FR.shape[2]
        part = FR[:, self.likelihood.gram.parts[term]]
        left = part.reshape(len(FR), shape.n_levels, shape.n_columns * p)
        gram = (t(left) @ left).reshape(len(FR), shape.n_columns, p, shape.n_columns, p)
        return np.einsum("krab,kaxby->krxy", D, gram, optimize=True)

    def _spreads(self, factors: list[np.ndarray], information: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the inverse of the information of every response, (m+1, m+1), as `Satterthwaite` takes it."""
        for i, one in enumerate(information):
            ratios = variance_ratios(self.cross, [factor[i] for factor in factors])
            alone = self.cross.nobs / self.theta_scale**2 / (1.0 + ratios)
            yield pseudo_inverse(one, np.append(alone * rounding(ratios), 0.0) / FLAT, FLAT)[0]
