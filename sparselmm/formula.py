"""Formula strings: ``y ~ x + (1 + x | g)`` taken apart into response, fixed part, bars and offsets.

The tokens of `formula_text` find the bars, formulaic's grammar reads both sides of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .errors import FormulaError
from .formula_text import Piece, Token, bare, column_name, error_at, pieces_of, python_powers, quoted, spelled, terms_at

R_CONVERSION = re.compile(r"\bas\.(factor|ordered|numeric|integer|character|double|logical)\([^()]*")


@dataclass(frozen=True)
class Bar:
    """One random-effects term ``(columns | factor)``.

    Attributes
    ----------
    columns : str
        Formula of the columns, with formulaic's rules for the intercept: ``"x"`` is ``"1 + x"``.
    factor : tuple of str
        Grouping factor, one text per component of an interaction: ``("g", "h")`` for ``g:h``.
    structure : {"unstructured", "diagonal"}
        Single or double bar.
    source : str
        The term as written; those of ``(1 | g/h)`` share it.
    """

    columns: str
    factor: tuple[str, ...]
    structure: str
    source: str

    @property
    def name(self) -> str:
        """Name of the factor, ``"g"`` or ``"g:h"``."""
        return ":".join(bare(text) for text in self.factor)


@dataclass(frozen=True)
class ParsedFormula:
    """The parts of a mixed-model formula, each as text that formulaic reads.

    Attributes
    ----------
    response : str
        A column, in backticks if its name needs them, or an expression.
    fixed : str
        Formula of the fixed effects; ``"1"`` if nothing but bars was written.
    bars : tuple of Bar
        At least one; nested factors are expanded, ``g/h`` into ``g`` and ``g:h``.
    offsets : tuple of str
        Arguments of the ``offset()`` terms.
    """

    response: str
    fixed: str
    bars: tuple[Bar, ...]
    offsets: tuple[str, ...] = ()


def parse_formula(formula: str) -> ParsedFormula:
    """Take a mixed-model formula apart.

    Parameters
    ----------
    formula : str
        lme4's syntax: ``y ~ x + (1 + x | g) + (0 + x || g:h) + (1 | a/b) + offset(z)``. Functions and Python
        expressions in braces are formulaic's; ``^`` inside a function is R's power.

    Returns
    -------
    ParsedFormula

    Raises
    ------
    FormulaError
        The message points at the place that cannot be read and holds the remedy.
    """
    if not isinstance(formula, str):
        raise FormulaError(f"A formula is a string such as 'y ~ x + (1 | g)', not {type(formula).__name__}.")
    return _parsed(formula)


@lru_cache(maxsize=256)
def _parsed(formula: str) -> ParsedFormula:
    """Return the parts of a formula."""
    habit = R_CONVERSION.search(formula)
    if habit:
        remedy = "Write factor(x) for a factor; convert columns of the data to numbers before."
        raise error_at(formula, habit.start(), f"'{habit.group()})' is R's conversion. {remedy}")
    formula = python_powers(formula)
    pieces = pieces_of(formula)
    tildes = [i for i, piece in enumerate(pieces) if piece.is_operator("~")]
    if len(tildes) != 1 or pieces[tildes[0]].depth:
        place = pieces[tildes[-1]].start if tildes else len(formula)
        raise error_at(formula, place, "A formula has one '~', between response and predictors: 'y ~ x + (1 | g)'.")
    left, tilde, right = pieces[: tildes[0]], pieces[tildes[0]], pieces[tildes[0] + 1 :]
    response = _response(formula, left, tilde.start)
    fixed_parts, bars, offsets = [], [], []
    for sign, summand, stop in _summands(formula, right):
        text = formula[summand[0].start : stop].strip()
        if any(piece.is_operator("|") for piece in summand):
            bars += _bars(formula, sign, summand, text)
        elif text.startswith("offset(") and len(summand) == 1:
            offsets.append(_offset(formula, sign, summand[0].start, text[len("offset(") : -1].strip()))
        else:
            fixed_parts.append(f" {sign} {text}")
    fixed = "".join(fixed_parts).removeprefix(" + ").strip() or "1"
    terms_at(formula, right[0].start if right else tilde.start, expand_dot(fixed, ["_"]))
    if not bars:
        message = "A linear mixed model needs at least one random-effects term: add for example '+ (1 | g)'."
        raise error_at(formula, len(formula), message)
    return ParsedFormula(response, fixed, tuple(bars), tuple(offsets))


def idle_powers(text: str) -> list[str]:
    """Return the columns and functions of one side of a formula that have a power, which leaves them as they are."""
    pieces = pieces_of(text)
    return [
        text[piece.start : power.start].strip()
        for piece, power, *rest in zip(pieces, pieces[1:], pieces[2:], strict=False)
        if piece.kind in (Token.Kind.NAME, Token.Kind.PYTHON)
        and (power.is_operator("^") or (power.is_operator("*") and rest[0].is_operator("*")))
    ]


def expand_dot(fixed: str, columns: Sequence[str]) -> str:
    """Return `fixed` with ``.`` replaced by the sum of `columns`; raise if there are none."""
    dots = [piece.start for piece in pieces_of(fixed) if piece.text == "." and piece.kind is not Token.Kind.NAME]
    if dots and not columns:
        raise FormulaError(f"'.' in {fixed!r} stands for no column: all are used elsewhere in the formula. Remove it.")
    total = "(" + " + ".join(quoted(column) for column in columns) + ")"
    return "".join(total if i in dots else char for i, char in enumerate(fixed))


def _summands(formula: str, pieces: list[Piece]) -> Iterator[tuple[str, list[Piece], int]]:
    """Yield (sign, pieces, end in the formula) of every summand outside parentheses."""
    sign, summand = "+", []
    for piece in pieces:
        if piece.depth or not piece.is_operator("+", "-"):
            summand.append(piece)
        elif summand:
            yield sign, summand, piece.start
            sign, summand = piece.text, []
        elif piece.text == "-":
            sign = "+" if sign == "-" else "-"
    if summand:
        yield sign, summand, len(formula)
    elif pieces:
        message = f"Nothing follows '{pieces[-1].text}'. Remove it or complete the sum."
        raise error_at(formula, pieces[-1].start, message)


def _response(formula: str, pieces: list[Piece], tilde: int) -> str:
    """Return the text of the response, a column or one expression."""
    if not pieces:
        raise error_at(formula, tilde, "The response is missing: write its column before '~', as in 'y ~ x + (1 | g)'.")
    for piece in pieces:
        if piece.is_operator("|"):
            raise error_at(formula, piece.start, "Random-effects terms stand to the right of '~', not in the response.")
    text = formula[pieces[0].start : tilde].strip()
    if len(pieces) > 1 or pieces[0].kind not in (Token.Kind.NAME, Token.Kind.PYTHON):
        remedy = f"Put an expression in braces: '{{{text}}} ~ ...'; a model has one response."
        raise error_at(formula, pieces[0].start, f"The response '{text}' is not one column or function. {remedy}")
    return spelled(terms_at(formula, pieces[0].start, [text])[0].factors[0])


def _bars(formula: str, sign: str, summand: list[Piece], text: str) -> list[Bar]:
    """Return the terms of one summand ``(columns | factor)``."""
    bar = [i for i, piece in enumerate(summand) if piece.is_operator("|")]
    opening, first, last, closing = summand[0], summand[bar[0]], summand[bar[-1]], summand[-1]
    if first.depth == 0:
        raise error_at(formula, first.start, f"'{text}' needs parentheses: write '... + ({text})'.")
    inside = all(piece.depth > 0 for piece in summand[1:-1])
    if opening.text != "(" or closing.text != ")" or not inside or any(summand[i].depth != 1 for i in bar):
        remedy = "A term with a bar is added on its own, outside other parentheses and products: '... + (1 | g)'."
        raise error_at(formula, first.start, f"The bar in '{text}' cannot be read. {remedy}")
    if sign == "-":
        raise error_at(formula, opening.start, f"{text} cannot be subtracted. Add it with '+' or leave it out.")
    if len(bar) > 2 or bar[-1] - bar[0] != len(bar) - 1:
        remedy = "Write two terms, '(1 | g) + (1 | h)', or an interaction, '(1 | g:h)'."
        raise error_at(formula, last.start, f"{text} has more than one bar. {remedy}")
    columns = formula[opening.start + 1 : first.start].strip()
    _check_columns(formula, summand[1 : bar[0]], first.start, columns, text)
    groups = formula[last.start + 1 : closing.start].strip()
    _check_factor(formula, summand[bar[-1] + 1 : -1], closing.start, columns, text)
    structure = "unstructured" if len(bar) == 1 else "diagonal"
    terms = terms_at(formula, last.start + 1, [groups])
    return [Bar(columns, tuple(map(spelled, term.factors)), structure, text) for term in terms]


def _check_columns(formula: str, pieces: list[Piece], place: int, columns: str, text: str) -> None:
    """Raise if the left side of a bar has no columns."""
    if any(piece.text == "." for piece in pieces):
        raise error_at(formula, place, f"'.' cannot be read in {text}. Name its columns.")
    if not pieces or not terms_at(formula, pieces[0].start, columns):
        raise error_at(formula, place, f"{text} has no column. Write '1' for a random intercept: '(1 | g)'.")


def _check_factor(formula: str, pieces: list[Piece], place: int, columns: str, text: str) -> None:
    """Raise if the right side of a bar is not made of columns or functions joined by ``:``, ``/`` or ``*``."""
    if not pieces:
        raise error_at(formula, place, f"{text} has no grouping factor: write '({columns} | g)', g a column.")
    for piece in pieces:
        if piece.is_operator("+"):
            remedy = f"Write one term each: '({columns} | g) + ({columns} | h)'."
            raise error_at(formula, piece.start, f"{text} has a sum of grouping factors. {remedy}")
        if piece.kind is Token.Kind.OPERATOR and not piece.is_operator(":", "/", "*"):
            remedy = "Join columns by ':' (interaction), '/' (nesting) or '*' (both and their interaction)."
            raise error_at(formula, piece.start, f"'{piece.text}' cannot join grouping factors in {text}. {remedy}")
        if piece.kind is Token.Kind.VALUE:
            raise error_at(formula, piece.start, f"A grouping factor is a column; '{piece.text}' in {text} is not.")


def _offset(formula: str, sign: str, place: int, argument: str) -> str:
    """Return the text of the argument of one ``offset()``."""
    if sign == "-":
        raise error_at(formula, place, f"An offset cannot be subtracted. Write '+ offset(-({argument}))'.")
    text = argument if argument and column_name(argument) else f"I({argument})"
    terms = terms_at(formula, place, [text])
    if not argument or len(terms) != 1 or len(terms[0].factors) != 1:
        raise error_at(formula, place, "offset() takes one column or expression, as in 'offset(log(time))'.")
    return spelled(terms[0].factors[0])
