"""Whole summaries against golden files; ``python tests/test_summary.py`` writes them anew (read the difference)."""

import re
import warnings
from itertools import chain
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import sparselmm
from sparselmm import LinearMixedModel, RandomTerm
from sparselmm.export import Block, latex, markdown, number
from sparselmm.summary import DDF_NOTES

GOLDEN = Path(__file__).parent / "golden"
load = sparselmm.datasets.load


def optimum(formula, data, reml=True, weights=None):
    """Return a fit so close to its optimum that the way there shows in no printed digit."""
    return LinearMixedModel.from_formula(formula, data, weights=weights).fit(reml, tolerance=1e-11)


def incomplete():
    """Return a fit with missing rows, dependent columns, weights and a double bar."""
    data = load("sleepstudy")
    data = data.assign(Half=data["Days"] / 2.0, w=np.tile([1.0, 2.0, 4.0], 60))
    data.loc[3:5, "Days"] = np.nan
    return optimum("Reaction ~ Days + Half + (Days || Subject)", data, weights="w")


def scales():
    """Return a fit from arrays with names to escape, effects of very different size and a flat factor."""
    rng = np.random.default_rng(4)
    groups, flat = np.repeat(np.arange(20), 6), np.tile(np.arange(6), 20)
    noise = rng.standard_normal((120, 3))
    noise -= np.array([np.bincount(flat, column) / 20.0 for column in noise.T]).T[flat]
    x = noise[:, :2] * [1e6, 1e-3]
    y = 1e4 + x @ [3e-6, 2e3] + rng.standard_normal(20)[groups] * 3.0 + noise[:, 2]
    terms = [RandomTerm(groups, name="<a & b>"), RandomTerm(flat, name="flat")]
    names = ["Intercept", "x < 0", "a long column name"]
    model = LinearMixedModel(y, np.column_stack([np.ones(120), x]), terms, exog_names=names, endog_name="y")
    return model.fit(tolerance=1e-11)


def stopped():
    """Return a fit that had one evaluation only, of a formula that fills more than one line."""
    formula = "score ~ I((Machine == 'A') * 2.0) + I((Machine == 'B') * 3.0) + (0 + Machine | Worker)"
    model = LinearMixedModel.from_formula(formula, load("Machines"))
    return model.fit(start=[4.0, 1.0, 1.0, 8.0, 1.0, 4.0], max_evaluations=1)


FITS = {
    "sleepstudy_reml": lambda: optimum("Reaction ~ Days + (Days | Subject)", load("sleepstudy")),
    "sleepstudy_ml": lambda: optimum("Reaction ~ Days + (Days | Subject)", load("sleepstudy"), reml=False),
    "penicillin": lambda: optimum("diameter ~ 1 + (1 | plate) + (1 | sample)", load("Penicillin")),
    "dyestuff2": lambda: optimum("Yield ~ 1 + (1 | Batch)", load("Dyestuff2")),
    "machines": lambda: optimum("score ~ Machine + (Machine | Worker)", load("Machines"), reml=False),
    "tvbo": lambda: optimum("Sharpnessofmovement ~ TVset + (TVset | Assessor)", load("TVbo"), reml=False),
    "cake": lambda: optimum("angle ~ recipe * temperature + (1 | recipe:replicate)", load("cake")),
    "incomplete": incomplete,
    "scales": scales,
    "stopped": stopped,
}


def fitted(name):
    """Return one of the fits; what it warns of is in its summary too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sparselmm.DataWarning)
        warnings.simplefilter("ignore", sparselmm.ConvergenceWarning)
        return FITS[name]()


@pytest.mark.parametrize("name", FITS)
def test_text(name):
    summary = fitted(name).summary()
    assert f"{summary}\n" == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert max(map(len, str(summary).splitlines())) <= 96
    assert summary.as_text() == repr(summary) == str(summary)


@pytest.mark.parametrize("name", FITS)
def test_html_holds_the_cells_of_the_text(name):
    fit = fitted(name)
    summary = fit.summary()
    root = ElementTree.fromstring(summary.as_html())  # well formed, everything escaped
    cells = ["".join(cell.itertext()).replace("\u2007", " ") for cell in root.iter() if cell.tag in ("td", "th")]
    tables = [[cell for pair in summary.facts for cell in pair]]
    tables += [[cell for line in [block.header, *block.rows] for cell in line] for block in summary.blocks]
    assert cells == list(chain(*tables))
    assert ["".join(item.itertext()) for item in root.iter("li")] == summary.notes
    assert fit._repr_html_() == summary._repr_html_() == summary.as_html()


def test_without_fixed_effects():
    fit = sparselmm.lmer("Reaction ~ 0 + (1 | Subject)", load("sleepstudy"))
    assert [block.title for block in fit.summary().blocks] == ["Random effects"]
    assert fit.tidy("fixed").empty and fit.cov_params().shape == (0, 0)


FORMATS = {
    "sleepstudy_reml.html": lambda summary: summary.as_html() + "\n",
    "scales.md": lambda summary: summary.as_markdown(),
    "scales.tex": lambda summary: summary.as_latex(),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name):
    text = FORMATS[name](fitted(name.split(".")[0]).summary())
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FITS)
def test_markdown_and_latex_hold_the_cells_of_the_text(name):
    summary = fitted(name).summary()
    lines = [[cell.rstrip() for cell in line] for block in summary.blocks for line in [block.header, *block.rows]]
    rows = [line for line in summary.as_markdown().splitlines() if line.startswith("| ") and "--" not in line]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    assert cells == [[markdown(cell.strip()) for cell in line] for line in lines]
    rows = [line for line in summary.as_latex().splitlines() if line.count(" & ") > 1]
    cells = [re.sub(r"\\phantom\{[0.]*\}| \\\\$", "", row).split(" & ") for row in rows]
    assert cells == [[latex(cell.strip()) for cell in line] for line in lines]


def test_degrees_of_freedom():
    fit = fitted("sleepstudy_reml")
    columns = {"satterthwaite": ("df", "t value"), "kenward-roger": ("df", "t value"), "residual": ("df", "t value")}
    for ddf, expected in (columns | {"z": ("z value", "P>|z|")}).items():
        summary = fit.summary(ddf)
        assert summary.blocks[1].header[3:5] == expected
        assert summary.notes == [DDF_NOTES[ddf]]
    assert fit.summary("z", level=0.9).blocks[1].header[-2:] == ("[0.05", "0.95]")
    with pytest.raises(ValueError, match="is not one of satterthwaite"):
        fit.summary("exact")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 5% #1 {x}", r"a\_b \& 5\% \#1 \{x\}"),
        ("y ~ x^2 | g", r"y $\sim$ x\textasciicircum{}2 \textbar{} g"),
        ("[0.025", "{[}0.025"),
        ("\\ <0.001>", r"\textbackslash{} \textless{}0.001\textgreater{}"),
        ("-1.5 and a-1", "$-$1.5 and a-1"),
    ],
)
def test_latex(text, expected):
    assert latex(text) == expected


def test_block():
    block = Block("Title", ("Name", "Number"), [("a", "1.25"), ("bcdef", "<2 ")], labels=1)
    assert block.as_text() == "Title\n  Name   Number\n  a        1.25\n  bcdef     <2"
    assert '<td class="label">a</td><td>1.25</td>' in block.as_html()
    assert "<td>&lt;2\u2007</td>" in block.as_html()


if __name__ == "__main__":
    for fit_name in FITS:
        (GOLDEN / f"{fit_name}.txt").write_text(f"{fitted(fit_name).summary()}\n", encoding="utf-8")
    for file_name, as_format in FORMATS.items():
        (GOLDEN / file_name).write_text(as_format(fitted(file_name.split(".")[0]).summary()), encoding="utf-8")


def test_numbers_as_wide_as_a_page_are_written_in_powers_of_ten():
    assert number(-1.5508762e128, like=0.4622) == "-1.5509e+128"  # a limit with a hundredth of a degree of freedom
    assert number(-15.5, like=0.4622) == "-15.5000"


def test_caption_and_label_of_latex():
    fit = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", sparselmm.datasets.load("sleepstudy"))
    for result in (fit.summary(), fit.anova()):
        start = result.as_latex(r"Sleep, $n = 18$", "tab:sleep").splitlines()[:3]
        assert start == [r"\begin{table}[htbp]", r"\caption{Sleep, $n = 18$}", r"\label{tab:sleep}"]
        assert r"\caption" not in result.as_latex("") and r"\label" not in result.as_latex()


def test_wide_tables_are_shrunk_and_sentences_broken_in_latex():
    fit = sparselmm.lmer("angle ~ recipe * temperature + (1 | recipe:replicate)", sparselmm.datasets.load("cake"))
    random, fixed = (block.as_latex() for block in fit.summary().blocks)
    assert random.startswith(r"\begin{tabular}") and random.endswith(r"\end{tabular}")
    assert fixed.startswith(r"\resizebox{") and fixed.endswith(r"\end{tabular}}")
    report = fit.check().as_latex()
    assert report.count(r"\linewidth}p{0.") == 1 and "resizebox" not in report
