"""Designs as plain facts that hypothesis draws and shrinks, and the data that they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from sparselmm import RandomTerm

COLUMNS = {"intercept": 1, "column": 1, "slope": 2, "three": 3, "diagonal": 3, "matrix": 1}


@dataclass(frozen=True)
class TermSpec:
    """One random term: its columns, how its levels lie in the rows, and the size and shape of its covariance."""

    kind: str
    levels: int
    layout: str
    sd: float
    singular: bool


@dataclass(frozen=True)
class Spec:
    """One design; its repr reproduces it."""

    seed: int
    n: int
    terms: tuple[TermSpec, ...]
    p: int
    reml: bool
    weights: float
    offset: bool
    dependent: bool
    collinear: float
    cells: bool
    y_scale: float
    y_shift: float
    x_scale: float
    noise: float


TERMS = st.builds(
    TermSpec,
    kind=st.sampled_from(tuple(COLUMNS)),
    levels=st.integers(2, 14),
    layout=st.sampled_from(
        ("crossed", "crossed", "nested", "nested", "unbalanced", "unbalanced", "alone", "rows", "single")
    ),
    sd=st.sampled_from((1.0, 0.0, 0.1, 0.3, 3.0)),
    singular=st.booleans(),
)
SPECS = st.builds(
    Spec,
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from((60, 24, 40, 90, 8, 14)),
    terms=st.lists(TERMS, min_size=1, max_size=4).map(tuple),
    p=st.integers(0, 5),
    reml=st.booleans(),
    weights=st.sampled_from((0.0, 0.0, 1.0, 8.0)),
    offset=st.booleans(),
    dependent=st.sampled_from((False, False, False, True)),
    collinear=st.sampled_from((1.0, 1.0, 1e-2, 1e-4)),
    cells=st.booleans(),
    y_scale=st.sampled_from((1.0, 1e-6, 1e-3, 1e3, 1e6)),
    y_shift=st.sampled_from((0.0, 10.0, 1e4)),
    x_scale=st.sampled_from((1.0, 1e-6, 1e-3, 1e3, 1e6)),
    noise=st.sampled_from((1.0, 0.1)),
)


@dataclass(frozen=True, eq=False)
class Data:
    """y (n,), X (n, p), terms, weights and offset of a design."""

    y: np.ndarray
    X: np.ndarray
    terms: list[RandomTerm]
    weights: np.ndarray | None
    offset: np.ndarray | None


def build(spec: Spec) -> Data:
    """Return the data of a design."""
    rng = np.random.default_rng(spec.seed)
    X = _fixed(spec, rng)
    terms: list[RandomTerm] = []
    y = X @ (rng.standard_normal(X.shape[1]) / np.maximum(np.abs(X).max(axis=0, initial=1e-12), 1e-12))
    for number, term in enumerate(spec.terms):
        previous = terms[-1].codes if terms and terms[-1].codes is not None else np.zeros(spec.n, dtype=int)
        terms.append(_random(term, f"g{number}", X, previous, rng))
        y = y + terms[-1].Z @ _effects(term, terms[-1], rng)
    weights = np.exp(rng.uniform(-0.5, 0.5, spec.n) * spec.weights) if spec.weights else None
    noise = spec.noise * rng.standard_normal(spec.n)
    y = y + (noise if weights is None else noise / np.sqrt(weights))
    y = spec.y_scale * (y + spec.y_shift)
    offset = spec.y_scale * rng.standard_normal(spec.n) if spec.offset else None
    return Data(y if offset is None else y + offset, X, terms, weights, offset)


def _fixed(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    """Return X: an intercept, dummies with an empty cell, predictors near or in each other's span."""
    X = np.column_stack([np.ones(spec.n), rng.standard_normal((spec.n, 6))])[:, : spec.p]
    if spec.cells and spec.p > 3:
        a, b = rng.integers(0, 2, (2, spec.n))
        X[:, 1:4] = np.column_stack([a, b & ~a, a & b])
    elif spec.p > 2:
        X[:, 2] = X[:, 1] + spec.collinear * X[:, 2]
    X[:, 1:] = X[:, 1:] * spec.x_scale + (3.0 * spec.x_scale if spec.seed % 2 else 0.0)
    return np.column_stack([X, X.sum(axis=1)]) if spec.dependent and spec.p > 1 else X


def _random(spec: TermSpec, name: str, X: np.ndarray, previous: np.ndarray, rng: np.random.Generator) -> RandomTerm:
    """Return one term."""
    n, levels = X.shape[0], spec.levels
    if spec.kind == "matrix":
        Z = rng.standard_normal((n, levels)) * (rng.random((n, levels)) < 0.4)
        return RandomTerm.from_matrix(Z, name=name)
    if spec.layout == "nested":
        codes = previous * 3 + rng.integers(0, 3, n)
    elif spec.layout == "unbalanced":
        codes = np.minimum(rng.geometric(0.4, n), levels)
    elif spec.layout == "alone":  # every level but one has a single row
        codes = np.maximum(np.arange(n) - (n - levels), 0)
    elif spec.layout == "single":
        codes = np.zeros(n, dtype=int) if levels == 2 else rng.integers(0, levels, n)
    elif spec.layout == "rows":  # as many levels as rows, nearly
        codes = rng.permutation(n) % max(n - 3, 1)
    else:
        codes = rng.integers(0, levels, n)
    columns = np.column_stack([np.ones(n), X[:, 1:3], rng.standard_normal((n, 2))])
    c = COLUMNS[spec.kind]
    values = columns[:, -1:] if spec.kind == "column" else columns[:, :c]
    return RandomTerm(codes, values, name, structure="diagonal" if spec.kind == "diagonal" else "unstructured")


def _effects(spec: TermSpec, term: RandomTerm, rng: np.random.Generator) -> np.ndarray:
    """Return the random effects of a term, with a covariance of rank one if it is to be singular."""
    c = term.n_columns
    factor = rng.standard_normal((c, c)) if not spec.singular else np.outer(rng.standard_normal(c), np.eye(c)[0])
    size = np.ones(1) if term.values is None else np.maximum(np.abs(term.values).max(axis=0), 1e-12)
    effects = rng.standard_normal((term.n_levels, c)) @ factor.T * spec.sd / size
    return effects.ravel()
