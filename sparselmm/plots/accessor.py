"""`fit.plot`: the plots of a fit as methods."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, TypeVar

import pandas as pd

from .. import plots
from ..habits import no_attribute
from .canvas import choose

if TYPE_CHECKING:
    from ..results import LinearMixedModelResults

P = ParamSpec("P")
R = TypeVar("R")
KINDS = tuple(name for name in plots.__all__ if not name.endswith("_data"))


def _method(draw: Callable[Concatenate[LinearMixedModelResults, P], R]) -> Callable[Concatenate[Plots, P], R]:
    """Return a function of a fit as a method of its plots."""

    @wraps(draw)
    def method(self: Plots, /, *args: P.args, **options: P.kwargs) -> R:
        return draw(self._fit, *args, **options)

    return method


class Plots:
    """The plots of one fit, a method for each kind with the arguments of the function in `sparselmm.plots`.

    Called itself, it draws the residual panel. A plot takes the axes it is drawn on (``ax=``, a panel ``axes=``) and
    returns them.

    Parameters
    ----------
    fit : LinearMixedModelResults
    """

    def __init__(self, fit: LinearMixedModelResults) -> None:
        self._fit = fit

    caterpillar = _method(plots.caterpillar)
    coefficients = _method(plots.coefficients)
    influence = _method(plots.influence)
    level_lines = _method(plots.level_lines)
    predictions = _method(plots.predictions)
    profile = _method(plots.profile)
    profile_density = _method(plots.profile_density)
    profile_pairs = _method(plots.profile_pairs)
    qq = _method(plots.qq)
    residual_panel = _method(plots.residual_panel)
    residuals = _method(plots.residuals)
    residuals_by_group = _method(plots.residuals_by_group)
    scale_location = _method(plots.scale_location)
    shrinkage = _method(plots.shrinkage)
    trace = _method(plots.trace)

    @wraps(plots.residual_panel)
    def __call__(self, *args: Any, **options: Any) -> Any:
        if args and isinstance(args[0], str) and args[0] in KINDS:
            raise ValueError(f"fit.plot() draws the panel of residuals. Use fit.plot.{args[0]}().")
        return self.residual_panel(*args, **options)

    def data(self, kind: str, *args: Any, **options: Any) -> pd.DataFrame:
        """Return the table that a kind of plot draws, from the arguments of that plot but the axes."""
        return getattr(plots, f"{choose(KINDS, kind, 'kind')}_data")(self._fit, *args, **options)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(no_attribute("fit.plot", name, {}, KINDS))

    def __repr__(self) -> str:
        return f"<Plots of {self._fit!r}: {', '.join(KINDS)}>"
