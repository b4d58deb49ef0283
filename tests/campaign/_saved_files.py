"""The files that the package writes, each with what loads it and what is done with what was loaded."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

import sparselmm
from sparselmm import MixedLM
from sparselmm.crossproducts import CrossProducts
from sparselmm.engines.choose import choose_engine
from sparselmm.likelihood import ProfiledLikelihood
from sparselmm.mixedlm import MixedLMResults
from sparselmm.mixedlm.storage import RemovedModel


@cache
def rows() -> pd.DataFrame:
    """Return rows for all kinds of files."""
    rng = np.random.default_rng(3)
    n = 120
    data = pd.DataFrame({"x": rng.normal(size=n), "g": np.arange(n) % 12, "h": rng.permutation(n) % 5})
    data["f"], data["w"], data["my column"] = rng.choice(list("abc"), n), rng.uniform(1, 2, n), rng.normal(size=n)
    effects = rng.normal(size=(2, 12))[:, data["g"]]
    data["y"] = data["x"] + effects[0] + effects[1] * data["x"] + rng.normal(size=5)[data["h"]] + rng.normal(size=n)
    return data.assign(h=data["h"].map("level {}".format))


@cache
def saved_cross() -> bytes:
    """Return a file of cross-products."""
    file = io.BytesIO()
    sparselmm.LinearMixedModel.from_formula("y ~ x + (x | g) + (1 | h)", rows()).cross.save(file)
    return file.getvalue()


@cache
def saved_model() -> bytes:
    """Return a file of a model of a stream."""
    formula = "y ~ np.abs(x) + f + offset(x) + `my column` + (x || g) + (1 | h)"
    fit = sparselmm.lmer(formula, iter([rows()[:70], rows()[70:]]), weights="w", contrasts={"f": "sum"})
    return _written(fit.model.save)


@cache
def saved_fit() -> bytes:
    """Return a file of a fit of MixedLM."""
    fit = MixedLM.from_formula("y ~ x", rows(), groups="g", re_formula="~x", vc_formula={"h": "0 + C(h)"}).fit()
    return _written(fit.save)


@cache
def saved_results() -> bytes:
    """Return a file of a fit of MixedLM without its data."""
    fit = MixedLM.from_formula("y ~ x", rows(), groups="h").fit()
    return _written(lambda path: fit.save(path, remove_data=True))


def _written(save: Callable) -> bytes:
    """Return what is saved to a path."""
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "saved")
        return (Path(folder) / "saved").read_bytes()


def use_cross(cross: CrossProducts) -> None:
    """Evaluate a likelihood of cross-products, and add them up."""
    doubled = cross + cross
    likelihood = ProfiledLikelihood(doubled.settle()[1], True, choose_engine(doubled))
    map_ = likelihood.map
    likelihood.evaluate(map_.pack([0.5 * np.eye(shape.n_columns) for shape in map_.shapes]))


def use_model(model: sparselmm.LinearMixedModel) -> None:
    """Fit a model, show and predict."""
    fit = model.fit()
    str(fit.summary())
    fit.predict(rows()[:7])


def use_fit(fit: MixedLMResults) -> None:
    """Show a fit and its effects."""
    str(fit.summary())
    fit.conf_int()
    if not isinstance(fit.model, RemovedModel):
        fit.random_effects  # noqa: B018


KINDS = {
    "cross-products": (saved_cross, CrossProducts.load, use_cross),
    "model": (saved_model, sparselmm.load_model, use_model),
    "fit": (saved_fit, MixedLMResults.load, use_fit),
    "fit without data": (saved_results, MixedLMResults.load, use_fit),
}
