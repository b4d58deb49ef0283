"""Searches for the lowest deviance, each from one start by one optimiser, bounded in evaluations and time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..engines.choose import choose, nothing_to_iterate
from ..errors import DataError, EngineError
from ..optimize import MAX_EVALUATIONS, TOLERANCE, minimize
from ..polish import Search
from ..progress import SILENT
from ..start import moment_start

if TYPE_CHECKING:
    from ..likelihood import Evaluation, ProfiledLikelihood
    from ..results import LinearMixedModelResults

DENSE_ROWS = 1_000  # up to which the classical dense computation takes seconds
SMALL, LARGE = 0.05, 10.0  # diagonals of λ_k of starts, in their natural size
MOST = 10**9  # SciPy's own limits: `Counted` has those that hold
OPTIMIZERS = {  # SciPy's name, whether it takes the gradient, when it is done
    "lbfgsb": ("L-BFGS-B", True, {"ftol": 1e-15, "gtol": 1e-8, "maxiter": MOST, "maxfun": MOST}),
    "nelder-mead": (
        "Nelder-Mead",
        False,
        {"xatol": 1e-7, "fatol": 1e-9, "adaptive": True, "maxiter": MOST, "maxfev": MOST},
    ),
    "powell": ("Powell", False, {"xtol": 1e-7, "ftol": 1e-12, "maxiter": MOST, "maxfev": MOST}),
}


@dataclass(frozen=True, eq=False)
class Outcome:
    """Where a search ended.

    Attributes
    ----------
    optimizer, start, engine : str
    theta : ndarray (m,) or None
        None if the likelihood could not be computed anywhere.
    evaluations : int
    seconds : float
    note : str
        Why it stopped, if before its own criterion held.
    """

    optimizer: str
    start: str
    engine: str
    theta: np.ndarray | None
    evaluations: int
    seconds: float
    note: str = ""


class OutOfBudgetError(Exception):
    """A search that has had its evaluations or its time."""


class Counted:
    """The deviance as a function of θ over its natural size: counted, the best point kept, stopped at a limit.

    Parameters
    ----------
    likelihood : ProfiledLikelihood
    max_evaluations : int
    seconds : float
    """

    def __init__(self, likelihood: ProfiledLikelihood, max_evaluations: int, seconds: float):
        self.likelihood, self.scale = likelihood, likelihood.theta_scale
        self.left, self.deadline = max_evaluations, time.perf_counter() + seconds
        self.evaluations = 0
        self.best: Evaluation | None = None

    def evaluate(self, x: np.ndarray) -> Evaluation | None:
        """Return the Evaluation, None where the likelihood cannot be computed."""
        if self.evaluations >= self.left or time.perf_counter() > self.deadline:
            raise OutOfBudgetError
        self.evaluations += 1
        try:
            at = self.likelihood.evaluate(np.asarray(x) * self.scale)
        except (DataError, EngineError):
            return None
        if self.best is None or at.deviance < self.best.deviance:
            self.best = at
        return at

    def value(self, x: np.ndarray) -> float:
        """Return the deviance, very large where it cannot be computed."""
        at = self.evaluate(x)
        return 1e100 if at is None else at.deviance

    def with_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the deviance and its gradient."""
        at = self.evaluate(x)
        if at is None:
            return 1e100, np.zeros(len(x))
        return at.deviance, self.likelihood.derivatives(at).gradient * self.scale


def starts(fit: LinearMixedModelResults, count: int, rng: int | np.random.Generator) -> dict[str, np.ndarray]:
    """Return the starts of the searches by name, each θ (m,)."""
    map_, scale = fit.likelihood.map, fit.likelihood.theta_scale
    identity = map_.pack([np.eye(shape.n_columns) for shape in map_.shapes])
    found = {"moments": moment_start(fit.model.cross), "one": identity}
    found |= {"small": SMALL * identity * scale, "large": LARGE * identity * scale}
    generator = np.random.default_rng(rng)
    for i in range(count):
        found[f"random {i + 1}"] = map_.canonical(generator.standard_normal(scale.size) * scale)
    return found


def by_newton(fit: LinearMixedModelResults, name: str, start: np.ndarray, max_evaluations: int) -> Outcome:
    """Return where the package's own optimiser ends."""
    likelihood = fit._same_likelihood()
    record, at = minimize(likelihood, start, likelihood.theta_scale, max_evaluations=max_evaluations)
    note = "" if record.converged else "not certified"
    return Outcome("newton", name, fit._engine, at.theta, record.evaluations, record.seconds, note)


def by_scipy(
    fit: LinearMixedModelResults, optimizer: str, name: str, start: np.ndarray, max_evaluations: int, seconds: float
) -> Outcome:
    """Return where an optimiser of SciPy's ends."""
    from scipy.optimize import minimize as scipy_minimize  # 100 ms that importing the package need not take

    begin, likelihood = time.perf_counter(), fit._same_likelihood()
    function, (method, by_gradient, options) = Counted(likelihood, max_evaluations, seconds), OPTIMIZERS[optimizer]
    on_diagonal = likelihood.map.pack([np.eye(shape.n_columns) for shape in likelihood.map.shapes]) > 0
    objective = function.with_gradient if by_gradient else function.value
    problem = {"jac": by_gradient or None, "bounds": [(0.0 if on else -np.inf, np.inf) for on in on_diagonal]}
    try:
        scipy_minimize(objective, start / function.scale, method=method, options=options, **problem)
        note = ""
    except OutOfBudgetError:
        note = "stopped at its limit"
    spent = time.perf_counter() - begin
    theta = None if function.best is None else function.best.theta
    return Outcome(optimizer, name, fit._engine, theta, function.evaluations, spent, note)


def by_engine(fit: LinearMixedModelResults, engine: str) -> Outcome:
    """Return where the fit by another engine ends."""
    begin, model = time.perf_counter(), fit.model
    choice = choose(model.cross, engine, None, model.terms, model.weights)
    search = Search(choice, model.cross, fit.reml, 0, TOLERANCE, MAX_EVALUATIONS, SILENT)
    _, record, at = search.run(moment_start(model.cross))
    note, spent = "" if record.converged else "not certified", time.perf_counter() - begin
    return Outcome("newton", "moments", engine, at.theta, record.evaluations, spent, note)


def other_engines(fit: LinearMixedModelResults) -> list[str]:
    """Return the engines besides that of the fit that can take this model in reasonable time."""
    dense = fit.model.keeps_rows and fit.nobs <= DENSE_ROWS
    iterative = not nothing_to_iterate(fit.model.cross)
    other = "polish" if fit._engine == "cholmod" else "cholmod"
    return [*(["dense"] if dense else []), *([other] if iterative else [])]
