"""The formula layer: every formula gives its parts or one clear error, whatever the string."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparselmm.errors import DataError, FormulaError
from sparselmm.formula import Bar, ParsedFormula, expand_dot, parse_formula
from sparselmm.formula_text import bare, column_name, formula_terms, lookups, quoted, tokenize

US, DIAG = "unstructured", "diagonal"

# formula -> (fixed, [(columns, factor, structure)]); the response is y, there are no offsets
BARS = {
    "y ~ x + (x | g)": ("x", [("x", ("g",), US)]),
    "y~x+(1+x|g)": ("x", [("1+x", ("g",), US)]),
    "y ~ x + (x || g)": ("x", [("x", ("g",), DIAG)]),
    "y ~ x + (0 + x || g)": ("x", [("0 + x", ("g",), DIAG)]),
    "y ~ x + (-1 + x | g)": ("x", [("-1 + x", ("g",), US)]),
    "y ~ (1 | g) + x": ("x", [("1", ("g",), US)]),
    "y ~ (1 | g)": ("1", [("1", ("g",), US)]),
    "y ~ 1 + (1 | g)": ("1", [("1", ("g",), US)]),
    "y ~ 0 + (1 | g)": ("0", [("1", ("g",), US)]),
    "y ~ -1 + (1 | g)": ("- 1", [("1", ("g",), US)]),
    "y ~ (1 | g) - 1": ("- 1", [("1", ("g",), US)]),
    "y ~ x + -1 + (1 | g)": ("x - 1", [("1", ("g",), US)]),
    "y ~ x - -z + (1 | g)": ("x + z", [("1", ("g",), US)]),
    "y ~ + x + (1 | g)": ("x", [("1", ("g",), US)]),
    "y ~ . - x + (1 | g)": (". - x", [("1", ("g",), US)]),
    "y ~ a * b + (a * b | g)": ("a * b", [("a * b", ("g",), US)]),
    "y ~ (a + b)^2 - b + (1 | g)": ("(a + b)^2 - b", [("1", ("g",), US)]),
    "y ~ a %in% b + (1 | g)": ("a %in% b", [("1", ("g",), US)]),
    "y ~ x + (1 | g) + (0 + x | g)": ("x", [("1", ("g",), US), ("0 + x", ("g",), US)]),
    "y ~ (1 | g) + x + (1 | h) + z": ("x + z", [("1", ("g",), US), ("1", ("h",), US)]),
    "y ~ (1 | g:h)": ("1", [("1", ("g", "h"), US)]),
    "y ~ (1 | a:b:c)": ("1", [("1", ("a", "b", "c"), US)]),
    "y ~ (1 | g:g)": ("1", [("1", ("g",), US)]),
    "y ~ (x || g/h)": ("1", [("x", ("g",), DIAG), ("x", ("g", "h"), DIAG)]),
    "y ~ (1 | a/b/c)": ("1", [("1", ("a",), US), ("1", ("a", "b"), US), ("1", ("a", "b", "c"), US)]),
    "y ~ (1 | a/b:c)": ("1", [("1", ("a",), US), ("1", ("a", "b", "c"), US)]),
    "y ~ (1 | a:b/c)": ("1", [("1", ("a", "b"), US), ("1", ("a", "b", "c"), US)]),
    "y ~ (1 | a/(b:c))": ("1", [("1", ("a",), US), ("1", ("a", "b", "c"), US)]),
    "y ~ (1 | g*h)": ("1", [("1", ("g",), US), ("1", ("h",), US), ("1", ("g", "h"), US)]),
    "y ~ (1 | (g))": ("1", [("1", ("g",), US)]),
    "y ~ ((x + z) | g)": ("1", [("(x + z)", ("g",), US)]),
    "y ~ `my x` + (`my x` | `my g`:h)": ("`my x`", [("`my x`", ("`my g`", "h"), US)]),
    "y ~ `a|b` + (1 | `g(1)`)": ("`a|b`", [("1", ("`g(1)`",), US)]),
    "y ~ my.x + (1 | my.g)": ("my.x", [("1", ("`my.g`",), US)]),
    "y ~ (1 | C( g ))": ("1", [("1", ("C(g)",), US)]),
    "y ~ (1 | np.floor(x):h)": ("1", [("1", ("np.floor(x)", "h"), US)]),
    "y ~ (1 | {a+b})": ("1", [("1", ("{a + b}",), US)]),
    "y ~ (1 | {a|b})": ("1", [("1", ("{a | b}",), US)]),
    "y ~ (1 | {b'x'})": ("1", [("1", ("{b'x'}",), US)]),
    "y ~ np.log(x) + (np.log(x) | g)": ("np.log(x)", [("np.log(x)", ("g",), US)]),
    "y ~ bs(x, df=4) + (0 + bs(x, df=4) | g)": ("bs(x, df=4)", [("0 + bs(x, df=4)", ("g",), US)]),
    "y ~ poly(x,2) + C(f, contr.sum) + (1 | g)": ("poly(x,2) + C(f, contr.sum)", [("1", ("g",), US)]),
    "y ~ I(x**2) + (I(x | z) | g)": ("I(x**2)", [("I(x | z)", ("g",), US)]),
    "y ~ f('a|b~') + (1 | g)": ("f('a|b~')", [("1", ("g",), US)]),
    "y ~ I(x^2 + 1) + (I(x^2) | g)": ("I(x**2 + 1)", [("I(x**2)", ("g",), US)]),
    "y ~ f(x, '^', `a^b`, z^2) + (1 | g)": ("f(x, '^', `a^b`, z**2)", [("1", ("g",), US)]),
    "y ~ {x ^ 2} + (1 | g)": ("{x ^ 2}", [("1", ("g",), US)]),
    "y ~\n  x +\n\t(1 | g)\n": ("x", [("1", ("g",), US)]),
    "y ~ größe + (1 | schüler)": ("größe", [("1", ("schüler",), US)]),
}

RESPONSES = {
    "y": "y",
    "`my y`": "`my y`",
    "my.y": "`my.y`",
    "log( y )": "log(y)",
    "np.log(y)": "np.log(y)",
    "I(y^2)": "I(y ** 2)",
    "{y/2}": "{y / 2}",
}

OFFSETS = {
    "offset(z)": ("z",),
    "offset( `my z` )": ("`my z`",),
    "offset(log(t))": ("I(log(t))",),
    "offset(z) + offset(t^2)": ("z", "I(t ** 2)"),
    "offset(`my z` + 1)": ("I(`my z` + 1)",),
}

# formula -> (position of the caret from 1, part of the message)
ERRORS = {
    "": (1, "one '~'"),
    "y": (2, "one '~'"),
    "y ~ x ~ (1 | g)": (7, "one '~'"),
    "(y ~ x)": (4, "one '~'"),
    "y ~ [x ~ z] + (1 | g)": (8, "one '~'"),
    "~ x + (1 | g)": (1, "response is missing"),
    "y + z ~ (1 | g)": (1, "'{y + z} ~ ...'"),
    "(y) ~ (1 | g)": (1, "'{(y)} ~ ...'"),
    "1 ~ (1 | g)": (1, "not one column"),
    "y z ~ (1 | g)": (1, "not one column"),
    "(1 | g) ~ x": (4, "right of '~'"),
    "y | z ~ (1 | g)": (3, "right of '~'"),
    "y ~ x": (6, "at least one random-effects term"),
    "y ~": (4, "at least one random-effects term"),
    "y ~ x + 1 | g": (11, "'1 | g' needs parentheses: write '... + (1 | g)'"),
    "y ~ 1 | g": (7, "needs parentheses"),
    "y ~ (1 | g": (5, "'(' is never closed"),
    "y ~ 1 | g)": (10, "')' closes nothing"),
    "y ~ (1 | g]": (11, "']' closes nothing"),
    "y ~ (1 | g))": (12, "')' closes nothing"),
    "y ~ (x + (1 | g))": (13, "outside other parentheses"),
    "y ~ ((1 | g))": (9, "outside other parentheses"),
    "y ~ ((1 | g) | h)": (9, "outside other parentheses"),
    "y ~ x:(1 | g)": (10, "outside other parentheses and products"),
    "y ~ x * (1 | g)": (12, "products"),
    "y ~ (1 | g) / x": (8, "products"),
    "y ~ x (1 | g)": (10, "added on its own"),
    "y ~ (1 | g) (1 | h)": (8, "added on its own"),
    "y ~ [1 | g]": (8, "added on its own"),
    "y ~ x - (1 | g)": (9, "cannot be subtracted"),
    "y ~ - (1 | g)": (7, "cannot be subtracted"),
    "y ~ (1 | g | h)": (12, "more than one bar"),
    "y ~ (1 ||| g)": (10, "more than one bar"),
    "y ~ ( | g)": (7, "has no column. Write '1'"),
    "y ~ (0 | g)": (8, "has no column. Write '1'"),
    "y ~ (1 - 1 | g)": (12, "has no column. Write '1'"),
    "y ~ (. | g)": (8, "Name its columns"),
    "y ~ (x ~ z | g)": (8, "one '~'"),
    "y ~ (x + 3 | g)": (6, "'x + 3' cannot be read"),
    "y ~ (1 | )": (10, "no grouping factor"),
    "y ~ (1 | g + h)": (12, "'(1 | g) + (1 | h)'"),
    "y ~ (1 | g - h)": (12, "'-' cannot join grouping factors"),
    "y ~ (1 | g %in% h)": (12, "'in' cannot join grouping factors"),
    "y ~ (1 | 1)": (10, "A grouping factor is a column"),
    "y ~ (1 | .)": (10, "A grouping factor is a column"),
    "y ~ (1 | 'g')": (10, "A grouping factor is a column"),
    "y ~ (1 | g h)": (9, "'g h' cannot be read"),
    "y ~ (1 | g:)": (9, "'g:' cannot be read"),
    "y ~ (1 | C(g)": (5, "'(' is never closed"),
    "y ~ x + + (1 | g) +": (19, "Nothing follows '+'"),
    "y ~ x + 3 + (1 | g)": (5, "'x + 3' cannot be read"),
    "y ~ x z + (1 | g)": (5, "'x z' cannot be read"),
    "y ~ f(x + (1 | g)": (None, "cannot be read: Formula ended"),
    "y ~ f(1 +) + (1 | g)": (5, "'f(1 +)' cannot be read"),
    "y ~ x' + (1 | g)": (None, "cannot be read: Unexpected character"),
    "y ~ `x + (1 | g)": (None, "cannot be read: Formula ended"),
    "y ~ offset() + (1 | g)": (5, "offset() takes one column"),
    "y ~ x - offset(z) + (1 | g)": (9, "'+ offset(-(z))'"),
}


@pytest.mark.parametrize("formula", BARS)
def test_bars(formula):
    fixed, bars = BARS[formula]
    parsed = parse_formula(formula)
    assert parsed.response == "y"
    assert parsed.fixed == fixed
    assert [(bar.columns, bar.factor, bar.structure) for bar in parsed.bars] == bars
    assert parsed.offsets == ()


def test_the_parts_of_one_formula():
    assert parse_formula("log(y) ~ x + offset(z) + (1 + x || g / `my h`)") == ParsedFormula(
        response="log(y)",
        fixed="x",
        bars=(
            Bar("1 + x", ("g",), "diagonal", "(1 + x || g / `my h`)"),
            Bar("1 + x", ("g", "`my h`"), "diagonal", "(1 + x || g / `my h`)"),
        ),
        offsets=("z",),
    )


@pytest.mark.parametrize("factor, name", {"g": "g", "`my g`:h": "my g:h", "{a+b}:C(g)": "a + b:C(g)"}.items())
def test_name_of_a_bar(factor, name):
    assert parse_formula(f"y ~ (1 | {factor})").bars[0].name == name


@pytest.mark.parametrize("text, response", RESPONSES.items())
def test_responses(text, response):
    assert parse_formula(f"{text} ~ (1 | g)").response == response


@pytest.mark.parametrize("text, offsets", OFFSETS.items())
def test_offsets(text, offsets):
    parsed = parse_formula(f"y ~ x + {text} + (1 | g)")
    assert (parsed.fixed, parsed.offsets) == ("x", offsets)


@pytest.mark.parametrize("formula", ERRORS)
def test_errors_point_at_the_place(formula):
    position, part = ERRORS[formula]
    with pytest.raises(FormulaError) as caught:
        parse_formula(formula)
    message, *display = str(caught.value).split("\n")
    assert part in message
    if position is None:
        assert repr(formula) in message
    else:
        assert f"(Position {position} of the formula.)" in message
        assert display == [f"    {formula}", " " * (position + 3) + "^"]


@pytest.mark.parametrize("formula", [None, 3, b"y ~ (1 | g)", ["y ~ (1 | g)"]])
def test_a_formula_is_a_string(formula):
    with pytest.raises(FormulaError, match="A formula is a string"):
        parse_formula(formula)


@pytest.mark.parametrize(
    "fixed, expanded",
    {
        "x": "x",
        ".": "(a + `b c`)",
        ". - x": "(a + `b c`) - x",
        "x * .": "x * (a + `b c`)",
        "x.y + `.` + f('.')": "x.y + `.` + f('.')",
    }.items(),
)
def test_expand_dot(fixed, expanded):
    assert expand_dot(fixed, ["a", "b c"]) == expanded


def test_a_dot_without_columns():
    with pytest.raises(FormulaError, match="stands for no column"):
        expand_dot("x + .", [])


@pytest.mark.parametrize(
    "text, columns, names",
    [
        ("x + `my x`:z", {"x", "my x", "z"}, set()),
        ("1 + 0", set(), set()),
        ("np.log(x) + C(f, contr.sum)", set(), {"x", "f"}),
        ("dbl(x) + {a + b.clip(c)}", set(), {"dbl", "x", "a", "b", "c"}),
        ("np.log(scale)", set(), {"scale"}),
        ("scale(log)", set(), {"log"}),
        ("I(`my x` + 1)", set(), {"my x"}),
    ],
)
def test_lookups(text, columns, names):
    assert lookups(text) == (columns, names)


@pytest.mark.parametrize("name", ["x", "my x", "x.y", "1x", "a|b", "größe", "class", "(g)", "a'b", "{a}"])
def test_quoted_names_are_read_back(name):
    assert column_name(quoted(name)) == name
    assert bare(quoted(name)) == name.strip("{}") or name == "{a}"


def test_tokens_are_what_this_module_expects():
    tokens = [(t.token, t.kind.value, t.source_start) for t in tokenize("y ~-1 + `a b`:f(x, (z)) + {a} + (x || g)")]
    assert tokens == [
        ("y", "name", 0),
        ("~-", "operator", 2),
        ("1", "value", 4),
        ("+", "operator", 6),
        ("a b", "name", 8),
        (":", "operator", 13),
        ("f(x, (z))", "python", 14),
        ("+", "operator", 24),
        ("a", "python", 26),
        ("+", "operator", 30),
        ("(", "context", 32),
        ("x", "name", 33),
        ("||", "operator", 35),
        ("g", "name", 38),
        (")", "context", 39),
    ]


ALPHABET = "yxgh01 +-~|()[]{}`'\"^*:/%.,\\=\n\tÿ#!@$&<>?;_\0"


@st.composite
def mutated_formulas(draw):
    """A formula of the tables above with some characters changed."""
    chars = list(draw(st.sampled_from([formula for formula in (*BARS, *ERRORS) if "^2 -" not in formula])))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(chars)))
        chars[place : place + draw(st.integers(0, 1))] = draw(st.sampled_from(["", *ALPHABET]))
    return "".join(chars)


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.text(max_size=30), st.text(ALPHABET, max_size=30), mutated_formulas()))
def test_any_string_is_parsed_or_a_formula_error(formula):
    try:
        parsed = parse_formula(formula)
    except FormulaError:
        return
    assert parsed.bars
    for text in (parsed.response, *parsed.offsets, *(text for bar in parsed.bars for text in bar.factor)):
        rest = parse_formula(f"{text} ~ {parsed.fixed} + (1 | g)")
        assert (rest.response, rest.fixed) == (text, parsed.fixed)
        lookups(text)


def test_conversions_of_r_name_what_to_write():
    with pytest.raises(FormulaError, match=r"as\.factor\(g\)' is R's conversion"):
        parse_formula("y ~ as.factor(g) + (1 | h)")


@pytest.mark.parametrize(
    "fixed",
    [
        "(x + z + f + b)**10",
        "x**99999999999",
        "((x + z)**9)**9",
        "*".join(f"x{i}" for i in range(20)),
        "(a + b + c + d)**9 * (e + f)**9",
    ],
)
def test_more_products_than_can_be_multiplied_out_are_an_error(fixed):
    with pytest.raises(FormulaError, match=r"it multiplies out to more than 20,000 products.*Position 5"):
        parse_formula(f"y ~ {fixed} + (1 | g)")


@pytest.mark.parametrize("fixed", ["(a + b + c + d)**4", ":".join(f"x{i}" for i in range(40)), "a*b*c*d*e*f"])
def test_products_of_usual_size_are_read(fixed):
    assert parse_formula(f"y ~ {fixed} + (1 | g)").fixed == fixed


def test_products_of_all_columns_are_counted_with_them():
    fixed = expand_dot(".**5", [f"x{i}" for i in range(30)])
    with pytest.raises(FormulaError, match="it multiplies out to more than 20,000 products"):
        formula_terms(fixed)


@pytest.mark.parametrize("name", ["a`b", "`", "a\\"])
def test_names_that_no_formula_can_hold(name):
    with pytest.raises(DataError, match="Rename it"):
        quoted(name)


def test_reasons_without_text_are_named_by_their_type(monkeypatch):
    def fail(spec):
        raise MemoryError

    monkeypatch.setattr("sparselmm.formula_text.Formula", fail)
    with pytest.raises(FormulaError, match="cannot be read: MemoryError"):
        parse_formula("y ~ never_read_before + (1 | g)")
