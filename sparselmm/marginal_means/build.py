"""From a fit and the names of factors to MarginalMeans."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..caller import warn
from ..errors import DataWarning
from .contrasts import text
from .forms import joint_test
from .grid import ReferenceGrid
from .means import MarginalMeans
from .transforms import transformation

if TYPE_CHECKING:
    from ..results import LinearMixedModelResults
    from .forms import LinearForms
    from .grid import Reduction

NAME = re.compile(r"`([^`]+)`|([^\s~|:*+,`]+)")


def means(
    fit: LinearMixedModelResults,
    specs: str | Sequence[str] | None,
    by: str | Sequence[str] | None,
    at: Mapping[str, Any] | None,
    weights: str,
    cov_reduce: Reduction,
    ddf: str,
    level: float,
) -> MarginalMeans:
    """Return marginal means; see `MarginalMeansMethods.emmeans`."""
    grid = ReferenceGrid(fit, at, cov_reduce)
    return _over_grid(fit, grid, grid.forms, "means", specs, by, weights, ddf, level)


def slopes(
    fit: LinearMixedModelResults,
    specs: str | Sequence[str] | None,
    var: str,
    by: str | Sequence[str] | None,
    at: Mapping[str, Any] | None,
    weights: str,
    cov_reduce: Reduction,
    ddf: str,
    level: float,
) -> MarginalMeans:
    """Return marginal trends; see `MarginalMeansMethods.emtrends`."""
    grid = ReferenceGrid(fit, at, cov_reduce)
    grid.check(var, grid.axes, "var")
    if grid.axes[var].categorical:
        raise ValueError(f"var={var!r} is a factor in this model and has no slope; emmeans({var!r}) has its means.")
    return _over_grid(fit, grid, grid.slopes(var), "slopes", specs, by, weights, ddf, level, var)


def joint_tests(
    fit: LinearMixedModelResults,
    by: str | Sequence[str] | None,
    at: Mapping[str, Any] | None,
    cov_reduce: Reduction | None,
    ddf: str,
) -> pd.DataFrame:
    """Return F tests of all effects; see `MarginalMeansMethods.joint_tests`."""
    grid = ReferenceGrid(fit, at, _around_mean if cov_reduce is None else cov_reduce)
    inference, by = fit.inference(ddf), _names(by, grid)
    for name in by:
        grid.check(name, grid.axes, "by")
    factors = [name for name, axis in grid.axes.items() if axis.size > 1 and name not in by]
    tests, partial = [], []
    for size in range(1, len(factors) + 1):
        for effect in combinations(factors, size):
            if not any(set(effect) <= set(term) for term in grid.terms):
                continue
            forms = grid.averaged(grid.forms, [*effect, *by])
            K: np.ndarray = np.ones((1, 1))
            for name in effect:
                K = np.kron(np.diff(np.eye(grid.axes[name].size), axis=0), K)
            for i, group in enumerate(grid.labels(by).to_dict("records") or [{}]):
                part = forms.take(slice(i * K.shape[1], (i + 1) * K.shape[1])).combined(K)
                tests.append({"term": ":".join(effect)} | group | joint_test(inference, part))
                if tests[-1]["NumDF"] < len(K) and tests[-1]["term"] not in partial:
                    partial.append(tests[-1]["term"])
    if partial:
        warn(
            f"The data do not determine all contrasts of {', '.join(partial)}, as combinations of levels have no rows: "
            "what can be estimated is tested. Compare the levels that have rows with emmeans(...).contrasts().",
            DataWarning,
        )
    table = pd.DataFrame(tests, columns=["term", *by, "NumDF", "DenDF", "statistic", "p.value"])
    table = table[table["NumDF"] > 0]
    return table.sort_values(by, kind="stable", ignore_index=True) if by else table.reset_index(drop=True)


def _around_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean minus and plus one."""
    return np.mean(values) + np.array([-1.0, 1.0])


def _over_grid(
    fit: LinearMixedModelResults,
    grid: ReferenceGrid,
    forms: LinearForms,
    kind: str,
    specs: str | Sequence[str] | None,
    by: str | Sequence[str] | None,
    weights: str,
    ddf: str,
    level: float,
    var: str | None = None,
) -> MarginalMeans:
    """Return the averages of forms over the grid for the factors of specs within those of by."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level} is not between 0 and 1; level=0.95 gives 95 % intervals.")
    names, within = _read(specs, grid)
    within += [name for name in _names(by, grid) if name not in within]
    names = [name for name in names if name not in within]
    for name in (*names, *within):
        grid.check(name, grid.axes, "specs")
    keys = grid.labels([*names, *within])
    if not names:
        keys.insert(0, "1", ["overall"] * max(len(keys), 1))
    return MarginalMeans(
        fit.inference(ddf),
        grid.averaged(forms, [*names, *within], weights),
        keys,
        tuple(within),
        kind,
        level=level,
        facts=_facts(grid, [*names, *within], weights, var),
        scale=transformation(fit.model.endog_name),
    )


def _read(specs: str | Sequence[str] | None, grid: ReferenceGrid) -> tuple[list[str], list[str]]:
    """Return the factors of specs, and those after its bar."""
    if not isinstance(specs, str):
        return list(dict.fromkeys(specs or [])), []
    if specs in grid.axes:
        return [specs], []
    left, tilde, right = specs.rpartition("~")
    if tilde and left.strip():
        raise ValueError(f"specs={specs!r}: leave out {left.strip()!r} and call .contrasts({left.strip()!r}).")
    left, _, within = right.partition("|")
    return [name for name in _names(left, grid) if name != "1"], _names(within, grid)


def _names(texts: str | Sequence[str] | None, grid: ReferenceGrid) -> list[str]:
    """Return the names in a list or a text."""
    if texts is None:
        return []
    if not isinstance(texts, str):
        return list(dict.fromkeys(texts))
    if texts in grid.axes:
        return [texts]
    return list(dict.fromkeys(quoted or plain for quoted, plain in NAME.findall(texts)))


def _short(value: object) -> str:
    """Return a level as text, numbers to six digits."""
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else text(value)


def _facts(grid: ReferenceGrid, names: Sequence[str], weights: str, var: str | None) -> tuple[str, ...]:
    """Return the sentences on what was averaged, what numbers stand for, and on interactions."""
    facts = [] if var is None else [f"Slopes of the response in {var}."]
    others = [name for name in grid.axes if name not in names]
    over = [name for name in others if grid.axes[name].size > 1]
    if over:
        facts.append(f"Averaged over {', '.join(over)} with {weights} weights.")
    at = [f"{name} = {_short(grid.axes[name].values[0])}" for name in others if grid.axes[name].size == 1]
    if at:
        facts.append(f"At {', '.join(at)}.")
    if grid.model.offset is not None:
        facts.append(f"At the mean of the offset, {grid.model.offset.mean():.6g}.")
    shown = [*names, *([var] if var is not None else [])]
    partners = {b for term in grid.terms for a in term if a in shown for b in term if b not in shown}
    if partners:
        named = ", ".join(name for name in grid.axes if name in partners)
        facts.append(f"Results may be misleading due to involvement in interactions (with {named}).")
    return tuple(facts)
