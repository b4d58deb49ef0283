"""Influence: how the fit changes without each level of a factor, or without each row."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..caller import listening
from ..errors import DataError, EngineError
from ..export import frame_block
from ..inference.variance import covariances
from ..labels import frozen, labelled
from ..printout import Printed, Printout
from .deletion import Deletion
from .subset import grouping, on_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..results import LinearMixedModelResults

SHOWN = 12  # columns of the summary that are printed
SINGULAR = 1e-12  # share of the sum of squares that a level may leave
SATURATED = "the fit goes through its rows whatever they are"
DEPENDENT = "the fixed effects cannot be estimated without it"


class Influence(Printed):
    """What deleting each level does to the fit; tables by level, read-only.

    A level without which the fixed effects cannot be estimated has NaN and a `note`.

    Attributes
    ----------
    group : str
        The factor whose levels are deleted; "row" for single rows.
    refit : bool
        Whether θ was estimated again; otherwise it is that of the full fit, and β and σ² are exact given θ.
    counts : Series
        Rows of each level.
    theta : DataFrame or None
        θ without each level, where it was estimated again.

    References
    ----------
    Cook (1977), Technometrics 19, 15-18. Belsley, Kuh & Welsch (1980), Regression Diagnostics. Christensen, Pearson &
    Johnson (1992), Case-deletion diagnostics for mixed models, Technometrics 34, 38-45.
    """

    def __init__(
        self,
        fit: LinearMixedModelResults,
        group: str,
        counts: pd.Series,
        shift: np.ndarray,
        inflation: dict[str, np.ndarray],
        scale: np.ndarray,
        notes: np.ndarray,
        theta: pd.DataFrame | None = None,
    ) -> None:
        # shift: R(β - β₍ᵢ₎), (levels, p); inflation: log-determinant etc. of C, the covariance of Rβ₍ᵢ₎ over its σ²
        self._fit, self.group, self.counts, self.refit = fit, group, counts, theta is not None
        self._shift, self._inflation, self._sigma2, self._notes = shift, inflation, scale, notes
        self.theta = None if theta is None else theta.set_index(counts.index)

    @labelled
    def params(self) -> pd.DataFrame:
        """Fixed effects without each level, (levels, p)."""
        return self._by_column(self._fit.beta - self._shift @ self._fit._root.T)

    @labelled
    def dfbeta(self) -> pd.DataFrame:
        """Fixed effects of the full fit minus those without the level, (levels, p)."""
        return self._by_column(self._shift @ self._fit._root.T)

    @labelled
    def bse(self) -> pd.DataFrame:
        """Standard errors of the fixed effects without each level, (levels, p)."""
        return self._by_column(np.sqrt(self._sigma2[:, None] * self._inflation["variances"]))

    @labelled
    def dfbetas(self) -> pd.DataFrame:
        """`dfbeta` over the standard errors without the level, (levels, p)."""
        return self._by_column(self.dfbeta.to_numpy() / self.bse.to_numpy())

    @labelled
    def cooks_distance(self) -> pd.Series:
        """Cook's distance (β-β₍ᵢ₎)'cov(β)⁻¹(β-β₍ᵢ₎)/p, with the covariance of the full fit."""
        return self._by_level(np.einsum("ij,ij->i", self._shift, self._shift) / (self._fit.scale * self._p))

    @labelled
    def mdffits(self) -> pd.Series:
        """(β-β₍ᵢ₎)'cov(β₍ᵢ₎)⁻¹(β-β₍ᵢ₎)/p, with the covariance of the fit without the level."""
        return self._by_level(self._inflation["quadratic"] / (self._sigma2 * self._p))

    @labelled
    def covratio(self) -> pd.Series:
        """det cov(β₍ᵢ₎) over det cov(β): above one if the level makes the fixed effects more precise."""
        ratio = len(self._fit.model.exog_names) * np.log(self._sigma2 / self._fit.scale)
        return self._by_level(np.exp(ratio + self._inflation["logdet"]))

    @labelled
    def covtrace(self) -> pd.Series:
        """Distance of tr cov(β)⁻¹cov(β₍ᵢ₎) from p: zero if the level does not matter to the precision of β."""
        trace = self._sigma2 / self._fit.scale * self._inflation["trace"]
        return self._by_level(np.abs(trace - len(self._fit.model.exog_names)))

    @labelled
    def scale(self) -> pd.Series:
        """Residual variance σ² without each level."""
        return self._by_level(self._sigma2.copy())

    @labelled
    def note(self) -> pd.Series:
        """Why there is nothing to say of a level, or a warning of its fit; empty otherwise."""
        return pd.Series(self._notes, index=self.counts.index, name="note")

    @cached_property
    def variance_params(self) -> pd.DataFrame | None:
        """Variances and covariances of the random effects and σ² without each level, where θ was estimated again."""
        if self.theta is None:
            return None
        values = [
            covariances(self._fit.likelihood.map, theta, scale)[0]
            for theta, scale in zip(self.theta.to_numpy(), self._sigma2, strict=True)
        ]
        return pd.DataFrame(values, index=self.counts.index, columns=[*self.theta.columns, "Residual"])

    def summary_frame(self) -> pd.DataFrame:
        """Return a row for each level: nobs, cooks_distance, mdffits, covratio, covtrace, scale and dfbetas."""
        parts = {"nobs": self.counts}
        for name in ("cooks_distance", "mdffits", "covratio", "covtrace", "scale"):
            parts[name] = getattr(self, name)
        return pd.concat([pd.DataFrame(parts), self.dfbetas.add_prefix("dfb_")], axis=1)

    @property
    def printout(self) -> Printout:
        """The levels with the largest Cook's distances."""
        largest = self.summary_frame().sort_values("cooks_distance", ascending=False).iloc[:5, :SHOWN]
        how = "θ estimated again" if self.refit else "θ of the full fit"
        missing = int(np.isnan(self._sigma2).sum())
        title = f"Influence of {len(self.counts)} {self.group} levels on the fixed effects ({how}). The largest:"
        return Printout(
            title, [frame_block("", largest)], [f"{missing} levels have none: see .note"] if missing else []
        )

    @property
    def _p(self) -> int:
        """Number of fixed effects, one if there are none."""
        return max(len(self._fit.model.exog_names), 1)

    def _by_column(self, values: np.ndarray) -> pd.DataFrame:
        """Return values (levels, p) labelled, read-only."""
        return frozen(pd.DataFrame, values, self.counts.index, columns=list(self._fit.model.exog_names))

    def _by_level(self, values: np.ndarray) -> pd.Series:
        """Return values (levels,) labelled, read-only."""
        return frozen(pd.Series, values, self.counts.index)


def influence(fit: LinearMixedModelResults, group: str | ArrayLike | None = None, refit: bool = False) -> Influence:
    """Return the Influence of every level of a factor; see `DiagnosticMethods.influence`."""
    codes, levels = grouping(fit.model, group)
    name = "row" if group is None else str(levels.name)
    counts = pd.Series(np.bincount(codes, minlength=len(levels)), index=levels, name="nobs")
    without = _refitted if refit else _at_theta
    return Influence(fit, name, counts, *without(fit, codes, len(levels)))


def _at_theta(
    fit: LinearMixedModelResults, codes: np.ndarray, size: int
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return shifts, inflation, σ² and notes of every level at the θ of the fit."""
    deletion, p = Deletion(fit, codes, size), len(fit.model.exog_names)
    shift, scale, inflation = np.full((size, p), np.nan), np.full(size, np.nan), _empty(size, p)
    N = fit.likelihood.n_effective
    for levels, inner in deletion.batches():
        C = fit._root @ (np.eye(p) + inner[:, :p, :p]) @ fit._root.T
        known = fit.scale * N - inner[:, p, p] > SINGULAR * fit.scale * N
        known &= (np.einsum("rii->ri", C) > 0.0).all(axis=1)
        levels, inner = levels[known], inner[known]
        shift[levels] = inner[:, :p, p]
        scale[levels] = (fit.scale * N - inner[:, p, p]) / (N - deletion.counts[levels])
        _describe(inflation, levels, np.eye(p) + inner[:, :p, :p], shift[levels], fit._root)
    notes = np.where(deletion.estimable, np.where(np.isnan(scale), SATURATED, ""), DEPENDENT)
    return shift, inflation, scale, notes


def _refitted(
    fit: LinearMixedModelResults, codes: np.ndarray, size: int
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, np.ndarray, pd.DataFrame]:
    """Return shifts, inflation, σ², notes and θ of every level from fits without it."""
    model, p = fit.model, len(fit.model.exog_names)
    shift, scale, inflation = np.full((size, p), np.nan), np.full(size, np.nan), _empty(size, p)
    theta, notes = np.full((size, fit.theta.size), np.nan), np.full(size, "", dtype=object)
    for level in range(size):
        other, notes[level] = _fit_without(fit, codes != level)
        if other is None:
            continue
        shift[level] = np.linalg.solve(fit._root, fit.beta - other.beta) if p else 0.0
        root = np.linalg.solve(fit._root, other._root)
        scale[level], theta[level] = other.scale, other.theta
        _describe(inflation, np.array([level]), (root @ root.T)[None], shift[None, level], fit._root)
    entries = [
        f"{name}: {term.columns[j]}" + ("" if i == j else f", {term.columns[i]}")
        for name, term, shape in zip(model.groups, model.terms, fit.likelihood.map.shapes, strict=True)
        for i, j in zip(*shape.entries, strict=True)
    ]
    return shift, inflation, scale, notes, pd.DataFrame(theta, columns=entries)


def _fit_without(fit: LinearMixedModelResults, keep: np.ndarray) -> tuple[LinearMixedModelResults | None, str]:
    """Return the fit to some of the rows, None if there cannot be one, and a note."""
    with listening() as heard:
        try:
            model = on_rows(fit.model, keep)
            if model.dropped:
                return None, DEPENDENT
            other = model.fit(fit.reml, start=fit.theta, engine=fit._engine)
        except (DataError, EngineError) as error:
            return None, str(error)
    return other, " ".join(message for message, _ in heard)


def _empty(size: int, p: int) -> dict[str, np.ndarray]:
    """Return the arrays that `_describe` fills, NaN."""
    fields = {name: np.full(size, np.nan) for name in ("logdet", "trace", "quadratic")}
    return fields | {"variances": np.full((size, p), np.nan)}


def _describe(
    inflation: dict[str, np.ndarray], levels: np.ndarray, C: np.ndarray, shift: np.ndarray, root: np.ndarray
) -> None:
    """Write log|C|, tr C, d'C⁻¹d and the diagonal of ACA' of some levels, C (r, p, p) and d (r, p)."""
    inflation["logdet"][levels] = np.linalg.slogdet(C)[1]
    inflation["trace"][levels] = np.einsum("rii->r", C)
    inflation["quadratic"][levels] = np.einsum("ri,ri->r", shift, np.linalg.solve(C, shift[:, :, None])[:, :, 0])
    inflation["variances"][levels] = np.einsum("rij,ij->ri", root @ C, root)
