"""The printed summary of a fit: the tables of tables.py as aligned text, HTML, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import tables
from .boundary import SINGULAR
from .covariance import correlation
from .export import Block, aligned, number
from .printout import Printed, Printout

PERFECT = 1e-6  # distance from one within which a correlation is one
if TYPE_CHECKING:
    import pandas as pd

    from .results import LinearMixedModelResults

DDF_NOTES = {
    "satterthwaite": "Tests and intervals use t distributions with Satterthwaite's degrees of freedom.",
    "kenward-roger": "Standard errors and degrees of freedom are Kenward and Roger's.",
    "residual": "Tests and intervals use t distributions with the residual degrees of freedom, rows minus columns.",
    "z": "Tests and intervals use the normal distribution (z).",
}


class Summary(Printed):
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

    @property
    def printout(self) -> Printout:
        """Title, facts, tables and notes."""
        return Printout(self.title, self.blocks, self.notes, self.facts)


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
            numbers = ("0", "0") if zero[i] else (number(sd[i] ** 2), number(sd[i]))
            corrs = [""] * most
            if shapes[k].structure == "unstructured":
                corrs[:i] = ["" if zero[i] or zero[j] else f"{corr[i, j]:.2f}" for j in range(i)]
            rows.append(("" if i else name, column, *numbers, *corrs))
    rows.append(("Residual", "", number(fit.scale), number(fit.sigma), *[""] * most))
    columns: list[Sequence[str]] = list(zip(*rows, strict=True))
    columns[2:4] = map(aligned, columns[2:4])
    header = ("Group", "Name", "Variance", "Std. dev.", *["Corr", *[""] * most][:most])
    return Block("Random effects", header, list(zip(*columns, strict=True)), labels=2)


def fixed_block(table: pd.DataFrame, level: float) -> Block:
    """Return the table of fixed effects: the decimals of a row are those its standard error deserves."""
    values = table[["estimate", "std.error", "conf.low", "conf.high"]].to_numpy()
    numbers = [[number(value, like=row[1]) for value in row] for row in values]
    estimate, error, low, high = (aligned(column) for column in zip(*numbers, strict=True))
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
    elif fit.optimizer.flat_terms and not model.aliased:
        notes.append(fit.optimizer.message)
    notes += [str(alias) for alias in model.aliased]
    if fit.optimizer.monte_carlo is not None:
        notes.append(str(fit.optimizer.monte_carlo))
    for k, (name, cov) in enumerate(fit.cov_re.items()):
        if name in fit.singular_terms:
            sd, corr = correlation(cov.to_numpy())
            zero = _is_zero(fit, k, sd)
            full = model.cross.shapes[k].structure == "unstructured"
            notes.append(_singular_note(name, cov.columns, zero, corr, full))
    if model.dropped:
        notes.append(f"Left out, as they depend linearly on the other fixed effects: {', '.join(model.dropped)}.")
    if model.design is not None and model.design.n_missing:
        columns = ", ".join(f"{name} {count:,}" for name, count in model.design.missing.items())
        notes.append(f"{model.design.n_missing:,} rows with missing values were left out, by column: {columns}.")
    if model.weights is not None:
        notes.append("The residual variance of a row is the one shown divided by its weight.")
    return notes


def _singular_note(name: str, columns: pd.Index, zero: np.ndarray, corr: np.ndarray, full: bool) -> str:
    """Return the sentence on a term with a singular covariance, `zero` (c,) whether a column has no variance."""
    if zero.all():
        return f"The fit is singular: the estimated variance of {name} is zero. The model without it fits as well."
    pairs = [(i, j) for i, j in zip(*np.tril_indices(len(zero), -1), strict=True) if abs(corr[i, j]) > 1.0 - PERFECT]
    if zero.any():
        what = f"the estimated variance of {', '.join(columns[zero])} of {name} is zero"
    elif pairs:
        perfect = [f"of {columns[i]} and {columns[j]} is {corr[i, j]:.0f}" for i, j in pairs[:3]]
        more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
        what = f"over the levels of {name} the correlation {', that '.join(perfect)}{more}"
    else:
        what = f"the estimated variance of a combination of {', '.join(columns)} of {name} is zero"
    remedy = "remove a column of this term" + (", or its correlations with '||'." if full else ".")
    return f"The fit is singular: {what}. The fixed effects stand; for a simpler model {remedy}"


def _is_zero(fit: LinearMixedModelResults, k: int, sd: np.ndarray) -> np.ndarray:
    """Return which standard deviations (c,) of term k are zero for all purposes (lme4's isSingular)."""
    return sd * fit.model.cross.column_scale(k) < SINGULAR * fit.sigma
