"""What the package maketables (py-econometrics) asks of results, so that its ``ETable`` takes them; not imported.

Format: https://github.com/py-econometrics/maketables, PLUGIN_EXTRACTOR_FORMAT.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from . import tables

if TYPE_CHECKING:
    from .results import LinearMixedModelResults

COEFFICIENTS = {
    "b": "estimate",
    "se": "std.error",
    "t": "statistic",
    "p": "p.value",
    "df": "df",
    "ci95l": "conf.low",
    "ci95u": "conf.high",
}


class MaketablesMethods:
    """Attributes that maketables looks for."""

    def for_maketables(self: LinearMixedModelResults) -> Column:
        """Return the fit as a column of maketables' ``ETable``, with the random effects' standard deviations.

        Given the fit itself, maketables (0.2) takes it for a result of statsmodels, as it has `params`, `bse` and
        `pvalues`, and shows the fixed effects only.
        """
        return Column(self)

    @property
    def __maketables_coef_table__(self: LinearMixedModelResults) -> pd.DataFrame:
        """Fixed effects with Satterthwaite's degrees of freedom: columns b, se, t, p, df, ci95l, ci95u."""
        table = tables.fixed_effects(self).set_index("term").rename_axis("Coefficient")
        return pd.DataFrame({short: table[name] for short, name in COEFFICIENTS.items()})

    @property
    def __maketables_depvar__(self: LinearMixedModelResults) -> str:
        """Name of the response."""
        return self.model.endog_name

    @property
    def __maketables_vcov_info__(self: LinearMixedModelResults) -> dict[str, str]:
        """What the standard errors are."""
        return {"vcov_type": "Model-based"}

    @property
    def __maketables_default_stat_keys__(self: LinearMixedModelResults) -> list[str]:
        """Standard deviations, sizes and criteria: the rows below the coefficients."""
        return [*self._sd_by_label, *self._groups_by_label, "N", "ll", *([] if self.reml else ["aic", "bic"])]

    def __maketables_stat__(self: LinearMixedModelResults, key: str) -> Any:
        """Return one of the statistics, None if there is none of that name."""
        values: dict[str, Any] = {
            "N": self.nobs,
            "ll": self.llf,
            "aic": self.aic,
            "bic": self.bic,
            "deviance": self.deviance,
        }
        values |= {"df_resid": self.df_resid, "se_type": "Model-based"} | self._sd_by_label | self._groups_by_label
        return values.get(key)

    @property
    def _sd_by_label(self: LinearMixedModelResults) -> dict[str, float]:
        """Standard deviations by a label such as "SD Subject: Days"."""
        rows = self.vcomp.itertuples()
        return {f"SD {row.group}{f': {row.name}' if row.name not in ('', 'Intercept') else ''}": row.sd for row in rows}

    @property
    def _groups_by_label(self: LinearMixedModelResults) -> dict[str, int]:
        """Numbers of levels by a label such as "Levels Subject"."""
        return {f"Levels {name}": count for name, count in self.model.groups.items()}


class Column:
    """A fit of which nothing is seen but what maketables asks for."""

    def __init__(self, fit: LinearMixedModelResults) -> None:
        self._fit = fit

    def __getattr__(self, name: str) -> str:
        if not name.startswith("__maketables_"):
            raise AttributeError(name)
        return getattr(self._fit, name)
