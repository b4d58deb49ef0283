"""The same data in another order, under other labels or in other units give the same results, all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from sparselmm import LinearMixedModel

from .outcome import Outcome, attempt

SHORT, LONG = 24, 1_500
NOTE = (
    "Rows, labels, terms, columns and categories in another order, and y, x and weights in other units: estimates, "
    "covariances, degrees of freedom, p-values, log-likelihood, random effects, predictions and marginal means."
)
BARS = (
    ("(1 + x | g)", "(1 | h)"),
    ("(x || g)", "(1 | h)"),
    ("(1 | g)", "(1 | h)", "(1 | g:h)"),
    ("(1 | g)",),
    ("(0 + f | g)", "(1 | h)"),
)
FIXED = (("x", "f"), ("x * f",), ("x",), ("x", "f", "v"))
UNITS = (1e-6, 1e-3, 0.1, 12.0, 1e3, 1e6)


@dataclass(frozen=True)
class Change:
    """What is done to the data, and the units of what comes out: y -> a*y + b, x -> c*x, weights -> k*weights."""

    kind: str
    a: float = 1.0
    b: float = 0.0
    c: float = 1.0
    k: float = 1.0
    labels: dict[str, str] = field(default_factory=dict)


def run(count: int, seed: int) -> Outcome:
    """Return the Outcome of `count` pairs of fits."""
    return attempt("invariance", count, seed, trial, NOTE)


def trial(rng: np.random.Generator, number: int) -> str:
    """Compare the results on some data and on the same data changed."""
    data, reml, weighted = panel(rng), bool(rng.integers(2)), bool(rng.integers(2))
    fixed, bars = FIXED[rng.integers(len(FIXED))], BARS[rng.integers(len(BARS))]
    changed, change, terms = changes(data, [*fixed, *bars], number, rng)
    weights = "w" if weighted or change.k != 1.0 else None
    ours = results(fit(data, [*fixed, *bars], reml, weights), data, Change("none"))
    theirs = results(fit(changed, terms, reml, weights), changed, change)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        compare(name, value, theirs[name], change)
    return change.kind


def panel(rng: np.random.Generator) -> pd.DataFrame:
    """Return crossed data, unbalanced, with variances that may be zero; every level occurs."""
    n, G, H = int(rng.integers(60, 240)), int(rng.integers(4, 16)), int(rng.integers(3, 10))
    g, h = np.r_[np.arange(G), rng.integers(0, G, n - G)], np.r_[np.arange(n - H, n) % H, rng.integers(0, H, n - H)]
    x, v, f = rng.normal(2.0, 1.0, n), rng.standard_normal(n), np.r_[list("abc"), rng.choice(list("abc"), n - 3)]
    sd = rng.choice([0.0, 0.3, 1.0, 3.0], 3)
    w = rng.uniform(0.5, 2.0, n)
    y = 3.0 + x + (f == "b") + sd[0] * rng.standard_normal(G)[g] + sd[1] * rng.standard_normal(G)[g] * x
    y += sd[2] * rng.standard_normal(H)[h] + rng.standard_normal(n) / np.sqrt(w)
    names = {"g": [f"g{i:02d}" for i in g], "h": [f"h{i}" for i in h]}
    return pd.DataFrame({"y": y, "x": x, "v": v, "f": f, "w": w, **names})


def changes(
    data: pd.DataFrame, terms: list[str], number: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, Change, list[str]]:
    """Return data, Change and terms of the formula for one of the kinds of change, in turn."""
    kinds = ("rows", "labels", "terms", "columns", "categories", "unit of y", "unit of x", "unit of weights", "all")
    kind = kinds[number % len(kinds)]
    at = dict.fromkeys(kinds, kind == "all") | {kind: True}
    a, c, k = (float(rng.choice(UNITS)) if at[f"unit of {name}"] else 1.0 for name in ("y", "x", "weights"))
    b = float(rng.choice([0.0, 1.0, 1e3])) * a if at["unit of y"] else 0.0
    labels: dict[str, str] = {}
    if at["labels"]:
        for column in ("g", "h"):
            levels = sorted(data[column].unique())
            labels |= {f"{column}n{i:03d}": level for i, level in enumerate(rng.permutation(levels))}
    names = {old: new for new, old in labels.items()}
    data = data.assign(y=a * data.y + b, x=c * data.x, w=k * data.w)
    data = data.assign(g=data.g.replace(names), h=data.h.replace(names))
    if at["categories"]:
        data = data.assign(g=pd.Categorical(data.g, rng.permutation(data.g.unique())), h=data.h.astype("category"))
    if at["rows"]:
        data = data.loc[rng.permutation(data.index)]
    if at["columns"]:
        data = data[list(rng.permutation(data.columns))]
    terms = list(rng.permutation(terms)) if at["terms"] else terms
    return data, Change(kind, a, b, c, k, labels), terms


def fit(data: pd.DataFrame, terms: list[str], reml: bool, weights: str | None):
    """Return the fit."""
    fit = LinearMixedModel.from_formula(f"y ~ {' + '.join(terms)}", data, weights=weights, context={}).fit(reml)
    assert fit.converged, fit.optimizer.message
    return fit


def results(fit, data: pd.DataFrame, change: Change) -> dict[str, object]:
    """Return everything a fit says, in the units, order and labels of the data before the change."""
    a, tests = change.a, fit.inference()
    units = np.array([change.c if _has_x(name) else 1.0 for name in fit.params.index])
    shift = np.array([change.b if name == "Intercept" else 0.0 for name in fit.params.index])
    p = fit.params.size
    out: dict[str, object] = {
        "params": _named((fit.params - shift) * units / a),
        "bse": _named(fit.bse * units / a),
        "df": _named(tests.df if hasattr(tests, "df") else tests.frame["df"]),
        "p-values": _named(fit.pvalues.drop("Intercept")),  # that of the intercept depends on the origin of y
        "scale": fit.scale / a**2 / change.k,
        "llf": fit.llf + (fit.nobs - fit.reml * p) * np.log(a) + fit.reml * np.log(units).sum(),
        "singular": fit.singular,
    }
    for name, cov in fit.cov_re.items():
        columns = np.array([change.c if _has_x(column) else 1.0 for column in cov.columns])
        key = name.split(".")[0]  # of two bars of one factor the second is g.1
        out[f"cov_re {key} {list(cov.columns)}"] = cov.to_numpy() * np.outer(columns, columns) / a**2
        for what, effects in (("effects", fit.random_effects), ("sd of effects", fit.random_effects_sd)):
            table = (effects[name] * columns / a).set_axis(_levels(effects[name].index, change))
            out[f"{what} {key} {list(cov.columns)}"] = table.sort_index().to_numpy()
    out["fitted"] = ((fit.fittedvalues - change.b) / a).sort_index().to_numpy()
    for random in (True, False):
        new = data.sort_index().iloc[:7]
        frame = fit.predict(new, random=random, interval="prediction", weights=1.0 * change.k)
        level = frame[["estimate", "conf.low", "conf.high"]] - change.b
        out[f"predictions, random={random}"] = level.to_numpy() / a
        out[f"se of predictions, random={random}"] = frame["std.error"].to_numpy() / a
    if any(name.startswith("f[") for name in fit.params.index):
        means = fit.emmeans("f").frame.sort_values("f")
        out["means"] = (means[["estimate", "conf.low", "conf.high"]].to_numpy() - change.b) / a
        out["se of means"], out["df of means"] = means["std.error"].to_numpy() / a, means["df"].to_numpy()
    return out


def compare(name: str, ours: object, theirs: object, change: Change) -> None:
    """Assert that a result is the same; the tolerance is that of the optimum, some 1e-5 standard errors."""
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    rtol, atol = (1e-3, 1e-3) if "df" in name or name == "p-values" else (1e-4, 1e-4)
    if name == "llf":
        rtol, atol = 0.0, 1e-6
    if "p-values" in name:
        rtol = 2e-3
    np.testing.assert_allclose(theirs, ours, rtol=rtol, atol=atol, err_msg=f"{name} under {change}")


def _named(values: pd.Series) -> np.ndarray:
    """Return values in the order of their names, those of interactions in any order of the factors."""
    return values.set_axis([":".join(sorted(name.split(":"))) for name in values.index]).sort_index().to_numpy()


def _has_x(name: str) -> bool:
    return "x" in name.split(":")


def _levels(index: pd.Index, change: Change) -> list[str]:
    """Return the labels of levels before the change."""
    parts = ([str(part) for part in label] if isinstance(label, tuple) else str(label).split(":") for label in index)
    return [":".join(sorted(change.labels.get(part, part) for part in label)) for label in parts]
