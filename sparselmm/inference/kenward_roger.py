"""Kenward & Roger (1997): covariance of the fixed effects corrected for small samples, and the F tests that go with it.

The variance parameters are those in which V is linear, the entries of σ²λ_kλ_k' and σ², so that the correction needs
no second derivatives of V (Halekoh & Højsgaard 2014). All is in units of σ² and in columns with X'V⁻¹X = I.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..traces import MOST_WORK, Reduced
from .variance import pseudo_inverse, rounding, variance_ratios
from .wald import MomentTests, relative_gradients, wald

if TYPE_CHECKING:
    from ..likelihood import Evaluation, ProfiledLikelihood

FLAT = 1e-10  # eigenvalue of the information, its diagonal one, below which parameters are not told apart
FIRST, MOST = 32, 2048  # probes to start with, and at most
ERROR = 0.01  # relative standard error that the probes may leave in degrees of freedom
SEED = 0  # of the probes where the user gives no generator


class KenwardRoger(MomentTests):
    """Tests with Kenward and Roger's covariance, degrees of freedom and scaled F: equations (D4)-(D13).

    Parameters
    ----------
    likelihood : ProfiledLikelihood
        The restricted one.
    at : Evaluation
        At its optimum.
    rows : ndarray (r, p)
        Contrasts in the pilot basis whose degrees of freedom decide how many probes are enough.
    rng : int or numpy.random.Generator, optional
        Of the probes.

    Attributes
    ----------
    probes : int
        Probes taken; 0 if the traces are exact.
    monte_carlo_error : float
        Largest relative standard error that they leave in the degrees of freedom of `rows`.
    """

    def __init__(
        self,
        likelihood: ProfiledLikelihood,
        at: Evaluation,
        rows: np.ndarray,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        reduced = Reduced(likelihood, at)
        linear = _Linear(reduced)
        self.half, self.gradients = np.sqrt(at.scale) * reduced.half, linear.P
        self.probes = 0
        if reduced.work <= MOST_WORK:
            self.spread = linear.spread(linear.traces(reduced.pair_grams()))
        else:
            self._probe(reduced, linear, rows, np.random.default_rng(SEED if rng is None else rng))
        self.covariance = self.half @ linear.corrected(self.spread) @ self.half.T
        if self.probes:
            self.notes = (
                f"Traces estimated with {self.probes} probes: relative standard error of the degrees of freedom "
                f"{self.monte_carlo_error:.1g}.",
            )

    def _probe(self, reduced: Reduced, linear: _Linear, rows: np.ndarray, rng: np.random.Generator) -> None:
        """Set the spread from probes, doubled until `ERROR` is reached."""
        traces: list[np.ndarray] = []
        while self.probes < MOST:
            grams = reduced.probed_grams(rng, max(FIRST, self.probes))
            traces.extend(linear.traces(gram) for gram in grams)
            self.probes = len(traces)
            T = np.mean(traces, axis=0)
            self.spread = linear.spread(T)
            H = self.half.T @ rows[rows.any(axis=1)].T
            a = relative_gradients(self.gradients, H)
            x = self.spread @ a  # dW = -½ W dT W, so 2/a'Wa changes by ½ x'dT x of itself / a'Wa
            change = 0.5 * np.einsum("sr,nst,tr->nr", x, traces - T, x, optimize=True) / (a * x).sum(axis=0)
            self.monte_carlo_error = float((change.std(axis=0, ddof=1) / np.sqrt(self.probes)).max(initial=0.0))
            if self.monte_carlo_error < ERROR:
                return

    def joint(self, rows: np.ndarray, difference: np.ndarray) -> tuple[float, int, float]:
        """Return the scaled F, its rank and its denominator; NaN where no F distribution has the moments."""
        statistic, rank = wald(rows, self.covariance, difference)
        if not rank:
            return np.nan, 0, np.nan
        H = self.half.T @ rows.T
        size = np.linalg.norm(H, axis=0)
        Q = np.linalg.svd(H[:, size > 0] / size[size > 0], full_matrices=False)[0][:, :rank]
        scaling, df = scaled_f(Q.T @ self.gradients @ Q, self.spread)
        return (scaling * statistic / rank, rank, df) if scaling > 0 and df > 0 else (np.nan, rank, np.nan)


def scaled_f(P: np.ndarray, W: np.ndarray) -> tuple[float, float]:
    """Return the factor of F and its denominator, equation (D13), for P_r (s, q, q) on the hypotheses' space.

    Where a numerator and its denominator vanish together, or the denominator is close to 2, the guards are pbkrtest's.
    """
    q = P.shape[1]
    if q == 1:  # (D13) is this
        return 1.0, 2.0 / float(P[:, 0, 0] @ W @ P[:, 0, 0])
    traces = np.einsum("rxx->r", P)
    A1 = traces @ W @ traces
    A2 = np.einsum("rs,rxy,syx->", W, P, P, optimize=True)
    B = (A1 + 6.0 * A2) / (2.0 * q)
    g = ((q + 1.0) * A1 - (q + 4.0) * A2) / ((q + 2.0) * A2)
    c1, c2, c3 = np.array([g, q - g, q + 2.0 - g]) / (3.0 * q + 2.0 * (1.0 - g))
    V0, V1, V2 = 1.0 + c1 * B, 1.0 - c2 * B, 1.0 - c3 * B
    V0 = 0.0 if abs(V0) < 1e-10 else V0
    ratio = 1.0 if max(abs(1.0 - A2 / q), abs(V1)) < 1e-14 else (1.0 - A2 / q) / V1
    with np.errstate(divide="ignore"):
        df = 4.0 + (q + 2.0) / (ratio**2 * V0 / V2 - 1.0)
    if abs(df - 2.0) < 1e-2:
        return 1.0, df
    return (1.0 - A2 / q) / (1.0 - 2.0 / df), df


class _Linear:
    """Products and traces for the parameters in which V is linear: σ² first, then the entries of σ²λ_kλ_k'.

    Those of σ² follow from V⁻¹V = I, equations (D9) and (D10).
    """

    def __init__(self, reduced: Reduced) -> None:
        self.cross, self.contract, self.basis = reduced.cross, reduced.contract, reduced.basis
        tau = self.tau = reduced.map.pack([factor @ factor.T for factor in reduced.factors])
        self.rounding = rounding(np.append(0.0, variance_ratios(reduced.cross, reduced.factors)))
        p, m = len(reduced.half), tau.size
        self.P, self.Q = np.empty((m + 1, p, p)), np.empty((m + 1, m + 1, p, p))
        self.P[1:] = -reduced.fixed_gram(self.basis)
        self.P[0] = -np.eye(p) - np.tensordot(tau, self.P[1:], 1)
        self.Q[1:, 1:] = reduced.fixed_pairs(self.basis)
        self.Q[1:, 0] = -self.P[1:] - np.tensordot(self.Q[1:, 1:], tau, (1, 0))
        self.Q[0, 1:] = self.Q[1:, 0].transpose(0, 2, 1)
        self.Q[0, 0] = -self.P[0] - np.tensordot(tau, self.Q[0, 1:], 1)
        self.once = reduced.single_traces(self.basis)  # tr(V⁻¹G_r)

    def traces(self, grams: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
        """Return tr(V⁻¹G_rV⁻¹G_s), (m+1, m+1), from `Reduced.pair_grams`."""
        T = np.empty((self.tau.size + 1, self.tau.size + 1))
        T[1:, 1:] = self.contract(self.basis, grams)
        T[1:, 0] = T[0, 1:] = self.once - T[1:, 1:] @ self.tau
        T[0, 0] = self.cross.nobs - self.tau @ (self.once + T[0, 1:])
        return T

    def spread(self, T: np.ndarray) -> np.ndarray:
        """Return the covariance W of the parameters' estimates from the expected information, (m+1, m+1)."""
        information = T - 2.0 * np.einsum("rsxx->rs", self.Q) + np.einsum("rxy,sxy->rs", self.P, self.P)
        return 2.0 * pseudo_inverse(information, self.rounding * np.diag(T) / FLAT, FLAT)[0]

    def corrected(self, W: np.ndarray) -> np.ndarray:
        """Return Kenward and Roger's covariance where (X'V⁻¹X)⁻¹ is I, (p, p)."""
        correction = np.einsum("rs,rsxy->xy", W, self.Q, optimize=True)
        correction -= np.einsum("rxz,rzy->xy", self.P, np.tensordot(W, self.P, 1), optimize=True)
        return np.eye(len(correction)) + correction + correction.T
