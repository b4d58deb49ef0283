"""scipy's optimisers by their classical names, on the penalised likelihood in packed parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .penalized import unpack_roots
from .warning import warn_convergence

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from .penalized import PenalizedLikelihood

METHODS = {
    "bfgs": "BFGS",
    "lbfgs": "L-BFGS-B",
    "cg": "CG",
    "powell": "Powell",
    "nm": "Nelder-Mead",
    "basinhopping": "basinhopping",
}
DEFAULT = ("bfgs", "lbfgs", "cg")
OPTIONS = {
    "BFGS": {"gtol": 1e-6},
    "CG": {"gtol": 1e-6},
    "L-BFGS-B": {"gtol": 1e-6, "ftol": 1e-13, "maxcor": 20, "eps": 1e-8, "maxls": 40},
    "Powell": {"ftol": 1e-10},
    "Nelder-Mead": {},
}
GRADIENT = 1e-5  # of the mean log-likelihood in scaled parameters: a method that stops below it has converged


@dataclass(frozen=True, eq=False)
class Outcome:
    """Where a maximisation ended.

    Attributes
    ----------
    factors : list of ndarray
        The λ_k.
    beta : ndarray or None
        Fixed effects, None for the best ones.
    """

    factors: list[np.ndarray]
    beta: np.ndarray | None
    converged: bool
    message: str
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class PackedObjective:
    """The negative penalised log-likelihood per observation in scaled, free, packed parameters.

    Attributes
    ----------
    penalized : PenalizedLikelihood
    use_sqrt : bool
    k_fe : int
        Fixed effects at the front of the packed vector; 0 if the best ones are taken.
    start, scale : ndarray
        The packed vector at zero, and its natural units.
    free : ndarray of bool
    """

    penalized: PenalizedLikelihood
    use_sqrt: bool
    k_fe: int
    start: np.ndarray
    scale: np.ndarray
    free: np.ndarray

    def packed(self, x: np.ndarray) -> np.ndarray:
        """Return the packed vector of scaled free parameters."""
        packed = self.start.copy()
        packed[self.free] += self.scale[self.free] * x
        return packed

    def parts(self, x: np.ndarray) -> tuple[np.ndarray | None, list[np.ndarray] | None]:
        """Return β (None if it is profiled out) and the λ_k."""
        packed = self.packed(x)
        beta = packed[: self.k_fe] if self.k_fe else None
        return beta, unpack_roots(packed[self.k_fe :], self.penalized.k_re, self.use_sqrt)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the objective and its gradient."""
        beta, factors = self.parts(x)
        penalized, n = self.penalized, self.penalized.likelihood.cross.nobs
        point = penalized.point(factors, beta)
        if factors is None or point is None:
            return np.inf, np.zeros_like(x)
        value = penalized.value(point, factors, beta)
        if not np.isfinite(value):
            return np.inf, np.zeros_like(x)
        score = penalized.packed_score(point, factors, self.use_sqrt, beta)
        if self.k_fe:
            score = np.concatenate([penalized.fixed_score(point, beta), score])
        return -value / n, -(score * self.scale)[self.free] / n


def climb(objective: PackedObjective, methods: Sequence[str], options: Mapping[str, Any]) -> Outcome:
    """Return the maximum that the first converging method of a list reaches; each starts where the last one ended."""
    x, history = np.zeros(int(objective.free.sum())), []
    for number, name in enumerate(methods):
        result, vectors = _run(objective, x, METHODS[name], options)
        if np.isfinite(result.fun):
            x = np.atleast_1d(result.x)
        slope = np.abs(objective(x)[1]).max(initial=0.0)
        converged = bool(result.success or slope < GRADIENT)
        history.append(
            {
                "method": name,
                "converged": converged,
                "fopt": float(result.fun),
                "fcalls": int(result.nfev),
                "allvecs": [objective.packed(vector) for vector in vectors],
            }
        )
        if options.get("disp"):
            print(f"{name}: {result.message}, -log-likelihood per observation {result.fun:.6f}, {result.nfev} calls")
        if converged:
            break
        if number + 1 < len(methods):
            warn_convergence(f"Retrying MixedLM optimization with {methods[number + 1]}")
    beta, factors = objective.parts(x)
    assert factors is not None, "the start has a likelihood, and every step stays where there is one"
    message = f"Gradient optimization failed, |grad| = {slope:f}" if not converged else "Converged."
    return Outcome(factors, beta, converged, message, history)


def _run(
    objective: PackedObjective, x: np.ndarray, method: str, options: Mapping[str, Any]
) -> tuple[OptimizeResult, list[np.ndarray]]:
    """Return scipy's result of one method and the vectors it passed."""
    from scipy import optimize

    vectors = [x]
    given = {name: value for name, value in options.items() if name not in ("disp", "tol")}
    if method == "basinhopping":
        inner = {"method": "L-BFGS-B", "jac": True, "options": OPTIONS["L-BFGS-B"]}
        result = optimize.basinhopping(objective, x, niter=given.get("maxiter", 10), minimizer_kwargs=inner, rng=0)
        result.success = result.lowest_optimization_result.success
        return result, [*vectors, result.x]
    known = OPTIONS[method] | {name: given[name] for name in given if name in OPTIONS[method] or name == "maxiter"}
    gradient = method not in ("Powell", "Nelder-Mead")
    function = objective if gradient else lambda x: objective(x)[0]
    result = optimize.minimize(
        function, x, method=method, jac=gradient, tol=options.get("tol"), options=known, callback=vectors.append
    )
    return result, vectors
