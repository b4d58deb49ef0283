"""Linear hypotheses: their matrices, and the results of tests where statsmodels' class cannot be imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..inference.contrasts import constraints as read_constraints

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def constraints(hypothesis: Any, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return R and r of hypotheses Rβ = r: a string such as "x = 0, a = b", an array R, or a tuple (R, r)."""
    if isinstance(hypothesis, (str, dict)) or (isinstance(hypothesis, list) and isinstance(hypothesis[0], str)):
        found = read_constraints(hypothesis, names)
        return found.matrix, found.values
    matrix, values = hypothesis if isinstance(hypothesis, tuple) else (hypothesis, None)
    matrix = np.atleast_2d(np.asarray(matrix, dtype=float))
    return matrix, np.zeros(len(matrix)) if values is None else np.atleast_1d(np.asarray(values, dtype=float))


class ContrastResults:
    """Results of tests of linear hypotheses, with the attributes of statsmodels' class of that name.

    Attributes
    ----------
    statistic, pvalue : ndarray
    distribution : {"norm", "t", "chi2", "F"}
    effect, sd, tvalue : ndarray
        Estimates of t and z tests, their standard errors and ratios.
    fvalue : float
        Of F tests.
    df_num, df_denom : float
    """

    def __init__(
        self,
        statistic: ArrayLike,
        distribution: str,
        effect: np.ndarray | None = None,
        sd: np.ndarray | None = None,
        df_num: float | None = None,
        df_denom: float | None = None,
    ) -> None:
        from scipy import stats

        self.statistic, self.distribution = np.asarray(statistic, dtype=float), distribution
        self.effect, self.sd, self.df_num, self.df_denom = effect, sd, df_num, df_denom
        arguments = {"norm": (), "t": (df_denom,), "chi2": (df_denom,), "F": (df_num, df_denom)}
        self.dist, self.dist_args = getattr(stats, distribution.lower()), arguments[distribution]
        two_sided = distribution in ("norm", "t")
        tail = self.dist.sf(np.abs(self.statistic), *self.dist_args)
        self.pvalue = np.squeeze(2.0 * tail if two_sided else tail)
        if two_sided:
            self.tvalue = self.statistic
        elif distribution == "F":
            self.fvalue = self.statistic

    def conf_int(self, alpha: float = 0.05) -> np.ndarray:
        """Return intervals of the effects, (k, 2)."""
        margin = self.dist.ppf(1.0 - alpha / 2.0, *self.dist_args) * self.sd
        return np.column_stack([self.effect - margin, self.effect + margin])

    def summary_frame(self, xname: Sequence[str] | None = None, alpha: float = 0.05) -> pd.DataFrame:
        """Return the tests as a table, a row each."""
        if self.effect is None:
            names = ["df constraint", self.distribution, f"P>{self.distribution}"]
            count = self.df_num if self.distribution == "F" else self.df_denom
            return pd.DataFrame([[count, float(self.statistic), float(self.pvalue)]], columns=names)
        letter = "z" if self.distribution == "norm" else "t"
        columns = ["coef", "std err", letter, f"P>|{letter}|", "Conf. Int. Low", "Conf. Int. Upp."]
        parts = [self.effect, self.sd, self.statistic, np.atleast_1d(self.pvalue), *self.conf_int(alpha).T]
        index = [f"c{i}" for i in range(len(self.effect))] if xname is None else xname
        return pd.DataFrame(np.column_stack(parts), index=index, columns=columns)

    def __str__(self) -> str:
        return self.summary_frame().to_string()


def t_result(effect: np.ndarray, null: np.ndarray, sd: np.ndarray, use_t: bool, df_resid: float) -> Any:
    """Return the results of t or z tests that effects (k,) with standard errors (k,) are `null`."""
    statistic = (effect - null) / sd
    try:
        from statsmodels.stats.contrast import ContrastResults as Classical
    except ImportError:
        return ContrastResults(statistic, "t" if use_t else "norm", effect, sd, df_denom=df_resid)
    if use_t:
        return Classical(effect=effect, t=statistic, sd=sd, df_denom=df_resid)
    return Classical(effect=effect, statistic=statistic, sd=sd, df_denom=df_resid, distribution="norm")


def wald_result(statistic: float | np.ndarray, rank: int, use_f: bool | None, df_resid: float) -> Any:
    """Return the results of a joint test whose chi-squared statistic has `rank` degrees of freedom."""
    try:
        from statsmodels.stats.contrast import ContrastResults as Classical
    except ImportError:
        if use_f:
            return ContrastResults(np.divide(statistic, rank), "F", df_num=rank, df_denom=df_resid)
        return ContrastResults(statistic, "chi2", df_denom=rank)
    if use_f:
        return Classical(F=np.divide(statistic, rank), df_denom=df_resid, df_num=rank)
    return Classical(statistic=statistic, df_denom=rank, distribution="chi2", dist_args=(rank,))
