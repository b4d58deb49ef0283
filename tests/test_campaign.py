"""The reliability campaign for a few seconds, and its page."""

import json
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from campaign import __main__ as runner
from campaign import designs, invariance, memory, shapes, values
from campaign._specs import SPECS
from campaign.outcome import Outcome, attempt
from hypothesis import HealthCheck, given, settings

ROOT = Path(__file__).parents[1]
FOUND = tomllib.loads((ROOT / "tests/campaign/found.toml").read_text()).get("found", [])


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(SPECS)
def test_designs_agree_with_the_dense_computation(spec):
    designs.check(spec)


@pytest.mark.parametrize(("module", "count"), [(designs, 10), (invariance, 9), (shapes, shapes.SHORT), (values, 46)])
@pytest.mark.filterwarnings("ignore")  # those that count are errors inside
def test_short_campaign(module, count):
    outcome = module.run(count, 1)
    assert not outcome.failures, outcome.failures[0]
    assert outcome.tried >= count and outcome.seconds > 0.0 and sum(outcome.counts.values()) == outcome.tried


@pytest.mark.parametrize("name", ["model.fit(engine='cholmod')", "refit, cholmod", "lmer", "predict"])
def test_memory_does_not_grow(name, tmp_path):
    found = memory.operations(np.random.default_rng(1), tmp_path)
    resident, traced = memory.growth(next(operation for key, operation in found if key == name), 10)
    assert resident < memory.RESIDENT and traced < memory.TRACED


def test_memory_that_grows_is_seen():
    kept = []
    assert memory.growth(lambda: kept.append(bytearray(30_000)), 10)[1] > memory.TRACED


def test_a_trial_that_fails_can_be_repeated():
    def trial(rng, number):
        if rng.random() > 0.5:
            raise ValueError(f"number {number}")
        return "low"

    outcome = attempt("chance", 20, 3, trial)
    assert outcome.counts["low"] + len(outcome.failures) == outcome.tried == 20
    failure = outcome.failures[0]
    again = attempt("chance", 1, 3, trial, first=failure["number"])
    assert again.failures == [failure]
    assert np.random.default_rng([3, failure["number"]]).random() >= 0.5


def test_outcomes_add_up():
    one, two = Outcome("a", 2, [{"seed": 1}], "note", 1.0, {"x": 2}), Outcome("a", 3, [], "", 0.5, {"x": 1, "y": 2})
    total = one + two
    assert (total.tried, total.failures, total.note, total.seconds) == (5, [{"seed": 1}], "note", 1.5)
    assert total.counts == {"x": 3, "y": 2}


def test_parts_do_not_depend_on_the_workers():
    assert runner.parts("designs", True, 1, 1_100) == [
        ("designs", 500, 1),
        ("designs", 500, 1 + runner.STRIDE),
        ("designs", 100, 1 + 2 * runner.STRIDE),
    ]
    assert runner.parts("memory", True, 1) == [("memory", memory.LONG, 1)]
    assert {"designs", "invariance", "memory", "shapes", "values"} <= set(runner.modules())


def test_results_of_modules_that_do_not_run_are_kept(tmp_path):
    path = tmp_path / "campaign.json"
    runner.write(path, 1, True, {"one": Outcome("one", 4)})
    runner.write(path, 2, False, {"two": Outcome("two", 5)})
    report = json.loads(path.read_text())
    assert (report["one"]["tried"], report["one"]["long"]) == (4, True)
    assert (report["two"]["tried"], report["two"]["seed"]) == (5, 2)


@pytest.mark.parametrize("entry", FOUND, ids=lambda entry: entry["test"].split("::")[-1])
def test_what_was_found_has_its_regression_test(entry):
    assert set(entry) == {"what", "module", "remedy", "test"}
    file, function = entry["test"].split("[")[0].split("::")
    assert re.search(rf"^def {function}\(", (ROOT / file).read_text(), re.MULTILINE), entry["test"]
    assert entry["module"] in runner.modules()


def test_the_page_is_that_of_the_report():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from reliability import page
    finally:
        sys.path.pop(0)
    report = json.loads((ROOT / "docs/campaign.json").read_text())
    assert page(report, FOUND) == (ROOT / "docs/reliability.md").read_text()
