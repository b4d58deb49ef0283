"""The plots of a fit: the tables they draw against dense computations, and that they draw on what they are given."""

import inspect
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from oracles import DenseModel, random_design
from scipy.special import betainc, ndtr

import sparselmm
from sparselmm import DataError, LinearMixedModel, RandomTerm

pytest.importorskip("matplotlib").use("Agg")
from matplotlib import pyplot, rcParams, rcParamsDefault  # noqa: E402

from sparselmm import plots  # noqa: E402
from sparselmm.plots import canvas  # noqa: E402
from sparselmm.plots.accessor import KINDS  # noqa: E402

ELSEWHERE = (
    "predictions",
    "level_lines",
    "profile",
    "profile_density",
    "profile_pairs",
)  # kinds with drawing tests of their own
PANELS = {"profile", "profile_density", "profile_pairs", "residual_panel", "trace"}


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def sleepstudy():
    return sparselmm.datasets.load("sleepstudy")


@pytest.fixture(scope="module")
def fit(sleepstudy):
    return sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sleepstudy)


@pytest.fixture(scope="module")
def cake():
    return sparselmm.lmer("angle ~ recipe * temp + (1 | replicate:recipe)", sparselmm.datasets.load("cake"))


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(3000), 4)
    y = rng.standard_normal(3000)[groups] + rng.standard_normal(groups.size)
    return LinearMixedModel(y, np.ones(y.size), RandomTerm(groups, name="g")).fit()


@pytest.fixture(scope="module")
def fits(fit, cake, many, sleepstudy):
    """Fits of every kind, with the term and the column that are drawn."""
    load = sparselmm.datasets.load
    weights = 1.0 + np.arange(180) % 3
    no_fixed_effects = LinearMixedModel(
        sleepstudy["Reaction"] - 300.0, np.empty((180, 0)), RandomTerm(sleepstudy["Subject"], name="Subject")
    )
    return {
        "slopes": (fit, "Subject", "Days"),
        "factor": (cake, "replicate:recipe", "Intercept"),
        "many levels": (many, "g", "Intercept"),
        "crossed": (
            sparselmm.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", load("Penicillin")),
            "sample",
            "Intercept",
        ),
        "singular": (sparselmm.lmer("Yield ~ 1 + (1 | Batch)", load("Dyestuff2")), "Batch", "Intercept"),
        "weighted": (
            sparselmm.lmer("Reaction ~ Days + (Days || Subject)", sleepstudy, reml=False, weights=weights),
            "Subject",
            "Days",
        ),
        "no fixed effects": (no_fixed_effects.fit(), "Subject", "Intercept"),
    }


def oracle(kinds, weights=None, reml=True, seed=3):
    """Return a fit of random arrays and the dense model at its optimum."""
    rng = np.random.default_rng(seed)
    y, X, terms = random_design(rng, n=80, kinds=kinds)
    weights = rng.uniform(0.5, 2.0, y.size) if weights else None
    fit = LinearMixedModel(y, X, terms, weights=weights).fit(reml)
    return fit, DenseModel(y, X, terms, fit.theta, reml, weights)


# The tables


def test_caterpillar_data(fit):
    data = plots.caterpillar_data(fit, column="Days", level=0.5)
    effects = fit.random_effects["Subject"]["Days"]
    assert list(data.columns) == ["mode", "sd", "low", "high"] and data["mode"].is_monotonic_increasing
    pd.testing.assert_series_equal(data["mode"].loc[effects.index], effects, check_names=False)
    np.testing.assert_allclose(data["high"] - data["mode"], 0.6744897501960817 * data["sd"])


def test_shrinkage_begins_at_the_least_squares_of_every_subject(fit, sleepstudy):
    table = plots.shrinkage_data(fit)
    assert table["mode"].equals(fit.coefficients["Subject"][["Intercept", "Days"]])
    for subject, rows in sleepstudy.groupby("Subject", observed=True):
        slope, intercept = np.polyfit(rows["Days"], rows["Reaction"], 1)
        np.testing.assert_allclose(table.loc[subject, "least squares"], [intercept, slope], rtol=1e-9)


@pytest.mark.parametrize("kinds", [("scalar", "slope"), ("matrix", "scalar"), ("three", "plain")])
@pytest.mark.parametrize("weights", [False, True])
def test_shrinkage_holds_all_other_parts(kinds, weights):
    fit, _ = oracle(kinds, weights)
    w = np.sqrt(np.ones(fit.nobs) if fit.model.weights is None else fit.model.weights)
    for k, term in enumerate(fit.model.terms):
        table = plots.shrinkage_data(fit, term.name)
        fixed = fit.fe_params.reindex(term.columns, fill_value=0.0).to_numpy()
        effects = fit.modes[term.name]
        Z, c = term.Z.toarray(), term.n_columns
        residual = fit.model.endog - fit.fittedvalues.to_numpy()
        for j in range(term.n_levels):
            columns = Z[:, j * c : (j + 1) * c] * w[:, None]
            found = table["least squares"].iloc[j].to_numpy()
            if np.linalg.matrix_rank(columns) < c:
                assert np.isnan(found).all()
                continue
            b = np.linalg.lstsq(columns, w * residual + columns @ effects[j], rcond=None)[0]
            np.testing.assert_allclose(found, fixed + b, rtol=1e-7, atol=1e-9, err_msg=f"{k}, {j}")


def test_shrinkage_of_levels_that_do_not_determine_a_slope():
    rng = np.random.default_rng(0)
    groups = np.r_[np.repeat(np.arange(6), 8), 6, 7, 7]
    x = np.r_[rng.standard_normal(49), 1.0, 1.0]
    y = rng.standard_normal(8)[groups] + x + rng.standard_normal(groups.size)
    fit = LinearMixedModel(
        y, np.column_stack([np.ones(51), x]), RandomTerm(groups, np.column_stack([np.ones(51), x]))
    ).fit()
    table = plots.shrinkage_data(fit)
    assert table["least squares"].isna().all(axis=1).tolist() == [False] * 6 + [True] * 2
    assert "2 levels are left out" in plots.shrinkage(fit).get_xlabel()


@pytest.mark.parametrize("kinds", [("scalar", "slope"), ("matrix", "diagonal")])
@pytest.mark.parametrize("reml", [True, False])
def test_standardized_effects_have_the_variance_of_conditional_modes(kinds, reml):
    fit, dense = oracle(kinds, weights=True, reml=reml)
    LLZ = dense.Lambda @ dense.Lambda.T @ dense.Z.T
    sd = np.sqrt(np.diag(fit.scale * LLZ @ dense.P @ LLZ.T))
    for term, part in zip(fit.model.terms, fit.model.cross.relative_factor.effect_slices, strict=True):
        of_term = sd[part].reshape(term.n_levels, term.n_columns)
        for a, column in enumerate(term.columns):
            if fit.cov_re[term.name].to_numpy()[a, a] < 1e-8:
                continue
            data = plots.qq_data(fit, term.name, column)
            expected = fit.modes[term.name][:, a] / of_term[:, a]
            np.testing.assert_allclose(data["value"].loc[term.levels], expected, rtol=1e-5, atol=1e-7)


def test_quantile_band_is_that_of_order_statistics(fit):
    data = plots.qq_data(fit, level=0.9)
    rank = np.arange(1, 181)
    for name, p in (("low", 0.05), ("normal", 0.5), ("high", 0.95)):
        np.testing.assert_allclose(betainc(rank, 181 - rank, ndtr(data[name])), p)
    np.testing.assert_allclose(data["value"], np.sort(fit.residuals("standardized")))
    assert (
        len(plots.qq_data(sparselmm.lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff2")), "Batch"))
        == 0
    )


def test_residuals_over_sigma_where_there_are_no_leverages(sleepstudy, monkeypatch):
    probed = sparselmm.lmer("Reaction ~ Days + (1 | Subject) + (1 | Days)", sleepstudy, engine="pcg")
    np.testing.assert_allclose(plots.qq_data(probed)["value"], np.sort(probed.resid / probed.sigma))
    assert plots.qq(probed).get_ylabel() == "Residual over σ"
    assert plots.scale_location(probed).get_ylabel() == "√|residual over σ|"
    exact = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", sleepstudy)
    assert plots.qq(exact).get_ylabel() == "Standardized residual"
    monkeypatch.setattr("sparselmm.diagnostics.residuals.MOST_ROWS", 100)
    np.testing.assert_allclose(plots.scale_location_data(exact)["spread"] ** 2, np.abs(exact.resid / exact.sigma))


def test_a_row_that_fits_itself_has_no_quantile(sleepstudy):
    data = sleepstudy.assign(first=np.arange(180) == 0)
    fit = sparselmm.lmer("Reaction ~ Days + first + (1 | Subject)", data)
    panel = plots.residual_panel_data(fit)
    assert panel[["standardized", "normal"]].isna().all(axis=1).tolist() == [True] + [False] * 179


def test_residual_tables(fits):
    for fit, term, _ in fits.values():
        weights = 1.0 if fit.model.weights is None else fit.model.weights
        pearson = fit.resid * np.sqrt(weights)
        panel = plots.residual_panel_data(fit, term)
        np.testing.assert_allclose(panel["resid"], pearson)
        np.testing.assert_allclose(panel["fitted"] + panel["resid"] / np.sqrt(weights), fit.model.endog)
        standardized = fit.residuals("standardized")
        np.testing.assert_allclose(panel["spread"] ** 4, standardized**2)
        np.testing.assert_allclose(panel["standardized"], standardized)
        pairs = panel.sort_values("normal")[["standardized", "normal"]].to_numpy()
        np.testing.assert_allclose(pairs, plots.qq_data(fit)[["value", "normal"]], rtol=1e-12, atol=1e-14)
        by_group = plots.residuals_by_group_data(fit, term)
        quartiles = panel.groupby("group", observed=True)["resid"].quantile([0.0, 0.25, 0.5, 0.75, 1.0]).unstack()
        np.testing.assert_allclose(by_group.iloc[:, :5], quartiles.loc[by_group.index], atol=1e-12)
        assert by_group["rows"].sum() == fit.nobs and by_group["median"].is_monotonic_increasing


def test_coefficients_data(fit, sleepstudy):
    other = sparselmm.lmer("Reaction ~ Days + I(Days**2) + (1 | Subject)", sleepstudy)
    table = plots.coefficients_data(fit, {"curved": other}, name="straight", level=0.9, ddf="residual")
    assert list(zip(table["model"], table["term"], strict=True)) == [
        ("straight", "Days"),
        ("curved", "Days"),
        ("curved", "I(Days**2)" if "I(Days**2)" in other.params else other.params.index[2]),
    ]
    interval = fit.inference("residual").conf_int(0.1).loc["Days"]
    np.testing.assert_allclose(table.loc[0, ["conf.low", "conf.high"]].astype(float), interval)
    assert list(plots.coefficients_data(fit, intercept=True)["term"]) == ["Intercept", "Days"]
    assert list(plots.coefficients_data(fit, terms=["Days", "Intercept"])["term"]) == ["Days", "Intercept"]
    with pytest.raises(ValueError, match=r"'days'.*'Intercept', 'Days'"):
        plots.coefficients_data(fit, terms=["days"])


def test_predictions_data(fit, cake):
    table = plots.predictions_data(fit)
    L = np.column_stack([np.ones(len(table)), table["Days"]])
    expected = fit.inference().estimates(L)
    names = ["estimate", "std.error", "df", "conf.low", "conf.high"]
    np.testing.assert_allclose(table[names], expected[names], rtol=1e-6)
    assert (table["Days"].iloc[0], table["Days"].iloc[-1]) == (0.0, 9.0)

    table = plots.predictions_data(cake, "recipe", "temp", ddf="z")
    assert table["temp"].unique().tolist() == [175.0, 200.0, 225.0] and table["recipe"].tolist() == ["A", "B", "C"] * 3
    table = plots.predictions_data(cake, "temp", at={"temp": [180, 190], "recipe": "C"})
    assert table[["temp", "recipe"]].to_numpy().tolist() == [[180, "C"], [190, "C"]]
    held = plots.predictions_data(cake, "recipe")["temp"]
    np.testing.assert_allclose(held, cake.model.design.table.columns["temp"].mean())


def test_predictions_know_what_is_categorical(sleepstudy):
    fit = sparselmm.lmer("Reaction ~ C(Days) + (1 | Subject)", sleepstudy)
    table = plots.predictions_data(fit, ddf="z")
    np.testing.assert_allclose(table["estimate"], sleepstudy.groupby("Days")["Reaction"].mean(), rtol=1e-9)
    coded = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", sleepstudy, contrasts={"Days": "sum"})
    np.testing.assert_allclose(plots.predictions_data(coded, ddf="z")["estimate"], table["estimate"], rtol=1e-9)


def test_predictions_hold_offsets_at_their_mean(sleepstudy):
    shift = 3.0 * np.arange(180.0)
    given = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", sleepstudy, offset=shift)
    column = sparselmm.lmer("Reaction ~ Days + offset(shift) + (1 | Subject)", sleepstudy.assign(shift=shift))
    first, second = plots.predictions_data(given), plots.predictions_data(column, "Days")
    assert (second["shift"] == shift.mean()).all()
    np.testing.assert_allclose(first["estimate"], second["estimate"])


def test_predictions_along_what(fit, cake, many):
    with pytest.raises(ValueError, match=r"choose one with x=.*'recipe', 'temp'"):
        plots.predictions(cake)
    with pytest.raises(ValueError, match="by='Days' is not there"):
        plots.predictions(cake, "temp", "Days")
    with pytest.raises(ValueError, match="several values of temp"):
        plots.predictions(cake, "recipe", at={"temp": [1, 2]})
    with pytest.raises(ValueError, match=r"temp has 13 values. Choose up to 12 with at="):
        plots.predictions(cake, "recipe", "temp", at={"temp": range(13)})
    with pytest.raises(DataError, match="from arrays"):
        plots.predictions(many)
    with pytest.raises(DataError, match="use no column"):
        plots.predictions(sparselmm.lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff")))


def test_level_lines_data(fit, sleepstudy):
    table = plots.level_lines_data(fit)
    expected = fit.coefficients["Subject"].loc[table["level"]]
    np.testing.assert_allclose(table["estimate"], expected["Intercept"] + expected["Days"] * table["Days"].to_numpy())
    assert table.groupby("level", observed=True)["Days"].agg(["min", "max"]).drop_duplicates().to_numpy().tolist() == [
        [0, 9]
    ]
    machines = sparselmm.lmer("score ~ Machine + (Machine | Worker)", sparselmm.datasets.load("Machines"))
    table = plots.level_lines_data(machines)
    np.testing.assert_allclose(np.sort(table["estimate"]), np.unique(machines.fittedvalues.round(9)), atol=1e-8)
    offset = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", sleepstudy, offset=np.full(180, 7.0))
    plain = sparselmm.lmer("Reaction ~ Days + (1 | Subject)", sleepstudy)
    pd.testing.assert_frame_equal(plots.level_lines_data(offset), plots.level_lines_data(plain), rtol=1e-7)


def test_trace_data(fits):
    for fit, _, _ in fits.values():
        table, theta = plots.trace_data(fit), fit.theta
        assert len(table) == fit.optimizer.evaluations and table.shape[1] == 4 + theta.size
        last = table[table["accepted"]].iloc[-1]
        np.testing.assert_allclose(last.iloc[4:].astype(float), theta, atol=1e-7)
        np.testing.assert_allclose(last["deviance"], fit.deviance)
        assert table["excess"].min() == 0.0
    table = plots.trace_data(fits["slopes"][0])
    assert list(table.columns[4:]) == ["Subject: Intercept", "Subject: Days.Intercept", "Subject: Days"]


def test_influence_data(fit):
    table, distance = plots.influence_data(fit, most=5), fit.influence("Subject").cooks_distance
    assert len(table) == 5 and table["cooks_distance"].is_monotonic_increasing
    assert table["cooks_distance"].iloc[-1] == distance.max() and table.index[-1] == distance.idxmax()


def test_profile_data(fit):
    profile = fit.profile("Days")
    table = plots.profile_data(fit, profile)
    np.testing.assert_array_equal(table[["value", "zeta"]], profile.curves[["value", "zeta"]])
    pd.testing.assert_frame_equal(plots.profile_data(fit, which="Days"), table)
    ax = plots.profile(fit, profile, level=0.9)[0]
    marks = ax.collections[-1].get_segments()
    np.testing.assert_allclose([mark[0, 0] for mark in marks], profile.conf_int(0.1).loc["Days"])
    density = plots.profile_density_data(fit, profile)
    assert 0.98 < np.trapezoid(density["density"].astype(float), density["value"].astype(float)) < 1.0


def test_profile_contours_are_where_the_deviance_says():
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(30), 5)
    y = rng.standard_normal(30)[groups] + rng.standard_normal(150)
    fit = LinearMixedModel(y, np.ones((150, 1)), RandomTerm(groups)).fit(reml=False)
    table = plots.profile_pairs_data(fit, which="random", level=0.9)
    assert table["part"].unique().tolist() == ["trace of first", "trace of second", "contour"]

    def excess(first, second):
        """Return the deviance of a balanced one-way layout, β at its best, above the minimum."""
        between, within = second**2 + 5.0 * first**2, second**2
        means = y.reshape(30, 5).mean(axis=1)
        squares = 5.0 * ((means - means.mean()) ** 2).sum() / between + ((y - means[groups]) ** 2).sum() / within
        return 30 * np.log(between) + 120 * np.log(within) + squares + 150 * np.log(2 * np.pi) - fit.deviance

    contour = table[table["part"] == "contour"]
    radius = -2.0 * np.log(0.1)
    np.testing.assert_allclose(excess(contour["x"], contour["y"]), radius, rtol=0.03)
    for part, column in (("trace of first", "x"), ("trace of second", "y")):
        trace = table[table["part"] == part]
        curve = fit.profile("random").curves
        zeta = curve.loc[curve["term"] == ("sd__Intercept" if column == "x" else "sd__Observation"), "zeta"]
        np.testing.assert_allclose(excess(trace["x"], trace["y"]), zeta**2, atol=1e-5)


# The drawings


def arguments(kind, term, column):
    """Return what a kind of plot needs to know of the fits of these tests."""
    if kind in ("caterpillar", "qq"):
        return {"term": term, "column": column}
    if kind == "shrinkage":
        return {"term": term, "columns": column}
    named = {"residual_panel": "term", "residuals_by_group": "term", "influence": "group"}
    return {named[kind]: term} if kind in named else {}


@pytest.mark.parametrize(
    "name", ["slopes", "factor", "many levels", "crossed", "singular", "weighted", "no fixed effects"]
)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ELSEWHERE])
def test_every_plot_of_every_fit(fits, name, kind):
    fit, term, column = fits[name]
    if name == "no fixed effects" and kind in ("coefficients", "influence"):
        return
    given = arguments(kind, term, column)
    before = dict(rcParams)
    if kind in PANELS:
        axes = pyplot.subplots(2, 2, layout="constrained")[1]
        drawn = getattr(plots, kind)(fit, **given, axes=axes)
        assert list(drawn) == list(axes.ravel()[: len(drawn)])
        figure = axes[0, 0].figure
    else:
        ax = pyplot.subplots(layout="constrained")[1]
        assert getattr(fit.plot, kind)(**given, ax=ax) is ax
        assert ax.get_xlabel() and ax.get_ylabel()
        figure = ax.figure
    figure.draw_without_rendering()
    assert dict(rcParams) == before
    artists = sum(len(ax.get_children()) for ax in figure.axes)
    assert artists < 150, "levels and rows are drawn as collections"
    assert len(fit.plot.data(kind, **given)) > 0 or name == "singular"


@pytest.mark.parametrize("kind", ["profile", "profile_density"])
def test_profiles(fit, kind):
    profile = fit.profile()
    axes = getattr(fit.plot, kind)(profile)
    assert len(axes) == len(profile.labels) == 6
    assert axes[2].get_xlabel() == "Standard deviation of\nIntercept\nSubject"
    assert axes[5].get_xlabel() == "Residual standard deviation"
    axes[0].figure.draw_without_rendering()
    pairs = fit.plot.profile_pairs(profile)
    assert len(pairs) == 15 and pairs[1].get_ylabel().startswith("Standard deviation")
    assert [len(line.get_xdata()) for line in pairs[0].lines] == [200, 11, 11]
    singular = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff2"))
    axes = pyplot.subplots(1, 3)[1]
    assert list(singular.plot.profile_pairs(axes=axes)) == list(axes), "without a contour at the boundary"
    getattr(singular.plot, kind)(which="random")[0].figure.draw_without_rendering()


def test_profiles_without_a_point(sleepstudy):
    model = sparselmm.LinearMixedModel.from_formula("Reaction ~ Days + (Days | Subject)", sleepstudy)
    with pytest.warns(sparselmm.ConvergenceWarning):
        fit = model.fit(reml=False, start=[5.0, 0.0, 5.0], max_evaluations=1)
    with pytest.warns(sparselmm.ConvergenceWarning):
        profile = fit.profile()
    for kind in ("profile", "profile_density"):
        getattr(fit.plot, kind)(profile)[0].figure.draw_without_rendering()


def test_predictions(fit, cake):
    ax = fit.plot.predictions()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Days", "Reaction")
    assert [line.get_xdata().size for line in ax.lines] == [180, 100] and len(ax.collections) == 1
    assert len(fit.plot.predictions(data=False).lines) == 1
    ax = cake.plot.predictions("temp", "recipe")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["A", "B", "C"]
    assert sum(line.get_xdata().size for line in ax.lines[:3]) == 270, "the data in three colours"
    ax = cake.plot.predictions("recipe")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["A", "B", "C"]
    assert ax.get_xlabel() == "recipe\nat temp = 200"
    ax.figure.draw_without_rendering()


def test_level_lines(fit, sleepstudy):
    ax = fit.plot.level_lines()
    lines = ax.collections[0]
    assert len(lines.get_segments()) == 18 and (ax.get_xlabel(), ax.get_ylabel()) == ("Days", "Reaction")
    assert fit.plot.predictions(data=False, ax=ax) is ax
    data = sleepstudy.assign(Half=np.where(sleepstudy["Days"] < 5, "first", "second"), Place=sleepstudy.index // 60)
    halves = sparselmm.lmer("Reaction ~ Half + Place + (1 | Subject)", data)
    ax = halves.plot.level_lines(x="Half")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["first", "second"]
    ax = halves.plot.level_lines(x="Place")
    assert len(ax.lines[0].get_xdata()) == 18, "levels with one value are points"
    with pytest.raises(DataError, match="from arrays"):
        plots.level_lines(oracle(("scalar",))[0])


def test_labels_of_columns():
    ax = pyplot.subplots(figsize=(4, 3))[1]
    canvas.name_columns(ax, ["a", "b"])
    assert ax.get_xticklabels()[0].get_rotation() == 0
    canvas.name_columns(ax, [f"label{i}" for i in range(20)])
    assert ax.get_xticklabels()[0].get_rotation() == 90 and ax.get_xticklabels()[0].get_fontsize() < 10
    canvas.name_columns(ax, list(map(str, range(500))))
    assert len(ax.get_xticks()) < 20


def test_many_rows_are_counted_in_cells(many):
    ax = many.plot.residuals()
    cells = ax.collections[0]
    assert cells.get_array().size < 5000 and max(len(line.get_xdata()) for line in ax.lines) < 100


def test_gradients_are_drawn_where_they_are_recorded(fit):
    steps = [replace(step, gradient_norm=10.0**-i) for i, step in enumerate(fit.optimizer.steps)]
    recorded = type(fit)(fit.model, fit.likelihood, replace(fit.optimizer, steps=steps), fit.evaluation)
    np.testing.assert_allclose(plots.trace_data(recorded)["gradient"], [step.gradient_norm for step in steps])
    assert plots.trace(recorded)[0].get_ylabel() == "Deviance, gradient"


def test_levels_are_named_where_there_is_room(fit, many, sleepstudy):
    ax = plots.caterpillar(fit, column="Days")
    assert [label.get_text() for label in ax.get_yticklabels()] == list(
        plots.caterpillar_data(fit, column="Days").index
    )
    ax = plots.caterpillar(fit, column="Days", ax=pyplot.subplots(figsize=(4, 1.2))[1])
    assert ax.get_ylabel() == "Subject: 18 levels, sorted" and len(ax.get_yticks()) < 18
    ax = plots.caterpillar(many)
    assert "3,000 levels" in ax.get_ylabel() and len(ax.get_yticks()) < 20
    data = sleepstudy.assign(Subject="Participant number " + sleepstudy["Subject"].astype(str) + " of the second wave")
    ax = plots.caterpillar(sparselmm.lmer("Reaction ~ Days + (1 | Subject)", data))
    assert ax.get_yticklabels()[-1].get_text() == "… 337 …"


def test_every_column_of_a_term_has_a_caterpillar(fit):
    axes = fit.plot.caterpillar()
    assert [ax.get_xlabel() for ax in axes] == ["Intercept, 95 % interval", "Days, 95 % interval"]
    one = fit.plot.caterpillar(column="Days")
    np.testing.assert_array_equal(axes[1].lines[0].get_xdata(), one.lines[0].get_xdata())


def test_marginal_means_are_drawn():
    oats = sparselmm.lmer("yield ~ factor(nitro) * Variety + (1 | Block/Variety)", sparselmm.datasets.load("Oats"))
    means = oats.emmeans("nitro | Variety")
    axes = means.plot()
    assert [ax.get_title() for ax in axes] == [f"Variety = {name}" for name in means.frame["Variety"].unique()]
    assert len({ax.get_xlim() for ax in axes}) == 1
    first = means.frame[:4]
    np.testing.assert_allclose(axes[0].lines[0].get_xdata(), first["estimate"][::-1])
    segments = np.array(axes[0].collections[0].get_segments())[::-1]
    np.testing.assert_allclose(segments[:, :, 0], first[["conf.low", "conf.high"]])
    assert [text.get_text() for text in axes[0].get_yticklabels()][::-1] == ["0", "0.2", "0.4", "0.6"]
    contrasts = oats.emmeans("nitro").contrasts()
    ax = contrasts.plot(pyplot.subplots()[1])
    assert ax.get_xlabel() == "Contrast, 95 % interval" and ax.lines[1].get_xdata()[0] == 0.0
    assert [text.get_text() for text in ax.get_yticklabels()][::-1] == list(contrasts.frame["contrast"])


def test_every_term_has_a_caterpillar():
    fit = sparselmm.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", sparselmm.datasets.load("Penicillin"))
    plate, sample = fit.plot.caterpillar()
    assert (plate.get_ylabel(), sample.get_ylabel()) == ("plate", "sample")
    assert fit.plot.caterpillar("sample").get_ylabel() == "sample"
    formula = "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)"
    fit = sparselmm.lmer(formula, sparselmm.datasets.load("sleepstudy"))
    assert len(fit.plot.caterpillar()) == 2 and fit.plot.caterpillar(column="Days").get_ylabel() == "Subject.1"


def test_labels_stay_apart():
    assert canvas.shortened(["a", 7]) == ["a", "7"]
    assert canvas.shortened([f"the very same words {i} again and again" for i in "xy"]) == ["… x …", "… y …"]
    long = canvas.shortened(["x" * 50, "y"])
    assert len(long[0]) == canvas.LONGEST and long[0].endswith("…")
    assert canvas.shortened(["two words too many for one label"] * 2) == ["… label", "… label"]


def test_smooth():
    x = np.random.default_rng(0).standard_normal(300)
    grid, values = canvas.smooth(x, 2.0 - 3.0 * x)
    np.testing.assert_allclose(values, 2.0 - 3.0 * grid, atol=1e-9)
    two = np.repeat([0.0, 1.0], 50)
    np.testing.assert_allclose(canvas.smooth(two, two + 1.0, span=0.3), [[0.0, 1.0], [1.0, 2.0]])
    np.testing.assert_allclose(canvas.smooth(np.ones(9), np.arange(9.0)), [[1.0], [4.0]])
    rng = np.random.default_rng(1)
    x = np.sort(rng.random(50))
    for x0 in (0.0, 0.31, 0.9, 1.2):
        left = canvas._nearest(x, x0, 7)
        np.testing.assert_array_equal(np.sort(np.argsort(np.abs(x - x0))[:7]), np.arange(left, left + 7))


def test_the_users_style_is_respected(fit):
    assert canvas.color(0) == canvas.COLORS[0]
    with pyplot.style.context("dark_background"):
        ax = pyplot.subplots()[1]
        assert canvas.ink(ax) == (1.0, 1.0, 1.0) and canvas.ink(ax, 0.25) == (0.25, 0.25, 0.25)
        assert canvas.color(0) == rcParams["axes.prop_cycle"].by_key()["color"][0] != canvas.COLORS[0]
    assert rcParams["axes.prop_cycle"] == rcParamsDefault["axes.prop_cycle"]


def test_accessor(fit):
    assert {name for name in plots.__all__ if name.endswith("_data")} == {f"{kind}_data" for kind in KINDS}
    for kind in KINDS:
        draw, data = (inspect.signature(getattr(plots, name)).parameters for name in (kind, f"{kind}_data"))
        drawing = {"ax", "axes", "data"}
        assert list(data) == [name for name in draw if name not in drawing], kind
        assert ("axes" if kind in PANELS else "ax") in draw
        method = inspect.signature(getattr(fit.plot, kind)).parameters
        assert list(method) == list(draw)[1:] and getattr(fit.plot, kind).__doc__
    assert "caterpillar" in repr(fit.plot)
    pd.testing.assert_frame_equal(fit.plot.data("qq", "Subject", "Days"), plots.qq_data(fit, "Subject", "Days"))
    assert fit.plot().shape == (4,)
    with pytest.raises(ValueError, match=r"kind='cat' is not there.*'caterpillar'"):
        fit.plot.data("cat")


def test_terms_and_columns_are_chosen_by_name(fit):
    with pytest.raises(ValueError, match=r"choose one with column=.*'Intercept', 'Days'"):
        plots.caterpillar_data(fit)
    with pytest.raises(ValueError, match=r"term='g' is not there.*'Subject'"):
        plots.caterpillar(fit, "g")
    with pytest.raises(ValueError, match="holds 1 axes; this panel has 4"):
        plots.residual_panel(fit, axes=pyplot.gca())
    machines = sparselmm.lmer("score ~ Machine + (Machine | Worker)", sparselmm.datasets.load("Machines"))
    with pytest.raises(ValueError, match="one or two of the columns of 'Worker'"):
        plots.shrinkage(machines)
    matrix, _ = oracle(("matrix",))
    with pytest.raises(ValueError, match="No term of this model groups its rows"):
        plots.residuals_by_group(matrix)
    assert len(plots.residual_panel(matrix)) == 3 and plots.residual_panel_data(matrix)["group"].isna().all()


@pytest.mark.parametrize("kind", KINDS)
def test_without_matplotlib(fit, kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    given = arguments(kind, "Subject", "Days") | ({"which": "Days"} if kind.startswith("profile") else {})
    with pytest.raises(ImportError, match=r"sparselmm\[plot\]"):
        getattr(plots, kind)(fit, **given)
