"""The examples of docstrings: they run, and what is used most has one."""

import doctest
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

import sparselmm

ROOT = Path(sparselmm.__file__).parent
FILES = [path.relative_to(ROOT.parent) for path in sorted(ROOT.rglob("*.py")) if ">>> " in path.read_text()]
NAMES = """
lmer compare compare_engines update load_model datasets.load
RandomTerm CrossProducts LinearMixedModel LinearMixedModel.fit MixedLM MixedLM.from_formula MixedLM.fit
"""
METHODS = """
allfit anova augment bootstrap check conf_int drop1 emmeans exact_test glance icc influence power predict profile r2
ranova re_pca refit refit_many residuals robust simulate t_test tidy
"""


@pytest.mark.parametrize("file", FILES, ids=str)
def test_examples_run(file, tmp_path, monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    module = import_module(".".join(file.with_suffix("").parts).removesuffix(".__init__"))
    outcome = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    pyplot.close("all")
    assert outcome.attempted and not outcome.failed


@pytest.mark.parametrize("name", NAMES.split() + [f"LinearMixedModelResults.{name}" for name in METHODS.split()])
def test_what_is_used_most_has_an_example(name):
    assert ">>> " in attrgetter(name)(sparselmm).__doc__
