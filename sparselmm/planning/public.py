"""`sparselmm.power`: the signature; what does the work is imported when it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..habits import explains
from ..results import LinearMixedModelResults
from ..threads import single_threaded

if TYPE_CHECKING:
    from .result import Power


@explains(nsim="n_sim=", n="n_sim=", seed="rng=", along="sizes={'subject': [20, 40]}", ddf="test=", beta="params=")
@single_threaded
def power(
    model: LinearMixedModelResults | str,
    term: str | Sequence[str] | None = None,
    data: object = None,
    *,
    params: Mapping[str, float] | None = None,
    sd: Mapping[str, float | Mapping[str, float]] | None = None,
    corr: Mapping[str, object] | None = None,
    sigma: float | None = None,
    sizes: Mapping[str, int | Sequence[int]] | None = None,
    test: str = "satterthwaite",
    alpha: float = 0.05,
    n_sim: int = 1000,
    contrasts: Mapping[str, object] | None = None,
    rng: int | np.random.Generator | None = None,
    progress: bool = False,
) -> Power:
    """Return the power of tests of the fixed effects: how often simulated studies find them.

    Responses are drawn from assumed parameters, the model is fitted to each, and the share of tests with a p-value
    below `alpha` is the power.

    Parameters
    ----------
    model : LinearMixedModelResults or str
        A fit to pilot data, whose estimates are assumed; or an lme4 formula.
    term : str or list of str, optional
        What is tested: fixed effects by name (t tests), terms as in `anova` (F tests, Type III), or hypotheses as in
        `t_test`, such as ``"a - b"``. Default: every fixed effect but the intercept.
    data : data frame or dict of arrays, optional
        The design (see `simulate_design`); a response in it does not matter. Default: the data of the fit.
    params : dict of str to float, optional
        Coefficients by name, as in `exog_names`, instead of those of the fit; without a fit, those that are not named
        are zero.
    sd : dict, optional
        Standard deviations of the random effects, by term and column: ``{"subject": {"Intercept": 40.0, "x": 10.0},
        "item": 20.0}``.
    corr : dict, optional
        Correlations of the random effects by term: a number for all pairs of its columns, or a matrix. Default: those
        of the fit, or zero.
    sigma : float, optional
        Standard deviation of the residuals.
    sizes : dict of str to int or list of int, optional
        Numbers of levels of grouping factors, ``{"subject": [20, 40, 80]}``, instead of those in the data: the first
        levels are kept, or levels are copied with their rows, categories that differ between levels in the proportions
        of the data. Several lists make all combinations.
    test : {"satterthwaite", "kenward-roger", "z", "lrt"}
        t and F tests with these degrees of freedom or the normal distribution; or likelihood ratio tests of
        maximum-likelihood fits.
    alpha : float
        Level of the tests.
    n_sim : int
        Simulated responses for every size.
    contrasts : dict, optional
        As in `lmer`, for a formula.
    rng : int or numpy.random.Generator, optional
    progress : bool
        Whether to report progress (tqdm if installed, else lines on stderr).

    Returns
    -------
    Power
        Prints itself; with `frame`, `to_frame()`, `replicates` and `plot()`.

    Raises
    ------
    DataError
        If the parameters do not fit the model, or the data the formula.
    ValueError
        If a tested effect is unknown.

    References
    ----------
    Green & MacLeod (2016), SIMR: an R package for power analysis of generalized linear mixed models by simulation,
    Methods Ecol. Evol. 7. Gelman & Carlin (2014), Beyond power calculations: assessing Type S (sign) and Type M
    (magnitude) errors, Perspect. Psychol. Sci. 9.

    Examples
    --------
    >>> import sparselmm
    >>> design = sparselmm.simulate_design({"subject": 20, "item": 8}, within={"x": [-0.5, 0.5]}, latin_square=True)
    >>> study = sparselmm.power(
    ...     "y ~ x + (1 | subject) + (1 | item)",
    ...     data=design,
    ...     params={"x": 0.5},
    ...     sd={"subject": 1.0, "item": 0.5},
    ...     sigma=1.0,
    ...     n_sim=200,
    ...     rng=1,
    ... )
    >>> bool(study["power"].iloc[0] > 0.7)
    True
    """
    from .power import simulated_power

    truth = {"params": params, "sd": sd, "corr": corr, "sigma": sigma}
    return simulated_power(model, term, data, truth, sizes or {}, contrasts, test, alpha, n_sim, rng, progress)
