"""ModelCheck: the findings of all checks of a fit as one short report."""

from __future__ import annotations

import re
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING

import pandas as pd

from ..export import Block
from ..printout import STYLE, WIDTH, Printed, Printout, hanging
from ..threads import single_threaded
from . import amount, covariance, identification, influence, optimum, predictors, residuals
from .case import Case
from .findings import NOTE, OK, SKIPPED, VERDICTS, WARNING, Check, Finding, plural

if TYPE_CHECKING:
    from ..results import LinearMixedModelResults

LINES, MARGIN = 30, 26  # of the report; where its sentences begin
WRAPPED = """<style>
.sparselmm.check table tbody td {text-align: left; vertical-align: top; white-space: normal; padding-bottom: 0.4em}
.sparselmm.check table tbody td:nth-child(2) {white-space: nowrap}
.sparselmm.check tr.warning td:first-child {font-weight: bold}
</style>"""
SECTIONS: dict[str, tuple[Check, ...]] = {
    "optimum": (
        Check("certificate", optimum.certificate),
        Check("variances at zero", optimum.variances_at_zero),
        Check("Monte-Carlo error", optimum.monte_carlo),
    ),
    "random effects": (
        Check("singular covariance", covariance.singular_terms),
        Check("flat likelihood", covariance.flat_directions),
        Check("aliased variances", identification.aliased_variances),
        Check("rare slopes", identification.rare_slopes),
        Check("curvature", identification.curvature),
        Check("few levels", covariance.few_levels),
        Check("many parameters", covariance.many_parameters),
    ),
    "predictors": (
        Check("scales", predictors.scales),
        Check("origins", predictors.origins),
        Check("collinearity", predictors.collinearity),
        Check("slopes without mean", predictors.slopes_without_mean),
        Check("dropped columns", predictors.dropped_columns),
    ),
    "influence": (
        Check("influential levels", influence.influential_levels, of_rows=True),
        Check("outlying effects", influence.outlying_effects),
    ),
    "residuals": (
        Check("two values", residuals.two_values, of_rows=True),
        Check("normality", residuals.normality, of_rows=True),
        Check("spread along fitted", residuals.spread_along_fitted, of_rows=True),
        Check("spread between levels", residuals.spread_between_levels, of_rows=True),
        Check("outliers", residuals.outliers, of_rows=True),
        Check("neighbours", residuals.neighbours, of_rows=True),
    ),
    "data": (
        Check("thin levels", amount.thin_levels),
        Check("rare categories", amount.rare_categories, of_rows=True),
        Check("confined levels", amount.confined_levels, of_rows=True),
        Check("rows per fixed effect", amount.rows_per_fixed_effect),
        Check("missing rows", amount.missing_rows),
    ),
}


class ModelCheck(Printed):
    """What checks of a fit found: prints as a report of one screen, shows as HTML in a notebook.

    Attributes
    ----------
    title : str
    findings : list of (str, str, Finding)
        Section, check and what it found.
    """

    def __init__(self, title: str, findings: list[tuple[str, str, Finding]]):
        self.title, self.findings = title, findings

    @property
    def ok(self) -> bool:
        """True if nothing is a warning; notes do not count."""
        return all(finding.verdict != WARNING for _, _, finding in self.findings)

    def to_frame(self) -> pd.DataFrame:
        """Return the findings, a row each: section, check, verdict, subject, text, remedy, value."""
        rows = [
            (section, check, f.verdict, f.subject, f.text, f.remedy, f.value) for section, check, f in self.findings
        ]
        return pd.DataFrame(rows, columns=["section", "check", "verdict", "subject", "text", "remedy", "value"])

    @property
    def conclusion(self) -> str:
        """A sentence: how many warnings and notes there are, and where all of them are."""
        return f"{self._counted}. All numbers: .to_frame()"

    @property
    def _counted(self) -> str:
        """How many warnings and notes there are."""
        counts = {verdict: sum(f.verdict == verdict for _, _, f in self.findings) for verdict in VERDICTS}
        found = [plural(counts[verdict], verdict) for verdict in (WARNING, NOTE) if counts[verdict]]
        return ", ".join(found) or "Nothing to remark"

    def as_text(self) -> str:
        """Return the report as text, of 30 lines at most: what is fine is shortened first, then what is less severe."""
        for brief in (None, 1):
            lines = self._lines(brief)
            if len(lines) <= LINES:
                break
        return "\n".join(lines if len(lines) <= LINES else self._shortened())

    def as_html(self) -> str:
        """Return the report as an HTML fragment."""
        rows = "\n".join(
            f'<tr class="{verdict}"><td>{verdict}</td><td>{section}</td><td>{_code(text)}'
            f"{f'<br><i>{_code(remedy)}</i>' if remedy else ''}</td></tr>"
            for verdict, section, text, remedy in self._rows()
        )
        table = f"<table>\n<caption>{escape(self.title)}</caption>\n<tbody>\n{rows}\n</tbody>\n</table>"
        return f'<div class="sparselmm check">\n{STYLE}\n{WRAPPED}\n{table}\n<p>{escape(self.conclusion)}</p>\n</div>'

    @property
    def printout(self) -> Printout:
        """The report as a table, its conclusion below."""
        header = ("verdict", "section", "finding", "what to do")
        return Printout("", [Block(self.title, header, self._rows(), labels=4)], [self.conclusion])

    @property
    def _head(self) -> list[str]:
        """The title as lines."""
        return hanging(self.title, 2).split("\n")

    def _rows(self, brief: int | None = None) -> list[tuple[str, ...]]:
        """Return verdict, section, text and remedy: of a section that is fine one row, else one for each finding.

        Of what is fine or was skipped, the first `brief` sentences.
        """
        rows: list[tuple[str, ...]] = []
        for name in SECTIONS:
            found = [finding for section, _, finding in self.findings if section == name]
            said = [f for f in found if f.verdict in (NOTE, WARNING)]
            rows += [(f.verdict, name, f.text, f.remedy) for f in sorted(said, key=_severity)]
            fine = [f.text for f in found if f.verdict == OK]
            if fine and not said:
                rows.append((OK, name, " ".join(fine[:brief]), ""))
            skipped = [f.text for f in found if f.verdict == SKIPPED]
            if skipped:
                rows.append((SKIPPED, name, " ".join(skipped[:brief]), ""))
        return rows

    def _lines(self, brief: int | None) -> list[str]:
        """Return the lines of the report."""
        return [*self._head, "", *(line for row in self._rows(brief) for line in _row_lines(row)), "", self.conclusion]

    def _shortened(self) -> list[str]:
        """Return the lines of the report with the less severe findings cut to their first lines."""
        rows = sorted(enumerate(self._rows(1)), key=lambda row: -VERDICTS.index(row[1][0]))
        left = LINES - 3 - len(self._head)
        rows, hidden = rows[:left], rows[left:]
        left -= len(rows)
        shown = {}
        for i, row in rows:
            shown[i] = _row_lines(row)
            if len(shown[i]) - 1 <= left:
                left -= len(shown[i]) - 1
            else:
                shown[i] = [f"{_row_lines(row, WIDTH - 4)[0]} ..."]
        lines = [line for i in sorted(shown) for line in shown[i]]
        count = f", {plural(len(hidden), 'line')} not shown" if hidden else ""
        end = f"{self._counted}{count}, cut to a screen. All of it: .as_markdown(), .to_frame()"
        return [*self._head, "", *lines, "", end]


def _code(text: str) -> str:
    """Return a text as HTML, what is in backticks as code."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", escape(text))


def _severity(finding: Finding) -> int:
    """Return a number that sorts the most severe findings first."""
    return -VERDICTS.index(finding.verdict)


def _row_lines(row: tuple[str, ...], width: int = WIDTH) -> list[str]:
    """Return one row of the report as lines, the remedy below the finding."""
    verdict, section, text, remedy = row
    lines = _wrapped(f"  {verdict:<8}  {section:<14}  {text}", MARGIN, width)
    return lines + (_wrapped(f"{' ' * MARGIN}-> {remedy}", MARGIN + 3, width) if remedy else [])


def _wrapped(text: str, indent: int, width: int) -> list[str]:
    """Return the text as lines, further ones indented; names and formulas are not broken."""
    return wrap(text, width, subsequent_indent=" " * indent, break_on_hyphens=False, break_long_words=False)


@single_threaded
def check(fit: LinearMixedModelResults) -> ModelCheck:
    """Return the ModelCheck of a fit; see `CheckupMethods.check`."""
    case, findings = Case(fit), []
    for section, checks in SECTIONS.items():
        for part in checks:
            if fit.model.keeps_rows or not part.of_rows:
                findings += [(section, part.name, finding) for finding in part.function(case)]
        without = [part.name for part in checks if part.of_rows and not fit.model.keeps_rows]
        if without:
            text = f"Not looked at, as the rows were not kept: {', '.join(without)}."
            findings.append((section, "rows", Finding(SKIPPED, text)))
    return ModelCheck(f"Check of {fit.model.what} ({fit.method}, {plural(fit.nobs, 'row')})", findings)
