"""The parameters of a fit by name, which of them are wanted, and their profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..caller import warn
from ..covariance import correlation, cov_re
from ..errors import ConvergenceWarning
from ..labels import parameter_name, variance_labels
from .curve import ProfileError, follow, optimum
from .held import Correlation, Held, Orders, ResidualSd, Sd
from .interpolation import Curve
from .joint import JointWithFixedEffect
from .refinement import refine

if TYPE_CHECKING:
    from ..covariance import TermShape
    from ..model import LinearMixedModel
    from ..results import LinearMixedModelResults
    from .curve import Point

KINDS = {"fixed": "fixed", "beta_": "fixed", "random": "ran_pars", "theta_": "ran_pars"}


@dataclass(frozen=True)
class Parameter:
    """A parameter in natural units.

    Attributes
    ----------
    effect : {"fixed", "ran_pars"}
    group : str or None
        Name of the random-effects term, "Residual", or None.
    term : str
        As in `tidy`.
    place : tuple of int
        (j,) of a fixed effect, (k, i, j) of a variance parameter of term k, () of σ.
    """

    effect: str
    group: str | None
    term: str
    place: tuple[int, ...]

    @property
    def label(self) -> str:
        """A name of its own: the fixed-effects column, ``sd__x|group``, ``cor__x.z|group`` or ``sigma``."""
        return parameter_name(self.group, self.term)


def parameters(model: LinearMixedModel) -> list[Parameter]:
    """Return all parameters: fixed effects, then those of the random effects in the order of θ, then σ."""
    fixed = [Parameter("fixed", None, name, (j,)) for j, name in enumerate(model.exog_names)]
    return fixed + [Parameter("ran_pars", *label) for label in variance_labels(model)]


def select(found: list[Parameter], which: int | str | Sequence[int | str] | None) -> list[Parameter]:
    """Return the parameters that `which` names.

    Raises
    ------
    ValueError
        If it names something that is no parameter.
    """
    if which is None:
        return found
    wanted = [which] if isinstance(which, (str, int, np.integer)) else list(which)
    chosen = set()
    for item in wanted:
        if isinstance(item, (int, np.integer)) and not isinstance(item, bool):
            matches = [int(item)] if 0 <= item < len(found) else []
        else:
            kind = KINDS.get(str(item))
            matches = [i for i, p in enumerate(found) if item in (p.label, p.term) or kind == p.effect]
        if not matches and item not in KINDS:
            names = ", ".join(p.label for p in found)
            raise ValueError(
                f"which={item!r} is no parameter. It takes names, positions from 0, 'fixed' or 'random'. The names "
                f"are {names}."
            )
        chosen.update(matches)
    return [found[i] for i in sorted(chosen)]


def natural(
    shapes: Sequence[TermShape],
    factors: Sequence[np.ndarray],
    scale: float,
) -> np.ndarray:
    """Return standard deviations and correlations in the order of θ and σ, (m+1,)."""
    values = []
    for factor, shape in zip(factors, shapes, strict=True):
        sd, corr = correlation(cov_re(factor, scale))
        rows, columns = shape.entries
        values.append(np.where(rows == columns, sd[rows], corr[rows, columns]))
    return np.append(np.concatenate(values), np.sqrt(scale))


class Tracer:
    """Makes the curves of a maximum-likelihood fit up to |zeta| = cutoff."""

    def __init__(self, fit: LinearMixedModelResults, cutoff: float) -> None:
        self.fit, self.cutoff = fit, cutoff
        self._made: dict[Parameter, Curve | None] = {}
        self.orders = Orders(fit.model.likelihood(reml=False), fit.theta, fit.scale)
        self.likelihood = fit.model.likelihood(reml=False)  # fixed effects have an engine of their own

    def held(self, parameter: Parameter) -> Held | None:
        """Return the coordinates that hold the parameter, or None where it is not defined."""
        if parameter.effect == "fixed":
            (j,) = parameter.place
            joint, x = self.orders.optimum()
            return Held(JointWithFixedEffect(joint, self.likelihood, j), np.append(x, self.fit.beta[j]), x.size)
        if not parameter.place:
            joint, x = self.orders.optimum()
            return ResidualSd(joint, x, x.size - 1)
        k, i, j = parameter.place
        start, shape = self.fit.model.cross.relative_factor.theta_slices[k].start, self.fit.model.cross.shapes[k]
        if shape.structure == "diagonal":
            joint, x = self.orders.optimum()
            return Sd(joint, x, start + i)
        first = list(dict.fromkeys((j, i)))
        joint, x = self.orders.optimum(k, first + [a for a in range(shape.n_columns) if a not in first])
        if i == j:
            return Sd(joint, x, start)
        held = Correlation(joint, x, start, start + 1, start + shape.n_columns)
        if not held.start[list(held.signs)].all():
            return None
        for slot, a in zip(held.signs, (j, i), strict=True):
            sd = self.curve(next(p for p in parameters(self.fit.model) if p.place == (k, a, a)))
            if sd is not None and sd.values[0] == 0.0:
                held.caps[slot] = -sd.zeta[0]
        return held

    def curve(self, parameter: Parameter) -> Curve | None:
        """Return the curve of a parameter, None where it is not defined; warn where a part of it is missing."""
        if parameter not in self._made:
            self._made[parameter] = self._trace(parameter)
        return self._made[parameter]

    def _trace(self, parameter: Parameter) -> Curve | None:
        """Make the curve of a parameter."""
        held = self.held(parameter)
        if held is None:
            return None
        try:
            best = optimum(held)
        except ProfileError as error:
            self._warn(parameter, "has no curve", error)
            return None
        above, failure_above = follow(held, best, 1, self.cutoff)
        below, failure_below = follow(held, best, -1, self.cutoff, above[0] if above else None)
        for side, failure, path in (("above", failure_above, above), ("below", failure_below, below)):
            if failure:
                reached = abs(path[-1].zeta) if path else 0.0
                self._warn(parameter, f"ends {side} its estimate where |zeta| is {reached:.2f}", failure)
        points = [*below[::-1], best, *above]
        if len(points) == 1:
            return None
        points = refine(held, points, best)
        complete = not failure_below, not failure_above
        return Curve(held, points, complete, np.array([self._natural(held, point) for point in points]))

    def _warn(self, parameter: Parameter, what: str, reason: ProfileError | str) -> None:
        warn(
            f"The profile of {parameter.label} {what}: {reason}. Limits beyond are NaN. Use a bootstrap interval, or "
            "simplify the model.",
            ConvergenceWarning,
        )

    def _natural(self, held: Held, point: Point) -> np.ndarray:
        """Return all parameters at a point, in the order of `parameters`."""
        x, shapes = held.x(point.y), self.fit.model.cross.shapes
        scale = np.exp(x[self.fit.theta.size])
        return np.append(self.fit.model.cross.to_params(point.beta), natural(shapes, held.joint.factors(x), scale))
