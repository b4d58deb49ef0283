"""Texts that are almost formulas, or nothing like it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

FRAGMENTS = (
    *(
        "~",
        "~~",
        "|",
        "||",
        "|||",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "`",
        "'",
        '"',
        '"""',
        "\\",
        "+",
        "-",
        "*",
        "/",
        ":",
        "**",
    ),
    *(
        "^",
        "%in%",
        "%",
        "%%",
        "in",
        ".",
        "..",
        "...",
        ",",
        ";",
        "=",
        "==",
        ":=",
        "->",
        "<-",
        "$",
        "@",
        "#",
        "!",
        "?",
        "&",
    ),
    *("0", "1", "-1", "00", "1e3", "1.5", "0x1", "1_0", "9" * 30, "**99", "NA", "nan", "None", "True", "TRUE", "NULL"),
    *("lambda", "lambda: 0", "if", "else", "for", "import", "def", "yield", "await", "not", "is", "pass", "return"),
    *("y", "x", "z", "f", "b", "g", "h", "`my column`", "größe", "w", "Y", "x x", "x.y", "np", "np.log(x)", "log(x)"),
    *("I(", "I()", "I(x)", "C(f)", "C(x, ", "C(f, contr.sum)", "C(f, Treatment('b'))", "factor(f)", "as.factor(f)"),
    *("poly(x, 2)", "bs(x, df=4)", "scale(x)", "center(x)", "offset(x)", "offset()", "- offset(x)", "lag(x)", "s(x)"),
    *("hashed(f, levels=3)", "Q('x')", "eval('x')", "x[0]", "x[:3]", "x.y.z", "{x}", "{}", "{x +}", "{{x}}", "f'{x}'"),
    *(
        "(1 | g)",
        "(x || g)",
        "(1 | g/h)",
        "(1 | g:h)",
        "(x | g",
        "1 | g",
        "( | g)",
        "(1 | )",
        "(|)",
        "((1 | g))",
        "-(1|g)",
    ),
    *(
        " ",
        "\t",
        "\n",
        "\r\n",
        "\0",
        "\x0b",
        "\u00a0",
        "\u200b",
        "\ufeff",
        "\u2028",
        "é",
        "e\u0301",
        "²",
        "ⅷ",
        "٣",
        "µ",
    ),
    *(
        "😀",
        "👩‍👩‍👧",
        "ￜ",
        "∼",
        "～",
        "−",
        "“x”",
        "α",
        "变量",
        "עִברִית",
        "\ud800",
        "\U0010ffff",
        "x" * 300,
        "(" * 60,
        "-" * 99,
    ),
)


def spoiled(rng: np.random.Generator, text: str) -> str:
    """Return a text with one change."""
    return CHANGES[rng.integers(len(CHANGES))](rng, text)


def jumbled(rng: np.random.Generator, text: str) -> str:
    """Return fragments put together, with or without the shape of a formula."""
    parts = [FRAGMENTS[i] for i in rng.integers(len(FRAGMENTS), size=rng.integers(1, 14))]
    how = rng.integers(4)
    if how == 0:
        return "".join(parts)
    if how == 1:
        return "y ~ " + str(rng.choice(["", " "])).join(parts) + " + (1 | g)"
    if how == 2:
        return "".join(chr(code) for code in rng.integers([128, 0x3000, 0x1F700][rng.integers(3)], size=30))
    return f"y ~ x + ({''.join(parts)} | {''.join(parts[:2])})"


def inserted(rng: np.random.Generator, text: str) -> str:
    """Return a text with a fragment put in."""
    place = rng.integers(len(text) + 1)
    return text[:place] + FRAGMENTS[rng.integers(len(FRAGMENTS))] + text[place:]


def deleted(rng: np.random.Generator, text: str) -> str:
    """Return a text without some characters in a row."""
    place = rng.integers(len(text) + 1)
    return text[:place] + text[place + rng.integers(1, 4) :]


def swapped(rng: np.random.Generator, text: str) -> str:
    """Return a text with two characters swapped."""
    chars = list(text)
    if chars:
        i, j = rng.integers(len(chars), size=2)
        chars[i], chars[j] = chars[j], chars[i]
    return "".join(chars)


def doubled(rng: np.random.Generator, text: str) -> str:
    """Return a text with a part repeated."""
    i, j = sorted(rng.integers(len(text) + 1, size=2))
    return text[:j] + text[i:j] * int(rng.choice([1, 2, 20])) + text[j:]


def nested(rng: np.random.Generator, text: str) -> str:
    """Return a text with a part in many parentheses of one kind, perhaps not closed."""
    i, j = sorted(rng.integers(len(text) + 1, size=2))
    opening, closing = [("(", ")"), ("{", "}"), ("[", "]"), ("I(", ")"), ("`", "`"), ("(", ""), ("-", "")][
        rng.integers(7)
    ]
    depth = int(rng.choice([1, 2, 5, 50, 500]))
    return text[:i] + opening * depth + text[i:j] + closing * depth + text[j:]


def replaced(rng: np.random.Generator, text: str) -> str:
    """Return a text with one of its pieces replaced by a fragment."""
    old = str(rng.choice(["x", "z", "f", "g", "|", "~", "+", "(", ")", "1", ":", "*", "y", "`"]))
    return text.replace(old, FRAGMENTS[rng.integers(len(FRAGMENTS))], int(rng.choice([1, -1])))


CHANGES: list[Callable[[np.random.Generator, str], str]] = [
    inserted,
    inserted,
    deleted,
    swapped,
    doubled,
    nested,
    replaced,
]
