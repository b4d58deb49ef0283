"""Block: a titled table of texts as plain text, HTML, Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, isfinite, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 4  # significant digits of a standard error; its estimate has as many decimals
MOST_DECIMALS = 7
LARGEST = 1e15  # numbers from which all are written with exponents
WORDS = 6  # blanks above which a column of labels holds sentences
CHARACTER, SPACE, PAGE = 4.2, 12.0, 345.0  # points of a footnote's character, between columns, of LaTeX's article
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
        title = [self.title] if self.title else []
        return "\n".join([*title, *(f"  {text}".rstrip() for text in texts)])

    def as_html(self) -> str:
        """Return an HTML table with its title as caption."""
        body = "\n".join(self._html_row("td", cells) for cells in self.rows)
        head = self._html_row("th", self.header)
        caption = f"<caption>{escape(self.title)}</caption>\n" if self.title else ""
        return f"<table>\n{caption}<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def as_markdown(self) -> str:
        """Return a pipe table (GitHub, Pandoc, Jupyter) under its title in bold."""
        lines = [[markdown(cell.rstrip()) for cell in cells] for cells in (self.header, *self.rows)]
        head, *body = self._padded([[cell.ljust(3) for cell in lines[0]], *lines[1:]])
        bars = ["-" * (len(cell) - 1) for cell in head]
        rule = [f":{bar}" if i < self.labels else f"{bar}:" for i, bar in enumerate(bars)]
        table = ["| " + " | ".join(cells) + " |" for cells in (head, rule, *body)]
        title = [f"**{markdown(self.title)}**", ""] if self.title else []
        return "\n".join([*title, *table])

    def as_latex(self) -> str:
        """Return a tabular with the rules of the package booktabs, its title above.

        Sentences are broken into lines; another table that is wider than a page is shrunk by the package graphicx.
        """
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        sentences = [
            i < self.labels and max((row[i].count(" ") for row in self.rows), default=0) > WORDS
            for i in range(len(widths))
        ]
        points = [0.0 if long else CHARACTER * width for long, width in zip(sentences, widths, strict=True)]
        used = sum(points) + SPACE * (len(widths) - 1)
        share = max(0.98 - used / PAGE, 0.3) / max(sum(sentences), 1)
        spec = [
            rf"p{{{share:.2f}\linewidth}}" if long else "l" if i < self.labels else "r"
            for i, long in enumerate(sentences)
        ]
        head, *body = [
            " & ".join(latex(cell) if i < self.labels else latex_number(cell) for i, cell in enumerate(cells)) + r" \\"
            for cells in (self.header, *self.rows)
        ]
        lines = [rf"\begin{{tabular}}{{@{{}}{''.join(spec)}@{{}}}}"]
        if self.title:
            kind = r"p{\linewidth}@{}" if any(sentences) else "l"
            lines.append(rf"\multicolumn{{{len(spec)}}}{{@{{}}{kind}}}{{\textbf{{{latex(self.title)}}}}} \\")
        lines += [r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
        if used > PAGE and not any(sentences):
            lines = [r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%", *lines[:-1], lines[-1] + "}"]
        return "\n".join(lines)

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


def aligned(texts: Iterable[str]) -> list[str]:
    """Return numbers padded on the right, so that right-aligned all but those in scientific notation share a point."""
    texts = list(texts)
    tails = [len(text) - text.find(".") if "." in text else 0 for text in texts]
    longest = max((tail for text, tail in zip(texts, tails, strict=True) if "e" not in text), default=0)
    return [text + " " * (longest - tail) for text, tail in zip(texts, tails, strict=True)]


def number(value: float, like: float | None = None) -> str:
    """Return a number with the decimals that show DIGITS significant digits of `like`, or one more of its own."""
    digits = DIGITS if like is not None else DIGITS + 1
    like = abs(value if like is None else like)
    if not isfinite(value) or not isfinite(like) or like == 0:
        return f"{value:.{DIGITS}g}"
    decimals = max(0, digits - 1 - floor(log10(like)))
    wide = like >= 1e7 or abs(value) >= LARGEST
    return f"{value:.{DIGITS}e}" if decimals > MOST_DECIMALS or wide else f"{value:.{decimals}f}"


def frame_block(title: str, frame: pd.DataFrame) -> Block:
    """Return the table of a frame: its index as labels, numbers to DIGITS significant digits, nothing for NaN."""
    columns = {name: [_cell(value) for value in frame[name]] for name in frame}
    numeric = {name for name in frame if frame[name].dtype.kind in "fc"}
    cells = [aligned(texts) if name in numeric else texts for name, texts in columns.items()]
    labels = [str(label) for label in frame.index]
    return Block(title, ("", *map(str, frame.columns)), list(zip(labels, *cells, strict=True)), labels=1)


def _cell(value: object) -> str:
    """Return a cell of a frame as text."""
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return ""
    return f"{value:,.0f}" if value.is_integer() and abs(value) >= 10**DIGITS else f"{value:.{DIGITS}g}"


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
