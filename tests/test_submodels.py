"""Models of which only cross-products are known compare with their parts as those that hold their rows do."""

import numpy as np
import pandas as pd
import pytest

from sparselmm import DataError, lmer

N = 480


@pytest.fixture(scope="module")
def rows():
    """Two crossed factors, a number and a factor of three levels."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"g": rng.integers(0, 20, N), "h": rng.integers(0, 12, N), "x": 5.0 + rng.standard_normal(N)})
    data["k"] = rng.choice(list("abc"), N)
    effects = rng.standard_normal((20, 2))[data.g]
    return data.assign(y=10.0 + data.x * (1 + effects[:, 1]) + effects[:, 0] + (data.k == "a") + rng.standard_normal(N))


FORMULAS = [
    "y ~ x * k + (x | g) + (1 | h)",
    "y ~ x + k + (1 | g) + (0 + x | g) + (1 | h)",
    "y ~ x + k + (x + k | g)",
    "y ~ 0 + k + x + (x || g) + (k | h)",
]


def same(one, other):
    """Assert that two tables of tests are equal."""
    assert list(one.frame.index) == list(other.frame.index) and one.notes == other.notes
    np.testing.assert_allclose(one.frame.to_numpy(float), other.frame.to_numpy(float), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("formula", FORMULAS)
def test_parts_without_rows(formula, weights, rows):
    rows = rows.assign(w=1.0 + rows.h % 3)
    fit, whole = (lmer(formula, data, weights=weights) for data in (iter([rows[:200], rows[200:]]), rows))
    same(fit.ranova(), whole.ranova())
    same(fit.ranova(reduce_terms=False), whole.ranova(reduce_terms=False))
    same(fit.drop1(test="LRT"), whole.drop1(test="LRT"))
    if weights is None and "0 + k" not in formula.partition("(")[0]:
        np.testing.assert_allclose(fit.r2(), whole.r2(), rtol=1e-6)
        np.testing.assert_allclose(fit.icc(), whole.icc(), rtol=1e-6)


def test_parts_that_need_rows(rows):
    fit = lmer("y ~ x + (0 + k | g)", iter([rows]))
    with pytest.raises(DataError, match=r"^Leaving columns out of a term without intercept needs the rows"):
        fit.ranova()
    assert len(fit.ranova(reduce_terms=False)) == 2
