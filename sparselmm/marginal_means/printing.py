"""Tables of estimates as texts, family by family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor, isfinite, log10

import numpy as np
import pandas as pd

from ..export import LARGEST, Block, aligned

NUMBERS = ("estimate", "std.error", "conf.low", "conf.high")
KINDS_OF_NUMBERS = (*NUMBERS, "df", "statistic", "p.value")
FEWEST = 6  # significant digits of numbers that are labels
DIGITS = 4  # significant digits of the smallest standard error; all estimates have as many decimals


def family_blocks(frame: pd.DataFrame, by: Sequence[str]) -> list[Block]:
    """Return the table of each family under its title."""
    blocks = []
    for title, table in families(formatted(frame), by):
        labels = next(i for i, name in enumerate(table) if name in KINDS_OF_NUMBERS)
        columns = [table[name].tolist() if i < labels else aligned(table[name]) for i, name in enumerate(table)]
        blocks.append(Block(title, tuple(table), list(zip(*columns, strict=True)), labels))
    return blocks


def formatted(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table as texts."""
    errors = frame["std.error"].to_numpy(dtype=float)
    errors = errors[np.isfinite(errors) & (errors > 0)]
    decimals = min(max(0, DIGITS - 1 - floor(log10(errors.min()))), 7) if errors.size else 3
    columns = {}
    for name in frame:
        if name in NUMBERS:
            missing = "nonEst" if name == "estimate" else ""
            forms = [f".{decimals}f" if abs(value) < LARGEST else f".{DIGITS}e" for value in frame[name]]
            pairs = zip(frame[name], forms, strict=True)
            columns[name] = [f"{value:{form}}" if isfinite(value) else missing for value, form in pairs]
        elif name == "df":
            columns[name] = ["" if np.isnan(value) else f"{value:.2f}" for value in frame[name]]
        elif name == "statistic":
            columns[name] = ["" if np.isnan(value) else f"{value:.3f}" for value in frame[name]]
        elif name == "p.value":
            columns[name] = ["" if np.isnan(p) else "<0.0001" if p < 1e-4 else f"{p:.4f}" for p in frame[name]]
        else:
            columns[name] = label_texts(frame[name].tolist())
    return pd.DataFrame(columns)


def label_texts(values: list[object]) -> list[str]:
    """Return values as texts, numbers to as many digits as tell them apart, six at least."""
    for digits in range(FEWEST, 16):
        texts = [f"{v:.{digits}g}" if isinstance(v, float) and abs(v) < 10.0**digits else str(v) for v in values]
        if len(set(texts)) >= len(set(values)):
            break
    return texts


def families(table: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the title and the table of every family."""
    by = list(by)
    if not by:
        yield "", table
        return
    for values, part in table.groupby(by, sort=False, observed=True):
        title = ", ".join(f"{name} = {value}" for name, value in zip(by, values, strict=True))
        yield f"{title}:", part.drop(columns=by)
