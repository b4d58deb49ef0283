"""Block: a titled table of texts as plain text, HTML, Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

FIGURE_SPACE = "\u2007"  # as wide as a digit
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"$\sim$",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
LATEX_SPECIAL = re.compile("|".join(map(re.escape, LATEX)) + r"|(?<![\w)\]])-(?=\d)")  # the last: a minus
MARKDOWN_SPECIAL = re.compile(r"([\\`*_|<])")


@dataclass(frozen=True)
class Block:
    """A titled table of texts; numbers of a column are padded to align at the decimal point.

    Attributes
    ----------
    title : str
    header : tuple of str, length c
    rows : list of tuple of str, each of length c
    labels : int
        Leading columns that hold labels, left-aligned; the others are right-aligned.
    """

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    labels: int

    def as_text(self) -> str:
        """Return title, header and rows, columns two spaces apart."""
        texts = ["  ".join(cells) for cells in self._padded([self.header, *self.rows])]
        return "\n".join([self.title, *(f"  {text}".rstrip() for text in texts)])

    def as_html(self) -> str:
        """Return an HTML table with its title as caption."""
        body = "\n".join(self._html_row("td", cells) for cells in self.rows)
        head = self._html_row("th", self.header)
        return (
            f"<table>\n<caption>{escape(self.title)}</caption>\n"
            f"<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        )

    def as_markdown(self) -> str:
        """Return a pipe table (GitHub, Pandoc, Jupyter) under its title in bold."""
        lines = [[markdown(cell.rstrip()) for cell in cells] for cells in (self.header, *self.rows)]
        head, *body = self._padded([[cell.ljust(3) for cell in lines[0]], *lines[1:]])
        bars = ["-" * (len(cell) - 1) for cell in head]
        rule = [f":{bar}" if i < self.labels else f"{bar}:" for i, bar in enumerate(bars)]
        table = ["| " + " | ".join(cells) + " |" for cells in (head, rule, *body)]
        return "\n".join([f"**{markdown(self.title)}**", "", *table])

    def as_latex(self) -> str:
        """Return a tabular with the rules of the package booktabs, its title above."""
        title = rf"\textbf{{{latex(self.title)}}}"
        spec = "".join("l" if i < self.labels else "r" for i in range(len(self.header)))
        head, *body = [
            " & ".join(latex(cell) if i < self.labels else latex_number(cell) for i, cell in enumerate(cells)) + r" \\"
            for cells in (self.header, *self.rows)
        ]
        lines = [
            rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}",
            rf"\multicolumn{{{len(spec)}}}{{@{{}}l}}{{{title}}} \\",
        ]
        return "\n".join([*lines, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"])

    def _padded(self, lines: Sequence[Sequence[str]]) -> list[list[str]]:
        """Return lines of cells of equal width within each column, labels to the left."""
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        pad = [str.ljust if i < self.labels else str.rjust for i in range(len(widths))]
        return [[p(cell, w) for p, cell, w in zip(pad, line, widths, strict=True)] for line in lines]

    def _html_row(self, tag: str, cells: Sequence[str]) -> str:
        """Return one row of an HTML table; spaces that align numbers are as wide as digits."""
        labels = (f'<{tag} class="label">{escape(cell)}</{tag}>' for cell in cells[: self.labels])
        space = FIGURE_SPACE if tag == "td" else " "
        numbers = (f"<{tag}>{escape(cell).replace(' ', space)}</{tag}>" for cell in cells[self.labels :])
        return "<tr>" + "".join([*labels, *numbers]) + "</tr>"


def latex(text: str) -> str:
    """Return a text with the characters that LaTeX reads otherwise escaped."""
    return LATEX_SPECIAL.sub(lambda found: LATEX.get(found[0], "$-$"), text)


def latex_number(text: str) -> str:
    """Return the text of a number, with invisible digits for the spaces that align it."""
    number = text.rstrip()
    blank = len(text) - len(number)
    hidden = "0" * blank if "." in number or not blank else "." + "0" * (blank - 1)
    return latex(number) + (rf"\phantom{{{hidden}}}" if blank and number else "")


def markdown(text: str) -> str:
    """Return a text with the characters that Markdown reads otherwise escaped."""
    return MARKDOWN_SPECIAL.sub(r"\\\1", text)
