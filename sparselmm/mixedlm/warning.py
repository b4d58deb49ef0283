"""Warnings of the classical interface: statsmodels' classes where it can be imported, the package's in any case."""

from __future__ import annotations

import warnings
from functools import cache

from ..caller import warn
from ..errors import ConvergenceWarning


class SingularMatrixWarning(UserWarning):
    """A covariance matrix of random effects is singular."""


class ValueWarning(UserWarning):
    """An argument has no effect."""


@cache
def _category(own: type[Warning]) -> type[Warning]:
    """Return a warning class that filters of this package and of statsmodels both know."""
    try:
        with warnings.catch_warnings():  # statsmodels puts filters of its own before the user's
            from statsmodels.tools import sm_exceptions
    except ImportError:
        return own
    return type(own.__name__, (own, getattr(sm_exceptions, own.__name__)), {"__module__": own.__module__})


def warn_convergence(message: str) -> None:
    """Warn that a fit did not converge, or converged to the boundary."""
    warn(message, _category(ConvergenceWarning))


def warn_singular() -> None:
    """Warn of a singular covariance."""
    warn("The random effects covariance matrix is singular.", _category(SingularMatrixWarning))


def warn_ignored(message: str) -> None:
    """Warn of an argument without effect."""
    warn(message, _category(ValueWarning))
