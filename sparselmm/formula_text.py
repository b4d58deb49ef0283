"""Texts of formulas as formulaic reads them: names, pieces and terms, and errors that point at a place in a text.

The only module that imports formulaic's parser and tokenizer; others see its terms and factors.
"""

from __future__ import annotations

import ast
import math
import re
from functools import lru_cache
from typing import NamedTuple

from .errors import DataError, FormulaError

MOST_PRODUCTS = 20_000  # of factors that are multiplied out: a second of work
TOO_MANY = f"it multiplies out to more than {MOST_PRODUCTS:,} products. Write the interactions that are meant."

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


def coded_column(text: str) -> str | None:
    """Return the column in the text of a factor such as ``C(column, ...)`` or ``factor(column)``, else None."""
    found = re.fullmatch(r"(?:C|factor)\(\s*`?(.+?)`?\s*(,.*)?\)", text, flags=re.DOTALL)
    return found[1] if found else None


def terms_as_written(text: str) -> Formula:
    """Return formulaic's terms of one side of a formula in its own order, not sorted by the number of factors."""
    return Formula(text, _ordering="none")


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


class Piece(NamedTuple):
    """An operand, an operator character or a parenthesis of a formula: where it starts, how deep it is nested."""

    text: str
    kind: Token.Kind
    start: int
    depth: int

    def is_operator(self, *symbols: str) -> bool:
        """Whether this is one of the operators `symbols`."""
        return self.kind is Token.Kind.OPERATOR and self.text in symbols


def error_at(formula: str, position: int, message: str) -> FormulaError:
    """Return the error with the formula below its message and a caret below the place."""
    line = "".join(" " if char.isspace() else char for char in formula)
    return FormulaError(f"{message} (Position {position + 1} of the formula.)\n    {line}\n    {' ' * position}^")


def pieces_of(formula: str) -> list[Piece]:
    """Return the pieces of the formula, operators split into characters, parentheses balanced."""
    pieces: list[Piece] = []
    opened: list[tuple[str, int]] = []
    for token in _tokens(formula):
        start, end = token.source_start, token.source_end
        if token.kind is Token.Kind.OPERATOR and formula[start] != "%":
            places = [i for i in range(start, end + 1) if not formula[i].isspace()]
            pieces += [Piece(formula[i], token.kind, i, len(opened)) for i in places]
            continue
        if token.kind is Token.Kind.CONTEXT and token.token in ")]":
            if not opened or opened[-1][0] + token.token not in ("()", "[]"):
                raise error_at(formula, start, f"'{token.token}' closes nothing: remove it or open it before.")
            opened.pop()
        pieces.append(Piece(token.token, token.kind, start, len(opened)))
        if token.kind is Token.Kind.CONTEXT and token.token in "([":
            opened.append((token.token, start))
    if opened:
        raise error_at(formula, opened[-1][1], f"'{opened[-1][0]}' is never closed.")
    return pieces


def terms_at(formula: str, place: int, spec: str | list[str]) -> list[Term]:
    """Return formulaic's terms of a part of the formula; a list has no implicit intercept."""
    text = spec if isinstance(spec, str) else spec[0]
    try:
        if _products(text) > MOST_PRODUCTS:
            raise ValueError(TOO_MANY)
        parsed = Formula(spec)
    except Exception as error:  # whatever formulaic raises, the formula is at fault
        reason = str(error).split("\n")[0] or type(error).__name__
        raise error_at(formula, place, f"'{text}' cannot be read: {reason}") from None
    return list(parsed)


def _tokens(formula: str) -> list[Token]:
    """Return formulaic's tokens of the formula."""
    try:
        return list(tokenize(formula))
    except Exception as error:  # whatever formulaic raises, the formula is at fault
        reason = str(error).split("\n")[0] or type(error).__name__
        raise FormulaError(f"The formula {formula!r} cannot be read: {reason}") from None


def _only_token(text: str) -> Token | None:
    """Return the token that `text` is, or None."""
    try:
        tokens = list(tokenize(text))
    except Exception:
        return None
    return tokens[0] if len(tokens) == 1 else None


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


def python_powers(formula: str) -> str:
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
