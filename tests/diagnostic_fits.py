"""Fits for the tests of diagnostics: of the reference models at R's θ, and of random designs with their dense twin."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from oracles import DenseModel, dense_Z, random_design

import sparselmm
from sparselmm import LinearMixedModel
from sparselmm.results import LinearMixedModelResults

FILE = json.loads((Path(__file__).parent / "reference" / "diagnostics.json").read_text())
MODELS = {record["id"]: record for record in FILE["models"]}
VERSIONS = FILE["versions"]
DESIGNS = [("scalar",), ("slope",), ("scalar", "slope"), ("matrix", "three"), ("diagonal", "scalar", "plain")]


def formula_of(record):
    """Return the formula in formulaic's syntax."""
    return record["formula"].replace("^", "**")


@cache
def reference_model(name):
    """Return the model of a reference record."""
    record = MODELS[name]
    data = sparselmm.datasets.load(record["dataset"])
    weights = 1.0 + ((np.arange(len(data)) + 1) % 3) / 2.0 if record["weighted"] else None
    return LinearMixedModel.from_formula(formula_of(record), data, weights=weights)


def at_theta(model, theta, reml=True):
    """Return results of a model at a given θ."""
    fit = model.fit(reml=reml, start=theta)
    evaluation = fit.likelihood.evaluate(np.asarray(theta, dtype=float))
    record = replace(fit.optimizer, theta=np.asarray(theta, dtype=float))
    return LinearMixedModelResults(model, fit.likelihood, record, evaluation)


@cache
def reference_fit(name):
    """Return the results of a reference record at R's θ."""
    return at_theta(reference_model(name), theta_of(name), MODELS[name]["reml"])


def theta_of(name):
    """Return R's θ in the order of our terms (lme4 sorts them by their number of levels)."""
    model, theta = reference_model(name), np.atleast_1d(MODELS[name]["theta"])
    sizes = [shape.entries[0].size for shape in model.cross.shapes]
    order = sorted(range(len(sizes)), key=lambda k: -model.terms[k].n_levels)
    parts, start = [None] * len(sizes), 0
    for k in order:
        parts[k] = theta[start : start + sizes[k]]
        start += sizes[k]
    return np.concatenate(parts)


def random_fit(seed, kinds, weighted=True, reml=True, n=60, singular=False, p=2):
    """Return the results of a random design and its dense twin."""
    rng = np.random.default_rng(seed)
    y, X, terms = random_design(rng, n, kinds, p)
    weights = rng.uniform(0.5, 2.0, n) if weighted else None
    model = LinearMixedModel(y, X, terms, weights=weights)
    theta = model.fit(reml=reml).theta
    if singular:
        factors = model.cross.relative_factor.unpack(theta)
        factors[0] = np.where(np.arange(len(factors[0])) == len(factors[0]) - 1, 0.0, factors[0])
        theta = model.cross.relative_factor.pack(factors)
    return at_theta(model, theta, reml), DenseModel(y, X, terms, theta, reml, weights)


def dense_V(dense, weights):
    """Return V over σ² of a dense model, (n, n)."""
    W = np.ones(dense.y.size) if weights is None else weights
    return np.diag(1.0 / W) + dense_Z(dense.terms) @ dense.Lambda @ dense.Lambda.T @ dense_Z(dense.terms).T
