"""TestTable: the table of a test, which prints as text and shows as HTML in a notebook."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ..export import Block, aligned
from ..printout import Printed, Printout

COUNTS = {"nobs", "n_parameters", "df_num", "df"}
DECIMALS = {"AIC": 2, "BIC": 2, "logLik": 2, "deviance": 2, "chisq": 3, "statistic": 3, "df_denom": 2}
PRINTED = {"sum_sq": "Sum sq", "mean_sq": "Mean sq", "df_num": "Num df", "df_denom": "Den df", "statistic": "F"}
PRINTED |= {"nobs": "n", "n_parameters": "k", "chisq": "Chi-sq", "df": "df"}
PRINTED |= {"p.value": "p.value", "p.boundary": "p.boundary"}


@dataclass(frozen=True, eq=False, repr=False)
class TestTable(Printed):
    """A table of tests; ``table["p.value"]`` is a column of `frame`.

    Attributes
    ----------
    title : str
    frame : DataFrame
        One row for each term or model.
    notes : tuple of str
        What was done and what the numbers do not show.
    """

    __test__ = False  # no class of tests for pytest

    title: str
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()

    def __getitem__(self, column: str) -> pd.Series:
        if column not in self.frame:
            raise KeyError(f"{column!r} is no column of this table; its columns are {', '.join(self.frame)}.")
        return self.frame[column]

    def __len__(self) -> int:
        return len(self.frame)

    def to_frame(self) -> pd.DataFrame:
        """Return `frame`, a copy."""
        return self.frame.copy()

    @property
    def printout(self) -> Printout:
        """Table and notes."""
        header = ("", *(PRINTED.get(name, name) for name in self.frame.columns))
        cells = [[_cell(name, value) for value in self.frame[name]] for name in self.frame.columns]
        labels = [str(label) for label in self.frame.index]
        return Printout(
            "", [Block(self.title, header, list(zip(labels, *map(aligned, cells), strict=True)), 1)], self.notes
        )


def _cell(name: str, value: float) -> str:
    """Return one number as text; nothing where there is none."""
    if pd.isna(value):
        return ""
    if name.startswith("p."):
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if name in COUNTS:
        return f"{value:.0f}"
    return f"{value:.{DECIMALS[name]}f}" if name in DECIMALS else f"{value:.5g}"
