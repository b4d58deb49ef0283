"""FitRecord: what an optimiser did, and how it knows that it is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .montecarlo import MonteCarlo


@dataclass(frozen=True)
class Step:
    """One evaluation of the likelihood."""

    theta: np.ndarray
    deviance: float
    accepted: bool
    radius: float
    gradient_norm: float = np.nan


@dataclass(eq=False, repr=False)
class FitRecord:
    """What the optimiser did and how it knows that it is done.

    Attributes
    ----------
    theta : ndarray (m,)
        The optimum, diagonals of λ_k non-negative.
    deviance : float
        -2 log-likelihood or REML criterion there.
    converged : bool
        True if the certificate holds: small predicted decrease, no direction of negative curvature, and at
        the boundary no variance whose increase would help.
    singular : bool
        True if a λ_k is singular: a variance of zero or a correlation of ±1.
    flat_terms : list of str
        Terms whose variances the data do not tell apart.
    message : str
        One sentence: why the run stopped, and the remedy if it failed.
    gradient_norm, predicted_decrease, smallest_eigenvalue, boundary_derivative : float
        The certificate: gradient norm and smallest Hessian eigenvalue in scaled θ, the decrease a further Newton step
        promises, and the smallest derivative of the deviance in a variance at zero (NaN if none is at zero).
    evaluations : int
        Evaluations of the deviance.
    seconds : float
    engine : str
        Who factored M(θ), and how.
    choice : str
        Why this engine, with the predicted times and memory; empty where there was nothing to choose.
    monte_carlo : MonteCarlo or None
        The Monte-Carlo errors, if the engine is a stochastic one.
    steps : list of Step
        Every θ that was tried.
    """

    theta: np.ndarray
    deviance: float
    converged: bool
    singular: bool
    flat_terms: list[str]
    message: str
    gradient_norm: float
    predicted_decrease: float
    smallest_eigenvalue: float
    boundary_derivative: float
    seconds: float
    engine: str
    start: np.ndarray
    steps: list[Step] = field(repr=False)
    monte_carlo: MonteCarlo | None = None
    choice: str = ""

    @property
    def evaluations(self) -> int:
        """Evaluations of the deviance."""
        return len(self.steps)

    def __repr__(self) -> str:
        lines = [
            "Optimizer: trust-region Newton",
            f"  engine       {self.engine}",
            *([f"  choice       {self.choice}"] if self.choice else []),
            f"  evaluations  {self.evaluations} in {self.seconds:.3g} s",
            f"  deviance     {self.deviance:.6f}",
            f"  certificate  predicted decrease {self.predicted_decrease:.1e}, gradient norm {self.gradient_norm:.1e}, "
            f"smallest eigenvalue {self.smallest_eigenvalue:.2g}",
            f"  {self.message}",
            *([] if self.monte_carlo is None else [f"  {self.monte_carlo}"]),
        ]
        for number, step in enumerate(self.steps):
            verdict = "" if step.accepted else "  rejected"
            lines.append(f"  {number:3d}  deviance {step.deviance:18.8f}  theta {_short(step.theta)}{verdict}")
        return "\n".join(lines)


def _short(theta: np.ndarray, most: int = 8) -> str:
    """Return the first entries of θ as text."""
    text = " ".join(f"{value:.5f}" for value in theta[:most])
    return f"{text} ..." if theta.size > most else text
