"""Predictions for the rows of the fit and for new data."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from oracles import random_design

import sparselmm
from sparselmm import DataError, LinearMixedModel


@pytest.fixture(scope="module")
def sleepstudy():
    return sparselmm.datasets.load("sleepstudy")


@pytest.fixture(scope="module")
def fit(sleepstudy):
    return sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sleepstudy)


@pytest.fixture(scope="module")
def pastes():
    return sparselmm.lmer("strength ~ 1 + (1 | batch / cask)", sparselmm.datasets.load("Pastes"))


def test_without_new_data(fit, sleepstudy):
    pd.testing.assert_series_equal(fit.predict(), fit.fittedvalues)
    marginal = fit.params["Intercept"] + fit.params["Days"] * sleepstudy["Days"]
    pd.testing.assert_series_equal(fit.predict(random=False), marginal, check_names=False)


def test_same_data_as_new_data(fit, sleepstudy):
    pd.testing.assert_series_equal(fit.predict(sleepstudy), fit.fittedvalues)
    pd.testing.assert_series_equal(fit.predict(sleepstudy, random=False), fit.predict(random=False))


def test_new_data(fit):
    # R: predict(lmer(Reaction ~ Days + (Days | Subject), sleepstudy), new, allow.new.levels = TRUE)
    new = pd.DataFrame({"Days": [1, 20], "Subject": ["308", "new"]}, index=["a", "b"])
    predicted = fit.predict(new, new_levels="zero")
    assert list(predicted.index) == ["a", "b"]
    np.testing.assert_allclose(predicted, [273.329917524, 460.750824040], rtol=1e-6)
    np.testing.assert_allclose(fit.predict({"Days": [1, 20]}, random=False), [261.872390808, 460.750824040], rtol=1e-9)


def test_new_levels_are_named(fit):
    new = pd.DataFrame({"Days": np.ones(8), "Subject": ["308", "x", "x", *"abcdf"]})
    with pytest.raises(
        DataError, match=r"'Subject' has levels .* not seen: x, a, b, c, d and 1 more\. Use new_levels='zero'"
    ):
        fit.predict(new)
    with pytest.raises(ValueError, match="new_levels must be"):
        fit.predict(new, new_levels="allow")


def test_new_level_of_a_nested_factor(pastes):
    # R: predict(lmer(strength ~ 1 + (1 | batch/cask), Pastes), new, allow.new.levels = TRUE), re.form = ~ (1 | batch)
    new = pd.DataFrame({"batch": ["A", "A", "Z"], "cask": ["a", "zz", "a"]})
    np.testing.assert_allclose(
        pastes.predict(new, new_levels="zero"), [62.62866464, 60.85397835, 60.05333333], rtol=1e-6
    )
    batches = pastes.predict(new, random=["batch"], new_levels="zero")
    np.testing.assert_allclose(batches, [60.85397835, 60.85397835, 60.05333333], rtol=1e-6)
    with pytest.raises(DataError, match=r"'batch:cask' has levels .* not seen: A:zz, Z:a\."):
        pastes.predict(new, random=["batch:cask"])


def test_some_terms(pastes):
    for random in ("batch", ["batch"]):
        expected = pastes.params["Intercept"] + pastes.random_effects["batch"]["Intercept"]
        groups = sparselmm.datasets.load("Pastes")["batch"].astype(str)
        np.testing.assert_allclose(pastes.predict(random=random), expected.loc[groups])
    np.testing.assert_allclose(pastes.predict(random=[]), pastes.predict(random=False))
    with pytest.raises(ValueError, match=r"\['casks'\]; the random-effects terms of this model are \['batch"):
        pastes.predict(random=["batch", "casks"])


def test_missing_values_give_nan(fit):
    new = pd.DataFrame({"Days": [1.0, np.nan, 2.0, 3.0], "Subject": ["308", "308", None, "309"]})
    assert fit.predict(new).isna().tolist() == [False, True, True, False]
    assert fit.predict(new, new_levels="zero").isna().tolist() == [False, True, True, False]
    assert fit.predict(new, random=False).isna().tolist() == [False, True, False, False]
    assert fit.predict(new.iloc[[2]]).isna().all()


def test_random_column_that_is_missing(sleepstudy):
    fit = sparselmm.lmer("Reaction ~ 1 + (0 + Days | Subject)", sleepstudy)
    new = pd.DataFrame({"Days": [np.nan, np.nan, 1.0], "Subject": ["308", "new", "308"]})
    assert fit.predict(new, new_levels="zero").isna().tolist() == [True, True, False]


def test_offset_in_the_formula(sleepstudy):
    # R: lmer(Reaction ~ Days + offset(z) + (Days | Subject), z = Days^2 / 10, REML = FALSE)
    data = sleepstudy.assign(z=sleepstudy["Days"] ** 2 / 10.0)
    fit = sparselmm.lmer("Reaction ~ Days + offset(z) + (Days | Subject)", data, reml=False)
    new = pd.DataFrame({"Days": [2, 11], "z": [1, 5], "Subject": ["308", "309"]})
    np.testing.assert_allclose(fit.predict(new), [293.6743019, 227.7034717], rtol=1e-5)
    pd.testing.assert_series_equal(fit.predict(data), fit.fittedvalues)


def test_offset_array(sleepstudy):
    offset = sleepstudy["Days"].to_numpy() ** 2
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sleepstudy, offset=offset)
    pd.testing.assert_series_equal(fit.predict(sleepstudy, offset=offset), fit.fittedvalues)
    with pytest.raises(DataError, match="offset"):
        fit.predict(sleepstudy)


def test_dropped_columns(sleepstudy):
    data = sleepstudy.assign(twice=2.0 * sleepstudy["Days"], square=sleepstudy["Days"] ** 2)
    with pytest.warns(sparselmm.DataWarning, match="twice"):
        fit = sparselmm.lmer("Reaction ~ Days + twice + square + (1 | Subject)", data)
    pd.testing.assert_series_equal(fit.predict(data), fit.fittedvalues)


def test_incomplete_rows_of_the_fit_are_predicted(sleepstudy):
    data = sleepstudy.copy()
    data.loc[[3, 7], "Reaction"] = np.nan
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
    predicted = fit.predict(data)
    assert predicted.notna().all()
    pd.testing.assert_series_equal(predicted.drop([3, 7]), fit.fittedvalues)


def test_functions_and_factors():
    data = sparselmm.datasets.load("Oats")
    fit = sparselmm.lmer("yield ~ center(nitro) * Variety + (1 | Block / Variety)", data)
    part = data.iloc[[70, 3, 17]]
    np.testing.assert_allclose(fit.predict(part), fit.fittedvalues.iloc[[70, 3, 17]])


def test_other_libraries(fit, sleepstudy):
    new = pl.DataFrame({"Days": sleepstudy["Days"].to_numpy(), "Subject": sleepstudy["Subject"].astype(str).tolist()})
    np.testing.assert_allclose(fit.predict(new), fit.fittedvalues)


def test_columns_that_are_needed(fit):
    with pytest.raises(DataError, match="Subject"):
        fit.predict({"Days": [1.0]})
    with pytest.raises(DataError, match="Days"):
        fit.predict({"Subject": ["308"]})


def test_arrays():
    y, X, terms = random_design(np.random.default_rng(7), kinds=("slope", "scalar", "matrix"))
    fit = LinearMixedModel(y, X, terms).fit()
    total = fit.predict(random=False)
    for term in terms:
        effects = fit.random_effects[term.name].to_numpy().ravel()
        part = fit.predict(random=[term.name]) - fit.predict(random=False)
        np.testing.assert_allclose(part, term.Z @ effects, atol=1e-9)
        total = total + part
    np.testing.assert_allclose(total, fit.fittedvalues)
    with pytest.raises(DataError, match="Build it from a formula"):
        fit.predict(X)


@pytest.mark.parametrize(
    "formula", ["Reaction ~ Days + b + (1 | Subject)", "Reaction ~ Days + (1 | Subject) + (1 | b)"]
)
def test_booleans_as_text(sleepstudy, formula):
    fit = sparselmm.lmer(formula, sleepstudy.assign(b=sleepstudy["Days"] % 3 == 0))
    new = {"Days": [1, 2], "Subject": ["308", "309"], "b": [True, False]}
    expected = fit.predict(new)
    with pytest.raises(DataError, match=r"b.*(held True and False in the data of the fit and holds text|another type)"):
        fit.predict(new | {"b": ["True", "False"]}, new_levels="zero")
    np.testing.assert_array_equal(fit.predict(new), expected)


def test_labels_of_another_type(sleepstudy):
    numbered = sleepstudy.assign(Subject=sleepstudy["Subject"].astype(int))
    fit = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", numbered)
    with pytest.raises(DataError, match=r"'Subject': 308 are levels of the fit, but of another type"):
        fit.predict({"Days": [1], "Subject": ["308"]}, new_levels="zero")
    assert fit.predict({"Days": [1], "Subject": ["someone"]}, new_levels="zero").notna().all()


SPANNING = {
    "Reaction ~ {Days - Days.mean()} + (1 | Subject)": "Days - Days.mean()",
    "Reaction ~ Days + ({Days / Days.max()} | Subject)": "Days / Days.max()",
    "Reaction ~ Days + (1 | Subject) + (1 | {pd.qcut(Days, 3, labels=['a', 'b', 'c'])})": "pd.qcut",
    "Reaction ~ offset(Days.rank()) + (1 | Subject)": "Days.rank()",
}


@pytest.mark.parametrize("formula", SPANNING)
def test_columns_that_depend_on_other_rows(sleepstudy, formula):
    fit = sparselmm.lmer(formula, sleepstudy)
    with pytest.warns(sparselmm.DataWarning, match=r"depends on the other rows.*center\(x\)") as caught:
        fit.predict(sleepstudy)
    assert len(caught) == 1 and SPANNING[formula] in str(caught[0].message)
    assert caught[0].filename == __file__
    fit.predict()


def test_columns_that_depend_on_their_row(sleepstudy):
    """Functions that remember the fit, and those of one row, raise no warning."""
    data = sleepstudy.assign(f=np.tile(["u", "v", "w"], 60))
    fit = sparselmm.lmer(
        "Reaction ~ bs(Days, df=4) + np.log(Days + 1) + C(f, contr.sum)"
        " + (scale(Days) | Subject) + (1 | {f + 'x'}:Subject)",
        data,
    )
    np.testing.assert_allclose(fit.predict(data[5:8]), fit.fittedvalues[5:8])


def test_empty_cells_are_not_predicted():
    rng = np.random.default_rng(0)
    cells = pd.DataFrame({"a": list("uuvvww"), "b": list("pqpqpp")})  # no w with q
    data = pd.concat([cells] * 12, ignore_index=True).assign(s=lambda d: np.arange(len(d)) % 7)
    data["y"] = rng.standard_normal(len(data))
    with pytest.warns(sparselmm.DataWarning, match="dropped"):
        fit = sparselmm.lmer("y ~ a * b + (1 | s)", data)
    new = pd.DataFrame({"a": ["w", "w"], "b": ["p", "q"], "s": [0, 0]})
    with pytest.warns(sparselmm.DataWarning, match="1 rows have combinations .* do not determine"):
        predicted = fit.predict(new, random=False, se=True)
    assert predicted.iloc[0].notna().all() and predicted.iloc[1].isna().all()


def test_without_the_grouping_column(fit, sleepstudy):
    new = pd.DataFrame({"Days": [0.0, 9.0], "subject": ["308", "309"]})
    message = re.escape("'Subject', whose levels are predicted. Did you mean 'subject'? random=False predicts")
    with pytest.raises(DataError, match=message):
        fit.predict(new)
    assert fit.predict(new, random=False).shape == (2,)
