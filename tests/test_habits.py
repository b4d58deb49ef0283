"""What users of lme4 and statsmodels type by habit ends in an error that says what to type."""

import pickle
import re

import numpy as np
import pytest

import sparselmm
from sparselmm.errors import DataError, FormulaError
from sparselmm.habits import PACKAGE, RESULTS, explains


@pytest.fixture(scope="module")
def fit():
    return sparselmm.lmer("Reaction ~ Days + (1 | Subject)", sparselmm.datasets.load("sleepstudy"))


def test_names_of_others_are_not_ours(fit):
    for name in RESULTS:
        with pytest.raises(AttributeError, match=f"no attribute '{name}'. Use "):
            getattr(fit, name)
    for name in PACKAGE:
        with pytest.raises(AttributeError, match=f"no attribute '{name}'. Use "):
            getattr(sparselmm, name)


def test_what_is_recommended_exists(fit):
    for remedy in RESULTS.values():
        name = remedy.replace(",", "(").replace(" ", "(").split("(")[0]
        owner, _, attribute = name.rpartition(".")
        owner = {"": fit, "model": fit.model, "sparselmm": sparselmm, "pickle": pickle}[owner]
        assert hasattr(owner, attribute), remedy


def test_misspelt_names_are_guessed(fit):
    with pytest.raises(AttributeError, match="Did you mean params"):
        fit.parms  # noqa: B018
    with pytest.raises(AttributeError, match="Did you mean datasets"):
        sparselmm.dataset  # noqa: B018
    assert not hasattr(fit, "__array__")


def test_errors_of_properties_are_their_own(fit, monkeypatch):
    monkeypatch.setattr(type(fit), "bad", property(lambda self: self.model.nothing), raising=False)
    with pytest.raises(AttributeError, match="'nothing'"):
        fit.bad  # noqa: B018


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda fit: sparselmm.lmer("y ~ x + (1 | g)", {}, REML=False), r"lmer\(\) has no argument 'REML'. Use reml="),
        (lambda fit: fit.predict(allow_new_levels=True), "Use new_levels='zero'"),
        (lambda fit: fit.predict(intervall="mean"), "Use interval="),
        (lambda fit: fit.simulate(seed=1), "Use rng="),
        (lambda fit: fit.bootstrap(nsim=10), "Use n="),
        (lambda fit: fit.emmeans("Days", type="response"), r"response\(\)"),
        (lambda fit: fit.wald_test("Days", use_f=False), "ddf='z'"),
        (lambda fit: fit.simulate(whatever=1), "Use one of n, rng, random"),
    ],
)
def test_arguments_of_others_name_ours(fit, call, message):
    with pytest.raises(TypeError, match=message):
        call(fit)


def test_level_and_alpha_are_both_taken(fit):
    for source in (fit, fit.inference(), fit.profile(), fit.bootstrap(20, rng=1)):
        np.testing.assert_allclose(source.conf_int(level=0.9), source.conf_int(0.1), rtol=1e-12)  # 1 - 0.9 is not 0.1
    for wrong in ({"alpha": "Days"}, {"level": 95}, {"alpha": 0.0}):
        with pytest.raises(ValueError, match="no number between 0 and 1"):
            fit.conf_int(**wrong)


def test_positional_arguments_are_left_alone():
    @explains(b="c=")
    def function(a, c=1):
        return a + c

    assert function(1, 2) == function(1, c=2) == 3


def test_results_point_to_their_names_of_tables_and_plots():
    sleepstudy = sparselmm.datasets.load("sleepstudy")
    fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sleepstudy)
    for table in (fit.summary(), fit.anova(), fit.re_pca()):
        with pytest.raises(AttributeError, match=r"no attribute 'to_markdown'. Use as_markdown\(\)"):
            table.to_markdown()
    with pytest.raises(AttributeError, match=r"no attribute 'residual'. Did you mean residuals"):
        fit.plot.residual()
    classical = sparselmm.MixedLM.from_formula("Reaction ~ Days", sleepstudy, groups="Subject").fit()
    with pytest.raises(AttributeError, match=r"Use sparselmm.lmer\(fit.to_lmer\(\)\[0\], data\).anova"):
        classical.anova()


def test_hypotheses_point_to_parameters_of_like_names():
    data = sparselmm.datasets.load("sleepstudy").assign(kind=np.tile(["a", "b", "c"], 60))
    fit = sparselmm.lmer("Reaction ~ I(Days**2) + kind + (1 | Subject)", data)
    with pytest.raises(ValueError, match=r"Did you mean kind\[T.b\] or kind\[T.c\]\? For all of kind: anova\(\)"):
        fit.t_test("kind = 0")
    with pytest.raises(ValueError, match=r"Did you mean 'Intercept'"):
        fit.t_test("Intrcept = 0")
    for text in ("I(Days**2) = 1", "I( Days ** 2 )=1", "`I(Days**2)` = 1"):
        assert fit.t_test(text)["p.value"].iloc[0] == fit.t_test("I(Days ** 2) = 1")["p.value"].iloc[0]
    with pytest.raises(DataError, match=r"labels the fit has not seen: bb. Did you mean"):
        fit.predict(data.assign(kind="bb").head(), random=False)


def test_data_before_the_formula():
    sleepstudy = sparselmm.datasets.load("sleepstudy")
    formula = "Reaction ~ Days + (1 | Subject)"
    message = re.escape("The formula comes first, then the data: ('Reaction ~ Days + (1 | Subject)', data).")
    with pytest.raises(FormulaError, match=message):
        sparselmm.lmer(sleepstudy, formula)
    with pytest.raises(FormulaError, match="The formula comes first"):
        sparselmm.MixedLM.from_formula(sleepstudy, "Reaction ~ Days", groups="Subject")


def test_arguments_of_others_are_explained(fit):
    model, design = fit.model, sparselmm.datasets.load("sleepstudy")
    for call, error, remedy in (
        (lambda: fit.summary(alpha=0.1), TypeError, "level="),
        (lambda: fit.anova(typ=2), TypeError, "type="),
        (lambda: model.fit(method="lbfgs"), TypeError, "engine="),
        (lambda: fit.conf_int(0.95), ValueError, "Write level=0.95, or alpha=0.05."),
        (lambda: fit.power("Days", sizes=[20, 40]), DataError, "Give a dictionary"),
        (lambda: sparselmm.lmer("Reaction ~ Days + (1 | Subject)", design, contrasts="sum"), DataError, "a dictionary"),
    ):
        with pytest.raises(error, match=re.escape(remedy)):
            call()
    fractions = design.assign(dose=np.tile([0.5, 1.0], 90))
    with pytest.warns(sparselmm.DataWarning, match="contrasts makes 'dose', a column of numbers, categorical: 2"):
        sparselmm.lmer("Reaction ~ dose + (1 | Subject)", fractions, contrasts={"dose": "sum"})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda fit: fit.conf_int(parm="Days"), r"Use .loc\[\[...\]\] of the table"),
        (lambda fit: fit.conf_int("profile"), "Use method='profile'"),
        (lambda fit: fit.profile(parm="sd"), "Use which="),
        (lambda fit: fit.check(plot=True), r"Use fit.plot\(\)"),
        (lambda fit: fit.robust(cov_type="CR1"), "Use kind="),
        (lambda fit: fit.robust("HC1"), "Stata's and statsmodels' is CR1S"),
        (lambda fit: fit.t_test("Days", use_t=False), "Use ddf='z'"),
        (lambda fit: fit.tidy(group="Subject"), "the column group of the table"),
        (lambda fit: fit.cov_params(r_matrix=[0, 1]), r"t_test\(r_matrix\)"),
        (lambda fit: fit.emmeans("Days").contrasts(level=0.9), r"confint\(level=0.9\)"),
        (lambda fit: fit.update(reml=False), r"fit.model.fit\(reml=False\)"),
        (lambda fit: fit.plot("qq"), r"Use fit.plot.qq\(\)"),
        (lambda fit: fit.random_effects["308"], r"'308' is a level: \['Subject'\].loc\['308'\]"),
        (lambda fit: fit.cov_re["subject"], "There is no term 'subject'. Terms: 'Subject'"),
        (lambda fit: sparselmm.lmer("y ~ x", {}, cov_type="cluster"), r"Use robust\(\) of the fit"),
        (lambda fit: sparselmm.MixedLM("y ~ x", {}, groups="g"), r"MixedLM.from_formula\('y ~ x', data, groups='g'\)"),
        (
            lambda fit: sparselmm.MixedLM.from_formula("y ~ x", {}, groups="g", vc_formula="0 + C(h)"),
            r"vc_formula is a dictionary of formulas by name: \{'name': '0 \+ C\(h\)'\}",
        ),
        (lambda fit: fit.predict([{"Days": 1, "Subject": "308"}]), "data is of type list. Give a data frame"),
    ],
)
def test_habits_of_calls(fit, call, message):
    with pytest.raises((TypeError, ValueError, KeyError, FormulaError, DataError), match=message):
        call(fit)


def test_terms_of_several_coefficients_are_tested_by_anova():
    fit = sparselmm.lmer("score ~ Machine + (1 | Worker)", sparselmm.datasets.load("Machines"))
    with pytest.raises(ValueError, match=r"'Machine' is a term, whose coefficients are Machine\[T.B\], Machine\[T.C\]"):
        fit.wald_test("Machine")


def test_rows_that_are_predicted_as_nan_may_have_any_level(fit):
    new = {"Days": [1.0, np.nan], "Subject": ["308", "new"]}
    assert fit.predict(new).isna().tolist() == [False, True]
