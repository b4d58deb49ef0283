"""Formulas with one random-effects term changed: what a remedy proposes, as text that `lmer` reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .case import INTERCEPT

if TYPE_CHECKING:
    from ..formula import Bar
    from ..model import LinearMixedModel


@dataclass(frozen=True)
class Part:
    """A summand of the columns of a random-effects term.

    Attributes
    ----------
    text : str
        As a formula writes it, ``"1"`` for the intercept.
    order : int
        Number of its factors; 0 for the intercept.
    columns : tuple of int
        Positions of its columns in the term.
    """

    text: str
    order: int
    columns: tuple[int, ...]

    @property
    def name(self) -> str:
        """What sentences call it."""
        return "the intercept" if not self.order else f"`{self.text.strip('`')}`"


def parts_of(model: LinearMixedModel, k: int) -> list[Part]:
    """Return the summands of the columns of term k; each column by itself for a model from arrays."""
    if model.design is None:
        names = model.terms[k].columns
        return [
            Part("1" if name in INTERCEPT else name, int(name not in INTERCEPT), (i,)) for i, name in enumerate(names)
        ]
    from ..formula_text import numeric_candidates, quoted, spelled

    columns = model.design.spec.random[k][0]
    if columns.spec is None:
        return [
            Part("1" if name is None else quoted(name), int(name is not None), (i,))
            for i, name in enumerate(numeric_candidates(columns.text) or ())
        ]
    parts, start = [], 0
    for term, _, names in columns.spec.structure:
        factors = [spelled(factor) for factor in term.factors if factor.expr != "1"]
        parts.append(Part(":".join(factors) or "1", len(factors), tuple(range(start, start + len(names)))))
        start += len(names)
    return [part for part in parts if part.columns]


def sum_of(parts: Iterable[Part]) -> str:
    """Return the formula of some summands, its intercept or the lack of one written out."""
    texts = [part.text for part in sorted(parts, key=lambda part: part.order)]
    return " + ".join(texts if texts and texts[0] == "1" else ["0", *texts])


def without_parts(model: LinearMixedModel, k: int, left_out: Iterable[Part]) -> str:
    """Return the formula without some summands of term k; empty if that is no formula of a mixed model."""
    left_out = list(left_out)
    kept = [part for part in parts_of(model, k) if part not in left_out]
    if not kept:
        return with_bar(model, k, None)
    recoded = model.design is not None and model.design.spec.random[k][0].spec is not None
    if recoded and kept[0].order and not all(part.order for part in left_out):
        return ""  # without the intercept a factor has a column for every category: no smaller model
    return with_bar(model, k, sum_of(kept), keep_structure=sum(len(part.columns) for part in kept) > 1)


def uncorrelated(model: LinearMixedModel, k: int) -> str:
    """Return the formula with a double bar in term k."""
    return with_bar(model, k, sum_of(parts_of(model, k)), bars="||")


def with_bar(
    model: LinearMixedModel, k: int, columns: str | None, bars: str = "", keep_structure: bool = True, fixed: str = ""
) -> str:
    """Return the formula with other columns in term k, None to leave it out; `fixed` is added to the fixed effects.

    Empty for a model from arrays, and if no random-effects term is left.
    """
    if model.design is None or (columns is None and len(model.terms) == 1):
        return ""
    from ..formula import parse_formula

    roles, parsed = model.design.roles, parse_formula(model.design.formula)
    sources = [bar.source for bar in parsed.bars]
    texts = [bar.source if sources.count(bar.source) == 1 else _written(bar, bar.columns) for bar in parsed.bars]
    changed = parsed.bars[k]
    symbol = bars or ("||" if keep_structure and changed.structure == "diagonal" else "|")
    texts[k : k + 1] = [] if columns is None else [_written(changed, columns, symbol)]
    offsets = [f"offset({text})" for text in parsed.offsets]
    return f"{roles.response} ~ {' + '.join([roles.fixed, *([fixed] if fixed else []), *texts, *offsets])}"


def _written(bar: Bar, columns: str, symbol: str = "") -> str:
    """Return a term with some columns as text."""
    symbol = symbol or ("||" if bar.structure == "diagonal" else "|")
    return f"({columns} {symbol} {':'.join(bar.factor)})"
