"""The stochastic engine's optimum against the exact one's, on twenty-one designs."""

import numpy as np
import pytest
from pcg_designs import DESIGNS

MOST_ITERATIONS = 40


@pytest.mark.parametrize("name", DESIGNS)
def test_the_optimum_is_within_two_percent_of_a_standard_error(name, agree):
    number = list(DESIGNS).index(name)
    model = DESIGNS[name](np.random.default_rng(number))
    reml = number % 2 == 0
    exact, fit = model.fit(reml, engine="cholmod"), model.fit(reml, engine="pcg", rng=1)
    assert fit.converged and fit.optimizer.monte_carlo.relative < 0.02
    assert fit.optimizer.monte_carlo.iterations < MOST_ITERATIONS
    hessian = exact.likelihood.derivatives(exact.evaluation).hessian
    free = np.diag(hessian) > 0
    se = np.sqrt(2.0 * np.diag(np.linalg.pinv(hessian[np.ix_(free, free)])))
    agree("θ by probes, in SEs", name, "exact engine", fit.theta[free] / se, exact.theta[free] / se, atol=0.02)
    agree("fixed effects, in SEs", name, "exact engine", fit.params / exact.bse, exact.params / exact.bse, atol=0.02)
    error = fit.likelihood.engine.logdet_error()  # that of log|M| alone: θ costs nothing at the optimum
    again = fit.likelihood.evaluate(exact.evaluation.theta).deviance
    assert abs(again - exact.deviance) <= 4.0 * error + 1e-6
