"""TestTable: the table of a test, which prints as text and shows as HTML in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import pandas as pd

from ..export import Block

WIDTH = 88
COUNTS = {"nobs", "n_parameters", "df_num", "df"}
DECIMALS = {"AIC": 2, "BIC": 2, "logLik": 2, "deviance": 2, "chisq": 3, "statistic": 3, "df_denom": 2}
PRINTED = {"sum_sq": "Sum sq", "mean_sq": "Mean sq", "df_num": "Num df", "df_denom": "Den df", "statistic": "F"}
PRINTED |= {"nobs": "n", "n_parameters": "k", "chisq": "Chi-sq", "df": "df"}
PRINTED |= {"p.value": "p.value", "p.boundary": "p.boundary"}


@dataclass(frozen=True, eq=False)
class TestTable:
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

    @property
    def block(self) -> Block:
        """The table as a `summary.Block` of texts."""
        header = ("", *(PRINTED.get(name, name) for name in self.frame.columns))
        cells = [[_cell(name, value) for value in self.frame[name]] for name in self.frame.columns]
        labels = [str(label) for label in self.frame.index]
        return Block(self.title, header, list(zip(labels, *map(_aligned, cells), strict=True)), labels=1)

    def as_text(self) -> str:
        """Return the table and its notes as text."""
        notes = ("\n".join(wrap(f"  {note}", WIDTH, subsequent_indent="    ")) for note in self.notes)
        return "\n".join([self.block.as_text(), *notes])

    def as_html(self) -> str:
        """Return the table and its notes as an HTML fragment."""
        from html import escape

        from ..summary import STYLE

        notes = "\n".join(f"<li>{escape(note)}</li>" for note in self.notes)
        return f'<div class="sparselmm">\n{STYLE}\n{self.block.as_html()}\n<ul>\n{notes}\n</ul>\n</div>'

    def __str__(self) -> str:
        return self.as_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.as_html()


def _cell(name: str, value: float) -> str:
    """Return one number as text; nothing where there is none."""
    if pd.isna(value):
        return ""
    if name.startswith("p."):
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if name in COUNTS:
        return f"{value:.0f}"
    return f"{value:.{DECIMALS[name]}f}" if name in DECIMALS else f"{value:.5g}"


def _aligned(texts: Sequence[str]) -> list[str]:
    """Return the texts padded so that the points of a right-aligned column stand below each other."""
    tails = [len(text) - text.find(".") if "." in text else 0 for text in texts]
    return [text + " " * (max(tails) - tail) for text, tail in zip(texts, tails, strict=True)]
