"""Linear hypotheses Lβ = values: read from strings, names, weights or arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ..habits import coefficients_of, near

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    Hypotheses = str | Mapping[str, float] | ArrayLike | Sequence[str | Mapping[str, float]]
    Token = tuple[str, Any, int, int]  # kind, value, start and end

NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
OPERATORS = "+-*/()=,"
WORD = re.compile(r"[^\s+*/()=,-]+")


class Constraints(NamedTuple):
    """Hypotheses Lβ = values.

    Attributes
    ----------
    matrix : ndarray (r, p)
        L.
    values : ndarray (r,)
    labels : list of str
        What each hypothesis was called.
    """

    matrix: np.ndarray
    values: np.ndarray
    labels: list[str]


def constraints(hypotheses: Hypotheses, names: Sequence[str]) -> Constraints:
    """Return the hypotheses as matrices.

    Parameters
    ----------
    hypotheses : str, dict, array_like, tuple or list
        A string such as ``"x"``, ``"x = 0"``, ``"a = b, c = 2"`` or ``"2 * a - (b + c) / 2 = 1"``, its names as they
        are or in backticks; a dictionary of weights by name; L (r, p) or (p,), labelled by the index of a DataFrame;
        a tuple (L, values); or a list of strings and dictionaries.
    names : sequence of str
        Names of the p parameters.

    Raises
    ------
    ValueError
        If a name is unknown, the hypothesis is not linear or L has another number of columns.
    """
    names = list(names)
    if isinstance(hypotheses, str):
        own = [one for one in names if re.sub(r"\[[^]]*\]", "", one) == hypotheses.strip() != one]
        if own:
            raise ValueError(
                f"{hypotheses!r} is a term, whose coefficients are {', '.join(own)}. anova() tests it, or wald_test() "
                "of a list of them."
            )
        return _Reader(hypotheses, names).constraints()
    if isinstance(hypotheses, dict):
        row = np.zeros(len(names))
        for name, weight in hypotheses.items():
            row[_position(name, names)] += weight
        return Constraints(row[None], np.zeros(1), [_sum_label(hypotheses)])
    if isinstance(hypotheses, list) and hypotheses and all(isinstance(one, (str, dict)) for one in hypotheses):
        parts = [constraints(one, names) for one in hypotheses]
        matrices, values, labels = zip(*parts, strict=True)
        return Constraints(np.vstack(matrices), np.concatenate(values), [one for part in labels for one in part])
    given, values = hypotheses if isinstance(hypotheses, tuple) else (hypotheses, 0.0)
    matrix = np.atleast_2d(np.asarray(given, dtype=float))
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise ValueError(f"The hypotheses have shape {matrix.shape}; {len(names)} parameters need (r, {len(names)}).")
    labels = list(map(str, given.index)) if isinstance(given, pd.DataFrame) else [_row_label(r, names) for r in matrix]
    return Constraints(matrix, np.broadcast_to(np.asarray(values, dtype=float), len(matrix)).copy(), labels)


def _position(name: str, names: Sequence[str]) -> int:
    """Return the position of a name, blanks aside, or raise a ValueError that lists them."""
    if name not in names:
        name = next((one for one in names if one.replace(" ", "") == name.replace(" ", "")), name)
    if name not in names:
        parts = coefficients_of(name, names)
        hint = f" Did you mean {' or '.join(parts[:3])}? For all of {name}: anova()." if parts else near(name, names)
        raise ValueError(f"There is no parameter {name!r}; the names are {', '.join(names)}.{hint}")
    return names.index(name)


def _row_label(row: np.ndarray, names: Sequence[str]) -> str:
    return _sum_label({name: weight for name, weight in zip(names, row, strict=True) if weight})


def _sum_label(weights: Mapping[str, float]) -> str:
    """Return weights by name as text: ``a - 0.5*b``."""
    text = ""
    for name, weight in weights.items():
        sign = (" - " if weight < 0 else " + ") if text else ("-" if weight < 0 else "")
        text += sign + (name if abs(weight) == 1 else f"{abs(weight):.4g}*{name}")
    return text or "0"


class _Reader:
    """Recursive descent over a text: sums of products of numbers and names, as weights of the names and a constant."""

    def __init__(self, text: str, names: Sequence[str]) -> None:
        self.text, self.names = text, names
        self._patterns = {  # of the names, longest first, with any blanks between their characters
            name: re.compile(r"\s*".join(map(re.escape, name.replace(" ", ""))))
            for name in sorted(names, key=len, reverse=True)
        }
        self.tokens = list(self._scan())
        self.at = 0

    def _scan(self) -> Iterator[Token]:
        """Yield (kind, value, start, end); the longest name that fits is taken, so names may hold any character."""
        text, at = self.text, 0
        token: Token
        while at < len(text):
            if text[at].isspace():
                at += 1
                continue
            number = NUMBER.match(text, at)
            name, end = next(((name, end) for name in self._patterns if (end := self._end_of(name, at))), (None, at))
            if text[at] == "`":
                end = text.find("`", at + 1)
                if end < 0:
                    raise self._error("a backtick is not closed", at)
                token = "name", _position(text[at + 1 : end], self.names), at, end + 1
            elif number:
                token = "number", float(number.group()), at, number.end()
            elif name is not None:
                token = "name", self.names.index(name), at, end
            elif text[at] in OPERATORS:
                token = text[at], None, at, at + 1
            else:
                found = WORD.match(text, at)
                word = found.group() if found else text[at]
                token = "name", _position(word, self.names), at, at + len(word)
            yield token
            at = token[3]
        yield "end", None, len(text), len(text)

    def _end_of(self, name: str, at: int) -> int | None:
        """Return where a name ends that stands here, blanks aside, and does not begin a longer word; else None."""
        found = self._patterns[name].match(self.text, at)
        following = self.text[found.end() : found.end() + 1] if found else "x"
        return found.end() if found and (not following or following.isspace() or following in OPERATORS) else None

    def constraints(self) -> Constraints:
        """Return the hypotheses of the whole text; ``a = b = 0`` is two."""
        rows, labels = [], []
        while True:
            sides = [self._side()]
            while self._take("="):
                sides.append(self._side())
            if len(sides) == 1:
                rows.append(sides[0][0])
                labels.append(sides[0][1])
            for (left, left_text), (right, right_text) in pairwise(sides):
                rows.append(left - right)
                labels.append(f"{left_text} = {right_text}")
            if self._take("end"):
                break
            if not self._take(","):
                raise self._error("expected an operator, '=' or ','", self.tokens[self.at][2])
        weights = np.array(rows)
        for row, label in zip(weights, labels, strict=True):
            if not row[:-1].any():
                raise ValueError(f"The hypothesis {label!r} holds no parameter; the names are {', '.join(self.names)}.")
        return Constraints(weights[:, :-1], 0.0 - weights[:, -1], labels)

    def _side(self) -> tuple[np.ndarray, str]:
        """Return the weights (p+1,) of one side, the constant last, and its text."""
        start = self.at
        value = self._sum()
        return value, self.text[self.tokens[start][2] : self.tokens[self.at - 1][3]]

    def _sum(self) -> np.ndarray:
        value = self._product()
        while sign := self._take("+", "-"):
            value = value + self._product() if sign == "+" else value - self._product()
        return value

    def _product(self) -> np.ndarray:
        value = self._factor()
        while operator := self._take("*", "/"):
            place, other = self.tokens[self.at][2], self._factor()
            if operator == "/" and (other[:-1].any() or not other[-1]):
                raise self._error("only division by a number other than zero is linear", place)
            if operator == "*" and value[:-1].any() and other[:-1].any():
                raise self._error("a product of two parameters is not linear", place)
            if operator == "/":
                value = value / other[-1]
            else:
                value = value * other[-1] if value[:-1].any() else other * value[-1]
        return value

    def _factor(self) -> np.ndarray:
        if sign := self._take("+", "-"):
            return self._factor() if sign == "+" else -self._factor()
        if self._take("("):
            value = self._sum()
            if not self._take(")"):
                raise self._error("a parenthesis is not closed", self.tokens[self.at][2])
            return value
        kind, found, place, _ = self.tokens[self.at]
        if kind not in ("name", "number"):
            raise self._error("expected a parameter or a number", place)
        self.at += 1
        value = np.zeros(len(self.names) + 1)
        value[found if kind == "name" else -1] = 1.0 if kind == "name" else found
        return value

    def _take(self, *kinds: str) -> str | None:
        """Return the kind of the next token and pass it if it is one of these."""
        kind = self.tokens[self.at][0]
        if kind not in kinds:
            return None
        self.at += kind != "end"
        return kind

    def _error(self, what: str, place: int) -> ValueError:
        return ValueError(f"Hypothesis {self.text!r}, character {place + 1}: {what}.")
