"""Maximisation: which parameters move from where, by the package's Newton wherever it applies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..boundary import SINGULAR
from ..likelihood import Derivatives, ProfiledLikelihood
from ..optimize import MAX_EVALUATIONS, TOLERANCE, minimize
from ..start import moment_start
from .classical import DEFAULT, METHODS, Outcome, PackedObjective, climb

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts
    from ..likelihood import Evaluation
    from .likelihood import CovarianceLikelihood
    from .params import MixedLMParams
    from .penalized import PenalizedLikelihood

NEWTON = ("newton", "ncg")


def method_names(method: str | Sequence[str] | None) -> list[str] | None:
    """Return the classical names of optimisers in lower case, None for the default."""
    if method is None:
        return None
    names = [name.lower() for name in ([method] if isinstance(method, str) else method)]
    for name in names:
        if name not in METHODS and name not in NEWTON:
            raise ValueError(f"Unknown fit method {name!r}. Use one of {', '.join((*NEWTON, *METHODS))}.")
    return names


class Problem:
    """What a fit maximises, over which parameters, from where.

    Parameters
    ----------
    penalized : PenalizedLikelihood
    k_fe : int
    use_sqrt : bool
        Parameterisation in which a mask holds entries of the covariance, and of scipy's methods.
    beta, factors : ndarray (k_fe,), list of ndarray, or None
        Start values.
    free : MixedLMParams or None
        Mask; an empty part of it is all free.

    Attributes
    ----------
    masks : list of ndarray of bool
        Free entries of λ_k or Ψ_k.
    free_beta : ndarray of bool (k_fe,)
    """

    def __init__(
        self,
        penalized: PenalizedLikelihood,
        k_fe: int,
        use_sqrt: bool,
        beta: np.ndarray | None,
        factors: list[np.ndarray] | None,
        free: MixedLMParams | None,
    ) -> None:
        self.penalized, self.k_fe, self.use_sqrt = penalized, k_fe, use_sqrt
        self.likelihood = penalized.likelihood
        shapes, k_re = self.likelihood.cross.shapes, penalized.k_re
        self.masks = [np.ones((shape.n_columns, shape.n_columns), dtype=bool) for shape in shapes]
        self.free_beta = np.ones(k_fe, dtype=bool)
        if free is not None:
            if k_re and np.size(free.cov_re):
                self.masks[0] = np.asarray(free.cov_re, dtype=bool)
            if np.size(free.vcomp):
                self.masks[bool(k_re) :] = [np.array([[bool(value)]]) for value in free.vcomp]
            if np.size(free.fe_params):
                self.free_beta = np.asarray(free.fe_params, dtype=bool)
        if factors is None:
            moments = moment_factors(self.likelihood.cross)
            factors = [np.where(mask, m, np.eye(len(m))) for mask, m in zip(self.masks, moments, strict=True)]
        self.factors, self.beta = factors, beta
        self.joint = penalized.fe_pen is not None or not self.free_beta.all()

    @property
    def free_entries(self) -> np.ndarray:
        """Which entries of Ψ are free, (entries,)."""
        return np.array([self.masks[k][i, j] for k, i, j in self.likelihood.entries], dtype=bool)

    @property
    def newton_applies(self) -> bool:
        """True without penalties, if what is held are entries of λ_k."""
        if self.joint or self.penalized.cov_pen is not None:
            return False
        return self.use_sqrt or all(
            is_diagonal(mask, factor) or mask.all() or not mask.any()
            for mask, factor in zip(self.masks, self.factors, strict=True)
        )

    def unsolved(self) -> Outcome:
        """Return the start values."""
        beta = self._start_beta() if self.joint else None
        return Outcome(self.factors, beta, False, "The optimization was skipped.")

    def solve(self, methods: list[str] | None, options: Mapping[str, Any]) -> Outcome:
        """Return the maximum by Newton, or by scipy's methods of the given names."""
        if self.newton_applies and (methods is None or methods[0] in NEWTON):
            outcome = newton(self.likelihood, self.factors, self.masks, options.get("maxiter", MAX_EVALUATIONS))
            if options.get("disp"):
                print(outcome.message)
            return outcome
        methods = [name for name in methods or DEFAULT if name not in NEWTON]
        return climb(self._objective(), methods or DEFAULT, options)

    def _start_beta(self) -> np.ndarray:
        """Return β at the start: as given, else the best where it is free and zero where it is held."""
        if self.beta is not None:
            return self.beta
        best = self.likelihood.cross.to_params(self.likelihood.point(self.factors).at.beta)
        return np.where(self.free_beta, best, 0.0)

    def _objective(self) -> PackedObjective:
        """Return the objective of scipy's methods."""
        cross, sizes = self.likelihood.cross, root_sizes(self.likelihood.cross)
        start, scale, free = [], [], []
        if self.joint:
            lengths = np.sqrt((np.linalg.inv(cross.basis) ** 2).sum(axis=0))
            start, scale, free = [*self._start_beta()], [*(np.sqrt(cross.yy) / lengths)], [*self.free_beta]
        for k, i, j in self.likelihood.entries:
            factor = self.factors[k]
            start.append((factor if self.use_sqrt else factor @ factor.T)[i, j])
            scale.append(sizes[k][i] if self.use_sqrt else sizes[k][i] * sizes[k][j])
            free.append(self.masks[k][i, j])
        k_fe = self.k_fe if self.joint else 0
        arrays = np.array(start, dtype=float), np.array(scale, dtype=float), np.array(free, dtype=bool)
        return PackedObjective(self.penalized, self.use_sqrt, k_fe, *arrays)


def root_sizes(cross: CrossProducts) -> list[np.ndarray]:
    """Return the natural size of the rows of every λ_k, (c_k,): one over the root mean square of its column."""
    return [1.0 / cross.column_scale(k) for k in range(len(cross.shapes))]


def moment_factors(cross: CrossProducts) -> list[np.ndarray]:
    """Return start values of the λ_k from moments."""
    return cross.relative_factor.unpack(moment_start(cross))


class Held:
    """A profiled likelihood of which some entries of θ do not move."""

    def __init__(self, likelihood: ProfiledLikelihood, free: np.ndarray) -> None:
        self.likelihood, self.free = likelihood, free
        self.cross, self.map = likelihood.cross, likelihood.map
        self.engine, self.evaluate = likelihood.engine, likelihood.evaluate

    def derivatives(self, at: Evaluation) -> Derivatives:
        """Return the derivatives, none in what is held; a term that is held in part does not leave the boundary."""
        full, free = self.likelihood.derivatives(at), self.free
        A = [A if free[part].all() else 0.0 * A for A, part in zip(full.A, self.map.theta_slices, strict=True)]
        return replace(full, gradient=np.where(free, full.gradient, 0.0), hessian=self._masked(full.hessian), A=A)

    def hessian(self, at: Evaluation, derivatives: Derivatives) -> np.ndarray:
        """Return the Hessian, the identity in what is held; `derivatives` are not those of the whole likelihood."""
        return self._masked(self.likelihood.hessian(at, self.likelihood.derivatives(at)))

    def _masked(self, hessian: np.ndarray) -> np.ndarray:
        """Return a Hessian with the identity in what is held."""
        return np.where(np.outer(self.free, self.free), hessian, 0.0) + np.diag(np.where(self.free, 0.0, 1.0))


def newton(
    likelihood: CovarianceLikelihood, start: list[np.ndarray], masks: list[np.ndarray], max_evaluations: int
) -> Outcome:
    """Return the maximum over the free entries of the λ_k.

    Parameters
    ----------
    likelihood : CovarianceLikelihood
    start : list of ndarray
        λ_k at the start.
    masks : list of ndarray of bool
        Which entries of λ_k are free. Where those off the diagonal are all held at zero the term is a diagonal one.
    max_evaluations : int
    """
    cross, profiled = likelihood.cross, likelihood.profiled
    diagonal = [is_diagonal(mask, factor) for mask, factor in zip(masks, start, strict=True)]
    if any(diagonal):
        shapes = tuple(
            replace(s, structure="diagonal") if d else s for s, d in zip(cross.shapes, diagonal, strict=True)
        )
        cross = replace(cross, shapes=shapes)
        profiled = ProfiledLikelihood(cross, likelihood.reml)
    map_, scale = cross.relative_factor, profiled.theta_scale
    free = map_.pack(masks).astype(bool)
    moving = profiled if free.all() else Held(profiled, free)
    record, at = minimize(moving, map_.pack(start), scale, TOLERANCE, max_evaluations)
    theta = map_.canonical(at.theta)
    history = [
        {
            "method": "newton",
            "converged": record.converged,
            "fopt": 0.5 * record.deviance,
            "fcalls": record.evaluations,
            "allvecs": [step.theta for step in record.steps if step.accepted],
            "record": record,
        }
    ]
    return Outcome(map_.unpack(theta), None, record.converged, record.message, history)


def is_diagonal(mask: np.ndarray, factor: np.ndarray) -> bool:
    """Return whether everything off the diagonal of λ is held at zero, everything on it free."""
    lower = np.tril(np.ones(mask.shape, dtype=bool), -1)
    return bool(mask.shape[0] > 1 and not mask[lower].any() and not factor[lower].any() and np.diag(mask).all())


def boundary_entries(
    likelihood: CovarianceLikelihood, factors: list[np.ndarray], masks: list[np.ndarray]
) -> np.ndarray:
    """Return which entries of Ψ have no standard error because a λ_k is singular, (entries,)."""
    held = []
    for k, (factor, size, mask) in enumerate(zip(factors, root_sizes(likelihood.cross), masks, strict=True)):
        scaled = factor / size[:, None]
        if mask[np.tril_indices(len(mask), -1)].any() or len(mask) == 1:
            zero = np.full(len(mask), np.linalg.svd(scaled, compute_uv=False)[-1] < SINGULAR)
        else:
            zero = np.sqrt((scaled**2).sum(axis=1)) < SINGULAR
        held += [bool(zero[i] or zero[j]) for term, i, j in likelihood.entries if term == k]
    return np.array(held, dtype=bool)
