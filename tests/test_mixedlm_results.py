"""MixedLMResults: summary, tests, prediction, profile, distribution, files, the lme4 model."""

import builtins
import json
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from mixedlm_designs import classical, crossed_frame, grouped_frame, quiet

import sparselmm
from sparselmm import DataError
from sparselmm.mixedlm import MixedLM, MixedLMResults, VCSpec

pytest.importorskip("statsmodels")

BOTH = {"re_formula": "~x", "vc_formula": {"s": "0 + C(s)"}}


@pytest.fixture(scope="module")
def fit():
    return MixedLM.from_formula("y ~ x + z", grouped_frame(7, n=240), groups="g", **BOTH).fit()


def same_but_for_variance_errors(ours, theirs):
    """Assert that two summaries have the same text but for the standard errors of variances and last digits."""
    numbers = 0
    for mine, other in zip(ours.split("\n"), theirs.split("\n"), strict=True):
        if " Var" in mine or " Cov" in mine:
            assert mine[:9] == other[:9] and len(mine) == len(other)
            continue
        for a, b in zip(mine.split(), other.split(), strict=True):
            if a != b:
                assert float(a) == pytest.approx(float(b), abs=2e-3)
                numbers += 1
        assert len(mine) == len(other)
    assert numbers < 8


@pytest.mark.parametrize("arguments", [{}, {"re_formula": "~x"}, BOTH])
def test_summary_is_the_classical_table(arguments):
    data = grouped_frame(7, n=240)
    ours = MixedLM.from_formula("y ~ x + z", data, groups="g", **arguments).fit()
    with quiet():
        theirs = classical("y ~ x + z", data, groups="g", **arguments).fit()
        same_but_for_variance_errors(ours.summary().as_text(), theirs.summary().as_text())
        names = {"yname": "response", "xname_fe": ["a", "b", "c"], "title": "T", "alpha": 0.1}
        same_but_for_variance_errors(ours.summary(**names).as_text(), theirs.summary(**names).as_text())


def test_summary_html_and_names(fit):
    html = fit.summary(xname_re=["<1>", "2", "3", "4"])._repr_html_()
    assert "&lt;1&gt;" in html and html.count("<table>") == 2 and "REML" in html
    latex, markdown = fit.summary().as_latex(caption="A model", label="tab:a"), fit.summary().as_markdown()
    assert r"\caption{A model}" in latex and r"\label{tab:a}" in latex and "- Method: REML" in markdown
    with pytest.raises(ValueError, match="xname_fe should be a list of length 3"):
        fit.summary(xname_fe=["a"])


def test_wald_and_f_tests_are_statsmodels(fit):
    with quiet():
        theirs = classical("y ~ x + z", grouped_frame(7, n=240), groups="g", **BOTH).fit()
    for R in ("x = 0, z = 0.1", np.eye(7)[1:3]):
        ours, expected = fit.wald_test(R), theirs.wald_test(R, scalar=True)
        assert ours.statistic == pytest.approx(expected.statistic, rel=1e-2)
        assert ours.pvalue == pytest.approx(expected.pvalue, abs=1e-4)
        assert fit.f_test(R).fvalue == pytest.approx(theirs.f_test(R).fvalue, rel=1e-2)
    assert fit.wald_test(np.eye(3)[1:]).statistic == pytest.approx(fit.wald_test(np.eye(7)[1:3]).statistic)
    assert type(fit.t_test("x = 0")).__module__.startswith("statsmodels")
    assert fit.cov_params().loc["x", "x"] == pytest.approx(fit.bse["x"] ** 2)
    assert fit.cov_params(column=1) == pytest.approx(fit.bse["x"] ** 2)
    assert fit.cov_params(np.eye(7)[[1]])[0, 0] == pytest.approx(fit.bse["x"] ** 2)
    np.testing.assert_allclose(fit.normalized_cov_params * fit.scale, fit.cov_params())


def test_own_contrast_results_stand_in(fit, monkeypatch):
    expected = fit.t_test("x = 0", use_t=True), fit.wald_test("x = 0, z = 0"), fit.f_test("x = 0, z = 0")
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("statsmodels"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    ours = fit.t_test("x = 0", use_t=True), fit.wald_test("x = 0, z = 0"), fit.f_test("x = 0, z = 0")
    for mine, other in zip(ours, expected, strict=True):
        assert type(mine).__module__.startswith("sparselmm")
        assert mine.pvalue == pytest.approx(other.pvalue) and mine.distribution == other.distribution
    np.testing.assert_allclose(ours[0].conf_int(), expected[0].conf_int())
    assert "coef" in str(ours[0]) and "chi2" in str(ours[1]) and "F" in str(ours[2])
    np.testing.assert_allclose(fit.t_test("x = 0").pvalue, fit.pvalues["x"])


def test_works_without_statsmodels():
    code = (
        "import sys; sys.modules['statsmodels'] = None\n"
        "import warnings, sparselmm\n"
        "from sparselmm.mixedlm import MixedLM\n"
        "d = sparselmm.datasets.load('Dyestuff2')\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    fit = MixedLM.from_formula('Yield ~ 1', d, groups='Batch').fit()\n"
        "print([w.category.__name__ for w in caught], fit.t_test('Intercept = 0').pvalue)\n"
        "print(fit.summary())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("['ConvergenceWarning', 'SingularMatrixWarning'] ") and "MixedLM" in result.stdout


def test_statsmodels_is_not_imported_by_a_fit():
    code = (
        "import sys, sparselmm\n"
        "from sparselmm.mixedlm import MixedLM\n"
        "d = sparselmm.datasets.load('sleepstudy')\n"
        "fit = MixedLM.from_formula('Reaction ~ Days', d, groups='Subject').fit()\n"
        "str(fit.summary()); fit.random_effects; assert 'statsmodels' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_prediction(fit):
    data = grouped_frame(7, n=240)
    new = data.iloc[5:8]
    expected = fit.fe_params["Intercept"] + new["x"] * fit.fe_params["x"] + new["z"] * fit.fe_params["z"]
    pd.testing.assert_series_equal(fit.predict(new), expected, check_names=False)
    design = np.column_stack([np.ones(3), new[["x", "z"]]])
    np.testing.assert_allclose(fit.predict(design, transform=False), expected)
    np.testing.assert_allclose(fit.predict()[5:8], expected)
    for params in (fit.params_object, np.asarray(fit.params), np.asarray(fit.fe_params)):
        np.testing.assert_allclose(fit.model.predict(params, design), expected)
    np.testing.assert_allclose(fit.resid, data["y"] - fit.fittedvalues)


def test_profile_is_statsmodels():
    data = grouped_frame(7, n=120)
    points = {"dist_low": 0.2, "num_low": 1, "num_high": 2}
    ours = MixedLM.from_formula("y ~ x", data, groups="g", **BOTH).fit()
    with quiet():
        theirs = classical("y ~ x", data, groups="g", **BOTH).fit()
        for which in ((1, "re"), ("s", "vc")):
            expected = theirs.profile_re(*which, **points)
            np.testing.assert_allclose(ours.profile_re(*which, **points), expected, rtol=1e-3, atol=2e-3)
    assert ours.profile_re("s", "vc", **points)[1, 1] == pytest.approx(ours.llf, abs=1e-7)
    with pytest.raises(ValueError, match="dist_low is too large"):
        ours.profile_re(0, "re", dist_low=50.0)
    with pytest.raises(ValueError, match="vtype"):
        ours.profile_re(0, "fe")


def test_distribution_draws_statsmodels_numbers():
    data = grouped_frame(7)
    ours = MixedLM.from_formula("y ~ x", data, groups="g", **BOTH)
    theirs = classical("y ~ x", data, groups="g", **BOTH)
    params = np.array([1.0, 2.0, 1.0, 0.3, 0.8, 0.5])
    y = ours.get_distribution(params, 1.3, None).rvs(1, rng=3)
    np.testing.assert_allclose(y, theirs.get_distribution(params, 1.3, None).rvs(1, rng=3), atol=1e-12)
    np.testing.assert_array_equal(ours.get_distribution(params, 1.3, None).rvs(1, random_state=3), y)


@pytest.mark.parametrize("arguments", [{}, BOTH])
def test_files_hold_everything(tmp_path, arguments):
    data = grouped_frame(7)
    data["g"] = [f"group {g}" for g in data["g"]]
    fit = MixedLM.from_formula("y ~ x", data, groups="g", **arguments).fit()
    fit.save(tmp_path / "fit.npz")
    back = MixedLMResults.load(tmp_path / "fit.npz")
    assert str(back.summary()) == str(fit.summary())
    pd.testing.assert_series_equal(back.params, fit.params)
    pd.testing.assert_series_equal(back.bse_re, fit.bse_re)
    np.testing.assert_allclose(back.fittedvalues, fit.fittedvalues)
    for group, effects in fit.random_effects.items():
        pd.testing.assert_series_equal(back.random_effects[group], effects, check_index_type=False)
    assert back.model.fit().llf == pytest.approx(fit.llf, abs=1e-8)
    with np.load(tmp_path / "fit.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype.kind != "O" for name in stored.files)


def test_broken_files(tmp_path, fit):
    path = tmp_path / "fit.npz"
    fit.save(path)
    content = path.read_bytes()
    with np.load(path) as stored:
        arrays = dict(stored)
    facts = json.loads(str(arrays["facts"]))
    others = [facts | {name: None} for name in facts if name not in ("frame", "formula", "labelled", "data")]
    changes = [{"facts": np.array(json.dumps(other))} for other in others]
    changes += [{name: array[..., None]} for name, array in arrays.items()]
    changes += [{"params": arrays["params"] * np.nan}, {"params": np.array([print], dtype=object)}]
    for change in changes:
        np.savez(path, **arrays | change)
        with pytest.raises(DataError, match=f"{path} holds no results that can be read"):
            MixedLMResults.load(path)
    for broken in (content[:-100], content[: len(content) // 2], b"", b"nothing"):
        path.write_bytes(broken)
        with pytest.raises(DataError, match="holds no results"):
            MixedLMResults.load(path)
    with pytest.raises(FileNotFoundError):
        MixedLMResults.load(tmp_path / "none")


def test_a_failed_save_leaves_the_old_file(tmp_path, fit, monkeypatch):
    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    path = tmp_path / "fit.npz"
    path.write_text("old")
    monkeypatch.setattr("sparselmm.mixedlm.storage.np.savez", fail)
    with pytest.raises(OSError, match="disk full"):
        fit.save(path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_files_without_data(tmp_path, fit):
    fit.save(tmp_path / "fit.npz", remove_data=True)
    back = MixedLMResults.load(tmp_path / "fit.npz")
    assert str(back.summary()) == str(fit.summary())
    assert back.t_test("x = 0").pvalue == fit.t_test("x = 0").pvalue
    assert back.df_resid_inference == fit.df_resid_inference == fit.df_resid
    np.testing.assert_allclose(back.predict(np.ones((2, 3)), transform=False), fit.fe_params.sum())
    with pytest.raises(AttributeError, match="data of the fit"):
        back.random_effects  # noqa: B018


def test_results_can_be_pickled(fit):
    back = pickle.loads(pickle.dumps(fit))
    assert str(back.summary()) == str(fit.summary()) and back.model.fit().llf == pytest.approx(fit.llf)


def test_removed_data():
    data = grouped_frame(7)
    fit = MixedLM.from_formula("y ~ x", data, groups="g").fit()
    text, prediction = str(fit.summary()), fit.predict(data[:2])
    fit.remove_data()
    assert not hasattr(fit.model.data, "frame")
    assert str(fit.summary()) == text
    pd.testing.assert_series_equal(fit.predict(data[:2]), prediction)
    with pytest.raises(AttributeError, match="data of the fit"):
        fit.fittedvalues  # noqa: B018
    with pytest.raises(AttributeError, match="give exog"):
        fit.predict()


def test_to_lmer_is_the_same_model(fit):
    formula, model = fit.to_lmer()
    assert formula == "y ~ x + z + (1 + x | g) + (1 | g:s)"
    assert model.fit().llf == pytest.approx(fit.llf, abs=1e-7)
    data = grouped_frame(7, n=240)
    assert sparselmm.lmer(formula, data).llf == pytest.approx(fit.llf, abs=1e-7)


@pytest.mark.parametrize(
    "arguments, bars",
    [
        ({"re_formula": "0 + x"}, "(0 + x | g)"),
        ({"vc_formula": {"s": "0 + s", "z": "0 + z"}}, "(1 | g:s) + (0 + z | g)"),
        ({"vc_formula": {"u": "1", "v": "0 + s:z"}}, "(1 | g) + (0 + z | g:s)"),
    ],
)
def test_lmer_formulas(arguments, bars):
    data = grouped_frame(7)
    with quiet():
        fit = MixedLM.from_formula("y ~ x", data, groups="g", **arguments).fit()
        formula, model = fit.to_lmer()
        assert formula == f"y ~ x + {bars}"
        assert model.fit().llf == pytest.approx(fit.llf, abs=1e-6)
        assert sparselmm.lmer(formula, data).llf == pytest.approx(fit.llf, abs=1e-6)


def test_lmer_of_arrays_and_crossed_components():
    data = crossed_frame()
    model = MixedLM.from_formula("y ~ 1", data, groups="one", vc_formula={"a": "0 + C(a)", "b": "0 + C(b)"})
    assert model.fit().to_lmer()[0] == "y ~ 1 + (1 | a) + (1 | b)"
    X = np.column_stack([np.ones(len(data)), np.arange(len(data))])
    mats = [[np.eye(len(data))[data["a"] == a][:, :3] for a in range(12)]]
    spec = VCSpec(["w"], [[["1", "2", "3"]] * 12], mats)
    with quiet():
        fit = MixedLM(data["y"].to_numpy(), X, data["a"].to_numpy(), X[:, :1], spec).fit()
    assert fit.to_lmer()[0] == "y ~ 1 + x1 + (1 | Group) + (1 | w)"
