"""Formulas: any text gives a model, or a FormulaError or DataError that names the place, within two seconds.

Texts come from a grammar of formulas and are then spoiled, or are made of fragments and of any characters. Those that
were not spoiled are compared with their canonical form, which is expanded here by sets: the same columns.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pandas as pd

from sparselmm import DataError, DataWarning, FormulaError, LinearMixedModel

from ._spoiled_formulas import jumbled, spoiled
from .outcome import Outcome, attempt

SHORT, LONG = 250, 20_000
NOTE = "formulas of a grammar, half of them spoiled; those that are not are compared with their expansion by sets"
SECONDS = 2.0
NUMERIC, CATEGORICAL, GROUPS = ("x", "z", "`my column`", "größe"), ("f", "b"), ("g", "h", "`the group`")
Terms = dict[frozenset, None]  # an ordered set of sets of factors


class Hang(BaseException):
    """A formula took too long; no handler of exceptions catches it."""


def run(count: int, seed: int) -> Outcome:
    """Return the Outcome of `count` formulas."""
    return attempt("formulas", count, seed, trial, NOTE)


def trial(rng: np.random.Generator, number: int) -> str:
    """Read one formula and return how it ended."""
    text, canonical = grammatical(rng)
    how = number % 4
    if how == 1:
        text, canonical = spoiled(rng, text), None
    elif how == 2:
        text, canonical = spoiled(rng, spoiled(rng, spoiled(rng, text))), None
    elif how == 3:
        text, canonical = jumbled(rng, text), None
    made = read(text)
    if canonical is None:
        return "model" if isinstance(made, LinearMixedModel) else type(made).__name__
    if isinstance(made, DataError | FormulaError):  # such as 0 + (0 + x | g) without any column
        assert not isinstance(read(canonical), LinearMixedModel), f"{text!r} is refused ({made}), not {canonical!r}"
        return "refused like its expansion"
    other = read(canonical)
    assert isinstance(other, LinearMixedModel), f"{text!r} is read, its expansion {canonical!r} is not: {other}"
    same(made, other, f"{text!r} and {canonical!r}")
    return "equal to its expansion"


def read(text: str) -> LinearMixedModel | Exception:
    """Return the model of a formula, or the error that tells what is wrong with it."""
    try:
        with limited(text), warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            return LinearMixedModel.from_formula(text, rows(), context={"identity_of": lambda values: values})
    except FormulaError as error:
        assert "Position" in str(error) or repr(text) in str(error), f"{text!r}: {error} does not name the place"
        return error
    except DataError as error:
        named = any(mark in str(error) for mark in ("'", "`", "Term", "()", "rows"))
        assert named, f"{text!r}: {error} does not name the place"
        return error


@contextmanager
def limited(text: str) -> Iterator[None]:
    """Raise an AssertionError if the block takes longer than SECONDS of this process."""

    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    except Hang:
        raise AssertionError(f"{text[:200]!r}, {len(text)} characters, takes more than {SECONDS} seconds") from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@cache
def rows() -> pd.DataFrame:
    """Return rows with the columns of the formulas."""
    rng = np.random.default_rng(5)
    n = 90
    data = pd.DataFrame(rng.normal(size=(n, 4)), columns=["x", "z", "my column", "größe"])
    data["f"], data["b"] = rng.choice(list("abc"), n), rng.choice(["no", "yes"], n)
    data["g"], data["h"], data["the group"] = rng.integers(6, size=n), rng.integers(3, size=n), rng.integers(9, size=n)
    return data.assign(y=data["x"] + rng.normal(size=n))


# the grammar -----------------------------------------------------------------------------------------------------


def grammatical(rng: np.random.Generator) -> tuple[str, str]:
    """Return a formula and its canonical form: sums of products, an explicit intercept, no nesting."""
    response = str(rng.choice(["y", "{y}", "I(y)", "`y`", "{y + 0}"]))
    intercept, terms, text = True, {}, ""
    for k in range(rng.integers(4)):
        part, found = expression(rng, 2)
        minus = k > 0 and rng.integers(8) == 0
        terms = {t: None for t in terms if t not in found} if minus else terms | found
        text += (" - " if minus else " + " if text else "") + (f"({part})" if minus else part)
    place = rng.integers(6)
    if place < 2:
        intercept, text = False, f"0 + {text}" if text and place else f"{text} - 1" if text else "0"
    elif place == 2:
        text = f"1 + {text}" if text else "1"
    bars, canonical_bars = zip(*(bar(rng) for _ in range(rng.integers(1, 3))), strict=True)
    summands = [text, *bars] if text else list(bars)
    if rng.integers(3) == 0:  # no fixed summand may follow one that is subtracted
        summands = summands[::-1]
    gap = str(rng.choice(["", " ", "  ", "\n"]))
    canonical = " + ".join([str(int(intercept)), *map(spelled, terms), *canonical_bars])
    return f"{response}{gap}~{gap}" + f"{gap}+{gap}".join(summands), f"{response} ~ {canonical}"


def spelled(term: frozenset) -> str:
    """Return the text of a product."""
    return ":".join(sorted(term))


def expression(rng: np.random.Generator, depth: int) -> tuple[str, Terms]:
    """Return a part of the fixed effects and its terms."""
    kind = rng.integers(8) if depth else 0
    if kind < 2:
        name = str(rng.choice([*NUMERIC, *CATEGORICAL]))
        return name, {frozenset([name]): None}
    (a, left), (b, right) = expression(rng, depth - 1), expression(rng, depth - 1)
    a, b = (text if text.strip("`").replace(" ", "").isidentifier() else f"({text})" for text in (a, b))
    both = {i | j: None for i in left for j in right}
    if kind == 2:
        return f"{a}:{b}", both
    if kind == 3:
        return f"{a} / {b}", left | {frozenset().union(*left) | j: None for j in right}
    if kind == 4:
        power, terms = int(rng.integers(1, 4)), left
        for _ in range(power - 1):
            terms = {i | j: None for i in terms for j in left}
        return f"{a}{rng.choice(['**', '^', ' ** '])}{power}", terms
    if kind == 5:
        return f"{a} + {b}", left | right
    return f"{a}*{b}", left | right | both


def bar(rng: np.random.Generator) -> tuple[str, str]:
    """Return a random-effects term and its canonical form."""
    columns = [str(name) for name in rng.permutation(NUMERIC)[: rng.integers(3)]]
    intercept = bool(rng.integers(3)) or not columns
    given = [*(["1"] if intercept and (not columns or rng.integers(2)) else [] if intercept else ["0"]), *columns]
    first, second = (str(name) for name in rng.permutation(GROUPS)[:2])
    written, factors = [
        (first, [first]),
        (f"{first}:{second}", [f"{first}:{second}"]),
        (f"{first} / {second}", [first, f"{first}:{second}"]),
        (f"{first}*{second}", [first, second, f"{first}:{second}"]),
        (f"{{{first}}}" if "`" not in first else first, [first]),
    ][rng.integers(5)]
    sign = str(rng.choice(["|", "||"]))
    canonical = " + ".join([str(int(intercept)), *columns])
    return f"({' + '.join(given)} {sign} {written})", " + ".join(f"({canonical} {sign} {name})" for name in factors)


def same(one: LinearMixedModel, other: LinearMixedModel, what: str) -> None:
    """Raise an AssertionError unless two models have the same columns, up to their order and coding."""
    assert one.exog.shape == other.exog.shape, f"{what}: {one.exog_names} and {other.exog_names}"
    if one.exog.shape[1]:
        joint = np.hstack([one.exog, other.exog])
        assert np.linalg.matrix_rank(joint, tol=1e-8 * np.linalg.norm(joint)) == one.exog.shape[1], f"{what}: other X"
    shapes = [sorted((t.n_levels, sorted(t.columns), t.structure) for t in model.terms) for model in (one, other)]
    assert shapes[0] == shapes[1], f"{what}: terms {shapes}"
    first, second = ((model.Z @ model.Z.T).toarray() for model in (one, other))
    assert np.allclose(first, second), f"{what}: other Z"
