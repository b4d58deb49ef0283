"""The distribution of the response at given parameters, to simulate from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .params import lower_root

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .base import GroupedModel
    from .params import MixedLMParams

    Random = int | Sequence[int] | np.random.Generator | np.random.RandomState | None  # a source of numbers, or a seed


class Distribution:
    """Distribution of the response of a model; see `MixedLM.get_distribution`."""

    def __init__(self, model: GroupedModel, params: MixedLMParams, scale: float, exog: ArrayLike | None) -> None:
        self.model, self.scale = model, scale
        self.exog = model.exog if exog is None else np.asarray(exog)
        self.fe_params, self.cov_re, self.vcomp = params.fe_params, scale * params.cov_re, scale * params.vcomp

    def rvs(self, n: int | None = None, rng: Random = None, random_state: Random = None) -> np.ndarray:
        """Return a simulated response, (n,).

        Parameters
        ----------
        n : int
            Ignored; there is one value for each row of the model.
        rng : int, array_like of int, Generator or RandomState, optional
            Source of random numbers, or its seed. `random_state` is its former name.
        """
        model, rng = self.model, generator(random_state if rng is None else rng)
        y = self.exog @ self.fe_params
        terms = list(model._terms)
        if model.k_re:
            root = lower_root(self.cov_re)
            if root is None:
                raise ValueError("The covariance of the random effects is not positive semidefinite. Correct it.")
            effects = rng.normal(size=(model.n_groups, model.k_re)) @ root.T
            y = y + terms.pop(0).Z @ effects.ravel()
        for term, variance in zip(terms, self.vcomp, strict=True):
            y = y + np.sqrt(variance) * (term.Z @ rng.normal(size=term.n_effects))
        return y + np.sqrt(self.scale) * rng.normal(size=y.size)


def generator(rng: Random) -> np.random.Generator | np.random.RandomState:
    """Return a source of random numbers, itself or from a seed."""
    return rng if isinstance(rng, (np.random.Generator, np.random.RandomState)) else np.random.default_rng(rng)
