"""Tidy tables against broom.mixed (tests/reference/prediction.R)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from oracles import random_design
from test_prediction_variance import dense_error_variance

import sparselmm
from sparselmm import LinearMixedModel

REFERENCE = json.loads((Path(__file__).parent / "reference" / "prediction.json").read_text())
MODELS = {f"{record['data']}: {record['formula']}": record for record in REFERENCE["models"]}
BROOM = f"broom.mixed {REFERENCE['provenance']['broom.mixed']}"
NUMBERS = ["estimate", "std.error", "df", "statistic", "p.value"]
SLOPES = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleepstudy():
    return sparselmm.datasets.load("sleepstudy")


@pytest.fixture(scope="module")
def slopes(sleepstudy):
    return sparselmm.lmer(SLOPES, sleepstudy)


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def reference(request):
    record = request.param
    model = LinearMixedModel.from_formula(record["formula"], sparselmm.datasets.load(record["data"]))
    return record, model.fit(record["reml"], tolerance=1e-11)


def test_fixed_effects(reference, agree):
    record, fit = reference
    ours = fit.tidy("fixed", conf_int=True)
    for name in (*NUMBERS, "conf.low", "conf.high"):
        agree(
            f"tidy fixed, {name}",
            record["data"],
            BROOM,
            ours[name],
            np.atleast_1d(record["fixed"][name]),
            rtol=2e-4,
            atol=1e-12,
        )


def by_level(table):
    """Return the estimates and errors of broom.mixed by (labels of the level, term)."""
    rows = zip(*(table[name] for name in ("group", "level", "term")), strict=True)
    return [(group.split(".")[0].count(":"), frozenset(level.split(":")), term) for group, level, term in rows]


@pytest.mark.parametrize("kind", ["ran_vals", "ran_coefs"])
def test_levels(reference, kind, agree):
    record, fit = reference
    theirs = record[kind]
    if kind == "ran_coefs" and "||" in record["formula"]:
        pytest.skip("broom.mixed joins terms of one factor")
    names = dict(zip(fit.model.exog_names, np.atleast_1d(record["fixed"]["term"]), strict=True))
    ours = fit.tidy(kind, conf_int=True)
    ours = ours.assign(level=ours["level"].astype(str), term=[names[term] for term in ours["term"]])
    place = {key: i for i, key in enumerate(by_level(ours))}
    order = [place[key] for key in by_level(theirs)]
    if kind == "ran_vals":
        assert sorted(order) == list(range(len(ours)))
    columns = ["estimate"] if kind == "ran_coefs" else ["estimate", "std.error", "conf.low", "conf.high"]
    for name in columns:
        agree(
            f"tidy {kind}, {name}",
            record["data"],
            BROOM,
            ours[name].to_numpy()[order],
            theirs[name],
            rtol=2e-4,
            atol=1e-4,
        )


def test_glance(reference, agree):
    record, fit = reference
    ours, theirs = fit.glance(), record["glance"]
    shared = [name for name in ours if name in theirs]
    assert len(shared) == 7
    agree("glance", record["data"], BROOM, ours[shared].iloc[0].astype(float), [theirs[n] for n in shared], rtol=1e-6)


def test_columns(slopes):
    table = slopes.tidy()
    assert list(table.columns) == ["effect", "group", "term", *NUMBERS]
    assert list(table["effect"]) == ["fixed"] * 2 + ["ran_pars"] * 4
    everything = slopes.tidy(["all", "ran_vals", "ran_coefs"], conf_int=True)
    assert list(everything.columns) == ["effect", "group", "level", "term", *NUMBERS, "conf.low", "conf.high"]
    assert everything["effect"].value_counts().to_dict() == {"ran_vals": 36, "ran_coefs": 36, "ran_pars": 4, "fixed": 2}
    pd.testing.assert_frame_equal(slopes.tidy("random"), slopes.tidy(["ran_pars"]))
    with pytest.raises(ValueError, match="effects must be one or more of"):
        slopes.tidy("ranef")
    with pytest.raises(ValueError, match="conf_level=95"):
        slopes.tidy(conf_level=95)


def test_degrees_of_freedom(slopes):
    table = slopes.tidy("fixed", conf_int=True, ddf="z")
    assert np.isinf(table["df"]).all()
    np.testing.assert_allclose(table["conf.low"], [238.029141, 7.437594], rtol=1e-5)
    np.testing.assert_allclose(slopes.tidy("fixed", ddf="residual")["df"], 178)


def test_standard_errors_of_coefficients(agree):
    """Fixed plus random effects of every level, from the joint covariance of both."""
    for seed in range(3):
        y, X, terms = random_design(np.random.default_rng(seed), kinds=("slope", "matrix", "scalar"))
        exog = pd.DataFrame(X, columns=["x1", "x3"])
        fit = LinearMixedModel(y, exog, terms).fit()
        for k, (name, table) in enumerate(fit.coefficients_se.items()):
            part, shape = fit.likelihood.map.effect_slices[k], fit.likelihood.map.shapes[k]
            assert table.shape == fit.coefficients[name].shape
            for column in table:
                x = np.tile([float(column == other) for other in exog], (shape.n_levels, 1))
                z = np.zeros((shape.n_levels, fit.model.Z.shape[1]))
                if column in terms[k].columns:
                    at = part.start + np.arange(shape.n_levels) * shape.n_columns + terms[k].columns.index(column)
                    z[np.arange(shape.n_levels), at] = 1.0
                ours = table[column] ** 2
                agree(
                    "variance of coefficients", "random designs", "dense computation",
                    ours, dense_error_variance(fit, x, z), rtol=1e-8, atol=1e-12,
                )  # fmt: skip


def test_augment_of_lazy_and_other_frames(slopes, sleepstudy):
    expected = slopes.augment(sleepstudy)
    frame = pl.from_pandas(sleepstudy.astype({"Subject": str}))
    for data in (frame, frame.lazy(), frame.to_arrow(), {name: sleepstudy[name].tolist() for name in sleepstudy}):
        table = slopes.augment(data)
        assert list(table.columns) == list(expected.columns)
        np.testing.assert_array_equal(table[".fitted"], expected[".fitted"])
        assert list(table["Subject"]) == list(sleepstudy["Subject"])


def test_augment_with_errors_and_influence(slopes, sleepstudy):
    table = slopes.augment(sleepstudy, se_fit=True, influence=True)
    assert list(table.columns[-6:]) == [".fitted", ".resid", ".fixed", ".se.fit", ".hat", ".cooksd"]
    np.testing.assert_array_equal(table[".se.fit"], slopes.predict(se=True)["std.error"])
    np.testing.assert_allclose(table[".hat"], table[".se.fit"] ** 2 / slopes.scale)  # as y is fitted by β̂ and b̂
    np.testing.assert_array_equal(table[".cooksd"], slopes.cooks_distance())


def test_singular_and_without_fixed_effects(sleepstudy):
    flat = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff2"))
    table = flat.tidy(["ran_vals", "ran_coefs"], conf_int=True)
    assert (table["estimate"][:6] == 0.0).all() and (table["std.error"][:6] == 0.0).all()
    np.testing.assert_allclose(table["std.error"][6:], flat.bse.iloc[0])
    none = sparselmm.lmer("Reaction ~ 0 + (1 | Subject)", sleepstudy)
    assert none.tidy("fixed", conf_int=True).empty and len(none.tidy()) == 2
    assert len(none.tidy("ran_coefs")) == 18 and "Fixed" not in str(none.summary())
