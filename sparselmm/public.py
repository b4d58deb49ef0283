"""lmer: a formula and data to a fit, in one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .caller import caller_variables
from .habits import explains
from .model import LinearMixedModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from .results import LinearMixedModelResults
    from .start import Start


@explains(
    REML="reml=",
    method="reml=True (REML) or reml=False (maximum likelihood)",
    subset="data[rows]",
    control="LinearMixedModel.from_formula(...).fit(tolerance=..., max_evaluations=...)",
    na_action="missing='drop' or 'raise'",
    family="a package for generalised models: the errors here are Gaussian",
    cov_type="robust() of the fit",
    cov_kwds="robust(groups=...) of the fit",
    groups="a bar in the formula, (1 | g), or MixedLM for statsmodels' interface",
    re_formula="a bar in the formula, (x | g), or MixedLM for statsmodels' interface",
)
def lmer(
    formula: str,
    data: Any,
    reml: bool = True,
    *,
    weights: str | ArrayLike | None = None,
    offset: str | ArrayLike | None = None,
    missing: str = "drop",
    start: Start | None = None,
    contrasts: Mapping[str, Any] | None = None,
    engine: str = "auto",
    memory_limit: float | str | None = None,
    progress: bool = False,
    rng: int | np.random.Generator = 0,
    context: Mapping[str, Any] | None = None,
) -> LinearMixedModelResults:
    """Fit a linear mixed model given as an lme4 formula.

    Parameters
    ----------
    formula : str
        Such as ``"y ~ x + (1 + x | subject) + (1 | item)"``.
    data : DataFrame or source
        pandas, polars, Arrow, or a dictionary of columns. A source is read in chunks and need not fit the memory:
        paths of Parquet or CSV files, a DuckDB relation, an Arrow dataset or reader, a polars LazyFrame, a Dask or
        Spark DataFrame, or an iterator of data frames.
    reml : bool
        Restricted maximum likelihood (default) or maximum likelihood.
    weights, offset : str or array_like, optional
        Column name or values, one for each row of the data; the residual variance is σ²/weight.
    missing : {"drop", "raise"}
        What to do with rows that have missing values in a used column.
    contrasts : dict, optional
        Column name to ``"treatment"``, ``"sum"``, ``"helmert"``, ``"poly"``, a code for each category in their order,
        ``[-0.5, 0.5]``, a dictionary of such lists by name, or contrasts of formulaic.
    start, engine, memory_limit, rng
        See `LinearMixedModel.fit`.
    progress : bool
        Whether to show rows read and steps taken; needs tqdm.
    context : mapping, optional
        Names that the formula may use besides the columns; default: the caller's variables.

    Returns
    -------
    LinearMixedModelResults

    Raises
    ------
    FormulaError, DataError, EngineError

    Examples
    --------
    >>> import sparselmm
    >>> data = sparselmm.datasets.load("sleepstudy")
    >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
    >>> float(round(fit.params["Days"], 3))
    10.467
    """
    model = LinearMixedModel.from_formula(
        formula,
        data,
        weights=weights,
        offset=offset,
        missing=missing,
        contrasts=contrasts,
        context=caller_variables() if context is None else context,
        progress=progress,
    )
    return model.fit(reml=reml, start=start, engine=engine, memory_limit=memory_limit, progress=progress, rng=rng)
