"""Profile likelihood of a variance, and the parametric bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..caller import listening
from .distribution import generator
from .params import MixedLMParams

if TYPE_CHECKING:
    from .distribution import Random
    from .results import MixedLMResults


def profile_re(
    fit: MixedLMResults,
    re_ix: Any,
    vtype: str,
    low: tuple[int, float],
    high: tuple[int, float],
    fit_kwargs: Mapping[str, Any],
) -> np.ndarray:
    """Return values of a variance and profile log-likelihoods, (k, 2); see `MixedLMResults.profile_re`."""
    if vtype not in ("re", "vc"):
        raise ValueError(f"vtype must be 're' or 'vc', not {vtype!r}.")
    k_re, params, order = fit.k_re, fit.params_object.copy(), np.arange(fit.k_re)
    free = MixedLMParams.from_components(np.ones(fit.k_fe), np.ones((k_re, k_re)), vcomp=np.ones(fit.k_vc))
    if fit.freepat is not None:
        for name in ("fe_params", "cov_re", "vcomp"):
            if np.size(getattr(fit.freepat, name)):
                setattr(free, name, np.array(getattr(fit.freepat, name), dtype=float))
    if vtype == "re":  # the first row of a Cholesky factor is the variance itself
        order[[0, re_ix]] = order[[re_ix, 0]]
        params.cov_re, free.cov_re = (matrix[np.ix_(order, order)] for matrix in (params.cov_re, free.cov_re))
        free.cov_re[0, 0], best = 0.0, params.cov_re[0, 0]
    else:
        component = fit.model.data.vcomp_names.index(re_ix)
        free.vcomp[component], best = 0.0, params.vcomp[component]
    lowest, highest = best - low[1] / fit.scale, best + high[1] / fit.scale
    if lowest <= 0:
        raise ValueError("dist_low is too large and would result in a negative variance. Try a smaller value.")
    values = np.concatenate([np.linspace(lowest, best, low[0] + 1), np.linspace(best, highest, high[0] + 1)[1:]])
    model, profile = fit.model._reordered(order), []
    for value in values:
        start = params.copy()
        if vtype == "re":
            start.cov_re[0] *= np.sqrt(value / best)
            start.cov_re[:, 0] *= np.sqrt(value / best)
        else:
            start.vcomp[component] = value
        held = model.fit(start, fit.reml, fe_pen=fit.fe_pen, cov_pen=fit.cov_pen, free=free, **fit_kwargs)
        profile.append([value * held.scale, held.llf])
    return np.array(profile)


def bootstrap(fit: MixedLMResults, nrep: int, method: str | Sequence[str] | None, rng: Random) -> np.ndarray:
    """Return `params` of fits to responses simulated from a fit, (nrep, k)."""
    model, rng, replicates = fit.model, generator(rng), []
    distribution = model.get_distribution(np.asarray(fit.params), fit.scale, None)
    arguments: dict[str, Any] = {"fe_pen": fit.fe_pen, "cov_pen": fit.cov_pen, "free": fit.freepat, "method": method}
    start = None if fit.freepat is None else fit.params_object
    sample = model
    for _ in range(nrep):
        sample = sample._with_response(distribution.rvs(rng=rng))
        with listening():  # replicates on the boundary are part of the distribution
            replicates.append(np.asarray(sample.fit(start, fit.reml, **arguments).params))
    return np.array(replicates)
