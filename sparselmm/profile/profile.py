"""Profile: the signed-root curves of the parameters of a fit, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from ..export import frame_block
from ..habits import alpha_of
from ..labels import labelled
from ..printout import Printed, Printout
from ..threads import single_threaded
from .parameters import Tracer, natural, parameters, select

if TYPE_CHECKING:
    from ..results import LinearMixedModelResults
    from .interpolation import Curve
    from .parameters import Parameter

DENSITY_POINTS = 201
SHOWN = 0.95  # level of the intervals that are printed


class Profile(Printed):
    """Profile likelihood of a linear mixed model; prints its intervals.

    For each parameter ψ, zeta(ψ) = sign(ψ - ψ̂) √(d(ψ) - d(ψ̂)), where d(ψ) is the least maximum-likelihood deviance
    with ψ held: standard normal in large samples, a straight line where Wald intervals are right.

    Attributes
    ----------
    fit : LinearMixedModelResults
        The maximum-likelihood fit.
    level : float
        Confidence level up to which the curves go.
    labels : list of str
        The parameters: fixed effects by their column, others as ``sd__x|group`` and ``cor__x.z|group``.

    References
    ----------
    Bates, Mächler, Bolker & Walker (2015), Fitting linear mixed-effects models using lme4, J. Stat. Softw. 67(1),
    section 5.1.
    """

    @single_threaded
    def __init__(
        self,
        fit: LinearMixedModelResults,
        which: int | str | Sequence[int | str] | None = None,
        level: float = 0.99,
    ) -> None:
        if not 0.0 < level < 1.0:
            raise ValueError(f"level={level} is not between 0 and 1; level=0.99 allows intervals of up to 99 %.")
        self.fit, self.level = fit, level
        self._all = parameters(fit.model)
        self._wanted = select(self._all, which)
        tracer = Tracer(fit, float(ndtri(0.5 + 0.5 * level)))
        self._paths = [tracer.curve(parameter) for parameter in self._wanted]
        self.labels = [parameter.label for parameter in self._wanted]

    @labelled
    def curves(self) -> pd.DataFrame:
        """The curves, a row for each point: group, term, value, zeta, deviance and all parameters there.

        The parameter that a row is about has its value; the others are at their best given it.
        """
        names = [parameter.label for parameter in self._all]
        tables = []
        for parameter, curve in self._traced():
            table = _table(parameter, value=curve.values, zeta=curve.zeta, deviance=curve.deviance)
            others = pd.DataFrame(curve.parameters, columns=names)
            others[parameter.label] = curve.values
            tables.append(pd.concat([table, others], axis=1))
        return _stacked(tables, ["value", "zeta", "deviance", *names])

    def conf_int(self, alpha: float = 0.05, *, level: float | None = None) -> pd.DataFrame:
        """Return profile-likelihood intervals of level 1 - alpha, or of the level given: columns lower and upper.

        A limit is the boundary (a standard deviation of 0, a correlation of ±1) where the curve does not reach the
        level before it, and NaN where the curve could not be followed or the parameter is not defined.

        Raises
        ------
        ValueError
            If the curves do not go as far as that.
        """
        alpha = alpha_of(alpha, level)
        if 1.0 - alpha > self.level + 1e-12:
            raise ValueError(
                f"alpha={alpha} needs curves up to {1.0 - alpha:g}; these go to {self.level:g}. Profile with "
                f"level={1.0 - alpha:g}."
            )
        z = float(-ndtri(0.5 * alpha))
        limits = [np.full(2, np.nan) if curve is None else curve.limits(z) for curve in self._paths]
        return pd.DataFrame(np.reshape(limits, (-1, 2)), index=self.labels, columns=["lower", "upper"])

    def tidy(self, conf_level: float = 0.95) -> pd.DataFrame:
        """Return effect, group, term, estimate (maximum likelihood), conf.low and conf.high of every parameter."""
        interval = self.conf_int(1.0 - conf_level)
        fit = self.fit
        factors = fit.model.cross.relative_factor.unpack(fit.theta)
        estimates = np.append(fit.beta, natural(fit.model.cross.shapes, factors, fit.scale))
        values = dict(zip(self._all, estimates, strict=True))
        return pd.DataFrame(
            {
                "effect": [parameter.effect for parameter in self._wanted],
                "group": [parameter.group for parameter in self._wanted],
                "term": [parameter.term for parameter in self._wanted],
                "estimate": [values[parameter] for parameter in self._wanted],
                "conf.low": interval["lower"].to_numpy(),
                "conf.high": interval["upper"].to_numpy(),
            }
        )

    def density(self, points: int = DENSITY_POINTS) -> pd.DataFrame:
        """Return the profile density φ(zeta) dzeta/dψ of every parameter: group, term, value, density.

        The distribution for which zeta is standard normal, between the ends of the curve.
        """
        tables = []
        for parameter, curve in self._traced():
            value, density = curve.density(points)
            tables.append(_table(parameter, value=value, density=density))
        return _stacked(tables, ["value", "density"])

    def _traced(self) -> list[tuple[Parameter, Curve]]:
        """Return the parameters that have a curve, and the curves."""
        pairs = zip(self._wanted, self._paths, strict=True)
        return [(parameter, curve) for parameter, curve in pairs if curve is not None]

    @property
    def printout(self) -> Printout:
        """The estimates and their intervals, of 95 % if the curves go as far."""
        level = min(SHOWN, self.level)
        table = self.tidy(level)[["estimate", "conf.low", "conf.high"]].set_axis(self.labels)
        title = f"Profile likelihood: maximum-likelihood estimates and {100 * level:g} % intervals"
        return Printout(title, [frame_block("", table)])


def _table(parameter: Parameter, **columns: Any) -> pd.DataFrame:
    """Return columns about one parameter, after its group and term."""
    size = len(columns["value"])
    about = {"group": np.full(size, parameter.group, dtype=object), "term": np.full(size, parameter.term, dtype=object)}
    return pd.DataFrame(about | columns)


def _stacked(tables: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Return the tables one below the other, or an empty one with those columns."""
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["group", "term", *columns])
