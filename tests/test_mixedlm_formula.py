"""MixedLM's constructors: arrays, groups, variance components, formulas, names, errors."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from mixedlm_designs import classical, crossed_frame, grouped_frame, quiet

import sparselmm
from sparselmm.data import read_table
from sparselmm.mixedlm import MixedLM, MixedLMParams, VCSpec
from sparselmm.mixedlm import frame as frame_module

pytest.importorskip("statsmodels")


def factor_frame():
    data = grouped_frame(7)
    rows = np.arange(len(data))
    return data.assign(f=np.array(list("uvw"))[rows % 3], h=np.array(list("pqrs"))[rows // 3 % 4], b=data["z"] > 0)


RIGHTS = (
    "x + f",
    "x * f + h",
    "x + b",
    "z:f + x",
    "z * x + f * h",
    "0 + x + f",
    "x + f:h",
    "x + np.log(x ** 2):f + b:f",
    "x + C(f, Sum) + z",
    "f:x + z + h:f:x + h",
    "x + f - 1",
    "(x + f + h) ** 2",
    "z * f + h:x + b",
)  # terms that patsy sorts


@pytest.mark.parametrize(
    "formula, arguments",
    [
        ("y ~ x", {}),
        ("y ~ C(f) + x", {"re_formula": "1"}),
        ("y ~ f * x", {"re_formula": "~x + z"}),
        ("y ~ x", {"re_formula": "0 + x"}),
        ("y ~ np.exp(x) + I(x ** 2)", {"vc_formula": {"s": "0 + C(s)"}}),
        ("np.log(y + 100) ~ x", {"re_formula": "1", "vc_formula": {"s": "0 + s", "f": "0 + C(f)"}}),
        ("y ~ x", {"vc_formula": {"z": "0 + z", "s": "0 + C(s)", "a": "1"}}),
        ("y ~ x", {"vc_formula": {"s": "C(s)"}}),
        ("y ~ x", {"vc_formula": {"s": "0 + C(s):z"}}),
        ("y ~ x", {"vc_formula": {"q": "0 + I(z ** 2)"}}),
        ("y ~ x", {"vc_formula": {"q": "0 + C(s) + C(f)"}}),
        ("y ~ x", {"vc_formula": {"xz": "0 + x + z"}}),
        *((f"y ~ {right}", {"re_formula": f"~ {right}"}) for right in RIGHTS),
    ],
)
def test_names_and_designs_are_statsmodels(formula, arguments):
    data = factor_frame()
    ours = MixedLM.from_formula(formula, data, groups="g", **arguments)
    theirs = classical(formula, data, groups="g", **arguments)
    assert ours.exog_names == theirs.exog_names and ours.endog_names == theirs.endog_names
    for name in ("param_names", "exog_re_names", "exog_re_names_full"):
        assert list(getattr(ours.data, name)) == list(getattr(theirs.data, name))
    np.testing.assert_allclose(ours.exog, theirs.exog)
    np.testing.assert_allclose(ours.endog, theirs.endog)
    assert (ours.k_fe, ours.k_re, ours.k_vc, ours.n_groups) == (theirs.k_fe, theirs.k_re, theirs.k_vc, theirs.n_groups)
    table = read_table(data[:9], ours._columns.variables)
    np.testing.assert_allclose(ours._columns.build(table), theirs.exog[:9])
    assert ours.group_labels == theirs.group_labels and ours.exog_vc.names == theirs.exog_vc.names
    assert ours.exog_vc.colnames == theirs.exog_vc.colnames
    for mine, other in zip(ours.exog_vc.mats, theirs.exog_vc.mats, strict=True):
        for a, b in zip(mine, other, strict=True):
            np.testing.assert_allclose(a, b)
    for mine, other in zip(ours.endog_li, theirs.endog_li, strict=True):
        np.testing.assert_allclose(mine, other)
    assert all((ours.row_indices[label] == theirs.row_indices[label]).all() for label in ours.group_labels)


def test_a_single_factor_never_becomes_a_matrix(monkeypatch):
    def forbidden(*args):
        raise AssertionError("evaluated group by group")

    monkeypatch.setattr(frame_module, "_evaluated_by_group", forbidden)
    data = crossed_frame(rows=300, columns=7)
    vc = {"a": "0 + C(a)", "b": "0 + C(b)"}
    model = MixedLM.from_formula("y ~ 1", data.assign(b=data["b"].astype(str)), groups="one", vc_formula=vc)
    assert [term.codes is not None for term in model._terms] == [True, True]


@pytest.mark.parametrize("labelled", [True, False])
def test_arrays_and_frames_are_statsmodels(labelled):
    from statsmodels.regression.mixed_linear_model import MixedLM as Classical

    data = grouped_frame(7)
    X, R = data[["x", "z"]].assign(one=1.0), data[["x"]].assign(u=1.0)
    arguments = (data["y"], X, data["g"], R) if labelled else tuple(p.to_numpy() for p in (data["y"], X, data["g"], R))
    ours, theirs = MixedLM(*arguments), Classical(*arguments)
    for name in ("param_names", "exog_re_names", "exog_re_names_full"):
        assert list(getattr(ours.data, name)) == list(getattr(theirs.data, name))
    fit = ours.fit()
    with quiet():
        expected = theirs.fit()
    for name in ("params", "bse_fe", "cov_re", "vcomp", "fittedvalues", "resid", "tvalues"):
        assert type(getattr(fit, name)) is type(getattr(expected, name)), name
    assert fit.llf == pytest.approx(expected.llf, abs=1e-4)
    assert list(fit.random_effects[0].index) == list(expected.random_effects[0].index)
    default = MixedLM(*arguments[:3])
    assert default.data.param_names == Classical(*arguments[:3]).data.param_names


def test_one_dimensional_arrays():
    data = grouped_frame(7)
    y, x, g = data["y"].to_numpy(), data["x"].to_numpy(), data["g"].to_numpy()
    model = MixedLM(y, x, g, exog_re=x)
    assert (model.k_fe, model.k_re) == (1, 1) and model.exog_names == ["x1"]
    assert model.fit().converged


def test_components_by_matrices():
    data = grouped_frame(7)
    formula = MixedLM.from_formula(
        "y ~ x", data, groups="g", re_formula="1", vc_formula={"s": "0 + C(s)", "z": "0 + z"}
    )
    X = np.column_stack([np.ones(len(data)), data["x"]])
    spec = formula.exog_vc
    sparse = VCSpec(spec.names, spec.colnames, [[sp.csr_array(mat) for mat in part] for part in spec.mats])
    by_group = {
        name: dict(zip(formula.group_labels, mats, strict=True))
        for name, mats in zip(spec.names, spec.mats, strict=True)
    }
    with quiet():
        expected = formula.fit()
        for components in (spec, sparse, by_group):
            fit = MixedLM(data["y"].to_numpy(), X, data["g"].to_numpy(), np.ones(len(data)), components).fit()
            assert fit.llf == pytest.approx(expected.llf, abs=1e-8)
            np.testing.assert_allclose(fit.vcomp, expected.vcomp, rtol=1e-5, atol=1e-8)
    with pytest.warns(FutureWarning, match="deprecated"):
        MixedLM(data["y"].to_numpy(), X, data["g"].to_numpy(), exog_vc=by_group)
    with pytest.raises(sparselmm.DataError, match="11 designs for 12 groups"):
        MixedLM(data["y"].to_numpy(), X, data["g"].to_numpy(), exog_vc=VCSpec(["s"], [[]], [spec.mats[0][1:]]))


def test_labels_may_be_reused_or_distinct_over_groups():
    data = grouped_frame(7)
    distinct = data.assign(s=data["g"].astype(str) + data["s"])
    fits = [
        MixedLM.from_formula("y ~ x", frame, groups="g", vc_formula={"s": "0 + C(s)"}).fit()
        for frame in (data, distinct)
    ]
    assert fits[0].llf == pytest.approx(fits[1].llf, abs=1e-10)


def test_group_order_and_types():
    data = grouped_frame(7)
    names = np.array([f"{chr(117 - g)}" for g in data["g"]])
    fit = MixedLM.from_formula("y ~ x", data, groups=names).fit()
    assert fit.model.group_labels == sorted(set(names)) and list(fit.random_effects) == sorted(set(names))
    categorical = data.assign(g=pd.Categorical(names, categories=sorted(set(names), reverse=True)))
    assert MixedLM.from_formula("y ~ x", categorical, groups="g").group_labels == sorted(set(names))
    assert "Group Var" in fit.params.index


def test_namespace_of_the_caller():
    data, shift = grouped_frame(7), 2.0

    def shifted(values):
        return values + shift

    model = MixedLM.from_formula("y ~ shifted(x) + I(z * shift)", data, groups="g")
    np.testing.assert_allclose(model.exog[:, 1:], np.column_stack([data["x"] + 2.0, data["z"] * 2.0]))
    with pytest.raises(sparselmm.DataError, match="shifted"):
        MixedLM.from_formula("y ~ shifted(x)", data, groups="g", eval_env=-1)
    assert MixedLM.from_formula("y ~ other(x)", data, groups="g", eval_env={"other": np.exp}).k_fe == 2


def test_contrasts_by_their_patsy_names():
    model = MixedLM.from_formula("y ~ C(f, Treatment('v'))", factor_frame(), groups="g")
    assert model.exog_names[1:] == ["C(f, Treatment('v'))[T.u]", "C(f, Treatment('v'))[T.w]"]
    assert MixedLM.from_formula("y ~ C(f, Sum)", factor_frame(), groups="g").k_fe == 3


def test_errors():
    data = grouped_frame(7)
    with pytest.raises(AttributeError, match="'groups' is a required keyword argument"):
        MixedLM.from_formula("y ~ x", data)
    with pytest.raises(ValueError, match="argument weights not permitted"):
        MixedLM.from_formula("y ~ x", data, groups="g", weights=1)
    with pytest.raises(ValueError, match="argument offset not permitted"):
        MixedLM(data["y"], data[["x"]], data["g"], offset=1)
    with pytest.raises(ValueError, match="missing must be"):
        MixedLM.from_formula("y ~ x", data, groups="g", missing="ignore")
    with pytest.raises(sparselmm.FormulaError, match="no response"):
        MixedLM.from_formula("x + z", data, groups="g")
    with pytest.raises(sparselmm.DataError, match="no column 'w'"):
        MixedLM.from_formula("y ~ w", data, groups="g")
    with pytest.raises(sparselmm.DataError, match="groups has 3 values"):
        MixedLM.from_formula("y ~ x", data, groups=[1, 2, 3])
    with pytest.raises(sparselmm.DataError, match="numbers of rows"):
        MixedLM(data["y"], data[["x"]], data["g"][:5])
    with pytest.raises(sparselmm.DataError, match="exact linear function"):
        MixedLM.from_formula("y ~ x", data.assign(y=2 * data["x"]), groups="g")
    with pytest.raises(sparselmm.DataError, match="twice depend"):
        MixedLM.from_formula("y ~ x + twice", data.assign(twice=2 * data["x"]), groups="g")
    with pytest.raises(sparselmm.DataError, match="infinite"):
        MixedLM(data["y"] / 0.0, data[["x"]], data["g"])
    with pytest.raises(sparselmm.DataError, match="exog has another index than the response"):
        MixedLM(data["y"], data[["x"]][::-1], data["g"])
    with pytest.raises(sparselmm.DataError, match="160 independent fixed effects: no residual"):
        MixedLM(data["y"], np.random.default_rng(0).normal(size=(160, 160)), data["g"])
    with pytest.raises(sparselmm.DataError, match="by column: 'argument groups' 80"):
        MixedLM.from_formula("y ~ x", data, groups=[1, None] * 80)


def test_params_round_trip():
    rng = np.random.default_rng(0)
    root = np.tril(rng.normal(size=(3, 3)))
    params = MixedLMParams.from_components(rng.normal(size=2), root @ root.T, vcomp=rng.uniform(size=2))
    for use_sqrt in (True, False):
        for has_fe in (True, False):
            packed = params.get_packed(use_sqrt, has_fe)
            again = MixedLMParams.from_packed(packed, 2, 3, use_sqrt, has_fe)
            np.testing.assert_allclose(again.cov_re, params.cov_re)
            np.testing.assert_allclose(again.vcomp, params.vcomp)
            np.testing.assert_allclose(again.fe_params, params.fe_params if has_fe else 0.0)
            np.testing.assert_allclose(again.get_packed(use_sqrt, has_fe), packed)
    copied = params.copy()
    copied.cov_re[0, 0] = -1.0
    assert params.cov_re[0, 0] > 0 and copied.k_tot == params.k_tot == 10
    np.testing.assert_allclose(MixedLMParams.from_components(cov_re_sqrt=root).cov_re, root @ root.T)
    np.testing.assert_allclose(copied.get_packed(False)[0], -1.0)


def test_any_data_frame():
    polars = pytest.importorskip("polars")
    data = grouped_frame(7)
    arguments = {"groups": "g", "re_formula": "~x", "vc_formula": {"s": "0 + C(s)"}}
    with quiet():
        expected = MixedLM.from_formula("y ~ x", data, **arguments).fit().llf
        for other in (polars.from_pandas(data), data.to_dict("series")):
            assert MixedLM.from_formula("y ~ x", other, **arguments).fit().llf == pytest.approx(expected, abs=1e-10)
