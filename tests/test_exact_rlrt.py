"""The simulated test of one variance against RLRsim (tests/reference/comparison.R) and against simulated data."""

import numpy as np
import pytest
from test_anova import REFERENCE, load

import sparselmm
from sparselmm.comparison.exact import simulate, spectrum

EXACT = {record["id"]: record for record in REFERENCE["exact"]}
RLRSIM = f"RLRsim {REFERENCE['versions']['RLRsim']}, simulated"
TESTED = {"Pastes, two terms": "batch", "Machines, two terms": "Worker"}


@pytest.mark.parametrize("name", EXACT)
def test_exact_test_is_rlrsims(agree, name):
    record = EXACT[name]
    fit = sparselmm.lmer(record["formula"], load(record), reml=record["reml"])
    test = fit.exact_test(TESTED.get(name), n_simulations=50_000, rng=2)
    agree("exact test: statistic", name, RLRSIM, [test.statistic], [record["statistic"]], atol=1e-4)
    error = 4 * np.sqrt(record["p"] * (1 - record["p"]) * 3e-5) + 1e-4
    agree("exact test: p", name, RLRSIM, [test.pvalue], [record["p"]], atol=error)
    agree(
        "exact test: quantiles",
        name,
        RLRSIM,
        test.quantile(record["levels"]),
        record["quantiles"],
        rtol=0.04,
        atol=0.02,
    )
    agree("exact test: P(0)", name, RLRSIM, [(test.sample < 1e-8).mean()], [record["zero"]], atol=0.012)


@pytest.mark.parametrize("reml", [True, False])
def test_null_distribution_is_that_of_refitted_models(reml):
    """Quantiles of the simulated distribution against likelihood ratios of models fitted to simulated responses."""
    rng = np.random.default_rng(7)
    groups, x = np.repeat(np.arange(8), [2, 3, 4, 5, 2, 3, 4, 5]), rng.standard_normal(28)
    ratios, fit = [], None
    for _ in range(200):
        fit = sparselmm.lmer("y ~ x + (1 | g)", {"y": rng.standard_normal(28), "x": x, "g": groups}, reml=reml)
        ratios.append(fit.ranova()["chisq"].iloc[1])
    test = fit.exact_test(n_simulations=50_000, rng=1)
    for probability in (0.8, 0.9, 0.95):
        above = np.mean(np.array(ratios) > test.quantile(probability))
        assert abs(above - (1 - probability)) < 3.5 * np.sqrt(probability * (1 - probability) / 200)


def test_spectrum_is_that_of_the_dense_matrices(agree):
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 12, 90)
    data = {"y": rng.standard_normal(90), "x": rng.standard_normal(90), "g": groups, "h": rng.integers(0, 5, 90)}
    weights = rng.uniform(0.5, 2.0, 90)
    for w in (None, weights):
        model = sparselmm.lmer("y ~ x + (1 + x || g) + (1 | h)", data, weights=w).model
        root = np.sqrt(np.ones(90) if w is None else w)[:, None]
        for k, j in ((0, 0), (0, 1), (1, 0)):
            Z = model.terms[k].Z.toarray().reshape(90, -1, model.terms[k].n_columns)[:, :, j] * root
            X = model.exog * root
            residual = Z - X @ np.linalg.lstsq(X, Z, rcond=None)[0]
            mu, xi = spectrum(model.cross, k, j)
            for ours, matrix in ((mu, residual.T @ residual), (xi, Z.T @ Z)):
                dense = np.linalg.eigvalsh(matrix)
                dense = dense[dense > 1e-10 * dense[-1]]
                agree(
                    "eigenvalues of the exact test", "simulated", "dense computation", np.sort(ours), dense, rtol=1e-8
                )


def test_simulated_maxima_are_those_of_a_fine_search():
    from scipy.optimize import minimize_scalar

    mu = np.array([0.2, 1.0, 1.0, 1.0, 7.0])
    ours = simulate(mu, mu, 12, 12, 50, rng=4)
    rng = np.random.default_rng(4)
    values, counts = np.unique(mu, return_counts=True)
    squares, rest = rng.chisquare(counts, (50, 3)), rng.chisquare(12 - 5, 50)
    for sample, w, other in zip(ours, squares, rest, strict=True):

        def curve(t, w=w, other=other):
            shrunk = 1 + np.exp(t) * values
            return counts @ np.log(shrunk) - 12 * np.log((w.sum() + other) / ((w / shrunk).sum() + other))

        best = min(minimize_scalar(curve, bounds=(a, a + 3), method="bounded").fun for a in range(-9, 12, 3))
        assert sample == pytest.approx(max(0.0, -best), abs=2e-3)


@pytest.mark.parametrize("reml", [True, False])
def test_a_factor_in_the_span_of_the_fixed_effects_has_no_variance(reml):
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(6), 5)
    data = {"y": rng.standard_normal(30), "g": groups, "level": groups.astype(str)}
    with pytest.warns(sparselmm.DataWarning, match="determine the effect Intercept of every level of g"):
        fit = sparselmm.lmer("y ~ level + (1 | g)", data, reml=reml)
    assert spectrum(fit.model.cross, 0)[0].size == 0
    assert fit.exact_test(n_simulations=100).pvalue == 1.0


def test_same_seed_same_sample():
    fit = sparselmm.lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff"))
    one, two = (fit.exact_test(n_simulations=100, rng=3) for _ in range(2))
    np.testing.assert_array_equal(one.sample, two.sample)
    assert str(one).startswith("RLRT of (1 | Batch): ") and "(100 simulations)" in str(one)


def test_the_variance_must_be_named():
    data = sparselmm.datasets.load("sleepstudy")
    double = sparselmm.lmer("Reaction ~ Days + (Days || Subject)", data)
    with pytest.raises(ValueError, match="give column=, one of Intercept, Days"):
        double.exact_test()
    with pytest.raises(ValueError, match="column='x' is none"):
        double.exact_test(column="x")
    with pytest.raises(ValueError, match="term='x' is none"):
        double.exact_test("x")
    assert "Greven" in str(double.exact_test(column="Days", n_simulations=50, rng=0))
    with pytest.raises(ValueError, match="2 correlated columns"):
        sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data).exact_test()
    two = sparselmm.lmer("strength ~ 1 + (1 | batch/cask)", sparselmm.datasets.load("Pastes"))
    with pytest.raises(ValueError, match="give term=, one of batch, batch:cask"):
        two.exact_test()
