"""The trust-region step, the boundary and the fit record."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import DenseModel, random_design

from sparselmm import DataWarning, LinearMixedModel, RandomTerm, lmer
from sparselmm.descent import trust_region_step
from sparselmm.start import moment_start


def model_decrease(g, H, s):
    return -(g @ s + 0.5 * s @ H @ s)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.integers(1, 5), st.floats(0.01, 10), st.sampled_from(["any", "convex", "hard", "flat"]), st.integers(0, 10**6)
)
def test_trust_region_step_is_the_global_minimum(m, radius, kind, seed):
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.standard_normal((m, m)))
    eigenvalues = rng.standard_normal(m)
    if kind == "convex":
        eigenvalues = np.abs(eigenvalues) + 0.1
    if kind == "flat":
        eigenvalues[0] = 0.0
    g = rng.standard_normal(m)
    if kind == "hard":  # no gradient along the direction of most negative curvature
        eigenvalues[0] = -3.0
        g = g - Q[:, 0] * (Q[:, 0] @ g)
    H = Q @ np.diag(eigenvalues) @ Q.T
    s = trust_region_step(g, H, radius)
    assert np.linalg.norm(s) <= radius * (1 + 1e-5)
    best = model_decrease(g, H, s)
    others = rng.standard_normal((2000, m))
    others *= (radius * rng.random(2000) ** (1 / m) / np.linalg.norm(others, axis=1))[:, None]
    on_sphere = others * (radius / np.linalg.norm(others, axis=1))[:, None]
    for candidates in (others, on_sphere):
        values = -(candidates @ g + 0.5 * np.einsum("ij,jk,ik->i", candidates, H, candidates))
        assert best >= values.max() - 1e-5 * (1 + abs(best))


def test_record_tells_the_run():
    rng = np.random.default_rng(0)
    y, X, terms = random_design(rng, n=200, kinds=("slope", "scalar"))
    fit = LinearMixedModel(y, X, terms).fit()
    record = fit.optimizer
    assert record.evaluations == len(record.steps)
    assert record.steps[0].accepted
    accepted = [step.deviance for step in record.steps if step.accepted]
    assert accepted[-1] == record.deviance == min(accepted)
    np.testing.assert_array_equal(record.steps[0].theta, record.start)
    assert record.predicted_decrease < 1e-10 and record.smallest_eigenvalue > 0
    assert record.seconds > 0
    text = str(record)
    assert f"{record.evaluations} in" in text and "g0" in record.engine and record.message in text


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_optimum_is_a_minimum_of_the_dense_likelihood(seed, reml):
    rng = np.random.default_rng(seed)
    y, X, terms = random_design(rng, n=80, kinds=("slope", "scalar"))
    fit = LinearMixedModel(y, X, terms).fit(reml)
    assert fit.deviance == pytest.approx(DenseModel(y, X, terms, fit.theta, reml).deviance, abs=1e-8)
    for scale in (1e-3, 1e-2, 0.1, 0.5):
        for _ in range(10):
            theta = fit.theta + scale * rng.standard_normal(fit.theta.size)
            assert DenseModel(y, X, terms, theta, reml).deviance >= fit.deviance - 1e-8


@pytest.mark.parametrize("start", [0.0, 1e-6, 1e-3, 1.0, 30.0, -1.0])
def test_start_does_not_matter(start):
    """Zero is stationary whatever the data say: only the sign of A_k leads away from it."""
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 20, 300)
    y = rng.standard_normal(300) + rng.standard_normal(20)[groups]
    model = LinearMixedModel(y, np.ones((300, 1)), [RandomTerm(groups)])
    assert model.fit(start=[start]).deviance == pytest.approx(model.fit().deviance, abs=1e-8)


def test_stationary_point_of_theta_that_is_no_minimum_is_left():
    """λ = [[0, 0], [0, d]] is stationary in the lower triangle even where a correlated intercept would help."""
    rng = np.random.default_rng(4)
    groups, x = np.repeat(np.arange(60), 8), np.tile(np.linspace(0.0, 1.0, 8), 60)
    slopes = rng.standard_normal(60)
    y = rng.standard_normal(480) * 0.5 + (1.0 + x) * slopes[groups]
    Z = np.column_stack([np.ones(480), x])
    model = LinearMixedModel(y, Z, [RandomTerm(groups, Z)])
    best = model.fit()
    for start in ([0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]):
        assert model.fit(start=start).deviance == pytest.approx(best.deviance, abs=1e-7)


def test_few_evaluations_on_the_classics():
    """The evaluation counts are part of the design: a change that costs more of them should be seen."""
    import sparselmm

    budgets = {
        "Dyestuff": ("Yield ~ 1 + (1 | Batch)", 5),
        "Dyestuff2": ("Yield ~ 1 + (1 | Batch)", 8),
        "Penicillin": ("diameter ~ 1 + (1 | plate) + (1 | sample)", 7),
        "Pastes": ("strength ~ 1 + (1 | batch/cask)", 7),
        "sleepstudy": ("Reaction ~ Days + (Days | Subject)", 6),
        "InstEval": ("y ~ service + (1 | s) + (1 | d) + (1 | dept)", 6),
    }
    for name, (formula, most) in budgets.items():
        fit = lmer(formula, sparselmm.datasets.load(name), reml=False)
        assert fit.optimizer.evaluations <= most, name


@pytest.mark.parametrize("reml", [True, False])
def test_random_columns_without_their_fixed_effects(reml):
    """The mean of the slopes is a random effect too: the average information is far from the Hessian."""
    import sparselmm

    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(15), 100)
    x = rng.normal(size=1500)
    y = 50 + rng.normal(0, 2, 15)[g] + (20 + rng.normal(0, 0.5, 15))[g] * x + 5 * rng.normal(size=1500)
    fit = lmer("y ~ 1 + (x | g)", {"y": y, "x": x, "g": g}, reml)
    assert fit.converged and fit.optimizer.evaluations < 50
    if reml:  # lme4 1.1-31: REMLcrit(lmer(y ~ 1 + (x | g)))
        assert fit.deviance == pytest.approx(9247.324435, abs=1e-5)
    for name, formula in (("Oxboys", "height ~ 1 + (age | Subject)"), ("Orthodont", "distance ~ 1 + (age | Subject)")):
        fit = lmer(formula, sparselmm.datasets.load(name), reml)
        assert fit.converged and fit.optimizer.evaluations < 30


def test_one_variance_that_is_not_identified_is_said():
    rng = np.random.default_rng(1)
    y, one = rng.standard_normal(60), np.ones((60, 1))
    for block, reason in ((np.eye(60), "residual variance"), (one, "the fixed effects const determine")):
        with pytest.warns(DataWarning, match=f"Term 'block': .*{reason}"):
            fit = LinearMixedModel(y, one, [RandomTerm.from_matrix(block, "block")]).fit()
        assert fit.optimizer.flat_terms == ["block"]


def test_residual_variance_that_goes_to_zero_is_said():
    import sparselmm

    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(12), 5)
    model = LinearMixedModel(rng.standard_normal(12)[groups], np.ones((60, 1)), [RandomTerm(groups)])
    with pytest.warns(sparselmm.ConvergenceWarning, match="residual variance goes to zero"):
        model.fit()


def test_moment_start_is_near_the_variances():
    rng = np.random.default_rng(8)
    n = 20_000
    g, h, x = rng.integers(0, 300, n), rng.integers(0, 200, n), rng.standard_normal(n)
    y = 0.5 * rng.standard_normal(300)[g] + 1.2 * rng.standard_normal(200)[h] * x + rng.standard_normal(n)
    from sparselmm.crossproducts import CrossProducts

    cross = CrossProducts.from_arrays(y, np.ones((n, 1)), [RandomTerm(g), RandomTerm(h, x)])
    np.testing.assert_allclose(moment_start(cross), [0.5, 1.2], rtol=0.15)


def test_terms_that_cannot_be_told_apart_are_named():
    """Two terms of one factor with an intercept each: only the sum of their variances is identified."""
    import sparselmm

    data = sparselmm.datasets.load("sleepstudy").rename(columns={"Subject": "s"})
    with pytest.warns(sparselmm.DataWarning, match=r"variance of Intercept in s and variance of Intercept in s\.1"):
        fit = lmer("Reaction ~ Days + (1 | s) + (1 + Days | s)", data)
    assert fit.converged
    assert "model.aliased" in fit.optimizer.message
    assert str(fit.model.aliased[0]) in " ".join(str(fit.summary()).split())
    single = lmer("Reaction ~ Days + (1 + Days | s)", data)
    assert fit.deviance == pytest.approx(single.deviance, abs=1e-7)
    assert "apart" not in single.optimizer.message


def test_arrays_without_names_get_unique_ones():
    rng = np.random.default_rng(0)
    y, X, _ = random_design(rng, kinds=("scalar",))
    groups = [RandomTerm(rng.integers(0, 5, y.size)) for _ in range(3)]
    assert list(LinearMixedModel(y, X, groups).groups) == ["group", "group.1", "group.2"]


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kinds", [("matrix",), ("scalar", "matrix"), ("matrix", "diagonal")])
def test_user_supplied_blocks_fit(kinds, reml):
    """Multiple membership, splines, relationship factors: any sparse block of Z."""
    rng = np.random.default_rng(11)
    y, X, terms = random_design(rng, n=120, kinds=kinds)
    fit = LinearMixedModel(y, X, terms).fit(reml)
    dense = DenseModel(y, X, terms, fit.theta, reml)
    assert fit.converged
    assert fit.deviance == pytest.approx(dense.deviance, abs=1e-8)
    np.testing.assert_allclose(fit.params, dense.beta, atol=1e-8)
    np.testing.assert_allclose(fit.fittedvalues, X @ dense.beta + dense.Z @ dense.b, atol=1e-7)
    matrix = next(term for term in fit.model.terms if term.matrix is not None)
    assert fit.random_effects[matrix.name].shape == (5, 1)
    assert (fit.random_effects_sd[matrix.name] >= 0).all(axis=None)


def test_a_variance_in_the_span_of_the_fixed_effects_is_flat():
    rng = np.random.default_rng(4)
    unit = rng.integers(0, 50, 570)
    diet = (unit * 7 % 13) % 4  # unbalanced: units belong to one of four diets
    x = rng.standard_normal(570)
    y = x * (1 + diet) + rng.standard_normal(50)[unit] + rng.standard_normal(570)
    data = {"y": y, "x": x, "diet": diet, "unit": unit}
    with pytest.warns(DataWarning, match=r"'diet': the fixed effects factor\(diet\).* determine .* level of diet"):
        fit = lmer("y ~ x * factor(diet) + (1 | diet) + (1 | unit)", data)
    assert fit.optimizer.flat_terms == ["diet"]
    assert "say nothing about a variance of diet, which tests take as known" in " ".join(str(fit.summary()).split())
    with pytest.warns(DataWarning, match=r"'unit' and 'unit.1' are one term that is in the model twice"):
        twice = lmer("y ~ x + (1 | unit) + (1 | unit)", data)
    assert "void" not in str(twice.summary())
    assert twice.optimizer.flat_terms == ["unit", "unit.1"]


@pytest.mark.filterwarnings("ignore::sparselmm.DataWarning")
@pytest.mark.parametrize("seed", range(20))
def test_start_of_columns_that_fixed_effects_make_up(seed, capfd):
    """The moments of such a column are rounding, of either sign; its variance starts small."""
    rng = np.random.default_rng(seed)
    cells = np.eye(3)[rng.integers(0, 2, 24)]
    cells[5] = [0.0, 0.0, 1.0]
    values = cells * [1.0, 1e6, 1e6]
    term = RandomTerm(np.maximum(np.arange(24) - 14, 0), values, structure="diagonal")
    model = LinearMixedModel(1e6 * rng.standard_normal(24), values, [term], weights=np.exp(2.0 * rng.normal(size=24)))
    start = moment_start(model.cross)
    assert np.isfinite(start).all() and start[2] * 1e6 < 10.0 and capfd.readouterr() == ("", "")
