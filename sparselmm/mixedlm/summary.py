"""The classical summary: two tables of texts, printed and as HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..export import Block
from ..printout import Printed, Printout

if TYPE_CHECKING:
    from .results import MixedLMResults


@dataclass(frozen=True, repr=False)
class Summary(Printed):
    """The classical summary table; prints as text and shows as HTML in a notebook, also as Markdown and LaTeX.

    Attributes
    ----------
    title : str
    facts : list of (str, str)
        Name and text of every fact on the model.
    header : tuple of str
        Columns of the table of parameters, after their names.
    rows : list of tuple of str
        Name and texts of every parameter.
    """

    title: str
    facts: list[tuple[str, str]]
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]

    @property
    def tables(self) -> list[pd.DataFrame]:
        """The two tables of texts: facts in four columns, and parameters."""
        texts = [texts for _, *texts in self.rows]
        return [
            pd.DataFrame(self._fact_rows()),
            pd.DataFrame(texts, index=[name for name, *_ in self.rows], columns=self.header),
        ]

    def _fact_rows(self) -> list[tuple[str, ...]]:
        """Return the facts in two pairs of columns."""
        half = -(-len(self.facts) // 2)
        right = [*self.facts[half:], ("", "")][:half]
        return [(*a, *b) for a, b in zip(self.facts[:half], right, strict=True)]

    def as_text(self) -> str:
        """Return the summary as text."""
        facts = self._fact_rows()
        table = [("", *self.header), *self.rows]
        widest = max(_length(facts), _length(table))
        top = _lines(facts, widest, str.ljust, len(facts[0]) - 1)
        bottom = _lines(table, widest, str.rjust, len(table[0]) - 2, str.center)
        rule = "-" * len(bottom[-1])
        lines = ["=" * widest, *top, rule, bottom[0], rule, *bottom[1:], "=" * widest]
        indent = " " * int(widest / 2 - len(self.title) / 2)
        return "\n".join([indent + self.title, *lines, ""])

    @property
    def printout(self) -> Printout:
        """Facts and parameters, for HTML, Markdown and LaTeX."""
        facts = [(name.rstrip(":"), text) for name, text in self.facts]
        return Printout(self.title, [Block("", ("", *self.header), self.rows, labels=1)], facts=facts)


def _length(rows: Sequence[Sequence[str]]) -> int:
    """Return the length of the lines of a table, one space between columns."""
    return sum(max(map(len, column)) for column in zip(*rows, strict=True)) + len(rows[0]) - 1


def _lines(
    rows: Sequence[Sequence[str]],
    widest: int,
    justify: Callable[[str, int], str],
    gaps: int,
    justify_header: Callable[[str, int], str] | None = None,
) -> list[str]:
    """Return the lines of a table, `gaps` of them widened towards the widest table as in the classical layout."""
    space, first = divmod(widest - _length(rows), gaps)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[0] += first
    separator, lines = " " * (space + 1), []
    for number, row in enumerate(rows):
        pad = justify_header if justify_header and number == 0 else justify
        cells = [pad(cell, width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(separator.join([row[0].ljust(widths[0]), *cells]))
    return lines


def summary_of(
    fit: MixedLMResults,
    yname: str | None,
    xname_fe: Sequence[str] | None,
    xname_re: Sequence[str] | None,
    title: str | None,
    alpha: float,
) -> Summary:
    """Return the summary of a fit; see `MixedLMResults.summary`."""
    data, k_fe, sizes = fit.model.data, fit.k_fe, fit.group_sizes
    names = list(data.param_names)
    for given, part, what in ((xname_fe, slice(k_fe), "xname_fe"), (xname_re, slice(k_fe, None), "xname_re")):
        if given is not None:
            if len(given) != len(names[part]):
                raise ValueError(f"{what} should be a list of length {len(names[part])}")
            names[part] = given
    facts = {
        "Model:": "MixedLM",
        "No. Observations:": str(fit.nobs),
        "No. Groups:": str(len(sizes)),
        "Min. group size:": f"{sizes.min()}",
        "Max. group size:": f"{sizes.max()}",
        "Mean group size:": f"{sizes.mean():.1f}",
        "Dependent Variable:": fit.model.endog_names if yname is None else yname,
        "Method:": fit.method,
        "Scale:": f"{fit.scale:.4f}",
        "Log-Likelihood:": f"{fit.llf:.4f}",
        "Converged:": "Yes" if fit.converged else "No",
    }
    header = ("Coef.", "Std.Err.", "z", "P>|z|", f"[{alpha / 2}", f"{1 - alpha / 2}]")
    table = np.full((len(names), 6), np.nan)
    columns = fit.params, fit.bse, fit.tvalues, fit.pvalues, fit.conf_int(alpha)
    table[:k_fe] = np.column_stack([np.asarray(column)[:k_fe] for column in columns])
    table[k_fe:, 0] = fit.scale * fit.params_object.get_packed(use_sqrt=False)
    table[k_fe:, 1] = np.asarray(fit.bse_re)
    texts = [[f"{value:.3f}" if np.isfinite(value) else "" for value in row] for row in table]
    rows = [(str(name), *row) for name, row in zip(names, texts, strict=True)]
    return Summary("Mixed Linear Model Regression Results" if title is None else title, [*facts.items()], header, rows)
