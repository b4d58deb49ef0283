"""Inference: tests and intervals of the fixed effects with one choice of degrees of freedom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from ..habits import alpha_of
from ..labels import Wide, frozen, labelled, read_only
from ..printout import Printed, Printout
from ..traces import inverse_root
from .contrasts import constraints
from .distributions import f_tail, t_quantile, two_sided
from .kenward_roger import KenwardRoger
from .satterthwaite import Satterthwaite
from .wald import ConstantTests, Tests

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..results import LinearMixedModelResults
    from .contrasts import Hypotheses

METHODS = ("satterthwaite", "kenward-roger", "residual", "z")
ALIASES = {"satt": "satterthwaite", "kr": "kenward-roger", "kenwardroger": "kenward-roger", "normal": "z"}
TITLES = {
    "satterthwaite": "Tests with Satterthwaite's degrees of freedom",
    "kenward-roger": "Tests with Kenward and Roger's covariance and degrees of freedom",
    "residual": "Tests with the residual degrees of freedom, rows minus columns",
    "z": "Tests with the normal distribution",
}
UNKNOWN = (
    "The data say nothing about a variance of {0}, which tests take as known: those of effects that differ between "
    "levels of {0} are void."
)


class JointTest(NamedTuple):
    """An F test of several hypotheses at once: statistic F, its two degrees of freedom and the p-value.

    `df_denom` is infinite for ``ddf="z"``: F times `df_num` is then chi-squared.
    """

    statistic: float
    df_num: int
    df_denom: float
    pvalue: float

    def __str__(self) -> str:
        p = "p < 0.001" if self.pvalue < 0.001 else f"p = {self.pvalue:.3f}"
        if np.isinf(self.df_denom):
            return f"chi-squared({self.df_num}) = {self.df_num * self.statistic:.4g}, {p}"
        return f"F({self.df_num}, {self.df_denom:.4g}) = {self.statistic:.4g}, {p}"


class Inference(Printed):
    """Tests and intervals of the fixed effects; made by `LinearMixedModelResults.inference`, prints itself.

    Attributes
    ----------
    ddf : str
        Method of the degrees of freedom.
    names : list of str
    params : ndarray (p,)
        Fixed effects in the user's columns.
    covariance : ndarray (p, p)
        Their covariance: Kenward and Roger's if that is the method, else σ²(X'V⁻¹X)⁻¹.
    monte_carlo_error : float
        Largest relative standard error of the degrees of freedom of the coefficients, where Kenward and Roger's traces
        are estimated; zero otherwise.
    notes : tuple of str
        Sentences on what the numbers do not show.
    """

    def __init__(
        self,
        ddf: str,
        names: Sequence[str],
        params: np.ndarray,
        basis: np.ndarray,
        tests: Tests,
        notes: Sequence[str] = (),
    ) -> None:
        self.ddf, self.names, self.params = ddf, list(names), params
        self._basis, self._tests = basis, tests
        self.covariance = read_only(basis @ tests.covariance @ basis.T)
        self.monte_carlo_error = tests.monte_carlo_error
        self.notes = (*notes, *tests.notes)

    def degrees(self, L: ArrayLike) -> np.ndarray:
        """Return the degrees of freedom of every contrast, (r,), for L (r, p); NaN for a row of zeros."""
        return self._tests.degrees(self._rows(L))

    def estimates(
        self, L: ArrayLike, level: float = 0.95, null: float | ArrayLike = 0.0, labels: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return Lβ with t tests against `null` and intervals, a row each.

        Parameters
        ----------
        L : array_like, shape (r, p)
        level : float
            Of the intervals.
        null : float or array_like, shape (r,)
        labels : sequence of str, optional
            Index of the table.

        Returns
        -------
        DataFrame
            Columns estimate, std.error, df, statistic, p.value, conf.low and conf.high.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level={level} is not between 0 and 1; level=0.95 gives 95 % intervals.")
        rows = self._rows(L)
        estimate = np.atleast_2d(np.asarray(L, dtype=float)) @ self.params
        half = rows @ self._tests.covariance
        df = self._tests.degrees(rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.sqrt(np.einsum("ra,ra->r", half, rows))  # NaN for a negative variance (Kenward-Roger)
            statistic = np.where(error > 0, (estimate - null) / error, np.nan)
        margin = t_quantile(0.5 + 0.5 * level, df) * error
        columns = {
            "estimate": estimate,
            "std.error": error,
            "df": df,
            "statistic": statistic,
            "p.value": two_sided(statistic, df),
            "conf.low": estimate - margin,
            "conf.high": estimate + margin,
        }
        return Wide(columns, index=labels)

    def test(self, L: ArrayLike, rhs: ArrayLike | None = None) -> JointTest:
        """Return the F test of Lβ = rhs (zero by default), all rows at once; rows that depend on others count once."""
        L = np.atleast_2d(np.asarray(L, dtype=float))
        difference = L @ self.params - (0.0 if rhs is None else np.asarray(rhs, dtype=float))
        F, df_num, df_denom = self._tests.joint(self._rows(L), difference)
        return JointTest(float(F), df_num, float(df_denom), float(f_tail(F, df_num, df_denom)))

    def t_test(self, hypotheses: Hypotheses, level: float = 0.95) -> pd.DataFrame:
        """Return a t test for every hypothesis, a row each, in the columns of `estimates`; see `constraints`."""
        L, values, labels = constraints(hypotheses, self.names)
        return self.estimates(L, level, values, labels)

    def wald_test(self, hypotheses: Hypotheses) -> JointTest:
        """Return the F test of all hypotheses at once; see `constraints`."""
        L, values, _ = constraints(hypotheses, self.names)
        return self.test(L, values)

    f_test = wald_test

    @labelled
    def table(self) -> pd.DataFrame:
        """Coefficients as `estimates` has them, a row each."""
        return self.estimates(np.eye(len(self.names)), labels=self.names)

    @labelled
    def bse(self) -> pd.Series:
        """Standard errors, (p,)."""
        return self._column("std.error")

    @labelled
    def tvalues(self) -> pd.Series:
        """Estimates over their standard errors, (p,)."""
        return self._column("statistic")

    @labelled
    def df(self) -> pd.Series:
        """Degrees of freedom, (p,)."""
        return self._column("df")

    @labelled
    def pvalues(self) -> pd.Series:
        """Two-sided p-values, (p,)."""
        return self._column("p.value")

    def conf_int(self, alpha: float = 0.05, *, level: float | None = None) -> pd.DataFrame:
        """Return intervals of level 1 - alpha, or of the level given, (p, 2): columns lower and upper."""
        level = 1.0 - alpha_of(alpha, level)
        table = self.estimates(np.eye(len(self.names)), level, labels=self.names)
        return table[["conf.low", "conf.high"]].set_axis(["lower", "upper"], axis=1)

    def summary(self, level: float = 0.95) -> Printout:
        """Return the table of the coefficients, which prints as text and shows as HTML in a notebook."""
        from ..summary import fixed_block

        if not self.names:
            return Printout("There are no fixed effects.", [], self.notes)
        table = self.estimates(np.eye(len(self.names)), level)
        table.insert(0, "term", self.names)
        title = TITLES.get(self.ddf, f"Tests with the cluster-robust covariance {self.ddf}")
        return Printout(title, [fixed_block(table, level)], self.notes)

    @property
    def printout(self) -> Printout:
        """The table of the coefficients at the level 0.95."""
        return self.summary()

    def _rows(self, L: ArrayLike) -> np.ndarray:
        """Return contrasts (r, p) of the user's columns in the pilot basis."""
        L = np.atleast_2d(np.asarray(L, dtype=float))
        if L.ndim != 2 or L.shape[1] != len(self.names):
            raise ValueError(f"L has shape {L.shape}; this model has {len(self.names)} fixed effects: give (r, p).")
        return L @ self._basis

    def _column(self, name: str) -> pd.Series:
        return frozen(pd.Series, self.table[name].to_numpy().copy(), self.names)


def method_name(ddf: str) -> str:
    """Return the method of that name, any case, or raise a ValueError that lists them."""
    name = str(ddf).lower().replace("_", "-").replace(" ", "-")
    name = ALIASES.get(name, name)
    if name not in METHODS:
        raise ValueError(f"ddf={ddf!r} is not one of {', '.join(METHODS)}.")
    return name


def infer(fit: LinearMixedModelResults, name: str, rng: int | np.random.Generator | None = None) -> Inference:
    """Return the Inference of a fit by a method of METHODS."""
    notes = []
    if name == "kenward-roger" and not fit.reml:
        fit = fit.model.fit(reml=True, start=fit.theta, engine=fit._engine)
        notes.append("The fit is by maximum likelihood; estimates and tests are those of its REML refit.")
    exchangeable = {name for alias in fit.model.aliased if alias.exchangeable for name in alias.terms}
    unknown = [name for name in fit.optimizer.flat_terms if name not in exchangeable]
    if unknown:
        notes.append(UNKNOWN.format(", ".join(unknown)))
    tests: Tests
    model, at = fit.model, fit.evaluation
    basis = model.cross.basis
    if name == "satterthwaite":
        tests = Satterthwaite(fit.likelihood, at)
        if exchangeable:  # the sign of a curvature is rounding
            tests.notes = ()
    elif name == "kenward-roger":
        tests = KenwardRoger(fit.likelihood, at, basis, rng)
    else:
        half = np.sqrt(at.scale) * inverse_root(at)
        tests = ConstantTests(half @ half.T, np.inf if name == "z" else fit.df_resid)
    return Inference(name, model.exog_names, fit.beta, basis, tests, notes)
