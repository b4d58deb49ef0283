"""Printout: title, facts, tables and notes of a result as plain text, HTML, Markdown and LaTeX."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import Any

from .export import Block, latex, markdown
from .habits import TABLES, missing

WIDTH = 88
STYLE = """<style>
.sparselmm table {border-collapse: collapse; margin: 0 0 1em 0; font-size: inherit; font-variant-numeric: tabular-nums}
.sparselmm caption {text-align: left; font-weight: bold; padding: 0.2em 0}
.sparselmm th, .sparselmm td {text-align: right; padding: 0.1em 0 0.1em 1.4em; border: none; background: none}
.sparselmm th.label, .sparselmm td.label {text-align: left; font-weight: normal}
.sparselmm tr > :first-child {padding-left: 0}
.sparselmm thead th {border-bottom: 1px solid; font-weight: normal}
.sparselmm ul {margin: 0; padding-left: 1.2em}
</style>"""


class Shown(ABC):
    """What prints as text and shows as HTML in a notebook."""

    @abstractmethod
    def as_text(self) -> str:
        """Return it as text."""

    @abstractmethod
    def as_html(self) -> str:
        """Return it as an HTML fragment."""

    def __str__(self) -> str:
        return self.as_text()

    def __repr__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        return self.as_html()


@dataclass(frozen=True, repr=False)
class Printout(Shown):
    """A result to be read: prints as text and shows as HTML in a notebook; also as Markdown and LaTeX.

    Attributes
    ----------
    title : str
        Empty if the tables have titles of their own.
    blocks : sequence of Block
    notes : sequence of str
        Sentences on what the numbers do not show.
    facts : sequence of (str, str)
        Labels and texts above the tables.
    """

    title: str
    blocks: Sequence[Block]
    notes: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()

    def as_text(self) -> str:
        """Return title, facts, tables and notes as text."""
        width = max((len(label) for label, _ in self.facts), default=0) + 2
        facts = [hanging(f"{label:<{width}}{text}", width) for label, text in self.facts]
        head = [hanging(self.title, 2)] if self.title else []
        notes = [hanging(f"  {note}", 4) for note in self.notes]
        parts = [[*head, *facts], *([block.as_text()] for block in self.blocks), ["Notes", *notes] if notes else []]
        return "\n\n".join("\n".join(part) for part in parts if part)

    def as_html(self) -> str:
        """Return title, facts, tables and notes as an HTML fragment."""
        facts = "\n".join(
            f'<tr><th class="label">{escape(label)}</th><td class="label">{escape(text)}</td></tr>'
            for label, text in self.facts
        )
        head = [f"<p><b>{escape(self.title)}</b></p>"] if self.title else []
        if facts:
            head = [f"<table>\n<caption>{escape(self.title)}</caption>\n<tbody>\n{facts}\n</tbody>\n</table>"]
        notes = "\n".join(f"<li>{escape(note)}</li>" for note in self.notes)
        tail = [f"<ul>\n{notes}\n</ul>"] if notes else []
        parts = [STYLE, *head, *(block.as_html() for block in self.blocks), *tail]
        return "\n".join(['<div class="sparselmm">', *parts, "</div>"])

    def as_markdown(self) -> str:
        """Return title, facts, tables and notes in Markdown with pipe tables."""
        facts = "\n".join(f"- {markdown(label)}: {markdown(text)}" for label, text in self.facts)
        notes = "\n".join(f"- {markdown(note)}" for note in self.notes)
        title = f"**{markdown(self.title)}**" if self.title else ""
        parts = [title, facts, *(block.as_markdown() for block in self.blocks), notes]
        return "\n\n".join(part for part in parts if part) + "\n"

    def as_latex(self, caption: str | None = None, label: str | None = None) -> str:
        r"""Return a LaTeX table for the packages booktabs and, if it is wide, graphicx, which the preamble loads.

        Parameters
        ----------
        caption : str, optional
            LaTeX; default: the title, "" for none.
        label : str, optional
            For ``\ref``.
        """
        caption = latex(self.title) if caption is None else caption
        lines = [r"\begin{table}[htbp]", *([rf"\caption{{{caption}}}"] if caption else [])]
        lines += [rf"\label{{{label}}}"] if label else []
        lines += [r"\footnotesize\raggedright", ""]
        if self.facts:
            facts = [rf"{latex(label)} & {latex(text)} \\" for label, text in self.facts]
            lines += [r"\begin{tabular}{@{}lp{0.75\linewidth}@{}}", *facts, r"\end{tabular}", ""]
        for block in self.blocks:
            lines += [r"\medskip", "", block.as_latex(), ""]
        if self.notes:
            lines += [r"\medskip", "", "\n\n".join(map(latex, self.notes)), ""]
        return "\n".join([*lines, r"\end{table}"]) + "\n"


class Printed(Shown):
    """Views of an object whose `printout` is a `Printout`."""

    @property
    @abstractmethod
    def printout(self) -> Printout:
        """Title, facts, tables and notes."""

    def as_text(self) -> str:
        """Return the object as text."""
        return self.printout.as_text()

    def as_html(self) -> str:
        """Return the object as an HTML fragment."""
        return self.printout.as_html()

    def as_markdown(self) -> str:
        """Return the object in Markdown with pipe tables."""
        return self.printout.as_markdown()

    def as_latex(self, caption: str | None = None, label: str | None = None) -> str:
        """Return the object as a LaTeX table for the package booktabs, with a caption and a label for references."""
        return self.printout.as_latex(caption, label)

    def __getattr__(self, name: str) -> Any:
        return missing(self, type(self).__name__, name, TABLES)


def hanging(text: str, indent: int) -> str:
    """Return the text wrapped to the page, further lines indented."""
    return "\n".join(wrap(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False))
