"""Warnings of the classical interface: statsmodels' classes where it can be imported, the package's in any case."""

from __future__ import annotations

import warnings
from functools import cache

from ..errors import ConvergenceWarning


class SingularMatrixWarning(UserWarning):
    """A covariance matrix of random effects is singular."""


class ValueWarning(UserWarning):
    """An argument has no effect."""


@cache
def _category(own):
    """Return a warning class that filters of this package and of statsmodels both know."""
    try:
        from statsmodels.tools import sm_exceptions
    except ImportError:
        return own
    return type(own.__name__, (own, getattr(sm_exceptions, own.__name__)), {"__module__": own.__module__})


def warn_convergence(message):
    """Warn that a fit did not converge, or converged to the boundary."""
    _warn(message, ConvergenceWarning)


def warn_singular():
    """Warn of a singular covariance."""
    _warn("The random effects covariance matrix is singular.", SingularMatrixWarning)


def warn_ignored(message):
    """Warn of an argument without effect."""
    _warn(message, ValueWarning)


def _warn(message, own):
    """Warn in the name of the code that called into the package."""
    warnings.warn(message, _category(own), stacklevel=5)
