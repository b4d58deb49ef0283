"""Formula strings: ``y ~ x + (1 + x | g)`` taken apart into response, fixed part, bars and offsets.

The only module that knows formulaic's parser. Its tokenizer finds the bars, its grammar reads both sides of each.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from .errors import DataError, FormulaError

MOST_PRODUCTS = 20_000  # of factors that are multiplied out: a second of work
TOO_MANY = f"it multiplies out to more than {MOST_PRODUCTS:,} products. Write the interactions that are meant."
R_CONVERSION = re.compile(r"\bas\.(factor|ordered|numeric|integer|character|double|logical)\([^()]*")

FORMULAIC_MOVED = (
    "sparselmm reads formulas with parts of formulaic that are not where they were in formulaic 1.2. "
    "Install that: pip install 'formulaic>=1.2,<1.3'."
)
try:
    from formulaic import Formula
    from formulaic.parser import DefaultFormulaParser
    from formulaic.parser.algos.tokenize import tokenize as tokenize
    from formulaic.parser.types import ASTNode, Factor, Term
    from formulaic.parser.types import Token as Token
    from formulaic.utils.code import sanitize_variable_names
except ImportError as error:
    raise ImportError(FORMULAIC_MOVED) from error


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
        raise _error(formula, habit.start(), f"'{habit.group()})' is R's conversion. {remedy}")
    formula = _python_powers(formula)
    pieces = _pieces(formula)
    tildes = [i for i, piece in enumerate(pieces) if piece.is_operator("~")]
    if len(tildes) != 1 or pieces[tildes[0]].depth:
        place = pieces[tildes[-1]].start if tildes else len(formula)
        raise _error(formula, place, "A formula has one '~', between response and predictors: 'y ~ x + (1 | g)'.")
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
    _terms(formula, right[0].start if right else tilde.start, expand_dot(fixed, ["_"]))
    if not bars:
        message = "A linear mixed model needs at least one random-effects term: add for example '+ (1 | g)'."
        raise _error(formula, len(formula), message)
    return ParsedFormula(response, fixed, tuple(bars), tuple(offsets))


@lru_cache(maxsize=1024)
def column_name(text: str) -> str | None:
    """Return the name of the column if `text` is just that, else None."""
    token = _only_token(text)
    return token.token if token and token.kind is Token.Kind.NAME else None


def quoted(name: str) -> str:
    """Return the text that formulaic reads as the column `name`; no name can be more than a name."""
    if "`" in name or name.endswith("\\"):
        raise DataError(f"Column {name!r}: no formula can hold a name with this backtick or backslash. Rename it.")
    return name if name.isidentifier() else f"`{name}`"


def bare(text: str) -> str:
    """Return the text of a factor without its backticks or braces: its name in every output."""
    return text[1:-1] if text[:1] in ("`", "{") else text


def spelled(factor: Factor) -> str:
    """Return the text that formulaic reads as `factor`."""
    if factor.eval_method.value == "lookup":
        return quoted(factor.expr)
    token = _only_token(factor.expr)
    return factor.expr if token and token.kind is Token.Kind.PYTHON else f"{{{factor.expr}}}"


@lru_cache(maxsize=1024)
def lookups(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names `text` looks up: those that must be columns, and those inside Python expressions."""
    columns, names = set(), set()
    for token in tokenize(text):
        if token.kind is Token.Kind.NAME:
            columns.add(token.token)
        elif token.kind is Token.Kind.PYTHON:
            aliases: dict[str, str] = {}  # of names in backticks
            code = sanitize_variable_names(token.token, {}, aliases)
            found = {str(variable) for variable in token.required_variables} | _arguments(code)
            names |= {aliases.get(name, name) for name in found}
    return frozenset(columns), frozenset(names)


@lru_cache(maxsize=256)
def formula_terms(text: str) -> Formula:
    """Return formulaic's terms of one side of a formula, which nobody changes."""
    if _products(text) > MOST_PRODUCTS:
        raise FormulaError(f"'{text}' cannot be read: {TOO_MANY}")
    return Formula(text)


@lru_cache(maxsize=256)
def numeric_candidates(text: str) -> tuple[str | None, ...] | None:
    """Return the column of each term (None: the intercept) where all terms are single columns, else None."""
    columns = []
    for term in formula_terms(text):
        if len(term.factors) != 1:
            return None
        factor = term.factors[0]
        if factor.expr != "1" and factor.eval_method.value != "lookup":
            return None
        columns.append(None if factor.expr == "1" else factor.expr)
    return tuple(columns)


def idle_powers(text: str) -> list[str]:
    """Return the columns and functions of one side of a formula that have a power, which leaves them as they are."""
    pieces = _pieces(text)
    return [
        text[piece.start : power.start].strip()
        for piece, power, *rest in zip(pieces, pieces[1:], pieces[2:], strict=False)
        if piece.kind in (Token.Kind.NAME, Token.Kind.PYTHON)
        and (power.is_operator("^") or (power.is_operator("*") and rest[0].is_operator("*")))
    ]


def expand_dot(fixed: str, columns: Sequence[str]) -> str:
    """Return `fixed` with ``.`` replaced by the sum of `columns`; raise if there are none."""
    dots = [piece.start for piece in _pieces(fixed) if piece.text == "." and piece.kind is not Token.Kind.NAME]
    if dots and not columns:
        raise FormulaError(f"'.' in {fixed!r} stands for no column: all are used elsewhere in the formula. Remove it.")
    total = "(" + " + ".join(quoted(column) for column in columns) + ")"
    return "".join(total if i in dots else char for i, char in enumerate(fixed))


class _Piece(NamedTuple):
    """An operand, an operator character or a parenthesis of a formula: where it starts, how deep it is nested."""

    text: str
    kind: Token.Kind
    start: int
    depth: int

    def is_operator(self, *symbols: str) -> bool:
        """Whether this is one of the operators `symbols`."""
        return self.kind is Token.Kind.OPERATOR and self.text in symbols


def _error(formula: str, position: int, message: str) -> FormulaError:
    """Return the error with the formula below its message and a caret below the place."""
    line = "".join(" " if char.isspace() else char for char in formula)
    return FormulaError(f"{message} (Position {position + 1} of the formula.)\n    {line}\n    {' ' * position}^")


def _only_token(text: str) -> Token | None:
    """Return the token that `text` is, or None."""
    try:
        tokens = list(tokenize(text))
    except Exception:
        return None
    return tokens[0] if len(tokens) == 1 else None


def _tokens(formula: str) -> list[Token]:
    """Return formulaic's tokens of the formula."""
    try:
        return list(tokenize(formula))
    except Exception as error:  # whatever formulaic raises, the formula is at fault
        reason = str(error).split("\n")[0] or type(error).__name__
        raise FormulaError(f"The formula {formula!r} cannot be read: {reason}") from None


def _pieces(formula: str) -> list[_Piece]:
    """Return the pieces of the formula, operators split into characters, parentheses balanced."""
    pieces: list[_Piece] = []
    opened: list[tuple[str, int]] = []
    for token in _tokens(formula):
        start, end = token.source_start, token.source_end
        if token.kind is Token.Kind.OPERATOR and formula[start] != "%":
            places = [i for i in range(start, end + 1) if not formula[i].isspace()]
            pieces += [_Piece(formula[i], token.kind, i, len(opened)) for i in places]
            continue
        if token.kind is Token.Kind.CONTEXT and token.token in ")]":
            if not opened or opened[-1][0] + token.token not in ("()", "[]"):
                raise _error(formula, start, f"'{token.token}' closes nothing: remove it or open it before.")
            opened.pop()
        pieces.append(_Piece(token.token, token.kind, start, len(opened)))
        if token.kind is Token.Kind.CONTEXT and token.token in "([":
            opened.append((token.token, start))
    if opened:
        raise _error(formula, opened[-1][1], f"'{opened[-1][0]}' is never closed.")
    return pieces


def _summands(formula: str, pieces: list[_Piece]) -> Iterator[tuple[str, list[_Piece], int]]:
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
        raise _error(formula, pieces[-1].start, f"Nothing follows '{pieces[-1].text}'. Remove it or complete the sum.")


def _response(formula: str, pieces: list[_Piece], tilde: int) -> str:
    """Return the text of the response, a column or one expression."""
    if not pieces:
        raise _error(formula, tilde, "The response is missing: write its column before '~', as in 'y ~ x + (1 | g)'.")
    for piece in pieces:
        if piece.is_operator("|"):
            raise _error(formula, piece.start, "Random-effects terms stand to the right of '~', not in the response.")
    text = formula[pieces[0].start : tilde].strip()
    if len(pieces) > 1 or pieces[0].kind not in (Token.Kind.NAME, Token.Kind.PYTHON):
        remedy = f"Put an expression in braces: '{{{text}}} ~ ...'; a model has one response."
        raise _error(formula, pieces[0].start, f"The response '{text}' is not one column or function. {remedy}")
    return spelled(_terms(formula, pieces[0].start, [text])[0].factors[0])


def _bars(formula: str, sign: str, summand: list[_Piece], text: str) -> list[Bar]:
    """Return the terms of one summand ``(columns | factor)``."""
    bar = [i for i, piece in enumerate(summand) if piece.is_operator("|")]
    opening, first, last, closing = summand[0], summand[bar[0]], summand[bar[-1]], summand[-1]
    if first.depth == 0:
        raise _error(formula, first.start, f"'{text}' needs parentheses: write '... + ({text})'.")
    inside = all(piece.depth > 0 for piece in summand[1:-1])
    if opening.text != "(" or closing.text != ")" or not inside or any(summand[i].depth != 1 for i in bar):
        remedy = "A term with a bar is added on its own, outside other parentheses and products: '... + (1 | g)'."
        raise _error(formula, first.start, f"The bar in '{text}' cannot be read. {remedy}")
    if sign == "-":
        raise _error(formula, opening.start, f"{text} cannot be subtracted. Add it with '+' or leave it out.")
    if len(bar) > 2 or bar[-1] - bar[0] != len(bar) - 1:
        remedy = "Write two terms, '(1 | g) + (1 | h)', or an interaction, '(1 | g:h)'."
        raise _error(formula, last.start, f"{text} has more than one bar. {remedy}")
    columns = formula[opening.start + 1 : first.start].strip()
    _check_columns(formula, summand[1 : bar[0]], first.start, columns, text)
    groups = formula[last.start + 1 : closing.start].strip()
    _check_factor(formula, summand[bar[-1] + 1 : -1], closing.start, columns, text)
    structure = "unstructured" if len(bar) == 1 else "diagonal"
    factors = [tuple(spelled(factor) for factor in term.factors) for term in _terms(formula, last.start + 1, [groups])]
    return [Bar(columns, factor, structure, text) for factor in factors]


def _check_columns(formula: str, pieces: list[_Piece], place: int, columns: str, text: str) -> None:
    """Raise if the left side of a bar has no columns."""
    if any(piece.text == "." for piece in pieces):
        raise _error(formula, place, f"'.' cannot be read in {text}. Name its columns.")
    if not pieces or not _terms(formula, pieces[0].start, columns):
        raise _error(formula, place, f"{text} has no column. Write '1' for a random intercept: '(1 | g)'.")


def _check_factor(formula: str, pieces: list[_Piece], place: int, columns: str, text: str) -> None:
    """Raise if the right side of a bar is not made of columns or functions joined by ``:``, ``/`` or ``*``."""
    if not pieces:
        raise _error(formula, place, f"{text} has no grouping factor: write '({columns} | g)', g a column.")
    for piece in pieces:
        if piece.is_operator("+"):
            remedy = f"Write one term each: '({columns} | g) + ({columns} | h)'."
            raise _error(formula, piece.start, f"{text} has a sum of grouping factors. {remedy}")
        if piece.kind is Token.Kind.OPERATOR and not piece.is_operator(":", "/", "*"):
            remedy = "Join columns by ':' (interaction), '/' (nesting) or '*' (both and their interaction)."
            raise _error(formula, piece.start, f"'{piece.text}' cannot join grouping factors in {text}. {remedy}")
        if piece.kind is Token.Kind.VALUE:
            raise _error(formula, piece.start, f"A grouping factor is a column; '{piece.text}' in {text} is not.")


def _offset(formula: str, sign: str, place: int, argument: str) -> str:
    """Return the text of the argument of one ``offset()``."""
    if sign == "-":
        raise _error(formula, place, f"An offset cannot be subtracted. Write '+ offset(-({argument}))'.")
    text = argument if argument and column_name(argument) else f"I({argument})"
    terms = _terms(formula, place, [text])
    if not argument or len(terms) != 1 or len(terms[0].factors) != 1:
        raise _error(formula, place, "offset() takes one column or expression, as in 'offset(log(time))'.")
    return spelled(terms[0].factors[0])


def _terms(formula: str, place: int, spec: str | list[str]) -> list[Term]:
    """Return formulaic's terms of a part of the formula; a list has no implicit intercept."""
    text = spec if isinstance(spec, str) else spec[0]
    try:
        if _products(text) > MOST_PRODUCTS:
            raise ValueError(TOO_MANY)
        parsed = Formula(spec)
    except Exception as error:  # whatever formulaic raises, the formula is at fault
        reason = str(error).split("\n")[0] or type(error).__name__
        raise _error(formula, place, f"'{text}' cannot be read: {reason}") from None
    return list(parsed)


def _products(text: str) -> float:
    """Return the most products of factors that formulaic multiplies out at once for one side of a formula, about."""
    nodes, sizes, most = [DefaultFormulaParser().get_ast(text)], {}, 0.0
    for node in nodes:  # which grows
        nodes += node.args if isinstance(node, ASTNode) else []
    for node in reversed(nodes):
        if not isinstance(node, ASTNode):
            sizes[id(node)] = 1.0, 1  # terms and names
            continue
        terms, names = zip(*(sizes[id(part)] for part in node.args), strict=True)
        if node.operator.symbol in ("**", "^"):
            exponent = getattr(node.args[1], "token", "")
            size = 1.0 if not exponent.isdecimal() else math.inf if len(exponent) > 1 else terms[0] ** int(exponent)
        elif node.operator.symbol == "*":
            size = math.prod(count + 1.0 for count in terms)
        elif node.operator.symbol in (":", "in"):
            size = math.prod(terms)
        else:
            size = sum(terms)
        most = max(most, size)
        sizes[id(node)] = min(size, 2.0 ** min(sum(names), 64) - 1.0), sum(names)
    return most


def _python_powers(formula: str) -> str:
    """Return the formula with R's ``^`` inside functions as ``**``; quotes and braces are left alone."""
    if "^" not in formula:
        return formula
    chars, quote = list(formula), None
    for token in _tokens(formula):
        if token.kind is not Token.Kind.PYTHON or formula[token.source_start] == "{":
            continue
        for i in range(token.source_start, token.source_end + 1):
            if quote or formula[i] in "'\"`":
                quote = None if formula[i] == quote else quote or formula[i]
            elif formula[i] == "^":
                chars[i] = "**"
    return "".join(chars)


def _arguments(expression: str) -> set[str]:
    """Return the names a Python expression uses other than to call them or to take attributes of them."""
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError:  # names in backticks; formulaic knows how to find those
        return set()
    owners = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    owners |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in owners}
