"""The hostile half of the reliability campaign, a short run of every module."""

import importlib

import pytest

COUNTS = {"formulas": 100, "files": 40, "streams": 20, "interrupts": 10, "processes": 4}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks in a process with threads
@pytest.mark.parametrize("name", COUNTS)
def test_nothing_hostile_gets_through(name):
    outcome = importlib.import_module(f"campaign.{name}").run(COUNTS[name], seed=20)
    assert outcome.tried == COUNTS[name] and not outcome.failures, outcome.failures[:3]


def test_files_that_run_code_are_found(monkeypatch):
    """The campaign sees the code that a file ran before names with backticks were refused."""
    from campaign import _changed_files, files, formulas

    from sparselmm import columns, formula, formula_text, roles

    def quoted(name):
        return name if name.isidentifier() else f"`{name}`"

    for module in (formula_text, formula, columns, roles):
        monkeypatch.setattr(module, "quoted", quoted)
    monkeypatch.setattr(files, "CHANGES", [_changed_files.formulas])
    monkeypatch.setattr(files, "KINDS", {"model": files.KINDS["model"]})
    monkeypatch.setattr(_changed_files, "EVIL_NAMES", _changed_files.EVIL_NAMES[:1])
    outcome = files.run(25, seed=1)
    files.CANARY.unlink(missing_ok=True)
    assert any("code of the file was run" in failure["came"] for failure in outcome.failures)
    with pytest.raises(AssertionError, match="takes more than"), formulas.limited("x"):
        while True:
            pass
