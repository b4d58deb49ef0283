"""The package as a whole: layers, lazy imports, versions."""

import ast
import subprocess
import sys
from pathlib import Path

import sparselmm

ROOT = Path(sparselmm.__file__).parent
LAYERS = [  # imports point from a later line to earlier ones only
    {"errors"},
    {"threads", "caller", "labels", "habits", "criteria", "progress", "record", "files", "export", "seeds"},
    {"fitted", "printout"},
    {"covariance", "terms"},
    {"boundary", "levelsums", "rank", "storage", "checks"},
    {"merging"},
    {"crossproducts"},
    {"engines"},
    {"traces"},
    {"start", "likelihood", "descent", "aliasing", "submodels"},
    {"optimize"},
    {"montecarlo"},
    {"polish"},
    {"formula_text", "data"},
    {"coding"},
    {"formula"},
    {"columns"},
    {"roles"},
    {"frame"},
    {"variants", "fixed_terms"},
    {"inference"},
    {"tables", "comparison", "profile", "resampling", "marginal_means", "prediction", "diagnostics"},
    {"plots", "maketables", "datasets", "versions"},
    {"checkup"},
    {"summary"},
    {"table_methods"},
    {"results"},
    {"model"},
    {"public", "streaming", "planning"},
    {"mixedlm"},
    {"engine_comparison"},
]


def imports(path):
    """Return the modules of the package that a file imports at its top."""
    module = path.relative_to(ROOT).with_suffix("").parts
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = module[: len(module) - node.level]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {(*base, *name.split("."))[0] for name in names}
    return found


def test_imports_point_one_way():
    depth = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    for path in ROOT.rglob("*.py"):
        module = path.relative_to(ROOT).with_suffix("").parts[0]
        if module == "__init__":
            continue
        for other in imports(path):
            if other != module:
                assert depth[other] < depth[module], f"{path.name} imports {other}"


def test_only_one_module_imports_scikit_sparse():
    users = {path.name for path in ROOT.rglob("*.py") if "sksparse" in path.read_text()}
    assert users == {"cholmod.py"}


def test_only_one_module_imports_the_parser_of_formulaic():
    texts = {path.name: path.read_text().replace("formulaic.parser.types", "") for path in ROOT.rglob("*.py")}
    assert {name for name, text in texts.items() if "formulaic.parser" in text} == {"formula_text.py"}


def test_numba_and_matplotlib_are_imported_when_needed():
    code = """
import sys, numpy as np, sparselmm
lazy = {"numba", "matplotlib", "sksparse", "polars", "formulaic", "narwhals"}
lazy |= {"scipy.special", "scipy.stats", "scipy.optimize", "sparselmm.plots"}
assert not lazy & set(sys.modules), "at import"
assert sparselmm.plots.caterpillar
data = sparselmm.datasets.load("sleepstudy")
sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data).summary()
sparselmm.lmer("strength ~ 1 + (1 | batch/cask)", sparselmm.datasets.load("Pastes"))
assert "numba" not in sys.modules, "by a small model"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_show_versions(capsys):
    sparselmm.show_versions()
    text = capsys.readouterr().out
    assert "scikit-sparse" in text and "CHOLMOD's BLAS" in text and "openblas" in text


def test_show_versions_gives_the_remedy(monkeypatch, capsys):
    from sparselmm import versions

    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [])
    sparselmm.show_versions()
    assert "apt-get install libopenblas0-pthread" in capsys.readouterr().out
    monkeypatch.setattr(versions.cholmod, "is_missing", lambda: True)
    sparselmm.show_versions()
    assert "apt-get install libsuitesparse-dev" in capsys.readouterr().out


def test_public_names_are_documented():
    for name in sparselmm.__all__:
        assert getattr(sparselmm, name).__doc__, name


def test_blas_threads_are_given_back():
    from threadpoolctl import threadpool_info

    from sparselmm.threads import one_blas_thread

    def counts():
        return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    before = counts()
    with one_blas_thread():
        assert set(counts().values()) == {1}
    assert counts() == before
    first, second = one_blas_thread(), one_blas_thread()  # of two threads, which do not end in order
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(counts().values()) == {1}
    second.__exit__(None, None, None)
    assert counts() == before


def test_warnings_point_at_the_users_line():
    import numpy as np
    import pytest

    rng = np.random.default_rng(0)
    data = {"y": rng.standard_normal(40), "x": np.ones(40), "g": np.arange(40) % 5}
    with pytest.warns(sparselmm.DataWarning) as dropped:
        sparselmm.lmer("y ~ x + (1 | g)", data)
    assert dropped[0].filename == __file__
    X = np.ones((40, 2))
    with pytest.warns(sparselmm.DataWarning) as dropped:
        sparselmm.LinearMixedModel(data["y"], X, [sparselmm.RandomTerm(data["g"])])
    assert dropped[0].filename == __file__
