"""Agreement of optimisers: with each other, with lme4's allFit, and what is said where they do not agree."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import sparselmm
from sparselmm import LinearMixedModel
from sparselmm.checkup.searches import Counted, OutOfBudgetError, starts
from sparselmm.datasets import load
from sparselmm.results import LinearMixedModelResults

REFERENCE = json.loads((Path(__file__).parent / "reference" / "checkup.json").read_text())
FORMULAS = {
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "Machines": "score ~ Machine + (Machine | Worker)",
    "Dyestuff2": "Yield ~ 1 + (1 | Batch)",
    "Penicillin": "diameter ~ 1 + (1 | plate) + (1 | sample)",
}


@cache
def fit_of(name):
    return sparselmm.lmer(FORMULAS[name], load(name))


@cache
def found_of(name):
    return fit_of(name).allfit()


@pytest.mark.parametrize("name", FORMULAS)
def test_searches_agree(name):
    found = found_of(name)
    frame = found.to_frame()
    assert found.agree and found.verdict.startswith(f"All {len(frame)} searches end within 0.001")
    assert (frame["deviance_difference"] >= 0.0).all() and frame["deviance_difference"].max() < 1e-5
    assert frame["fe_difference"].max() < 1e-4 and frame["sd_difference"].max() < 1e-2
    newton = frame[frame["optimizer"] == "newton"]
    assert newton["start"].tolist()[:6] == ["moments", "one", "small", "large", "random 1", "random 2"]
    assert newton["sd_difference"].max() < 1e-4
    assert set(frame["optimizer"]) == {"newton", "lbfgsb", "nelder-mead", "powell"}
    assert "dense" in set(frame["engine"])


def test_engines_where_there_are_some():
    assert set(found_of("Penicillin").frame["engine"]) == {"cholmod", "dense", "polish"}
    assert set(found_of("sleepstudy").frame["engine"]) == {"cholmod", "dense"}


@pytest.mark.parametrize("name", ["sleepstudy", "Machines"])
def test_best_of_lme4(name, agree):
    theirs = np.array(REFERENCE["allfit"][name]["deviance"])
    ours = [fit_of(name).deviance - found_of(name).fit_difference]
    reference = f"lme4 {REFERENCE['versions']['lme4']} allFit"
    agree("deviance, best of all optimisers", name, reference, ours, [theirs.min()], atol=1e-6)


def test_differences_by_hand():
    fit, found = fit_of("sleepstudy"), fit_of("sleepstudy").allfit("nelder-mead", max_evaluations=12)
    (row,) = found.frame.itertuples()
    assert row.note == "stopped at its limit" and row.evaluations == 12
    # the same search by hand: its best point is where the deviance is lowest among its first evaluations
    function = Counted(fit._same_likelihood(), 12, 60.0)
    from scipy.optimize import minimize

    start = starts(fit, 0, 0)["moments"] / function.scale
    with pytest.raises(OutOfBudgetError):
        minimize(
            function.value,
            start,
            method="Nelder-Mead",
            bounds=[(0, np.inf), (None, None), (0, np.inf)],
            options={"adaptive": True},
        )
    at = function.best
    beta = fit.model.cross.to_params(at.beta)
    factor = fit.model.cross.relative_factor.unpack(at.theta)[0]
    sd = np.append(np.sqrt(np.diag(factor @ factor.T)), 1.0) * np.sqrt(at.scale)
    assert row.deviance_difference == pytest.approx(at.deviance - fit.deviance, abs=1e-9)
    assert row.fe_difference == pytest.approx(np.abs((beta - fit.beta) / fit.bse).max(), abs=1e-9)
    assert row.sd_difference == pytest.approx(np.abs(sd / fit.vcomp["sd"].to_numpy() - 1.0).max(), rel=1e-6)
    assert not (found.frame["deviance_difference"] < found.tolerance).any()
    assert found.agree and found.verdict.startswith("1 of 1 search stopped early")


def test_a_fit_that_is_not_the_best_says_so():
    fit = fit_of("sleepstudy")
    elsewhere = fit.likelihood.evaluate(1.5 * fit.theta)
    record = replace(fit.optimizer, theta=elsewhere.theta, deviance=elsewhere.deviance)
    worse = LinearMixedModelResults(fit.model, fit._same_likelihood(), record, elsewhere)
    found = worse.allfit("newton", random_starts=0)
    assert not found.agree and found.fit_difference == pytest.approx(elsewhere.deviance - fit.deviance, abs=1e-8)
    assert found.verdict.startswith("A lower deviance was found, by ")
    assert fit.model.fit(start=found.theta).deviance == pytest.approx(fit.deviance, abs=1e-8)


def test_searches_that_end_elsewhere_are_counted():
    found = found_of("sleepstudy")
    frame = found.frame.copy()
    frame.loc[3, "deviance_difference"] = 0.5
    elsewhere = replace(found, frame=frame)
    assert not elsewhere.agree and elsewhere.verdict.startswith("1 of 10 searches end above the deviance of the fit")


def test_random_starts_are_those_of_rng():
    fit = fit_of("sleepstudy")
    first, again, other = (starts(fit, 3, seed) for seed in (0, 0, 1))
    assert list(first) == ["moments", "one", "small", "large", "random 1", "random 2", "random 3"]
    np.testing.assert_array_equal(first["random 3"], again["random 3"])
    assert not np.array_equal(first["random 3"], other["random 3"])
    with pytest.raises(ValueError, match="'bobyqa'; it can hold newton, lbfgsb"):
        fit.allfit("bobyqa")
    with pytest.raises(TypeError, match="Use max_evaluations="):
        fit.allfit(maxfun=10)


def test_time_limit():
    found = fit_of("sleepstudy").allfit(("lbfgsb", "powell"), seconds=0.0)
    assert found.frame.empty and found.agree and found.verdict.startswith("No search")


def test_stochastic_and_streamed_fits():
    data = load("Penicillin")
    stochastic = LinearMixedModel.from_formula(FORMULAS["Penicillin"], data).fit(engine="pcg")
    found = stochastic.allfit(("newton", "lbfgsb", "engines"), random_starts=1)
    assert found.agree, found
    assert set(found.frame["engine"]) == {"pcg", "dense", "cholmod"}
    streamed = sparselmm.lmer(FORMULAS["Penicillin"], iter([data.iloc[:70], data.iloc[70:]]))
    found = streamed.allfit(("newton", "engines"), random_starts=0)
    assert found.agree and "dense" not in set(found.frame["engine"])


def test_maximum_likelihood_is_searched_where_the_fit_is():
    fit = sparselmm.lmer(FORMULAS["sleepstudy"], load("sleepstudy"), reml=False)
    assert fit.allfit(("lbfgsb", "engines")).agree


def test_views():
    found = found_of("sleepstudy")
    text = str(found)
    assert text.splitlines()[0].startswith("Agreement of optimisers") and max(map(len, text.splitlines())) <= 100
    assert "nelder-mead" in found._repr_html_() and "note" not in text
    assert found.as_markdown().count("\n|") == len(found.frame) + 2
    assert "stopped at its limit" in str(fit_of("sleepstudy").allfit("powell", max_evaluations=5))
    table = found.to_frame()
    table["deviance_difference"] = 1.0
    assert found.agree
