"""Designs for the checks of a fit: a clean one, and one made for each finding."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

import sparselmm
from sparselmm import LinearMixedModel, lmer
from sparselmm.results import LinearMixedModelResults

LEVELS, ROWS = 40, 12
FORMULA = "y ~ x + arm + (x | g)"
load = sparselmm.datasets.load


def clean(seed: int = 1, levels: int = LEVELS, rows: int = ROWS) -> pd.DataFrame:
    """Return data with nothing to remark: y has an intercept and a slope of x for each level of g; arm is of levels."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(levels), rows)
    x, z = rng.standard_normal((2, g.size))
    b = rng.standard_normal((levels, 2)) * [1.0, 0.7]
    y = 20.0 + 0.5 * x + b[g, 0] + b[g, 1] * x + rng.standard_normal(g.size)
    names = [f"g{i:02d}" for i in range(levels)]
    return pd.DataFrame({"y": y, "x": x, "z": z, "arm": np.where(g % 2, "b", "a"), "g": np.take(names, g)})


def fitted(formula: str, data: pd.DataFrame, **options: object) -> LinearMixedModelResults:
    """Return a fit without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return lmer(formula, data, **options)


def with_record(fit: LinearMixedModelResults, **changes: object) -> LinearMixedModelResults:
    """Return the fit with another record of its optimiser."""
    return LinearMixedModelResults(fit.model, fit.likelihood, replace(fit.optimizer, **changes), fit.evaluation)


def stopped() -> LinearMixedModelResults:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LinearMixedModel.from_formula(FORMULA, clean()).fit(max_evaluations=2)


def left_at_zero() -> LinearMixedModelResults:
    return with_record(fitted("Yield ~ 1 + (1 | Batch)", load("Dyestuff2")), boundary_derivative=-1.0)


def probed(relative: float) -> LinearMixedModelResults:
    model = LinearMixedModel.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", load("Penicillin"))
    fit = model.fit(engine="pcg")
    return with_record(fit, monte_carlo=replace(fit.optimizer.monte_carlo, relative=relative))


def no_slope_variance() -> LinearMixedModelResults:
    data, rng = clean(), np.random.default_rng(0)
    data["w"] = rng.standard_normal(len(data))
    return fitted("y ~ x + w + (x + w || g)", data.assign(y=data["y"] - _slopes(data, "w")))


def _slopes(data: pd.DataFrame, column: str) -> np.ndarray:
    """Return 0.999 of the least-squares slopes of a column, level by level, about their mean: what removes them."""
    removed = np.zeros(len(data))
    for rows in data.groupby("g").indices.values():
        x, y = data[column].to_numpy()[rows], data["y"].to_numpy()[rows]
        removed[rows] = (np.polyfit(x, y, 1)[0]) * x
    return removed


def lines() -> LinearMixedModelResults:
    cake = load("cake")
    cake["centred"] = cake["temp"] - cake["temp"].mean()
    return fitted("angle ~ recipe * centred + (centred | recipe:replicate)", cake)


def combination() -> LinearMixedModelResults:
    rng, data = np.random.default_rng(0), clean(0)
    g, levels = pd.factorize(data["g"])
    b = rng.standard_normal((len(levels), 2)) @ [[1.0, 0.6, 0.5], [0.0, 0.8, -0.7]]
    y = b[g, 0] + b[g, 1] * data["x"] + b[g, 2] * data["z"] + 2.0 * rng.standard_normal(len(data))
    return fitted("y ~ x + z + (x + z | g)", data.assign(y=y))


def flat() -> LinearMixedModelResults:
    return with_record(fitted(FORMULA, clean()), flat_terms=["g"])


def constant_slope() -> LinearMixedModelResults:
    return fitted("mAch ~ sector + (sector | school)", load("Hsb82"))


def many_columns() -> LinearMixedModelResults:
    data = clean(2, levels=8, rows=30)
    return fitted("y ~ x + (x + z + I(x * z) | g)", data)


def few(count: int) -> LinearMixedModelResults:
    data = clean()
    h = np.arange(len(data)) % count
    return fitted("y ~ x + (x | g) + (1 | h)", data.assign(h=h, y=data["y"] + h))


def nearly_one_to_one() -> LinearMixedModelResults:
    data, rng = clean(12), np.random.default_rng(12)
    g, _ = pd.factorize(data["g"])
    h = np.where(g < 3, g // 2, g)
    return fitted("y ~ x + (x | g) + (1 | h)", data.assign(h=h, y=data["y"] + rng.standard_normal(LEVELS)[h]))


def vague() -> LinearMixedModelResults:
    data, rng = clean(), np.random.default_rng(1)
    g, _ = pd.factorize(data["g"])
    y = 0.1 * rng.standard_normal(LEVELS)[g] + rng.standard_normal(len(data))
    h = rng.integers(0, 20, len(data))
    return fitted("y ~ x + (1 | g) + (1 | h)", data.assign(y=y + rng.standard_normal(20)[h], h=h))


def rare_slope() -> LinearMixedModelResults:
    data = clean()
    w = (pd.factorize(data["g"])[0] % 3).astype(float)
    w[:5] += 1.0
    return fitted("y ~ x + w + (w | g)", data.assign(w=w))


def slope_between_levels() -> LinearMixedModelResults:
    data = clean()
    return fitted("y ~ x + age + (age | g)", data.assign(age=20.0 + pd.factorize(data["g"])[0] % 7))


def misspelled(*labels: str) -> LinearMixedModelResults:
    """Return a fit with a category of one row for each of some labels, besides `related` and `unrelated`."""
    data = clean()
    prime = np.resize(["related", "unrelated"], len(data)).astype(object)
    prime[37 : 37 + len(labels)] = labels
    return fitted("y ~ prime + x + (x | g)", data.assign(prime=prime.astype(str)))


def far_origin() -> LinearMixedModelResults:
    data = clean()
    return fitted("y ~ year + arm + (year | g)", data.assign(year=2000.0 + 5.0 * data["x"]))


def overlap() -> LinearMixedModelResults:
    data = clean()
    return fitted("y ~ x + w + (1 | g)", data.assign(w=data["x"] + 0.1 * data["z"]))


def no_mean_slope() -> LinearMixedModelResults:
    data = clean()
    return fitted("y ~ x + (x | g) + (1 + x + z || arm)", data)


def squared() -> LinearMixedModelResults:
    data = clean()
    return fitted("y ~ t + I(t ** 2) + (1 | g)", data.assign(t=data["x"] + 10.0))


def influential() -> LinearMixedModelResults:
    data = clean()
    one = data["g"] == "g07"
    return fitted("y ~ x + arm + (1 | g)", data.assign(y=data["y"] + np.where(one, 30.0 * data["x"], 0.0)))


def outlying() -> LinearMixedModelResults:
    data = clean()
    return fitted("y ~ x + (1 | g)", data.assign(y=data["y"] + np.where(data["g"] == "g07", 12.0, 0.0)))


def successes() -> LinearMixedModelResults:
    data = clean()
    return fitted(FORMULA, data.assign(y=(data["y"] > 20.0).astype(int)))


def skewed() -> LinearMixedModelResults:
    data = clean()
    return fitted(FORMULA, data.assign(y=np.exp(0.8 * (data["y"] - 18.0))))


def skewed_by_rows() -> LinearMixedModelResults:
    data = clean()
    y = data["y"] + np.where(np.arange(len(data)) % 160 == 7, 12.0, 0.0)
    return fitted(FORMULA, data.assign(y=y))


def skewed_log() -> LinearMixedModelResults:
    data = clean()
    return fitted("log(y) ~ x + arm + (x | g)", data.assign(y=np.exp(np.exp(0.8 * (data["y"] - 18.0)) / 100.0)))


def heavy() -> LinearMixedModelResults:
    data, rng = clean(), np.random.default_rng(5)
    return fitted(FORMULA, data.assign(y=data["y"] + rng.standard_t(2.1, len(data))))


def fanning() -> LinearMixedModelResults:
    data, rng = clean(), np.random.default_rng(6)
    mean = 20.0 + 4.0 * data["x"]
    return fitted("y ~ x + (1 | g)", data.assign(y=mean + np.exp(0.5 * data["x"]) * rng.standard_normal(len(data))))


def unequal(column: str) -> LinearMixedModelResults:
    data, rng = clean(), np.random.default_rng(7)
    code, levels = pd.factorize(data[column])
    size = np.exp(np.linspace(-0.7, 0.7, len(levels)))[code] if column == "g" else np.where(code == 0, 1.0, 2.0)
    return fitted(FORMULA, data.assign(y=data["x"] + size * rng.standard_normal(len(data))))


def one_wild_row() -> LinearMixedModelResults:
    data = clean()
    data.index = [f"row {i}" for i in range(len(data))]
    data.loc["row 100", "y"] += 9.0
    return fitted(FORMULA, data)


def autocorrelated() -> LinearMixedModelResults:
    data, rng = clean(), np.random.default_rng(8)
    e = rng.standard_normal(len(data))
    for i in range(1, len(e)):
        e[i] = 0.8 * e[i - 1] + 0.6 * e[i]
    return fitted("y ~ x + (1 | g)", data.assign(y=data["y"] + 2.0 * e))


def single_rows() -> LinearMixedModelResults:
    data = clean()
    h = np.where(np.arange(len(data)) < 300, np.arange(len(data)), 300 + np.arange(len(data)) % 60)
    return fitted("y ~ x + (1 | h) + (1 | g)", data.assign(h=h))


def pairs_of_rows() -> LinearMixedModelResults:
    data = clean()
    h = np.arange(len(data)) // 2
    return fitted("y ~ x + (x | h)", data.assign(h=np.where(h < 10, 0, h)))


def confined(all_of_them: bool) -> LinearMixedModelResults:
    data = clean(levels=10)
    code = pd.factorize(data["g"])[0]
    kind = code if all_of_them else np.minimum(code, 1)
    return fitted("y ~ kind + x + (x | g)", data.assign(kind=np.take(list("abcdefghij"), kind)))


def crowded() -> LinearMixedModelResults:
    data = clean(levels=10, rows=4)
    return fitted("y ~ x * z * arm * I(x**2) + (1 | g)", data)


def incomplete() -> LinearMixedModelResults:
    data = clean()
    return fitted(FORMULA, data.assign(x=data["x"].where(np.arange(len(data)) % 4 > 0)))


@dataclass(frozen=True)
class Case:
    """A design made for a finding: which check finds it, with which verdict, text and remedy."""

    check: str
    verdict: str
    fit: Callable[[], LinearMixedModelResults]
    text: str
    remedy: str = ""


CASES = {
    "stopped": Case("certificate", "warning", stopped, "limit of evaluations (2)", "fit.allfit()"),
    "left at zero": Case("variances at zero", "warning", left_at_zero, "there is a better fit", "fit.allfit()"),
    "few probes": Case("Monte-Carlo error", "note", lambda: probed(0.3), "30 % of a standard error", "'polish'"),
    "zero variance": Case(
        "singular covariance",
        "note",
        lambda: fitted("Yield ~ 1 + (1 | Batch)", load("Dyestuff2")),
        "No variance between the levels of `Batch`.",
        "least squares",
    ),
    "zero slopes": Case(
        "singular covariance", "note", no_slope_variance, "No variance of `w` between", "y ~ x + w + (1 + x || g)"
    ),
    "correlation of one": Case(
        "singular covariance",
        "note",
        lines,
        "The effect of `centred` varies together with the intercept over `recipe:replicate`: correlation 1.",
        "angle ~ recipe * centred + (1 | recipe:replicate)",
    ),
    "a plane": Case("singular covariance", "note", combination, "does not vary between the levels of g", "(1 + x | g)"),
    "flat": Case("flat likelihood", "warning", flat, "say nothing about a variance of `g`", "Remove a term"),
    "duplicated": Case(
        "aliased variances",
        "warning",
        lambda: fitted("y ~ x + (x | g) + (1 | h)", clean().assign(h=lambda d: d["g"].str.upper())),
        "'g' and 'h'",
        "y ~ x + (x | g)",
    ),
    "twice": Case(
        "aliased variances",
        "warning",
        lambda: fitted("y ~ x + (x | g) + (x | g)", clean()),
        "'g' and 'g.1' are one term that is in the model twice",
        "Without the term `g.1`: y ~ x + (x | g)",
    ),
    "fixed as well": Case(
        "aliased variances",
        "warning",
        lambda: fitted("y ~ x + g + (x | g)", clean()),
        "determine the effect Intercept of every level of g",
        "y ~ x + g + (0 + x | g)",
    ),
    "constant slope": Case(
        "aliased variances", "warning", constant_slope, "constant within every level of school", "(1 | school)"
    ),
    "rare slope": Case("rare slopes", "note", rare_slope, "`w` varies within 1 of 40 levels", "(1 | g)"),
    "slope between levels": Case(
        "rare slopes",
        "note",
        slope_between_levels,
        "`age` is constant within every level of `g`",
        "y ~ x + age + (1 | g)",
    ),
    "nearly one to one": Case("curvature", "note", nearly_one_to_one, "hardly told apart", "fit.profile()"),
    "vague": Case("curvature", "note", vague, "over `g` is hardly determined", "fit.profile()"),
    "three levels": Case("few levels", "note", lambda: few(3), "`h` has 3 levels", "y ~ x + factor(h) + (x | g)"),
    "two levels": Case("few levels", "warning", lambda: few(2), "`h` has 2 levels", "factor(h)"),
    "many parameters": Case("many parameters", "note", many_columns, "10 parameters for 8 levels", "|| g)"),
    "scales": Case(
        "scales",
        "note",
        lambda: fitted("y ~ x + z + (1 | g)", clean().assign(x=lambda d: 1e5 * d["x"])),
        "`x` has standard deviation 9.1e+04, `z` 1.1",
        "divide `x` by 100000",
    ),
    "far origin": Case("origins", "note", far_origin, "at year = 0; at its mean, 2000", "subtract 2000 from `year`"),
    "overlap": Case("collinearity", "note", overlap, "`x` and `w`: the other terms overlap", "fit.vif()"),
    "overlapping powers": Case("collinearity", "note", squared, "overlap", "Centre the predictors of"),
    "slope without mean": Case(
        "slopes without mean",
        "note",
        no_mean_slope,
        "`z` has slopes over `arm` but no fixed effect",
        "y ~ x + z + (x | g) + (1 + x + z || arm)",
    ),
    "dropped": Case(
        "dropped columns",
        "note",
        lambda: fitted("y ~ x + w + (1 | g)", clean().assign(w=lambda d: 2 * d["x"])),
        "`w` depends linearly",
        "1 column was left out",
    ),
    "influential": Case("influential levels", "warning", influential, "Without `g07` of `g`", "let `x` vary over `g`"),
    "outlying": Case("outlying effects", "note", outlying, "`g07` of `g`: the intercept is", "Look at its rows"),
    "skewed by rows": Case("normality", "warning", skewed_by_rows, "skewed to the right", "a few rows"),
    "skewed log": Case("normality", "warning", skewed_log, "skewed to the right", "Tests of fixed effects bear this"),
    "two values": Case("two values", "note", successes, "`y` takes two values, 0 and 1", "logistic mixed model"),
    "skewed": Case("normality", "warning", skewed, "skewed to the right", "log(y)"),
    "heavy": Case("normality", "note", heavy, "heavier in the tails", "fit.bootstrap('residual')"),
    "fanning": Case("spread along fitted", "note", fanning, "Residuals of the highest third", "weights="),
    "unequal levels": Case("spread between levels", "note", lambda: unequal("g"), "levels of `g`", "fit.robust("),
    "unequal arms": Case("spread between levels", "note", lambda: unequal("arm"), "levels of `arm`", "weights="),
    "wild row": Case(
        "outliers", "note", one_wild_row, "Row `row 100` is", "Check it for errors; compare the fit without it."
    ),
    "autocorrelated": Case("neighbours", "note", autocorrelated, "Rows that follow each other within `g`", "time"),
    "pairs": Case("thin levels", "warning", pairs_of_rows, "no more than 2 rows for 2 random", "fit.ranova()"),
    "single rows": Case("thin levels", "note", single_rows, "levels of `h` have a single row", "fit.profile()"),
    "misspelled": Case(
        "rare categories",
        "warning",
        lambda: misspelled("realted"),
        "`realted` of `prime` has 1 of 480 rows, and every coefficient of `prime` is a difference from it.",
        "A misspelling of `related`? Correct it: data['prime'].value_counts().",
    ),
    "confined": Case("confined levels", "warning", lambda: confined(True), "of `kind` occur in one level of `g` each"),
    "one confined": Case(
        "confined levels", "note", lambda: confined(False), "`a` of `kind` occurs in one level of `g`"
    ),
    "crowded": Case(
        "rows per fixed effect", "note", crowded, "There are 40 rows for 16 fixed effects", "highest order"
    ),
    "incomplete": Case("missing rows", "note", incomplete, "25 % of the rows were left out", "at random"),
}
