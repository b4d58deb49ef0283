"""The same data in another order, unit or library give the same fit."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselmm import lmer

FORMULA = "y ~ x + f + (1 + x | g) + (1 | h)"


def panel(seed, n=150):
    """Return crossed data with a slope; every level occurs."""
    rng = np.random.default_rng(seed)
    g = np.r_[np.arange(10), rng.integers(0, 10, n - 10)]
    h = np.r_[np.arange(n - 6, n) % 6, rng.integers(0, 6, n - 6)]
    x = rng.normal(2.0, 1.0, n)
    f = rng.choice(["a", "b", "c"], n)
    y = (
        3
        + x
        + (f == "b")
        + rng.standard_normal(10)[g] * (1 + 0.5 * x)
        + rng.standard_normal(6)[h]
        + rng.standard_normal(n)
    )
    return pd.DataFrame({"y": y, "x": x, "f": f, "g": [f"g{i:02d}" for i in g], "h": h})


def compare(left, right, y=1.0, x=1.0, intercept=0.0):
    """Check that `right` is `left` with the response in units of 1/y (plus `intercept`) and x in units of 1/x."""
    names = left.params.index
    factor = np.array([y / x if "x" in name else y for name in names])
    shift = np.array([intercept if name == "Intercept" else 0.0 for name in names])
    assert left.converged and right.converged
    sd = left.bse.to_numpy()
    np.testing.assert_allclose((right.params[names] - shift) / factor / sd, left.params / sd, atol=2e-5)
    np.testing.assert_allclose(right.bse[names] / factor, left.bse, rtol=2e-5)
    assert right.scale == pytest.approx(left.scale * y**2, rel=2e-5)
    for name, cov in left.cov_re.items():
        columns = np.array([y / x if column == "x" else y for column in cov.columns])
        np.testing.assert_allclose(right.cov_re[name] / np.outer(columns, columns), cov, atol=5e-5 * left.scale)
        effects = right.random_effects[name].loc[left.random_effects[name].index] / columns
        np.testing.assert_allclose(effects, left.random_effects[name], atol=1e-4 * left.sigma)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.booleans())
def test_order_of_rows(seed, reml):
    data = panel(seed)
    compare(lmer(FORMULA, data, reml), lmer(FORMULA, data.sample(frac=1, random_state=seed % 1000), reml))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.booleans())
def test_order_of_levels_and_names(seed, reml):
    data = panel(seed)
    reordered = data.assign(g=pd.Categorical(data.g, categories=sorted(data.g.unique(), reverse=True)))
    compare(lmer(FORMULA, data, reml), lmer(FORMULA, reordered, reml))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.booleans())
def test_order_of_terms(seed, reml):
    data = panel(seed)
    compare(lmer(FORMULA, data, reml), lmer("y ~ f + x + (1 | h) + (x | g)", data, reml))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.booleans())
def test_units(seed, reml):
    data = panel(seed)
    fit = lmer(FORMULA, data, reml)
    compare(fit, lmer(FORMULA, data.assign(y=10 * data.y + 3), reml), y=10.0, intercept=3.0)
    compare(fit, lmer(FORMULA, data.assign(x=data.x / 1000), reml), x=1 / 1000)
    compare(fit, lmer(FORMULA, data.assign(y=data.y * 1e6, x=data.x * 1e5), reml), y=1e6, x=1e5)


def test_weights_of_one_and_units_of_weights():
    data = panel(1)
    fit = lmer(FORMULA, data)
    same = lmer(FORMULA, data.assign(w=1.0), weights="w")
    assert same.deviance == pytest.approx(fit.deviance, abs=1e-8)
    four = lmer(FORMULA, data.assign(w=4.0), weights="w")
    assert four.scale == pytest.approx(4 * fit.scale, rel=1e-6)
    np.testing.assert_allclose(four.cov_re["g"], fit.cov_re["g"], rtol=1e-5, atol=1e-6)


def test_integer_weights_are_not_repeated_rows():
    """A weight is a precision: the deviance is that of the scaled rows, not of more rows."""
    data = panel(2)
    weights = np.random.default_rng(0).integers(1, 4, len(data)).astype(float)
    fit = lmer("y ~ x + (1 | g)", data, weights=weights)
    assert fit.nobs == len(data)


def test_offset_is_subtracted():
    data = panel(3).assign(o=lambda d: np.sin(np.arange(len(d))))
    fit = lmer(FORMULA, data, offset="o")
    other = lmer(FORMULA, data.assign(y=data.y - data.o))
    np.testing.assert_allclose(fit.params, other.params, rtol=1e-10)
    np.testing.assert_allclose(fit.fittedvalues, other.fittedvalues + data.o, rtol=1e-10)
    np.testing.assert_allclose(fit.resid, other.resid, atol=1e-10)
    np.testing.assert_allclose(fit.predict(data), fit.fittedvalues, rtol=1e-12)


def to_polars(data):
    """Return a polars frame; an Enum keeps an order of categories, a polars Categorical has none."""
    frame = pl.from_pandas(data)
    if isinstance(data.f.dtype, pd.CategoricalDtype):
        frame = frame.with_columns(pl.col("f").cast(pl.Enum(list(data.f.cat.categories))))
    return frame


@pytest.mark.parametrize("convert", [to_polars, pa.Table.from_pandas, dict], ids=["polars", "arrow", "dict"])
@pytest.mark.parametrize("categorical", [False, True])
def test_library_of_the_data_frame(convert, categorical):
    data = panel(4)
    if categorical:
        data["f"] = pd.Categorical(data.f, categories=["c", "a", "b"])
        data["g"] = data.g.astype("category")
    fit, other = lmer(FORMULA, data), lmer(FORMULA, convert(data))
    assert list(fit.params.index) == list(other.params.index)
    assert fit.deviance == other.deviance
    for name, effects in fit.random_effects.items():
        assert list(effects.index) == list(other.random_effects[name].index)
