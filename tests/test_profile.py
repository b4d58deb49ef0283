"""Profile likelihood against lme4 and against a dense likelihood minimised by brute force."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import dense_Z, random_design
from scipy.optimize import minimize
from scipy.special import ndtri
from test_reference import MODELS, load

import sparselmm
from sparselmm import ConvergenceWarning, DataWarning, LinearMixedModel, RandomTerm
from sparselmm.labels import parameter_name
from sparselmm.profile import curve as curve_module
from sparselmm.profile import joint as joint_module
from sparselmm.profile.parameters import Tracer

REFERENCE = json.loads((Path(__file__).parent / "reference" / "profile.json").read_text())["models"]
REFERENCE = {record["id"]: record for record in REFERENCE}
LME4 = "lme4 1.1.31"
FAILURES = {  # of lme4's: not monotone, or without a usable spline; `test_limits_against_brute_force` says who is right
    "sleepstudy-weights-ml": {"(Intercept)", "Days"},
    "machines-slopes-ml": {
        "cor_MachineC.(Intercept)|Worker",
        "cor_MachineB.(Intercept)|Worker",
        "cor_MachineC.MachineB|Worker",
        "sd_MachineB|Worker",
        "sd_MachineC|Worker",
        "sigma",
    },
}


def fit_of(name, reml=False):
    """Return the fit of a reference model."""
    record = MODELS[name]
    return sparselmm.lmer(
        record["formula"], load(record), reml=reml, weights=record["weights"], offset=record["offset"]
    )


def key(label):
    """Return what lme4's name of a parameter and ours have in common."""
    if label == "sigma":
        return "sigma"
    name, _, group = re.sub(r"\[T\.|\]|[()]", "", label).partition("|")
    kind, found, columns = re.sub("^(sd|cor)_+", r"\1 ", name).partition(" ")
    return (kind, frozenset(columns.split(".")), frozenset(group.split(":"))) if found else name


@pytest.mark.parametrize("name", REFERENCE)
def test_intervals_and_curves_equal_lme4(name, agree):
    record, profile = REFERENCE[name], fit_of(name).profile()
    ours = {key(label): label for label in profile.labels}
    assert len(ours) == len(record["names"])
    rows = [i for i, their in enumerate(record["names"]) if their not in FAILURES.get(name, ())]
    labels = [ours[key(record["names"][i])] for i in rows]
    for level in (95, 99):
        theirs = np.array(record[f"conf{level}"], dtype=float)[rows]
        interval = profile.conf_int(1.0 - level / 100).loc[labels].to_numpy()
        size = np.ptp(theirs, axis=1)[:, None]  # lme4's spline errs by 3e-4 of it for Dyestuff2
        agree(f"profile limits / width, {level} %", name, LME4, interval / size, theirs / size, atol=3e-4)
    for their, points in record.get("curves", {}).items():
        part = profile._paths[profile.labels.index(ours[key(their)])]
        value = np.array(points["value"])
        t = 2.0 * np.log(value) if their == "sigma" else np.arcsin(value) if their.startswith("cor") else value
        inside = (t >= part.t[0]) & (t <= part.t[-1])
        zeta = np.array(points["zeta"])[inside]
        agree("profile zeta", f"{name}, {their}", LME4, part.at(t[inside])[0], zeta, atol=1e-4)


class BruteForce:
    """The deviance from n x n matrices with one parameter held, minimised over the others by quasi-Newton steps.

    Coordinates are standard deviations, angles of correlations and log σ: independent of the package's.
    """

    def __init__(self, model):
        self.model = model
        self.Z = [dense_Z([term]) for term in model.terms]
        self.W = np.ones(model.nobs) if model.weights is None else model.weights
        self.y = model.endog - (0.0 if model.offset is None else model.offset)
        self.entries = [shape.entries for shape in model.cross.shapes]

    def deviance(self, variances, X, y):
        V, at = np.diag(np.exp(2.0 * variances[-1]) / self.W), 0
        for term, Z, (rows, columns) in zip(self.model.terms, self.Z, self.entries, strict=True):
            part = variances[at : at + rows.size]
            at += rows.size
            R, diagonal = np.eye(term.n_columns), rows == columns
            R[rows[~diagonal], columns[~diagonal]] = R[columns[~diagonal], rows[~diagonal]] = np.sin(part[~diagonal])
            sd = part[diagonal]
            V += Z @ np.kron(np.eye(term.n_levels), R * np.outer(sd, sd)) @ Z.T
        try:
            L = np.linalg.cholesky(V)
        except np.linalg.LinAlgError:
            return 1e6
        white = np.linalg.solve(L, np.column_stack([X, y]))
        Q = np.linalg.qr(white[:, :-1])[0]
        resid = white[:, -1] - Q @ (Q.T @ white[:, -1])
        return 2.0 * np.log(np.diag(L)).sum() + resid @ resid + y.size * np.log(2.0 * np.pi)

    def minimum(self, start, position=None, value=None):
        """Return the least deviance with the parameter of that position held, from natural values (all of them)."""
        p = self.model.exog.shape[1]
        X, y, start = self.model.exog, self.y, start.copy()
        kinds = np.concatenate([rows == columns for rows, columns in self.entries])
        variances = np.append(start[p:-1], np.log(start[-1]))
        variances[:-1][~kinds] = np.arcsin(np.clip(np.nan_to_num(variances[:-1][~kinds]), -1.0, 1.0))
        free = np.arange(variances.size)
        if position is not None and position < p:
            X, y = np.delete(X, position, axis=1), y - value * X[:, position]
        elif position is not None:
            free = np.delete(free, position - p)

        def objective(z):
            return self.deviance(replaced(variances, free, z), X, y)

        return minimize(objective, variances[free], method="BFGS", options={"gtol": 1e-5}).fun


def replaced(values, at, new):
    values = values.copy()
    values[at] = new
    return values


def check_limits(fit, agree, name, tolerance=3e-4):
    """Compare zeta at the limits of 80 and 95 % with the dense deviance."""
    profile, oracle = fit.profile(), BruteForce(fit.model)
    curves = profile.curves
    table = curves[profile.labels].to_numpy(dtype=float)
    groups = curves["group"].astype(object).where(curves["group"].notna(), None)
    names = np.array([parameter_name(*pair) for pair in zip(groups, curves["term"], strict=True)])
    best = oracle.minimum(table[np.abs(curves["zeta"]).argmin()])
    ours, dense = [], []
    for alpha in (0.2, 0.05):
        z = -ndtri(alpha / 2.0)
        for position, (label, limits) in enumerate(profile.conf_int(alpha).iterrows()):
            part, zeta = table[names == label], curves["zeta"][names == label].to_numpy()
            for sign, limit in zip((-1, 1), limits, strict=True):
                if np.isnan(limit) or not zeta.min() < sign * z < zeta.max():
                    continue
                start = np.array([np.interp(sign * z, zeta, column) for column in part.T])
                start[position] = limit
                ours.append(z)
                dense.append(np.sqrt(max(oracle.minimum(start, position, limit) - best, 0.0)))
    agree("zeta at the profile limits", name, "brute-force dense likelihood", ours, dense, atol=tolerance)


@pytest.mark.parametrize("name", ["dyestuff2-ml", "pastes-slash-ml", "rail-ml", "machines-slopes-ml", "rank-one-ml"])
def test_limits_against_brute_force(name, agree):
    check_limits(fit_of(name), agree, name)


@pytest.mark.parametrize("kinds", [("slope", "scalar"), ("diagonal",), ("matrix", "plain")])
def test_limits_of_arrays_with_weights_and_offset(kinds, agree):
    rng = np.random.default_rng(len(kinds[0]))
    y, X, terms = random_design(rng, kinds=kinds)
    model = LinearMixedModel(y, X, terms, weights=rng.uniform(0.5, 2.0, y.size), offset=rng.standard_normal(y.size))
    check_limits(model.fit(reml=False), agree, f"arrays {' '.join(kinds)}, weights, offset")


@pytest.mark.parametrize("kinds", [("slope", "scalar"), ("three",), ("diagonal", "matrix")])
def test_derivatives_in_the_held_coordinates(kinds):
    rng = np.random.default_rng(7)
    y, X, terms = random_design(rng, kinds=kinds)
    fit = LinearMixedModel(y, X, terms).fit(reml=False)
    tracer = Tracer(fit, 2.0)
    for parameter in fit.profile([])._all:
        held = tracer.held(parameter)
        if held is None:
            continue
        point = held.start + 0.1 * rng.standard_normal(held.start.size)
        at, step = held.expand(point), 1e-5
        ahead, behind = ([held.expand(point + s * e) for e in np.eye(point.size)] for s in (step, -step))
        gradient = [(a.deviance - b.deviance) / (2 * step) for a, b in zip(ahead, behind, strict=True)]
        hessian = [(a.gradient - b.gradient) / (2 * step) for a, b in zip(ahead, behind, strict=True)]
        np.testing.assert_allclose(at.gradient, gradient, atol=1e-6 * np.abs(at.gradient).max(), rtol=1e-6)
        np.testing.assert_allclose(at.hessian, hessian, atol=1e-6 * np.abs(at.hessian).max(), rtol=1e-6)


def test_a_variance_of_zero(agree):
    profile = fit_of("dyestuff2-ml").profile()
    lower, upper = profile.conf_int().loc["sd__Intercept|Batch"]
    assert lower == 0.0 and upper > 0.0
    part = profile.curves[profile.curves["term"] == "sd__Intercept"]
    assert part["value"].iloc[0] == 0.0 and part["zeta"].iloc[0] == 0.0


def test_correlations_end_at_their_boundaries():
    table = fit_of("sign-trap-ml").profile().conf_int(0.01)
    assert tuple(table.loc["cor__Intercept.x|g"]) == (-1.0, 1.0)
    undefined = fit_of("zero-block-ml").profile()
    assert undefined.conf_int().loc["cor__Intercept.x|g"].isna().all()
    assert not undefined.conf_int().drop("cor__Intercept.x|g").isna().any(axis=None)
    assert not (undefined.curves["term"] == "cor__Intercept.x").any()


def test_a_correlation_fits_no_worse_than_a_variance_of_zero():
    profile = fit_of("orthodont-ml").profile("random")
    ends = {term: part["zeta"].abs().to_numpy()[[0, -1]] for term, part in profile.curves.groupby("term")}
    lower, upper = ends["cor__Intercept.age"]
    assert lower == pytest.approx(ends["sd__age"][0], abs=1e-4) and upper < lower < 1.0
    assert tuple(profile.conf_int().loc["cor__Intercept.age|Subject"]) == (-1.0, 1.0)
    start = profile.curves.iloc[0, 5:].to_numpy(dtype=float).copy()
    start[5:7] = 0.0, 0.0  # correlation and standard deviation of age
    without_slopes = BruteForce(profile.fit.model).minimum(start, position=6, value=0.0)
    assert without_slopes - profile.fit.deviance == pytest.approx(lower**2, abs=1e-5)


def test_a_correlation_of_one():
    profile = fit_of("rank-one-ml").profile()
    part = profile.curves[profile.curves["term"] == "cor__Intercept.x"]
    assert abs(part["value"].iloc[-1]) == pytest.approx(1.0)
    assert profile.conf_int().loc["cor__Intercept.x|g", "upper"] == pytest.approx(1.0)


@settings(max_examples=6, deadline=None)
@given(st.sampled_from([1e-6, 1.0, 1e5]), st.sampled_from([1e-6, 1.0, 1e8]), st.sampled_from([0.0, 1e3]))
def test_invariance_to_units(y_unit, x_unit, shift):
    data = sparselmm.datasets.load("sleepstudy")
    data["Reaction"] = y_unit * (data["Reaction"] + shift)
    data["Days"] = x_unit * data["Days"].astype(float)
    ours = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data).profile().conf_int()
    expected = fit_of("sleepstudy-slopes-ml").profile().conf_int()
    units = np.array([1.0, 1.0 / x_unit, 1.0, 1.0 / y_unit, 1.0 / x_unit, 1.0]) * y_unit
    expected.loc["Intercept"] += shift
    np.testing.assert_allclose(ours.to_numpy() / units[:, None], expected, rtol=1e-4)


def test_reml_fits_are_profiled_by_maximum_likelihood():
    ours, expected = (fit_of("penicillin-ml", reml=reml).profile() for reml in (True, False))
    assert not ours.fit.reml
    np.testing.assert_allclose(ours.conf_int(), expected.conf_int(), rtol=1e-6)


def test_many_random_effects_go_without_the_exact_hessian(monkeypatch):
    expected = fit_of("sleepstudy-slopes-ml").profile().conf_int()
    monkeypatch.setattr(joint_module, "EXACT", 10)
    np.testing.assert_allclose(fit_of("sleepstudy-slopes-ml").profile().conf_int(), expected, rtol=1e-4)


def test_evaluations_are_few(monkeypatch):
    counted = []
    plain = joint_module.Joint._expand
    monkeypatch.setattr(joint_module.Joint, "_expand", lambda *a: counted.append(1) or plain(*a))
    profile = fit_of("sleepstudy-slopes-ml").profile()
    assert len(counted) < 20 * len(profile.labels)


def test_which():
    fit = fit_of("pastes-slash-ml")
    everything = fit.profile().labels
    assert everything == ["Intercept", "sd__Intercept|batch", "sd__Intercept|batch:cask", "sigma"]
    assert fit.profile("fixed").labels == fit.profile("beta_").labels == fit.profile(0).labels == everything[:1]
    assert fit.profile("random").labels == fit.profile("theta_").labels == everything[1:]
    assert fit.profile("sd__Intercept").labels == everything[1:3]
    assert fit.profile(["sd__Intercept|batch", 3]).labels == [everything[1], everything[3]]
    for wrong in ("batch", 4, -1, ["fixed", "x"]):
        with pytest.raises(ValueError, match="is no parameter"):
            fit.profile(wrong)


def test_levels():
    profile = fit_of("rail-ml").profile("fixed", level=0.9)
    assert profile.curves["zeta"].abs().max() < 2.0
    profile.conf_int(0.1)
    with pytest.raises(ValueError, match=r"level=0\.95"):
        profile.conf_int(0.05)
    with pytest.raises(ValueError, match="no number between"):
        profile.conf_int(1.5)
    with pytest.raises(ValueError, match="not between"):
        fit_of("rail-ml").profile(level=95)


def test_tables():
    fit = fit_of("sleepstudy-slopes-ml")
    profile = fit.profile()
    tidy, expected = profile.tidy(0.9), fit.tidy()
    for column in ("effect", "group", "term"):
        assert [str(a) for a in tidy[column].fillna("")] == [str(b) for b in expected[column].fillna("")]
    np.testing.assert_allclose(tidy["estimate"], expected["estimate"])
    np.testing.assert_array_equal(tidy[["conf.low", "conf.high"]], profile.conf_int(0.1))
    curves = profile.curves
    assert list(curves.columns) == ["group", "term", "value", "zeta", "deviance", *profile.labels]
    np.testing.assert_allclose(curves["deviance"] - fit.deviance, curves["zeta"] ** 2, atol=1e-8)
    area = (
        profile.density()
        .groupby(["group", "term"], dropna=False)[["value", "density"]]
        .apply(lambda part: np.trapezoid(part["density"], part["value"]))
    )
    np.testing.assert_allclose(area, 0.991, atol=2e-3)
    assert "95 % intervals" in repr(profile) and re.search(
        r"  Days +10\.47 +7\.359 +13\.58$", repr(profile), re.MULTILINE
    )
    copy = pickle.loads(pickle.dumps(profile))
    np.testing.assert_array_equal(copy.conf_int(), profile.conf_int())


def test_a_density_with_a_boundary_is_that_of_a_correlation_up_to_its_end():
    table = fit_of("sign-trap-ml").profile("cor__Intercept.x").density()
    assert np.isfinite(table["density"]).all() and (table["density"] >= 0.0).all()


@pytest.mark.parametrize("formula", ["Reaction ~ 0 + (1 | Subject)", "Reaction ~ 1 + (Days | Subject)"])
def test_few_fixed_effects(formula):
    fit = sparselmm.lmer(formula, sparselmm.datasets.load("sleepstudy"))
    interval = fit.profile().conf_int()
    assert not interval.isna().any(axis=None)
    assert fit.profile("fixed").conf_int().shape == (len(fit.params), 2)


def test_failures_are_warnings_that_name_the_parameter(monkeypatch):
    fit = fit_of("rail-ml")
    monkeypatch.setattr(curve_module, "MAX_EVALUATIONS", 0)
    with pytest.warns(ConvergenceWarning, match=r"profile of sd__Intercept\|Rail ends .* could not be optimised"):
        profile = fit.profile("sd__Intercept")
    assert profile.conf_int().isna().all(axis=None)
    assert profile.curves.empty and profile.density().empty


def test_a_fit_that_is_no_minimum():
    fit = fit_of("sleepstudy-double-ml")
    with pytest.warns(ConvergenceWarning):
        stopped = fit.model.fit(reml=False, start=3.0 * fit.theta, max_evaluations=1)
    with pytest.warns(ConvergenceWarning, match="not the maximum of the likelihood"):
        assert stopped.profile("sd__Days").conf_int().isna().any(axis=None)


def test_variances_that_the_data_do_not_tell_apart():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(8), 5)
    y = rng.standard_normal(8)[groups] + rng.standard_normal(40)
    terms = [RandomTerm(groups, name="a"), RandomTerm(groups, name="b")]
    with pytest.warns(DataWarning, match="'a' and 'b': the data cannot tell apart"):
        fit = LinearMixedModel(y, np.ones((40, 1)), terms).fit(reml=False)
    with pytest.warns(ConvergenceWarning, match=r"sd__Intercept\|[ab] has no curve: the deviance is flat"):
        interval = fit.profile().conf_int()
    expected = LinearMixedModel(y, np.ones((40, 1)), terms[:1]).fit(reml=False).profile().conf_int()
    np.testing.assert_allclose(interval.loc["const"], expected.loc["const"], rtol=1e-4)
    np.testing.assert_allclose(interval.iloc[-1], expected.iloc[-1], rtol=1e-4)
