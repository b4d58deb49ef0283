"""The shapes the peers race on: a formula, a criterion and a deterministic generator each."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Shape:
    """One model on one data set.

    `make(**small)` gives the reduced data of the smoke run; a quick shape is repeated `repeat` times as often.
    """

    title: str
    formula: str
    reml: bool
    make: Callable[..., pd.DataFrame]
    small: dict[str, int]
    repeat: int = 1


def fixed_part(formula: str) -> str:
    """The formula without its bars."""
    return re.sub(r"\s*\+\s*\([^()]*\)", "", formula)


def bars(formula: str) -> list[tuple[list[str], str]]:
    """The bars as (slope columns, grouping factor); every bar of the shapes has an intercept."""
    found = re.findall(r"\(([^|()]+)\|([^()]+)\)", formula)
    return [([c for c in re.split(r"[+\s]+", left) if c not in ("", "1")], right.strip()) for left, right in found]


def insteval(students: int | None = None) -> pd.DataFrame:
    """Ratings of lectures at ETH Zürich: 73,421 rows, 2,972 students s, 1,128 lecturers d, 14 departments."""
    from sparselmm import datasets

    data = datasets.load("InstEval")[["s", "d", "service", "dept", "y"]]
    factors = ["s", "d", "service", "dept"]
    if students is not None:
        data = data[data["s"].astype(int) <= students].reset_index(drop=True)
    levels = {name: data[name].astype(str).astype("category") for name in factors}
    return data.assign(y=data["y"].astype(float), **levels)


def sleepstudy(subjects: int = 18) -> pd.DataFrame:
    """Reaction times over ten days of sleep deprivation: 180 rows, 18 subjects."""
    from sparselmm import datasets

    data = datasets.load("sleepstudy")[["Reaction", "Days", "Subject"]]
    kept = data["Subject"].unique()[:subjects]
    data = data[data["Subject"].isin(kept)].reset_index(drop=True)
    return data.assign(Days=data["Days"].astype(float), Subject=data["Subject"].astype(str).astype("category"))


def maximal(columns: int, subjects: int = 56, items: int = 32, seed: int = 7) -> pd.DataFrame:
    """A counterbalanced 2×2×2 experiment, subjects crossed with items, about 3 % of the trials lost.

    The true covariances of the `columns` random columns have rank columns/2, so the optimum is singular.
    """
    rng = np.random.default_rng(seed)
    s, i = np.divmod(rng.permutation(subjects * items), items)
    kept = rng.random(s.size) > 0.03
    s, i = s[kept], i[kept]
    a, b, c = ((((s + i) % 8)[:, None] >> np.arange(3)) % 2 - 0.5).T
    contrasts = {"a": a, "b": b, "c": c, "ab": 2 * a * b, "ac": 2 * a * c, "bc": 2 * b * c, "abc": 4 * a * b * c}
    X = np.column_stack([np.ones(s.size), *contrasts.values()])[:, :columns]
    scale = np.r_[300.0, np.full(columns - 1, 120.0)]

    def random_slopes(levels: int) -> np.ndarray:
        loadings = rng.standard_normal((columns, columns // 2)) / np.sqrt(columns // 2)
        return rng.standard_normal((levels, columns // 2)) @ loadings.T * scale

    beta = np.r_[2200.0, 150.0, -330.0, 80.0, rng.normal(0, 40, 4)][:columns]
    mean = X @ beta + np.sum(X * (random_slopes(subjects)[s] + random_slopes(items)[i]), axis=1)
    used = dict(list(contrasts.items())[: columns - 1])
    y = mean + rng.normal(0, 650, s.size)
    return pd.DataFrame({**used, "y": y, "s": pd.Categorical(s), "i": pd.Categorical(i)})


def slopes(groups: int = 125_000, rows: int = 500_000, seed: int = 11) -> pd.DataFrame:
    """Random lines: every group has two rows and the others fall at random, so the groups differ in size."""
    rng = np.random.default_rng(seed)
    g = rng.permutation(np.r_[np.tile(np.arange(groups), 2), rng.integers(0, groups, rows - 2 * groups)])
    x = rng.standard_normal(rows)
    b = rng.standard_normal((groups, 2)) @ np.array([[0.8, 0.15], [0.0, 0.4]])
    y = 2.0 + 0.5 * x + b[g, 0] + b[g, 1] * x + rng.standard_normal(rows)
    return pd.DataFrame({"y": y, "x": x, "g": pd.Categorical(g)})


def ratings(
    n: int = 1_000_000, users: int = 6_040, items: int = 3_706, communities: int = 8, seed: int = 3
) -> pd.DataFrame:
    """Distinct (user, item) pairs in random order: log-normal degrees, 70 % of a user's ratings in the own community.

    Skew makes the factor fill in and communities slow iterative solvers down; every user and item occurs.
    """
    rng = np.random.default_rng(seed)
    user_weight, item_weight = rng.lognormal(0, 1.1, users), rng.lognormal(0, 1.8, items)
    size = rng.dirichlet(np.full(communities, 4.0))
    user_home, item_home = (rng.choice(communities, count, p=size) for count in (users, items))
    members = [np.flatnonzero(item_home == k) for k in range(communities)]
    everyone = np.maximum(users, items)
    keys = np.arange(everyone) % users * items + rng.permutation(everyone) % items
    while keys.size < n:
        u = rng.choice(users, n, p=user_weight / user_weight.sum())
        i = rng.choice(items, n, p=item_weight / item_weight.sum())
        at_home = rng.random(n) < 0.7
        for k, own in enumerate(members):
            chosen = np.flatnonzero(at_home & (user_home[u] == k))
            if own.size:
                i[chosen] = rng.choice(own, chosen.size, p=item_weight[own] / item_weight[own].sum())
        fresh = np.setdiff1d(u * items + i, keys)
        keys = np.r_[keys, rng.permutation(fresh)[: n - keys.size]]
    u, i = np.divmod(rng.permutation(keys), items)
    effects = 0.45 * rng.standard_normal(users)[u] + 0.5 * rng.standard_normal(items)[i]
    y = 3.5 + effects + 0.9 * rng.standard_normal(keys.size)
    return pd.DataFrame({"y": y, "u": pd.Categorical(u), "i": pd.Categorical(i)})


def maximal4(subjects: int = 56, items: int = 32) -> pd.DataFrame:
    return maximal(4, subjects, items)


def maximal8(subjects: int = 56, items: int = 32) -> pd.DataFrame:
    return maximal(8, subjects, items)


COLUMNS8 = "1 + a + b + c + ab + ac + bc + abc"

SHAPES = {
    "insteval": Shape(
        "InstEval, students, lecturers and departments crossed",
        "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
        False,
        insteval,
        {"students": 200},
    ),
    "insteval28": Shape(
        "InstEval, departments fixed, 28 fixed effects",
        "y ~ service*dept + (1 | s) + (1 | d)",
        False,
        insteval,
        {"students": 400},
    ),
    "maximal4": Shape(
        "Maximal crossed model, 4 + 4 random columns, singular",
        "y ~ a + b + c + (1 + a + b + c | s) + (1 + a + b + c | i)",
        True,
        maximal4,
        {"subjects": 16, "items": 16},
    ),
    "maximal8": Shape(
        "Maximal crossed model, 8 + 8 random columns, singular",
        f"y ~ {COLUMNS8[4:]} + ({COLUMNS8} | s) + ({COLUMNS8} | i)",
        True,
        maximal8,
        {"subjects": 24, "items": 16},
    ),
    "slopes125k": Shape(
        "125,000 groups with random lines",
        "y ~ x + (1 + x | g)",
        True,
        slopes,
        {"groups": 500, "rows": 2_000},
    ),
    "ratings1m": Shape(
        "1,000,000 ratings, users and items crossed",
        "y ~ 1 + (1 | u) + (1 | i)",
        True,
        ratings,
        {"n": 5_000, "users": 200, "items": 150},
    ),
    "sleepstudy": Shape(
        "sleepstudy, 18 random lines",
        "Reaction ~ Days + (1 + Days | Subject)",
        True,
        sleepstudy,
        {"subjects": 10},
        repeat=5,
    ),
}
