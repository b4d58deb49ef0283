"""Hard inputs give answers or errors that name the column and the remedy."""

import warnings

import numpy as np
import pandas as pd
import pytest

import sparselmm
from sparselmm import DataError, DataWarning, LinearMixedModel, RandomTerm, lmer


def ratings(n=240, seed=0):
    """Return crossed ratings with a predictor, a slope and two factors."""
    rng = np.random.default_rng(seed)
    g, h = rng.integers(0, 12, n), rng.integers(0, 8, n)
    x = rng.standard_normal(n)
    y = 1 + x + rng.standard_normal(12)[g] + 0.7 * rng.standard_normal(8)[h] + rng.standard_normal(n)
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h, "f": np.where(x > 0, "hi", "lo")})


FORMULA = "y ~ x + (1 | g) + (1 | h)"


def same(left, right, tolerance=1e-7):
    """Check that two fits are one."""
    assert left.deviance == pytest.approx(right.deviance, abs=1e-6)
    np.testing.assert_allclose(left.params.to_numpy(), right.params.to_numpy(), atol=tolerance)
    np.testing.assert_allclose(left.theta, right.theta, atol=1e-5)


def test_singular_fit_is_an_answer():
    data = ratings()
    rng = np.random.default_rng(7)
    data["y"] = data["x"] + rng.standard_normal(len(data))
    data["k"] = np.arange(len(data)) % 40
    data["y"] -= data.groupby("k")["y"].transform("mean") * 0.95  # level means closer than chance: variance zero
    fit = lmer("y ~ x + (1 | k) + (1 | g)", data)
    assert fit.converged and fit.singular
    assert fit.theta[0] == 0.0
    assert (fit.random_effects["k"] == 0.0).all(axis=None)
    assert np.isfinite(fit.bse).all() and np.isfinite(fit.fittedvalues).all()
    assert "singular" in str(fit.summary())
    assert (fit.random_effects_sd["k"] == 0.0).all(axis=None)


def test_rank_deficient_columns_are_named_and_dropped():
    data = ratings().assign(twice=lambda d: 2 * d.x - 1)
    with pytest.warns(DataWarning, match="twice"):
        fit = lmer("y ~ x + twice + (1 | g) + (1 | h)", data)
    assert list(fit.params.index) == ["Intercept", "x"]
    same(fit, lmer(FORMULA, data))
    np.testing.assert_allclose(fit.predict(data), fit.fittedvalues)


def test_missing_values_are_dropped_or_raised():
    data = ratings()
    holes = data.astype({"g": float})
    holes.loc[3, "y"], holes.loc[5, "x"], holes.loc[8, "g"] = np.nan, np.nan, np.nan
    fit = lmer(FORMULA, holes)
    assert fit.nobs == len(data) - 3
    same(fit, lmer(FORMULA, data.drop(index=[3, 5, 8])))
    assert 3 not in fit.resid.index
    with pytest.raises(DataError, match="'g' 1"):
        lmer(FORMULA, holes, missing="raise")


@pytest.mark.parametrize("reml", [True, False])
def test_one_level_is_an_error(reml):
    with pytest.raises(DataError, match="'one' has a single level"):
        lmer("y ~ x + (1 | one)", ratings().assign(one="a"), reml=reml)


def test_as_many_levels_as_rows_is_an_error():
    data = ratings()
    with pytest.raises(DataError, match="'id' has 240 random effects for 240 rows"):
        lmer("y ~ x + (1 | id)", data.assign(id=np.arange(len(data))))
    with pytest.raises(DataError, match="cannot be told"):
        lmer("y ~ x + (x | id)", data.assign(id=np.arange(len(data)) // 2))


def test_as_many_levels_as_rows_with_weights_is_an_answer():
    """With known unequal weights (a meta-analysis) the variance between rows can be estimated."""
    rng = np.random.default_rng(1)
    data = ratings().assign(id=np.arange(240), w=10.0 ** rng.uniform(-1, 1, 240))
    data["y"] = data.x + 0.7 * rng.standard_normal(240) + rng.standard_normal(240) / np.sqrt(data.w)
    fit = lmer("y ~ x + (1 | id)", data, weights="w")
    assert fit.converged


@pytest.mark.parametrize("n", [2, 3])
def test_fewer_rows_than_fixed_effects_is_an_error(n):
    data = ratings().head(n).assign(a=[1.0, 2, 4][:n], b=[3.0, 1, 7][:n], g=[0, 0, 1][:n])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        with pytest.raises(DataError):
            lmer("y ~ x + a + b + (1 | g)", data)


@pytest.mark.parametrize("value", [0.0, 3.0, 1e8, -1e-8])
def test_constant_response_is_an_error(value):
    with pytest.raises(DataError, match="constant"):
        lmer(FORMULA, ratings().assign(y=value))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("column", ["y", "x"])
def test_infinite_values_are_errors(column, value):
    data = ratings()
    data.loc[4, column] = value
    with pytest.raises(DataError, match=column):
        lmer(FORMULA, data)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_weights_that_are_not_positive_are_errors(value):
    data = ratings().assign(w=1.0)
    data.loc[4, "w"] = value
    with pytest.raises(DataError, match="weights"):
        lmer(FORMULA, data, weights="w")
    with pytest.raises(DataError, match="weights"):
        LinearMixedModel(data.y, data[["x"]], [RandomTerm(data.g)], weights=data.w)


def test_empty_data_is_an_error():
    with pytest.raises(DataError, match="no rows"):
        lmer(FORMULA, ratings().head(0))
    with pytest.raises(DataError, match="missing"):
        lmer(FORMULA, ratings().assign(y=np.nan))


def test_unseen_and_empty_categories():
    data = ratings()
    data["g"] = pd.Categorical(data.g, categories=range(20))  # twelve occur
    data["f"] = pd.Categorical(data.f, categories=["lo", "mid", "hi"])
    fit = lmer("y ~ f + (1 | g)", data)
    assert list(fit.params.index) == ["Intercept", "f[T.hi]"]
    assert len(fit.random_effects["g"]) == 12
    new = data.head(3).assign(g=19)
    with pytest.raises(DataError, match=r"'g'.*19"):
        fit.predict(new)
    np.testing.assert_allclose(fit.predict(new, new_levels="zero"), fit.predict(new, random=False))
    with pytest.raises(DataError, match="mid"):
        fit.predict(data.head(2).assign(f="mid"), random=False)


@pytest.mark.parametrize("index", ["reversed", "repeated", "strings", "multi", "unsorted"])
def test_index_is_carried_and_never_aligned(index):
    data = ratings()
    n = len(data)
    labels = {
        "reversed": np.arange(n)[::-1],
        "repeated": np.zeros(n, int),
        "strings": [f"row {i % 7}" for i in range(n)],
        "multi": pd.MultiIndex.from_arrays([np.arange(n) % 5, np.arange(n)]),
        "unsorted": np.random.default_rng(0).permutation(n),
    }[index]
    other = data.set_axis(pd.Index(labels) if not isinstance(labels, pd.MultiIndex) else labels)
    fit, plain = lmer(FORMULA, other), lmer(FORMULA, data)
    same(fit, plain)
    assert fit.resid.index.equals(other.index)
    np.testing.assert_allclose(fit.fittedvalues.to_numpy(), plain.fittedvalues.to_numpy(), atol=1e-8)


@pytest.mark.parametrize(
    "convert",
    [
        lambda g: g.astype(str),
        lambda g: g.astype("category"),
        lambda g: pd.Timestamp("2024-01-01") + pd.to_timedelta(g, unit="D"),
        lambda g: g.astype("Int64"),
        lambda g: g.astype(np.uint8),
        lambda g: g + 0.5,
        lambda g: g.astype("string"),
        lambda g: g.astype(object),
    ],
    ids=["str", "category", "datetime", "Int64", "uint8", "float", "string", "object"],
)
def test_grouping_columns_of_any_type(convert):
    data = ratings()
    same(lmer(FORMULA, data.assign(g=convert(data.g))), lmer(FORMULA, data))


def test_boolean_grouping_column():
    data = ratings()
    same(
        lmer("y ~ x + (1 | b) + (1 | h)", data.assign(b=data.g > 5)),
        lmer("y ~ x + (1 | b) + (1 | h)", data.assign(b=(data.g > 5) * 1)),
    )


@pytest.mark.parametrize(("shift", "size"), [(1e8, 1.0), (0.0, 1e-8), (0.0, 1e8), (-1e8, 10.0)])
@pytest.mark.parametrize("reml", [True, False])
def test_response_far_from_one(shift, size, reml):
    data = ratings()
    plain = lmer("y ~ x + (1 + x | g) + (1 | h)", data, reml=reml)
    fit = lmer("y ~ x + (1 + x | g) + (1 | h)", data.assign(y=data.y * size + shift), reml=reml)
    assert fit.converged
    np.testing.assert_allclose(fit.theta, plain.theta, atol=2e-6)
    np.testing.assert_allclose((fit.params - [shift, 0]) / size, plain.params, atol=3e-7)
    np.testing.assert_allclose(fit.bse / size, plain.bse, rtol=1e-6)


def test_read_only_and_strided_arrays():
    data = ratings()
    y, X = data.y.to_numpy().copy(), np.column_stack([np.ones(len(data)), data.x])
    plain = LinearMixedModel(y, X, [RandomTerm(data.g, X)]).fit()
    layouts = {
        "fortran": np.asfortranarray(X),
        "strided": np.repeat(X, 3, axis=1)[:, ::3],
        "reversed": X[::-1].copy()[::-1],
        "float32": None,
    }
    for name, view in layouts.items():
        if name == "float32":
            continue
        view.setflags(write=False)
        y.setflags(write=False)
        same(LinearMixedModel(y, view, [RandomTerm(data.g.to_numpy()[::1], view)]).fit(), plain)
    wide = np.repeat(y, 2)[::2]
    same(LinearMixedModel(wide, X, [RandomTerm(data.g, X)]).fit(), plain)
    integers = LinearMixedModel(np.round(y * 100).astype(int), X.round().astype(int), [RandomTerm(data.g)]).fit()
    assert integers.converged


def test_arrays_with_wrong_shapes_are_errors():
    data = ratings()
    X = np.ones((len(data), 1))
    with pytest.raises(DataError, match="exog has 10 rows"):
        LinearMixedModel(data.y, X[:10], [RandomTerm(data.g)])
    with pytest.raises(DataError, match="'g' has 10 rows"):
        LinearMixedModel(data.y, X, [RandomTerm(data.g[:10])])
    with pytest.raises(DataError, match="at least one random"):
        LinearMixedModel(data.y, X, [])
    with pytest.raises(DataError, match="not numeric"):
        LinearMixedModel(data.f, X, [RandomTerm(data.g)])
    with pytest.raises(DataError, match="missing or infinite"):
        LinearMixedModel(data.y.where(data.x > 0), X, [RandomTerm(data.g)])
    with pytest.raises(DataError, match="missing labels"):
        RandomTerm(np.where(data.g == 3, np.nan, data.g))
    with pytest.raises(DataError, match="mixes types"):
        RandomTerm(np.array([pd.Timestamp("2024-01-01"), 1, "a"], dtype=object))


def test_start_of_wrong_length_is_an_error():
    model = LinearMixedModel.from_formula(FORMULA, ratings())
    with pytest.raises(ValueError, match="2 entries of theta"):
        model.fit(start=[1.0])
    same(model.fit(start=[0.1, 3.0]), model.fit())


def test_stopped_early_is_said():
    model = LinearMixedModel.from_formula(FORMULA, ratings())
    with pytest.warns(sparselmm.ConvergenceWarning, match="start=fit.theta"):
        fit = model.fit(start=[5.0, 5.0], max_evaluations=2)
    assert not fit.converged and fit.optimizer.evaluations == 2
    assert "not" in str(fit.summary()).lower()


def test_random_columns_of_zeros_are_an_answer():
    """A column that is zero everywhere carries no information: its variance stays where it is, nothing breaks."""
    data = ratings()
    with pytest.warns(DataWarning, match="Term 'h': the column z is zero in every row"):
        fit = lmer("y ~ x + (1 | g) + (0 + z | h)", data.assign(z=0.0))
    assert fit.deviance == pytest.approx(lmer("y ~ x + (1 | g)", data).deviance, abs=1e-6)


def test_arguments_that_mean_something_else_are_errors():
    data = ratings()
    with pytest.raises(ValueError, match="reml must be True"):
        lmer(FORMULA, data, reml="ML")
    with pytest.raises(DataError, match=r"RandomTerm\(groups\)"):
        LinearMixedModel(data.y, data[["x"]], data.g)
    fit = lmer(FORMULA, data)
    with pytest.raises(ValueError, match="between 0 and 1"):
        fit.conf_int(95)
    with pytest.raises(ValueError, match="missing or infinite"):
        fit.model.fit(start=[np.nan, 1.0])


def test_rows_of_pandas_objects_in_another_order_are_errors():
    data = ratings()
    X, turned = data[["x"]], data.iloc[::-1]
    with pytest.raises(DataError, match="exog has another index"):
        LinearMixedModel(data.y, turned[["x"]], [RandomTerm(data.g)])
    with pytest.raises(DataError, match="g has another index"):
        LinearMixedModel(data.y, X, [RandomTerm(turned.g)])
    with pytest.raises(DataError, match="weights has another index"):
        LinearMixedModel(data.y, X, [RandomTerm(data.g)], weights=turned.x.abs())
    with pytest.raises(DataError, match="weights has another index"):
        lmer(FORMULA, data, weights=turned.x.abs() + 1)
    with pytest.raises(DataError, match="order of the fit"):
        lmer(FORMULA, data).augment(turned)


def test_a_constant_column_beside_the_intercept_predicts():
    data = ratings().assign(Intercept=1.0)
    with pytest.warns(DataWarning):
        fit = lmer("y ~ Intercept + x + (1 | g)", data)
    np.testing.assert_allclose(fit.predict(data), fit.fittedvalues)


@pytest.mark.parametrize("levels", [12, 400])
def test_no_fixed_effects_with_slopes(levels):
    rng = np.random.default_rng(1)
    g, x = rng.integers(0, levels, 5 * levels), rng.standard_normal(5 * levels)
    term = RandomTerm(g, np.column_stack([np.ones(x.size), x]))
    y = term.Z @ rng.standard_normal(term.n_effects) + rng.standard_normal(x.size)
    fit = LinearMixedModel(y, np.empty((x.size, 0)), term).fit()
    assert fit.converged and fit.params.empty
    assert fit.summary().as_text()


def test_habits_of_r_name_what_to_write():
    data = {"y": np.arange(20.0), "Dose": np.arange(20.0) % 3, "g": np.arange(20) % 4}
    with pytest.raises(DataError, match=r"ns\(\) is R's"):
        lmer("y ~ ns(Dose) + (1 | g)", data)
    with pytest.raises(DataError, match="Did you mean 'Dose'"):
        lmer("y ~ DOSE + (1 | g)", data)
    with pytest.raises(sparselmm.FormulaError, match=r"sparselmm\.lmer"):
        sparselmm.MixedLM.from_formula("y ~ Dose + (1 | g)", data, groups="g")


@pytest.mark.parametrize("value", [1e308, -1e200, 1e80])
@pytest.mark.parametrize("column", ["weights", "offset"])
def test_huge_weights_and_offsets_are_errors_that_name_them(column, value):
    data = ratings().assign(v=1.0)
    data.loc[4, "v"] = abs(value) if column == "weights" else value
    with pytest.raises(DataError, match=f"{column} is of the size of"):
        lmer(FORMULA, data, **{column: "v"})
    with pytest.raises(DataError, match=f"{column} is of the size of"):
        lmer(FORMULA, iter([data[:100], data[100:]]), **{column: "v"})


@pytest.mark.parametrize("value", [1e308, 1e150])
def test_huge_values_of_what_follows_a_fit_are_errors_that_name_them(value):
    data = ratings()
    fit = lmer("y ~ x + (1 + x | g)", data)
    y, new = data.y.where(data.index != 4, value), data.head(3).assign(x=[0.0, value, 1.0])
    with pytest.raises(DataError, match="Response 0 is of the size of"):
        fit.refit(y)
    with pytest.raises(DataError, match="Response 1 is of the size of"):
        fit.refit_many(np.column_stack([data.y, y]))
    with pytest.raises(DataError, match="x is of the size of"):
        fit.predict(new, interval="prediction")
    with pytest.raises(DataError, match="'x' is infinite"):
        fit.predict(new.assign(x=np.inf))
    with pytest.raises(DataError, match="at: 'x' is of the size of"):
        fit.emmeans("1", at={"x": value})
    with pytest.raises(DataError, match="start is of the size of"):
        fit.model.fit(start=[value, 0.0, 1.0])


def test_huge_values_in_mixedlm_are_errors_that_name_them():
    data = ratings()
    for column in ("y", "x"):
        with pytest.raises(DataError, match=f"{column} is of the size of"):
            sparselmm.MixedLM.from_formula("y ~ x", data.assign(**{column: data[column] * 1e200}), groups="g")
    with pytest.raises(DataError, match="y is of the size of"):
        sparselmm.MixedLM(data.y * 1e200, data[["x"]], data.g)
    model = sparselmm.MixedLM.from_formula("y ~ x", data, groups="g")
    for value, text in ((np.nan, "missing"), (np.inf, "infinite"), (1e150, "size")):
        with pytest.raises(DataError, match=f"params .*{text}"):
            model.loglike(np.array([value]))
