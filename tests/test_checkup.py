"""The report of checks: every finding on a design made for it, none on clean ones, numbers against R and by hand."""

from __future__ import annotations

import json
import re
from functools import cache
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checkup_designs import CASES, FORMULA, clean, fitted, load, misspelled, probed

import sparselmm
from sparselmm.checkup.case import Case
from sparselmm.checkup.findings import VERDICTS
from sparselmm.checkup.report import LINES, SECTIONS, ModelCheck
from sparselmm.checkup.residuals import _expected
from sparselmm.printout import WIDTH

HERE = Path(__file__).parent
REFERENCE = json.loads((HERE / "reference" / "checkup.json").read_text())
LME4 = f"lme4 {REFERENCE['versions']['lme4']}"
MODELS = {record["id"]: record for record in REFERENCE["models"]}


@cache
def case_fit(name):
    return CASES[name].fit()


@cache
def case_check(name) -> ModelCheck:
    return case_fit(name).check()


@cache
def reference_check(name):
    record = MODELS[name]
    return sparselmm.lmer(record["formula"], load(record["dataset"])).check()


def alarms(check: ModelCheck) -> pd.DataFrame:
    """Return the findings that are notes or warnings."""
    frame = check.to_frame()
    return frame[frame["verdict"].isin(["note", "warning"])]


def value_of(check: ModelCheck, name: str, subject: str | None = None) -> float:
    """Return the number of a check."""
    frame = check.to_frame()
    rows = frame[(frame["check"] == name) & (True if subject is None else frame["subject"] == subject)]
    return float(rows["value"].iloc[0])


@pytest.mark.parametrize("name", CASES)
def test_finding_on_a_design_made_for_it(name):
    case, frame = CASES[name], alarms(case_check(name))
    found = frame[(frame["check"] == case.check) & (frame["verdict"] == case.verdict)]
    told = found["text"].str.contains(case.text, regex=False) & found["remedy"].str.contains(case.remedy, regex=False)
    assert told.any(), frame[["check", "verdict", "text", "remedy"]].to_string()


def test_every_check_has_a_design():
    assert {case.check for case in CASES.values()} == {part.name for checks in SECTIONS.values() for part in checks}


@pytest.mark.parametrize("seed", range(1, 7))
def test_nothing_to_remark_on_clean_designs(seed):
    check = fitted(FORMULA, clean(seed)).check()
    assert check.ok and alarms(check).empty, check
    assert str(check).endswith("Nothing to remark. All numbers: .to_frame()")


def test_large_samples_raise_no_alarm_about_small_things():
    rng, data = np.random.default_rng(0), clean(0, levels=400, rows=40)
    skewed = rng.gamma(16.0, 1.0, len(data)) / 4.0  # skewness 0.5: far from normal by any test in 16,000 rows
    spread = 1.0 + 0.15 * (data["arm"] == "b")
    y = data["y"] + spread * skewed
    assert alarms(fitted(FORMULA, data.assign(y=y)).check()).empty


@pytest.mark.parametrize("name", CASES)
def test_report_is_one_screen(name):
    lines = str(case_check(name)).splitlines()
    assert len(lines) <= LINES and max(map(len, lines)) <= WIDTH


@pytest.mark.parametrize("name", CASES)
def test_formulas_of_remedies_fit(name):
    fit = case_fit(name)
    for _, row in alarms(case_check(name)).iterrows():
        formula = re.search(r": (\S.* ~ .*)$", row["remedy"])
        if formula is None:
            continue
        data = pd.DataFrame(fit.model.design.table.columns)
        other = fitted(formula[1], data)
        assert other.model.aliased == () or len(fit.model.aliased) > len(other.model.aliased)
        if row["remedy"].startswith("The same fit"):
            assert abs(other.deviance - fit.deviance) < 1e-6


def test_sleepstudy_report():
    check = reference_check("sleepstudy")
    assert str(check) + "\n" == (HERE / "golden" / "check_sleepstudy.txt").read_text()
    assert check.ok


def test_report_of_a_maximal_model_proposes_the_parsimonious_one():
    remedy = alarms(case_check("a plane"))["remedy"].iloc[0]
    assert remedy == "Without `z`: y ~ x + z + (1 + x | g)"


@pytest.mark.parametrize(
    "labels, text, remedy",
    [
        (("zzz",), "`zzz` of `prime` has 1 of 480 rows.", "Correct it, if it is an error, or join categories: "),
        (
            ("Related", "zzz"),
            "`Related` and `zzz` of `prime` have 2 of 480 rows, and every coefficient of `prime` is a difference from "
            "`Related`.",
            "Misspellings of `related`? Correct them: ",
        ),
        (("related 2",), "`related 2` of `prime` has 1 of 480 rows.", "A misspelling of `related`? Correct it: "),
    ],
)
def test_rare_categories_are_one_warning(labels, text, remedy):
    found = alarms(misspelled(*labels).check())
    assert "confined levels" not in found["check"].tolist()
    (row,) = found[found["check"] == "rare categories"].itertuples()
    assert (row.verdict, row.text, row.remedy) == ("warning", text, f"{remedy}data['prime'].value_counts().")


@pytest.mark.parametrize("column", ["C(prime)", "C(prime, Treatment('unrelated'))", "C(prime, Sum)", "prime * x"])
def test_coefficients_are_differences_from_the_reference_only(column):
    fit = case_fit("misspelled")
    other = fitted(f"y ~ {column} + x + (x | g)", pd.DataFrame(fit.model.design.table.columns))
    (row,) = alarms(other.check()).query("check == 'rare categories'").itertuples()
    assert ("difference from it" in row.text) == (column in ("C(prime)", "prime * x"))


def test_designs_of_small_cells_have_no_rare_categories():
    data = clean(levels=200, rows=3)
    many = fitted("y ~ g + (1 | arm)", data).check().to_frame()["check"]
    numbered = clean().assign(site=lambda d: np.where(np.arange(len(d)) == 5, "site 2", "site 1"))
    (row,) = alarms(fitted("y ~ site + (x | g)", numbered).check()).query("check == 'rare categories'").itertuples()
    assert "rare categories" not in many.tolist() and "isspelling" not in row.remedy


def test_single_rows_are_not_confined():
    data = clean(levels=10, rows=5)
    kind = np.where(np.arange(len(data)) == 7, "c", data["arm"])
    found = alarms(fitted("y ~ kind + (1 | g)", data.assign(kind=kind)).check())
    assert not found["check"].isin(["confined levels", "rare categories"]).any()


def test_constant_slopes_are_said_once():
    found = alarms(case_check("constant slope"))
    assert "rare slopes" not in found["check"].tolist()


def test_words_for_one_and_for_none():
    frame = case_check("zero variance").to_frame().set_index("check")
    assert frame.loc["variances at zero", "text"].endswith(
        "letting a variance that is zero grow would not lower the deviance."
    )
    assert frame.loc["spread between levels", "text"].endswith("varies no more than by chance.")
    machines = sparselmm.lmer("score ~ Machine + (1 | Worker)", load("Machines")).check().to_frame()
    assert "scales" not in machines["check"].tolist()


def test_slopes_are_proposed_where_there_are_none():
    remedies = alarms(case_check("dropped")).set_index("check")["remedy"]
    assert "or let `x` vary over `g`" in remedies["influential levels"]
    outlier = fitted(FORMULA, clean().assign(y=lambda d: d["y"] + np.where(d["g"] == "g07", 9.0 * d["x"], 0.0)))
    remedies = alarms(outlier.check()).set_index("check")["remedy"]
    assert remedies["influential levels"] == "Look at these rows, fit without them. All levels: fit.influence('g')."


def test_views():
    check = case_check("influential")
    assert not check.ok
    html, markdown = check._repr_html_(), check.as_markdown()
    plain = unescape(re.sub("<[^>]*>", "", html))
    for row in alarms(check).itertuples():
        assert row.text.replace("`", "") in plain and row.remedy.replace("`", "") in plain
    assert html.count("<tr ") == markdown.count("\n|") - 2  # a header and the rule below it
    assert markdown.startswith("**Check of y ~ x + arm + (1 \\| g)") and "| warning" in markdown
    frame = check.to_frame()
    assert list(frame) == ["section", "check", "verdict", "subject", "text", "remedy", "value"]
    assert set(frame["verdict"]) <= set(VERDICTS) and set(frame["section"]) == set(SECTIONS)
    assert repr(check) == str(check)


def test_labels_are_escaped():
    data = clean()
    data["g"] = "<b>" + data["g"]
    data.loc[data["g"] == "<b>g07", "y"] += 12.0
    html = fitted("y ~ x + (1 | g)", data).check().as_html()
    assert "&lt;b&gt;g07" in html and "<b>g07" not in html


def test_many_findings_are_shortened():
    findings = case_check("skewed").findings
    lines = str(ModelCheck("Check of a fit with many findings", findings * 2)).splitlines()
    notes = sum(finding.verdict in ("note", "warning") for _, _, finding in findings * 2)
    assert len(lines) <= LINES and "not shown" not in lines[-1]
    assert sum(line.startswith(("  note", "  warning")) for line in lines) == notes
    assert any(line.endswith(" ...") for line in lines) and not any(line.endswith("note") for line in lines)
    lines = str(ModelCheck("Check of a fit with many findings", findings * 12)).splitlines()
    assert len(lines) <= LINES and "not shown" in lines[-1]
    assert any(line.startswith("  warning") for line in lines)


def test_streamed_fits_are_checked_without_rows():
    data = clean()
    fit = sparselmm.lmer(FORMULA, iter([data.iloc[:200], data.iloc[200:]]))
    frame, whole = fit.check().to_frame(), fitted(FORMULA, data).check().to_frame()
    skipped = frame[frame["verdict"] == "skipped"]
    assert set(skipped["section"]) == {"influence", "residuals", "data"}
    assert skipped["text"].str.startswith("Not looked at, as the rows were not kept").all()
    both = frame[frame["verdict"] != "skipped"].merge(whole, on=["check", "subject"], suffixes=("", "_whole"))
    assert len(both) == (frame["verdict"] != "skipped").sum()
    np.testing.assert_allclose(both["value"], both["value_whole"], rtol=1e-6, atol=1e-4)


def test_streamed_fits_get_formulas():
    data = load("Hsb82")
    with pytest.warns(sparselmm.DataWarning):
        fit = sparselmm.lmer("mAch ~ sector + (sector | school)", iter([data]))
    assert alarms(fit.check())["remedy"].str.contains("mAch ~ sector + (1 | school)", regex=False).any()


def test_stochastic_fits_say_their_error():
    fit = probed(0.01)
    frame = fit.check().to_frame().set_index("check")
    assert frame.loc["Monte-Carlo error", "verdict"] == "ok" and frame.loc["curvature", "verdict"] == "skipped"
    assert frame.loc["outlying effects", "verdict"] == "skipped"


def test_models_from_arrays():
    data = clean()
    g = sparselmm.RandomTerm(data["g"], np.column_stack([np.ones(len(data)), np.zeros(len(data)) + data["x"]]))
    fit = sparselmm.LinearMixedModel(data["y"], data[["x"]].assign(const=1.0), [g]).fit()
    assert fit.check().ok and "y from arrays" in str(fit.check())
    rng = np.random.default_rng(1)
    two = sparselmm.RandomTerm(data["g"], rng.standard_normal((len(data), 2)), structure="diagonal", name="h")
    one = sparselmm.RandomTerm(data["g"], name="g")
    frame = alarms(sparselmm.LinearMixedModel(data["y"], np.ones((len(data), 1)), [one, two]).fit().check())
    if (frame["check"] == "singular covariance").any():
        assert "out of the term" in frame["remedy"].iloc[0] or "without the term" in frame["remedy"].iloc[0]


def test_user_supplied_blocks_of_Z():
    import scipy.sparse as sp

    data = clean()
    codes = pd.factorize(data["g"])[0]
    Z = sp.csr_array((np.ones(len(data)), (np.arange(len(data)), codes)))
    fit = sparselmm.LinearMixedModel(data["y"], np.ones((len(data), 1)), [sparselmm.RandomTerm.from_matrix(Z)]).fit()
    assert fit.check().ok


@pytest.mark.parametrize("name", MODELS)
def test_numbers_against_R(name, agree):
    record, check = MODELS[name], reference_check(name)
    size = 1e-4
    residuals = Case(sparselmm.lmer(record["formula"], load(record["dataset"]))).residuals
    d = residuals - residuals.mean()
    skewness, kurtosis = np.mean(d**3) / np.mean(d**2) ** 1.5, np.mean(d**4) / np.mean(d**2) ** 2 - 3.0
    agree(
        "check: skewness, excess kurtosis",
        name,
        LME4,
        [skewness, kurtosis],
        [record["skewness"], record["kurtosis"]],
        atol=size,
    )
    ours = {
        "quantiles": value_of(check, "normality"),
        "thirds": value_of(check, "spread along fitted"),
        "levels": value_of(check, "spread between levels", record["group"]),
        "neighbours": value_of(check, "neighbours", record["group"]),
        "largest": value_of(check, "outliers"),
    }
    for what, value in ours.items():
        agree(f"check: {what}", name, LME4, value, record[what], rtol=size)
    singular = (check.to_frame()["check"] == "singular covariance") & (check.to_frame()["verdict"] == "note")
    assert singular.any() == record["singular"]


def test_variance_inflation_against_performance(agree):
    fit = sparselmm.lmer("angle ~ recipe * temp + (1 | recipe:replicate)", load("cake"))
    worst = value_of(fit.check(), "collinearity")
    frame = fit.vif()
    theirs = np.array(REFERENCE["vif"])
    reference = f"performance {REFERENCE['versions']['performance']}"
    order = ["recipe", "temp", "recipe:temp"]
    agree("check: VIF", "cake", reference, frame.loc[order, "gvif"], theirs, rtol=1e-5)
    agree(
        "check: largest VIF",
        "cake",
        reference,
        worst,
        float(np.max(theirs ** (1.0 / np.array([2.0, 1.0, 2.0])))),
        rtol=1e-5,
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_expected_correlation_of_neighbours(weighted, agree):
    from oracles import dense_Z

    data = clean(levels=6, rows=7)
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(data)) if weighted else None
    fit = fitted("y ~ x + (x | g) + (1 | arm)", data, weights=weights)
    W = np.ones(len(data)) if weights is None else weights
    factors, Z, X = fit.likelihood.map.unpack(fit.theta), dense_Z(fit.model.terms), fit.model.exog
    L = np.zeros((Z.shape[1], Z.shape[1]))
    for factor, part, shape in zip(factors, fit.likelihood.map.effect_slices, fit.likelihood.map.shapes, strict=True):
        L[part, part] = np.kron(np.eye(shape.n_levels), factor)
    V = np.diag(1.0 / W) + Z @ L @ L.T @ Z.T
    inverse = np.linalg.inv(V)
    P = inverse - inverse @ X @ np.linalg.solve(X.T @ inverse @ X, X.T @ inverse)  # residuals: W⁻¹Py
    cov = P / np.sqrt(np.outer(W, W))  # of √W residuals, over σ²
    corr = cov / np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    first = np.flatnonzero(np.diff(fit.model.terms[0].codes) == 0)
    agree(
        "check: correlation of neighbours by the fit",
        "small",
        "dense",
        _expected(Case(fit), first, first + 1),
        corr[first, first + 1].mean(),
        atol=1e-9,
    )


def test_neighbours_expected_correlation_is_that_of_simulations():
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", load("sleepstudy"))
    codes, found = fit.model.terms[0].codes, []
    first = np.flatnonzero(np.diff(codes) == 0)
    for y in fit.simulate(40, rng=1).to_numpy().T:
        e = fit.refit(y).residuals("standardized").to_numpy()
        found.append(np.mean(e[first] * e[first + 1]) / np.mean(e**2))
    assert abs(np.mean(found) - _expected(Case(fit), first, first + 1)) < 4.0 * np.std(found) / np.sqrt(40) + 0.01


def test_large_designs_are_bounded(monkeypatch):
    from sparselmm.checkup import identification, influence

    fit = fitted(FORMULA, clean())
    monkeypatch.setattr(influence, "MOST_ROWS", 100)
    monkeypatch.setattr(identification, "PATIENCE", -1.0)
    monkeypatch.setattr("sparselmm.diagnostics.residuals.MOST_ROWS", 100)
    frame = fit.check().to_frame()
    skipped = frame[frame["verdict"] == "skipped"]
    assert skipped["check"].tolist() == ["curvature", "influential levels"]
    assert "fit.influence('g') computes it" in skipped["text"].iloc[1]


def test_nested_terms_in_remedies():
    data = clean(levels=20, rows=20)
    data["part"] = np.tile(np.repeat(["a", "b"], 10), 20)
    fit = fitted("y ~ x + (1 | g / part)", data)
    remedies = alarms(fit.check())["remedy"]
    assert "The same fit: y ~ x + (1 | g)" in remedies.tolist()
