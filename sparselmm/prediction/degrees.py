"""Satterthwaite's degrees of freedom of any prediction: equation (P4) of docs/math/prediction.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..inference.quadratic import ConditionalCovariance
from ..inference.satterthwaite import Satterthwaite
from .variance import relative_variance

if TYPE_CHECKING:
    from .rows import Rows

STEP = 1e-4  # of the natural size of θ in differences


def degrees(K: ConditionalCovariance, rows: Rows, residual: float | np.ndarray) -> np.ndarray:
    """Return 2v²/var(v) of the variance v of every prediction, (n,): 2m evaluations and passes over the rows.

    Parameters
    ----------
    K : ConditionalCovariance
        At the optimum.
    rows : Rows
    residual : float or ndarray (n,)
        What is added to `relative_variance`: one over the weight of a new observation, or zero.
    """
    likelihood, at = K.likelihood, K.at
    relative = np.ones((at.theta.size + 1, len(rows.exog)))  # ∂ log v in (θ, log σ²)
    variance = relative_variance(K, rows) + residual
    for p, size in enumerate(likelihood.theta_scale):
        step = np.zeros(at.theta.size)
        step[p] = STEP * max(size, abs(at.theta[p]))
        moved = (ConditionalCovariance(likelihood, likelihood.evaluate(at.theta + s)) for s in (step, -step))
        ahead, behind = (relative_variance(there, rows) for there in moved)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative[p] = (ahead - behind) / (2.0 * step[p] * variance)
    return 2.0 / np.einsum("pi,pq,qi->i", relative, Satterthwaite(likelihood, at).spread, relative, optimize=True)
