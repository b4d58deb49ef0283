"""Grouped designs for the tests of MixedLM, and statsmodels' class without its warnings."""

import warnings
from contextlib import contextmanager

import numpy as np
import pandas as pd


def grouped_frame(seed=0, n=160, groups=12, levels=4, scale=1.0):
    """Return y, x, z, group g and factor s with effects of the group, its slope in x, and of s within the group."""
    rng = np.random.default_rng(seed)
    g, s = rng.integers(0, groups, n), rng.integers(0, levels, n)
    g[:groups] = np.arange(groups)
    x, z = rng.normal(size=(2, n))
    b, slope = rng.normal(size=groups), 0.7 * rng.normal(size=groups)
    y = 1 + x + b[g] + slope[g] * x + 0.9 * rng.normal(size=(groups, levels))[g, s] + rng.normal(size=n)
    return pd.DataFrame({"y": scale * y, "x": x, "z": z, "g": g, "s": np.array(list("abcdefgh"))[s]})


def crossed_frame(seed=0, rows=12, columns=9):
    """Return y, a and b fully crossed, one constant group."""
    rng = np.random.default_rng(seed)
    a, b = np.repeat(np.arange(rows), columns), np.tile(np.arange(columns), rows)
    y = 3 + 1.2 * rng.normal(size=rows)[a] + 0.8 * rng.normal(size=columns)[b] + rng.normal(size=a.size)
    return pd.DataFrame({"y": y, "a": a, "b": b, "one": 1})


@contextmanager
def quiet():
    """Run the block without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def classical(formula, data, **arguments):
    """Return statsmodels' model of a formula."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    with quiet():
        return MixedLM.from_formula(formula, data, **arguments)


def classical_params(model, packed):
    """Return statsmodels' parameters of a packed vector (fixed effects, covariance, components)."""
    from statsmodels.regression.mixed_linear_model import MixedLMParams

    return MixedLMParams.from_packed(np.asarray(packed), model.k_fe, model.k_re, False, True)


def prepared(model, reml):
    """Return a model of statsmodels that can be evaluated before it is fitted."""
    model.reml, model.cov_pen, model.fe_pen, model._freepat, model._cov_sing = reml, None, None, None, 0
    return model
