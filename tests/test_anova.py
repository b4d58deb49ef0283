"""Tests of terms against lmerTest (tests/reference/comparison.R), and properties of their hypotheses."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sparselmm
from sparselmm import DataWarning
from sparselmm.comparison.hypotheses import contrasts

REFERENCE = json.loads((Path(__file__).parent / "reference" / "comparison.json").read_text())
TERMS = {record["id"]: record for record in REFERENCE["terms"]}
LMERTEST = f"lmerTest {REFERENCE['versions']['lmerTest']}"


def load(record):
    """Return the rows of a record's data."""
    data = sparselmm.datasets.load(record["data"]).rename(columns={"Informed.liking": "y"})
    rows = {
        "sevenths": lambda: np.arange(1, len(data) + 1) % 7 != 4,
        "departments": lambda: data["dept"].isin(data["dept"].cat.categories[:5]),
        "cells": lambda: (
            ~((data["Product"] == "2") & (data["Gender"] == "1"))
            & ~((data["Product"] == "3") & (data["Information"] == "2"))
        ),
    }
    data = data[rows[record["rows"]]()] if record.get("rows") else data.copy()
    data["w"] = 0.5 + (np.arange(1, len(data) + 1) * 7) % 11 / 5
    return data


def python(formula):
    """Return a formula of R in Python's words."""
    return formula.replace("^2", "**2")


@pytest.fixture(scope="module")
def fits():
    """Return a function that fits the model of a record once."""
    done = {}

    def fit(record):
        if record["id"] not in done:
            with warnings.catch_warnings():
                if record.get("rows") == "cells":
                    warnings.simplefilter("ignore", DataWarning)
                done[record["id"]] = sparselmm.lmer(
                    python(record["formula"]), load(record), weights=record.get("weights")
                )
        return done[record["id"]]

    return fit


def plain(name):
    """Return the name of a term without the contrasts of its factors, the factors sorted."""
    return ":".join(sorted(re.sub(r"C\(|, contr\.\w+\)| ", "", name).split(":")))


def compare_tests(agree, what, record, table, theirs):
    """Compare a table of F tests with lmerTest's, term by term."""
    frame = table.frame.set_axis([plain(name) for name in table.frame.index])
    order = [plain(name) for name in np.atleast_1d(theirs["term"])]
    assert sorted(order) == sorted(frame.index)
    frame = frame.loc[order]
    assert list(frame["df_num"]) == list(np.atleast_1d(theirs["df_num"]))
    name = record["id"]
    agree(f"{what}: F", name, LMERTEST, frame["statistic"], np.atleast_1d(theirs["F"]), rtol=1e-5, atol=1e-8)
    agree(f"{what}: denominator df", name, LMERTEST, frame["df_denom"], np.atleast_1d(theirs["df_denom"]), rtol=1e-4)
    if "Kenward" not in what:  # lmerTest's then belong to F before Kenward and Roger's factor
        sums = np.atleast_1d(theirs["sum_sq"])
        agree(f"{what}: sum of squares", name, LMERTEST, frame["sum_sq"], sums, rtol=2e-5, atol=1e-8)
    agree(f"{what}: p", name, LMERTEST, frame["p.value"], np.atleast_1d(theirs["p"]), rtol=1e-3, atol=1e-7)


CASES = [
    (name, ddf, kind) for name, record in TERMS.items() for ddf, tests in record["anova"].items() for kind in tests
]


@pytest.mark.parametrize("name, ddf, kind", CASES)
def test_anova_is_lmertests(fits, agree, name, ddf, kind):
    record = TERMS[name]
    table = fits(record).anova(int(kind), ddf)
    compare_tests(agree, f"Type {'I' * int(kind)} {ddf}", record, table, record["anova"][ddf][kind])


@pytest.mark.parametrize("name", TERMS)
def test_drop1_is_lmertests(fits, agree, name):
    record = TERMS[name]
    compare_tests(agree, "drop1", record, fits(record).drop1(), record["drop1"])


@pytest.mark.parametrize("name", [n for n in TERMS if "InstEval" not in n])
def test_drop1_by_likelihood_ratio_is_lme4s(fits, agree, name):
    record = TERMS[name]
    theirs = record["drop1_lrt"]
    frame = fits(record).drop1(test="LRT").frame
    frame = frame.set_axis([plain(name) for name in frame.index]).loc[[plain(name) for name in theirs["term"]]]
    agree("drop1 by ML: AIC", name, "lme4", frame["AIC"], theirs["aic"], atol=1e-6)
    rest = frame.iloc[1:]
    agree("drop1 by ML: chi-squared", name, "lme4", rest["chisq"], theirs["chisq"][1:], atol=1e-6)
    assert list(rest["df"]) == theirs["df"][1:]


def test_type_three_without_intercept_averages_over_the_other_factors(agree):
    """car's Type III with sum contrasts; lmerTest's is that of the reference level of Gender."""
    data = load({"data": "ham", "rows": "sevenths"})
    fit = sparselmm.lmer("y ~ 0 + Product * Gender + (1 | Consumer)", data)
    theirs, ours = REFERENCE["car"], fit.anova(3, "kenward-roger").frame.loc[REFERENCE["car"]["term"]]
    name = "ham no intercept"
    agree(
        "Type III Kenward-Roger: F",
        name,
        f"car {REFERENCE['versions']['car']}",
        ours["statistic"],
        theirs["F"],
        rtol=1e-5,
    )
    agree(
        "Type III Kenward-Roger: denominator df",
        name,
        f"car {REFERENCE['versions']['car']}",
        ours["df_denom"],
        theirs["df_denom"],
        rtol=1e-4,
    )


def test_type_three_does_not_depend_on_contrasts():
    data = load({"data": "ham", "rows": "sevenths"})
    formula = "y ~ Product * Gender + Product * Age + (1 | Consumer)"
    tables = [
        sparselmm.lmer(formula, data, contrasts=coding).anova(3).frame
        for coding in (None, {"Product": "sum", "Gender": "helmert"}, {"Product": "poly"})
    ]
    nested = sparselmm.lmer("y ~ Product / Gender + Product * Age + (1 | Consumer)", data).anova(3).frame
    for table in tables[1:]:
        np.testing.assert_allclose(table["statistic"], tables[0]["statistic"], rtol=1e-6)
    np.testing.assert_allclose(nested["statistic"]["Product"], tables[0]["statistic"]["Product"], rtol=1e-6)


def test_booleans_are_factors_of_two_levels():
    """As in R, where Type III averages over a logical; formulaic gives it one column, as a number."""
    data = load({"data": "ham", "rows": "sevenths"}).assign(old=lambda d: d["Age"] > 55)
    labels = data.assign(old=data["old"].map({True: "yes", False: "no"}))
    for formula in ("y ~ old * Product + (1 | Consumer)", "y ~ 0 + Product * old + (1 | Consumer)"):
        one, other = (sparselmm.lmer(formula, frame) for frame in (data, labels))
        for kind in (1, 2, 3):
            np.testing.assert_allclose(one.anova(kind).frame, other.anova(kind).frame, rtol=1e-6)
        np.testing.assert_allclose(one.drop1().frame, other.drop1().frame, rtol=1e-6)
    alone = sparselmm.lmer("y ~ 0 + old + Age:Product + (1 | Consumer)", data)  # its other level has no column
    number = sparselmm.lmer("y ~ 0 + old + Age:Product + (1 | Consumer)", data.assign(old=data["old"].astype(float)))
    np.testing.assert_allclose(alone.anova().frame, number.anova().frame, rtol=1e-6)


def test_what_other_terms_make_up_is_said():
    data = load({"data": "ham", "rows": "sevenths"}).assign(days=lambda d: 365.0 * d["Age"])
    plain = sparselmm.lmer("y ~ Age + Product + (1 | Consumer)", data)
    with pytest.warns(DataWarning, match="days"):
        fit = sparselmm.lmer("y ~ Age + Product + days + (1 | Consumer)", data)
    for kind in (1, 2, 3):  # as lmerTest
        assert fit.anova(kind).notes == ("Not estimable apart from the other terms: days.",)
        np.testing.assert_allclose(fit.anova(kind).frame, plain.anova(kind).frame, rtol=1e-8)


def test_notes_of_the_inference_are_the_tables():
    fit = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", sparselmm.datasets.load("sleepstudy"), reml=False)
    assert all("REML refit" in str(table) for table in (fit.anova(ddf="kr"), fit.drop1("kr")))


def test_units_of_covariates_do_not_matter():
    data = load({"data": "ham", "rows": "sevenths"}).assign(seconds=lambda d: d["Age"] * 3e7)
    years = sparselmm.lmer("y ~ Product * Age + (1 | Consumer)", data)
    seconds = sparselmm.lmer("y ~ Product * seconds + (1 | Consumer)", data)
    for kind in (1, 2, 3):
        left, right = years.anova(kind).frame, seconds.anova(kind).frame
        np.testing.assert_allclose(left.to_numpy(), right.to_numpy(), rtol=1e-6)


def test_type_one_and_two_hypotheses_are_those_of_least_squares():
    """Sums of squares of L on least squares are differences of residual sums of squares."""
    data = load({"data": "ham", "rows": "sevenths"})
    model = sparselmm.lmer("y ~ Age * Product + Gender + (1 | Consumer)", data).model
    X, y = model.exog, model.endog

    def rss(columns):
        return float(np.sum((y - X[:, columns] @ np.linalg.lstsq(X[:, columns], y, rcond=None)[0]) ** 2))

    beta, C = np.linalg.lstsq(X, y, rcond=None)[0], np.linalg.inv(X.T @ X)
    place = {term.name: list(term.columns) for term in model.fixed_terms}
    before = {1: {"Gender": ["Intercept", "Age", "Product"]}, 2: {"Gender": [n for n in place if n != "Gender"]}}
    before[1] |= {"Product": ["Intercept", "Age"], "Age": ["Intercept"]}
    before[2] |= {"Age": ["Intercept", "Product", "Gender"]}
    for kind, terms in before.items():
        L = contrasts(model, kind)
        for name, others in terms.items():
            rows = L[name]
            ours = rows @ beta @ np.linalg.solve(rows @ C @ rows.T, rows @ beta)
            columns = [column for other in others for column in place[other]]
            np.testing.assert_allclose(ours, rss(columns) - rss(columns + place[name]), rtol=1e-8, atol=1e-11 * rss([]))


def test_arrays_and_numeric_columns():
    data = sparselmm.datasets.load("sleepstudy")
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
    X = pd.DataFrame({"const": 1.0, "Days": data["Days"]})
    term = sparselmm.RandomTerm(data["Subject"], X.to_numpy(), columns=("Intercept", "Days"))
    arrays = sparselmm.LinearMixedModel(data["Reaction"], X, [term]).fit()
    for kind in ("I", "II", "III"):
        np.testing.assert_allclose(arrays.anova(kind).frame, fit.anova(kind).frame, rtol=1e-8)
    assert fit.anova()["statistic"]["Days"] == pytest.approx(float(fit.tvalues["Days"]) ** 2)


def test_without_fixed_effects_there_is_nothing_to_test():
    data = sparselmm.datasets.load("Dyestuff")
    data["Yield"] -= data["Yield"].mean()
    fit = sparselmm.lmer("Yield ~ 0 + (1 | Batch)", data)
    assert len(fit.anova()) == len(fit.drop1()) == 0
    assert len(fit.ranova()) == 2


def test_wrong_arguments():
    fit = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", sparselmm.datasets.load("sleepstudy"))
    with pytest.raises(ValueError, match="type=4 is not one of"):
        fit.anova(4)
    with pytest.raises(ValueError, match="test='chisq' is not one of"):
        fit.drop1(test="chisq")


def test_tables_print():
    fit = sparselmm.lmer("score ~ Machine + (1 | Worker)", sparselmm.datasets.load("Machines"))
    text = str(fit.anova())
    assert text.splitlines()[0] == "Type III analysis of variance, Satterthwaite's degrees of freedom"
    assert text.splitlines()[2].split() == ["Machine", "1755.3", "877.63", "2", "46.00", "87.798", "<0.001"]
    assert "<table>" in fit.anova()._repr_html_() and "Machine" in fit.anova()._repr_html_()
    assert " inf " in str(fit.anova(ddf="z")) and "chi-squared" in str(fit.anova(ddf="z"))
