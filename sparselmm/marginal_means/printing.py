"""Text and HTML of a table of estimates, family by family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import floor, isfinite, log10
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = ("estimate", "std.error", "conf.low", "conf.high")
DIGITS = 4  # significant digits of the smallest standard error; all estimates have as many decimals


def as_text(frame: pd.DataFrame, by: Sequence[str], notes: Sequence[str]) -> str:
    """Return the table of each family under its title, and the notes."""
    parts = []
    for title, table in _families(formatted(frame), by):
        widths = [max(map(len, [name, *table[name]])) for name in table]
        numeric = [name in frame and frame[name].dtype.kind in "if" for name in table]
        rows = [list(table), *table.itertuples(index=False)]
        for row in rows:
            cells = zip(row, widths, numeric, strict=True)
            line = "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells)
            title += f"\n  {line}".rstrip()
        parts.append(title.lstrip("\n"))
    return "\n\n".join([*parts, "\n".join(notes)])


def as_html(frame: pd.DataFrame, by: Sequence[str], notes: Sequence[str]) -> str:
    """Return the same as HTML."""
    tables = [
        (f"<p><b>{escape(title)}</b></p>" if title else "") + table.to_html(index=False, border=0)
        for title, table in _families(formatted(frame), by)
    ]
    return "\n".join([*tables, *(f"<p>{escape(note)}</p>" for note in notes)])


def formatted(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table as texts."""
    errors = frame["std.error"].to_numpy(dtype=float)
    errors = errors[np.isfinite(errors) & (errors > 0)]
    decimals = min(max(0, DIGITS - 1 - floor(log10(errors.min()))), 7) if errors.size else 3
    columns = {}
    for name in frame:
        if name in NUMBERS:
            missing = "nonEst" if name == "estimate" else ""
            columns[name] = [f"{value:.{decimals}f}" if isfinite(value) else missing for value in frame[name]]
        elif name == "df":
            columns[name] = ["" if np.isnan(value) else f"{value:.2f}" for value in frame[name]]
        elif name == "statistic":
            columns[name] = ["" if np.isnan(value) else f"{value:.3f}" for value in frame[name]]
        elif name == "p.value":
            columns[name] = ["" if np.isnan(p) else "<0.0001" if p < 1e-4 else f"{p:.4f}" for p in frame[name]]
        else:
            columns[name] = [f"{v:.15g}" if isinstance(v, float) else str(v) for v in frame[name]]
    return type(frame)(columns)


def _families(table: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the title and the table of every family."""
    by = list(by)
    if not by:
        yield "", table
        return
    for values, part in table.groupby(by, sort=False):
        title = ", ".join(f"{name} = {value}" for name, value in zip(by, values, strict=True))
        yield f"{title}:", part.drop(columns=by)
