"""The printed summary of a fit: the tables of tables.py as aligned text, HTML, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import floor, isfinite, log10
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np

from . import tables
from .boundary import SINGULAR
from .covariance import correlation
from .export import Block, latex, markdown

if TYPE_CHECKING:
    import pandas as pd

    from .results import LinearMixedModelResults

WIDTH = 88
DIGITS = 4  # significant digits of a standard error; its estimate has as many decimals
MOST_DECIMALS = 7
DDF_NOTES = {
    "satterthwaite": "Tests and intervals use t distributions with Satterthwaite's degrees of freedom.",
    "kenward-roger": "Standard errors and degrees of freedom are Kenward and Roger's.",
    "residual": "Tests and intervals use t distributions with the residual degrees of freedom, rows minus columns.",
    "z": "Tests and intervals use the normal distribution (z).",
}

STYLE = """<style>
.sparselmm table {border-collapse: collapse; margin: 0 0 1em 0; font-size: inherit; font-variant-numeric: tabular-nums}
.sparselmm caption {text-align: left; font-weight: bold; padding: 0.2em 0}
.sparselmm th, .sparselmm td {text-align: right; padding: 0.1em 0 0.1em 1.4em; border: none; background: none}
.sparselmm th.label, .sparselmm td.label {text-align: left; font-weight: normal}
.sparselmm tr > :first-child {padding-left: 0}
.sparselmm thead th {border-bottom: 1px solid; font-weight: normal}
.sparselmm ul {margin: 0; padding-left: 1.2em}
</style>"""


class Summary:
    """Summary of a fit: prints as text and shows as HTML in a notebook; also as Markdown and LaTeX.

    Parameters
    ----------
    fit : LinearMixedModelResults
    ddf : {"satterthwaite", "kenward-roger", "residual", "z"}
        Degrees of freedom of the tests and intervals of the fixed effects.
    level : float
        Of the intervals.

    Attributes
    ----------
    title : str
    facts : list of (str, str)
        Formula, sizes and criterion.
    blocks : list of Block
        Random effects; fixed effects, if there are any, with t tests and intervals.
    notes : list of str
        Sentences on what the numbers do not show.
    """

    def __init__(self, fit: LinearMixedModelResults, ddf: str = "satterthwaite", level: float = 0.95) -> None:
        self.title = f"Linear mixed model fit by {'REML' if fit.reml else 'maximum likelihood'}"
        self.facts = _facts(fit)
        self.blocks = [_random_block(fit)]
        self.notes = _notes(fit)
        if fit.model.exog_names:
            inference = fit.inference(ddf)
            self.blocks.append(fixed_block(tables.fixed_effects(fit, level, ddf), level))
            self.notes += [DDF_NOTES[inference.ddf], *inference.notes]

    def as_text(self) -> str:
        """Return the summary as text."""
        width = max(len(label) for label, _ in self.facts) + 2
        facts = "\n".join(_hanging(f"{label:<{width}}{text}", width) for label, text in self.facts)
        notes = ["\n".join(["Notes", *(_hanging(f"  {note}", 4) for note in self.notes)])] if self.notes else []
        return "\n\n".join([f"{self.title}\n{facts}", *(block.as_text() for block in self.blocks), *notes])

    def as_html(self) -> str:
        """Return the summary as an HTML fragment."""
        facts = "\n".join(
            f'<tr><th class="label">{escape(label)}</th><td class="label">{escape(text)}</td></tr>'
            for label, text in self.facts
        )
        notes = "".join(f"<li>{escape(note)}</li>\n" for note in self.notes)
        return "\n".join(
            [
                f'<div class="sparselmm">\n{STYLE}',
                f"<table>\n<caption>{escape(self.title)}</caption>\n<tbody>\n{facts}\n</tbody>\n</table>",
                *(block.as_html() for block in self.blocks),
                f"<ul>\n{notes}</ul>\n</div>" if self.notes else "</div>",
            ]
        )

    def as_markdown(self) -> str:
        """Return the summary in Markdown with pipe tables."""
        facts = "\n".join(f"- {markdown(label)}: {markdown(text)}" for label, text in self.facts)
        notes = ["\n".join(f"- {markdown(note)}" for note in self.notes)] if self.notes else []
        parts = [f"**{markdown(self.title)}**", facts, *(block.as_markdown() for block in self.blocks), *notes]
        return "\n\n".join(parts) + "\n"

    def as_latex(self) -> str:
        r"""Return the summary as a LaTeX table for the package booktabs, which the preamble loads."""
        facts = [rf"{latex(label)} & {latex(text)} \\" for label, text in self.facts]
        lines = [r"\begin{table}[htbp]", rf"\caption{{{latex(self.title)}}}", r"\footnotesize\raggedright", ""]
        lines += [r"\begin{tabular}{@{}lp{0.75\linewidth}@{}}", *facts, r"\end{tabular}", ""]
        for block in self.blocks:
            lines += [r"\medskip", "", block.as_latex(), ""]
        if self.notes:
            lines += [r"\medskip", "", "\n\n".join(map(latex, self.notes)), ""]
        return "\n".join([*lines, r"\end{table}"]) + "\n"

    def __str__(self) -> str:
        return self.as_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.as_html()


def _facts(fit: LinearMixedModelResults) -> list[tuple[str, str]]:
    """Return formula, sizes and criterion as (label, text)."""
    model = fit.model
    groups = ", ".join(f"{name} {count:,}" for name, count in model.groups.items())
    criterion = f"{fit.deviance:.2f}, log-likelihood {fit.llf:.2f}"
    if not fit.reml:
        criterion += f", AIC {fit.aic:.2f}, BIC {fit.bic:.2f}"
    return [
        ("Formula", model.formula) if model.formula else ("Response", model.endog_name),
        ("Observations", f"{fit.nobs:,}"),
        ("Groups", groups),
        ("REML criterion" if fit.reml else "Deviance", criterion),
    ]


def _random_block(fit: LinearMixedModelResults) -> Block:
    """Return the variances and standard deviations of the random effects, correlations as a lower triangle."""
    shapes, rows = fit.model.cross.shapes, []
    most = max((shape.n_columns - 1 for shape in shapes if shape.structure == "unstructured"), default=0)
    for k, (name, cov) in enumerate(fit.cov_re.items()):
        sd, corr = correlation(cov.to_numpy())
        zero = _is_zero(fit, k, sd)
        for i, column in enumerate(cov.columns):
            numbers = ("0", "0") if zero[i] else (_number(sd[i] ** 2), _number(sd[i]))
            corrs = [""] * most
            if shapes[k].structure == "unstructured":
                corrs[:i] = ["" if zero[i] or zero[j] else f"{corr[i, j]:.2f}" for j in range(i)]
            rows.append(("" if i else name, column, *numbers, *corrs))
    rows.append(("Residual", "", _number(fit.scale), _number(fit.sigma), *[""] * most))
    columns: list[Sequence[str]] = list(zip(*rows, strict=True))
    columns[2:4] = map(_aligned, columns[2:4])
    header = ("Group", "Name", "Variance", "Std. dev.", *["Corr", *[""] * most][:most])
    return Block("Random effects", header, list(zip(*columns, strict=True)), labels=2)


def fixed_block(table: pd.DataFrame, level: float) -> Block:
    """Return the table of fixed effects: the decimals of a row are those its standard error deserves."""
    values = table[["estimate", "std.error", "conf.low", "conf.high"]].to_numpy()
    numbers = [[_number(value, like=row[1]) for value in row] for row in values]
    estimate, error, low, high = (_aligned(column) for column in zip(*numbers, strict=True))
    statistic = [f"{t:.3f}" for t in table["statistic"]]
    p_value = ["<0.001" if p < 0.001 else f"{p:.3f}" for p in table["p.value"]]
    normal = np.isinf(table["df"]).all()
    df = {} if normal else {"df": _degrees(table["df"].to_numpy())}
    name = "z" if normal else "t"
    columns = {"": table["term"], "Estimate": estimate, "Std. error": error, **df, f"{name} value": statistic}
    columns |= {f"P>|{name}|": p_value, f"[{0.5 - 0.5 * level:.3g}": low, f"{0.5 + 0.5 * level:.3g}]": high}
    return Block("Fixed effects", tuple(columns), list(zip(*columns.values(), strict=True)), labels=1)


def _degrees(df: np.ndarray) -> list[str]:
    """Return degrees of freedom as texts: with one decimal, none if all are whole or large."""
    whole = (np.abs(df - np.round(df)) < 0.05).all() or (df >= 1_000).all()
    return [f"{value:.{0 if whole else 1}f}" for value in df]


def _notes(fit: LinearMixedModelResults) -> list[str]:
    """Return the sentences below the tables."""
    model, notes = fit.model, []
    if not fit.converged:
        notes.append(f"Not converged. {fit.optimizer.message}")
    elif fit.optimizer.flat_terms:
        notes.append(fit.optimizer.message)
    if fit.optimizer.monte_carlo is not None:
        notes.append(str(fit.optimizer.monte_carlo))
    for k, (name, cov) in enumerate(fit.cov_re.items()):
        if name in fit.singular_terms:
            zero = _is_zero(fit, k, np.sqrt(np.diag(cov)))
            full = model.cross.shapes[k].structure == "unstructured"
            notes.append(_singular_note(name, cov.columns[zero], bool(zero.all()), full))
    if model.dropped:
        notes.append(f"Left out, as they depend linearly on the other fixed effects: {', '.join(model.dropped)}.")
    if model.design is not None and model.design.n_missing:
        columns = ", ".join(f"{name} {count:,}" for name, count in model.design.missing.items())
        notes.append(f"{model.design.n_missing:,} rows with missing values were left out, by column: {columns}.")
    if model.weights is not None:
        notes.append("The residual variance of a row is the one shown divided by its weight.")
    return notes


def _singular_note(name: str, zero: pd.Index, all_zero: bool, full: bool) -> str:
    """Return the sentence on a term with a singular covariance, `zero` the names of its columns without variance."""
    if all_zero:
        return f"The fit is singular: the estimated variance of {name} is zero. The model without it fits as well."
    what = ", ".join(zero) if zero.size else "a combination of the columns"
    remedy = "remove a column of this term" + (", or its correlations with '||'." if full else ".")
    return (
        f"The fit is singular: the estimated variance of {what} of {name} is zero. The fixed effects stand; for a "
        f"simpler model {remedy}"
    )


def _is_zero(fit: LinearMixedModelResults, k: int, sd: np.ndarray) -> np.ndarray:
    """Return which standard deviations (c,) of term k are zero for all purposes (lme4's isSingular)."""
    return sd * fit.model.cross.column_scale(k) < SINGULAR * fit.sigma


def _number(value: float, like: float | None = None) -> str:
    """Return a number with the decimals that show DIGITS significant digits of `like`, or one more of its own."""
    digits = DIGITS if like is not None else DIGITS + 1
    like = abs(value if like is None else like)
    if not isfinite(value) or not isfinite(like) or like == 0:
        return f"{value:.{DIGITS}g}"
    decimals = max(0, digits - 1 - floor(log10(like)))
    wide = like >= 1e7 or abs(value) >= 1e15
    return f"{value:.{DIGITS}e}" if decimals > MOST_DECIMALS or wide else f"{value:.{decimals}f}"


def _aligned(texts: Sequence[str]) -> list[str]:
    """Return numbers padded on the right, so that right-aligned all but those in scientific notation share a point."""
    tails = [len(text) - text.find(".") if "." in text else 0 for text in texts]
    longest = max((tail for text, tail in zip(texts, tails, strict=True) if "e" not in text), default=0)
    return [text + " " * (longest - tail) for text, tail in zip(texts, tails, strict=True)]


def _hanging(text: str, indent: int) -> str:
    """Return the text wrapped to the page, further lines indented."""
    return "\n".join(wrap(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False))
