"""Designs and fits that explain themselves in the user's columns: what cannot be told apart, why, and the remedy."""

import re

import numpy as np
import pandas as pd
import pytest

import sparselmm
from sparselmm import ConvergenceWarning, DataError, DataWarning, LinearMixedModel, RandomTerm, compare, lmer

LEVELS, ROWS = 24, 8


@pytest.fixture(scope="module")
def schools():
    """Schools of two sectors; cses varies within schools, size and year between them and in all rows."""
    rng = np.random.default_rng(2)
    school = np.repeat(np.arange(LEVELS), ROWS)
    data = pd.DataFrame({"school": school, "cses": rng.standard_normal(school.size), "taught": np.tile([0, 1], 96)})
    data = data.assign(sector=np.where(school % 2, "public", "private"), size=rng.standard_normal(LEVELS)[school])
    data = data.assign(year=rng.integers(2000, 2020, school.size), city=school // 3, twice=2.0 * data.cses)
    data = data.assign(far=data.cses + 1e9, copy=school + 100)
    effects = rng.standard_normal((LEVELS, 2))[school]
    return data.assign(y=data.cses * (1 + 0.5 * effects[:, 1]) + effects[:, 0] + rng.standard_normal(school.size))


def kernels(model):
    """Return the derivatives of V in the entries of γ and in the residual variance, as rows."""
    found = [np.eye(model.nobs).ravel()]
    for term in model.terms:
        Z = term.Z.toarray().reshape(model.nobs, term.n_levels, term.n_columns)
        Z = Z / np.sqrt(np.mean(Z.sum(axis=1) ** 2, axis=0))
        i, j = np.tril_indices(term.n_columns)
        pairs = zip(i, j, strict=True) if term.structure == "unstructured" else ((a, a) for a in range(term.n_columns))
        found += [(Z[:, :, a] @ Z[:, :, b].T + Z[:, :, b] @ Z[:, :, a].T).ravel() for a, b in pairs]
    return np.array(found)


ALIASED = {  # the formula, and what the message says
    "(sector | school)": r"variance of sector\[T.public\] and covariance of Intercept and sector\[T.public\], as "
    r"sector\[T.public\] is constant within every level of school. Remove sector\[T.public\] from the term, or",
    "(cses + sector | school)": r"sector\[T.public\] is constant within every level of school",
    "(0 + sector | school)": r"say nothing about the covariance of sector\[private\] and sector\[public\].*'\|\|'",
    "(1 | school) + (1 | school)": r"^Terms 'school' and 'school.1' are one term that is in the model twice: .* "
    "Remove one. Everything but these estimates stands.$",
    "(cses | school) + (cses | school)": "'school' and 'school.1' are one term that is in the model twice",
    "(cses | school) + (cses || school)": "cannot tell apart",
    "(1 | school) + (cses | school)": "variance of Intercept in school and variance of Intercept in school.1, as more",
    "(1 | school) + (1 | copy)": r"'copy' and 'school': .*\(0 \+ x \| g\)",
    "(1 | school/sector)": "'school' and 'school:sector'",
    "(taught | school) + (1 | school:taught)": r"variance of taught in school.*variance of Intercept in school:taught",
    "(cses + twice | school)": "the column twice depends linearly on Intercept and cses.*Remove twice from the term",
    "(far | school)": r"far varies so little about its mean, 1e\+09,.* Subtract the mean from far",
}
IDENTIFIED = (
    "(sector || school)",
    "(size | school)",
    "(1 | school) + (0 + cses | school)",
    "(year | school)",
    "(1 | city)",
)


@pytest.mark.parametrize("random, message", ALIASED.items())
def test_variances_that_cannot_be_told_apart(random, message, schools):
    with pytest.warns(DataWarning, match=message) as caught:
        model = LinearMixedModel.from_formula(f"y ~ cses + {random}", schools)
    assert [str(one.message) for one in caught] == [str(alias) for alias in model.aliased]
    if "far" not in random:
        K = kernels(model)
        assert np.linalg.matrix_rank(K, tol=1e-8) < len(K)
    with pytest.warns(DataWarning, match=message):
        streamed = LinearMixedModel.from_formula(f"y ~ cses + {random}", iter([schools[:80], schools[80:]]))
    assert list(map(str, streamed.aliased)) == list(map(str, model.aliased))


@pytest.mark.parametrize("random", IDENTIFIED)
def test_variances_that_can(random, schools):
    model = LinearMixedModel.from_formula(f"y ~ cses + {random}", schools)
    K = kernels(model)
    assert model.aliased == () and np.linalg.matrix_rank(K, tol=1e-8) == len(K)


@pytest.mark.parametrize("weight", [0.047859, 0.0239295, 0.01196475])
def test_thin_levels_of_nearly_dependent_columns(weight):
    # two levels of two different rows, one of one, and the only row that tells two columns apart has little weight:
    # what rounding leaves of eigenvalues that are zero is larger than for other designs
    values = np.array([[1, 3, 3], [1, 4, 3], [1, 4, 3], [1, 3, 3], [1, 3, 3], [1, 3, 4], [1, 3, 3], [1, 3, 3]])
    weights = np.array([5.4980, 18.516, 0.10400, 4.9807, 53.424, weight, 28.280, 0.023570])
    term = RandomTerm(np.array([1, 1, 2, 2, 2, 0, 1, 1]), values)
    with pytest.warns(DataWarning, match="x1, x2 and x3 depend linearly on each other within every level"):
        model = LinearMixedModel(np.arange(8.0) ** 2, np.ones((8, 1)), [term], weights=weights)
    assert np.linalg.matrix_rank(kernels(model), tol=1e-8) < 7


@pytest.mark.filterwarnings("ignore::sparselmm.DataWarning")
@pytest.mark.parametrize(
    "random, same",
    [
        ("(cses + sector | school)", "(cses + sector || school)"),
        ("(1 | school) + (cses | school)", "(cses | school)"),
        ("(1 | school) + (1 | school)", "(1 | school)"),
    ],
)
def test_flat_fits_converge_and_everything_else_stands(random, same, schools):
    fit, other = lmer(f"y ~ cses + {random}", schools), lmer(f"y ~ cses + {same}", schools)
    assert fit.converged and "see model.aliased" in fit.optimizer.message
    text = " ".join(str(fit.summary()).split())
    assert all(str(alias) in text for alias in fit.model.aliased) and "void" not in text
    if "||" not in same:
        assert fit.deviance == pytest.approx(other.deviance, abs=1e-6)
        np.testing.assert_allclose(fit.bse, other.bse, rtol=1e-4)
        np.testing.assert_allclose(fit.inference().df, other.inference().df, rtol=2e-3)


@pytest.mark.filterwarnings("ignore::sparselmm.DataWarning")
@pytest.mark.parametrize(
    "name, formula, deviance",  # -2 logLik of lme4 1.1
    [
        ("Hsb82", "mAch ~ cses*sector + (cses + sector | school)", 46635.1609985),
        ("fhch2010", "rt ~ task*frequency + (task*frequency | id)", None),
    ],
)
def test_slopes_of_predictors_between_levels_converge(name, formula, deviance):
    fit = lmer(formula, sparselmm.datasets.load(name))
    assert fit.converged and fit.model.aliased
    assert deviance is None or fit.deviance == pytest.approx(deviance, abs=1e-3)


def test_fixed_effects_that_hold_the_levels(schools):
    with pytest.warns(
        DataWarning, match=r"'sector': the fixed effects sector\[T.public\] determine the effect Intercept"
    ):
        fit = lmer("y ~ sector + (1 | sector) + (1 | school)", schools)
    assert "say nothing about a variance of sector, which tests take as known" in " ".join(fit.summary().notes)


def test_a_perfect_correlation_is_named(schools):
    rng = np.random.default_rng(3)
    y = rng.standard_normal(LEVELS)[schools.school] * (1 + 0.2 * schools.cses) + rng.standard_normal(len(schools))
    fit = lmer("y ~ cses + (cses | school)", schools.assign(y=y))
    (note,) = [note for note in fit.summary().notes if "singular" in note]
    assert "over the levels of school the correlation of cses and Intercept is 1." in note and "'||'" in note


ENDS = {
    "evaluations": (
        {},
        {"max_evaluations": 1},
        r"limit of evaluations \(1\).*start=fit.theta.* random effects of school",
    ),
    "residual": (
        {"y": np.repeat(np.arange(float(LEVELS)) ** 2, ROWS)},
        {},
        "residual variance goes to zero.* school det",
    ),
    "two terms": (
        {"cses": 1e9 + np.tile(np.arange(8.0), LEVELS)},
        {"random": "(cses | school) + (cses | city)"},
        "rounding",
    ),
    "offset": (
        {"cses": 1e9 + np.tile(np.arange(8.0), LEVELS)},
        {},
        "columns of the random effects of school, or leave",
    ),
}


@pytest.mark.filterwarnings("ignore::sparselmm.DataWarning")
@pytest.mark.parametrize("change, options, message", ENDS.values(), ids=ENDS)
def test_fits_that_stop_name_the_term(change, options, message, schools):
    random = options.get("random", "(cses | school)")
    model = LinearMixedModel.from_formula(f"y ~ 1 + {random}", schools.assign(**change))
    with pytest.warns(ConvergenceWarning, match=message):
        model.fit(max_evaluations=options.get("max_evaluations", 200))


@pytest.mark.parametrize("y", [3.0, lambda data: 1.0 + 2.0 * data.cses])
def test_responses_without_residuals(y, schools):
    with pytest.raises(DataError, match=r"'y' is constant or an exact linear function of the fixed effects.*Leave out"):
        lmer("y ~ cses + (1 | school)", schools.assign(y=y))


@pytest.mark.parametrize("unit", [1e12, 1e-12])
def test_units_are_no_matter(unit, schools):
    """Predictors in units of 10¹² and a response around 10⁹ fit as well as any."""
    fit = lmer("y ~ cses + (cses | school)", schools)
    other = lmer("y ~ cses + (cses | school)", schools.assign(cses=schools.cses * unit, y=schools.y + 1e9))
    assert other.converged and other.optimizer.message == fit.optimizer.message
    np.testing.assert_allclose(other.params["cses"] * unit, fit.params["cses"], rtol=1e-6)


def test_equal_p_values_are_not_called_too_large(schools):
    rng = np.random.default_rng(1)
    data = schools.assign(y=schools.cses + rng.permutation(np.tile(np.arange(8.0), LEVELS)))
    small, large = lmer("y ~ cses + (1 | school)", schools), lmer("y ~ cses + (cses | school)", schools)
    assert "p.value is too large" in " ".join(compare(small, large).notes)
    table = lmer("y ~ cses + (1 | school)", data.assign(y=data.y - data.groupby("school").y.transform("mean"))).ranova()
    assert table["p.value"].iloc[1] == table["p.boundary"].iloc[1] == 1.0
    assert "too large" not in " ".join(table.notes)


@pytest.mark.parametrize("power", ["cses**2", "cses^2", "np.abs(cses)**2"])
def test_powers_that_do_nothing(power, schools):
    name = re.split(r"\*\*|\^", power)[0]
    with pytest.warns(
        DataWarning, match=re.escape(f"'{name}' with a power is {name} itself") + rf".*I\({re.escape(name)}"
    ):
        lmer(f"y ~ {power} + (1 | school)", schools)
    lmer("y ~ (cses + size)**2 + I(cses**2) + (1 | school)", schools)


def test_joint_tests_of_cells_without_rows(schools):
    data = schools.assign(f=schools.taught.astype(str), k=schools.school % 3).astype({"k": str})
    with pytest.warns(DataWarning, match="dropped"):
        fit = lmer("y ~ f * k + (1 | school)", data[(data.f != "0") | (data.k != "1")])
    with pytest.warns(DataWarning, match="do not determine all contrasts of f, k, f:k.*emmeans"):
        assert list(fit.joint_tests()["term"]) == ["k", "f:k"]


def test_names_in_backticks_have_attributes(schools):
    data = schools.assign(**{"flight date": pd.date_range("2020-01-01", periods=len(schools), freq="D")})
    fit = lmer("y ~ C(`flight date`.dt.month) + (1 | school)", data)
    assert fit.params.index[1] == "C(`flight date`.dt.month)[T.2]"


@pytest.mark.parametrize("unit", ["ns", "us", "s"])
def test_dates_in_chunks(unit, schools, monkeypatch):
    """Also where the first rows have one day; what depends on other rows is an error."""
    monkeypatch.setattr("sparselmm.streaming.pilot.PILOT_ROWS", 40)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(len(schools)) // 50, "D")
    data = schools.assign(day=days.astype(f"datetime64[{unit}]"))
    fit = lmer("y ~ C(day) + (1 | school)", iter([data[:100], data[100:]]))
    pd.testing.assert_series_equal(fit.params, lmer("y ~ C(day) + (1 | school)", data).params)
    with pytest.raises(DataError, match=r"'C\(day - day.min\(\)\)' needs the whole column"):
        lmer("y ~ C(day - day.min()) + (1 | school)", iter([data[:100], data[100:]]))


REMEDIES = {
    "fittedvalues": (lambda fit, data: fit.fittedvalues, r"sink='out.parquet'"),
    "augment": (lambda fit, data: fit.augment(data), r"sink='out.parquet'"),
    "bootstrap": (lambda fit, data: fit.bootstrap(5), r"fit.profile\(\).conf_int\(\)"),
    "conf_int": (lambda fit, data: fit.conf_int(method="bootstrap"), r"method='profile'"),
    "refit": (lambda fit, data: fit.refit(data.y), "column of the source"),
    "refit_many": (lambda fit, data: fit.refit_many(data[["y", "y"]]), "columns of the source"),
    "influence": (lambda fit, data: fit.influence(), "in memory, or a sample"),
    "model.endog": (lambda fit, data: fit.model.endog, "in memory, or a sample"),
}


@pytest.mark.parametrize("name, call, remedy", [(name, *rest) for name, rest in REMEDIES.items()], ids=REMEDIES)
def test_rows_that_were_not_kept(name, call, remedy, schools):
    fit = lmer("y ~ cses + (1 | school)", iter([schools[:100], schools[100:]]))
    with pytest.raises(DataError, match=rf"^{name} needs the rows of the data, which were read in chunks.*{remedy}"):
        call(fit, schools)


def test_terms_that_are_there_several_times(schools):
    terms = [RandomTerm(schools.school, name="site") for _ in range(3)]
    with pytest.warns(DataWarning) as caught:
        LinearMixedModel(schools.y, np.ones((len(schools), 1)), terms)
    assert len(caught) == 2 and all("are one term that is in the model twice" in str(one.message) for one in caught)


def test_models_of_arrays_name_their_columns():
    groups, x = np.repeat(np.arange(6), 4), np.repeat([0.0, 1.0], 12)
    term = RandomTerm(groups, np.column_stack([np.ones(24), x]), "site", ("Intercept", "treated"))
    with pytest.warns(DataWarning, match="'site': .*treated is constant within every level of site"):
        LinearMixedModel(np.sin(np.arange(24.0)), np.ones((24, 1)), [term])
