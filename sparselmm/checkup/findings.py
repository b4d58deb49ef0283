"""Finding: one thing that a check found, in one sentence, with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .case import Case

OK, SKIPPED, NOTE, WARNING = VERDICTS = ("ok", "skipped", "note", "warning")  # from least to most severe


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    verdict : {"ok", "skipped", "note", "warning"}
    text : str
        A sentence.
    subject : str
        The column, term or level that it is about; empty for the whole fit.
    remedy : str
        What to do; empty where nothing is to be done.
    value : float
        The number that decided; NaN where there is none.
    """

    verdict: str
    text: str
    subject: str = ""
    remedy: str = ""
    value: float = nan


@dataclass(frozen=True)
class Check:
    """One check of a section: its name and the function that returns its findings, with what it cannot do without."""

    name: str
    function: Callable[[Case], Iterable[Finding]]
    of_rows: bool = False


def listed(names: Iterable[object], most: int = 3) -> str:
    """Return names in backticks joined by commas, those beyond the first few counted."""
    texts = [f"`{name}`" for name in names]
    if len(texts) > most:
        return f"{', '.join(texts[:most])} and {len(texts) - most:,} more"
    return ", ".join(texts[:-1]) + f" and {texts[-1]}" if len(texts) > 1 else "".join(texts)


def plural(count: int, what: str, ending: str = "s") -> str:
    """Return a count with its noun: ``1 level``, ``18 levels``."""
    return f"{count:,} {what}{'' if count == 1 else ending}"


def sentences(message: str) -> tuple[str, str]:
    """Return a message of several sentences without its last one, the remedy, and that; one sentence has no remedy."""
    head, found, remedy = message.rpartition(". ")
    return (f"{head}.", remedy) if found else (message, "")
