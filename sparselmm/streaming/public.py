"""Public functions: fits of further rows, models from files. What they need is imported when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from ..results import LinearMixedModelResults
    from .model import StreamedModel


def update(
    fit: LinearMixedModelResults,
    new_rows: Any,
    *,
    progress: bool = False,
    chunk_rows: int | None = None,
    **options: Any,
) -> LinearMixedModelResults:
    """Fit the rows of a fit and further ones together, from the former optimum.

    The former rows are not needed: the cross-products of the new ones are added to theirs. Grouping factors may have
    new levels; the fixed effects keep the categories that they had.

    Parameters
    ----------
    fit : LinearMixedModelResults
        Of a formula, on data in memory or read in chunks.
    new_rows : data frame or source
        With the columns that the formula uses, weights and offset included; see `lmer`.
    progress : bool
        Whether to show rows read and steps taken; needs tqdm.
    chunk_rows : int, optional
        Rows of a source that are held in memory at a time, about.
    **options
        Of `LinearMixedModel.fit`. Default: those of the fit, from its θ.

    Returns
    -------
    LinearMixedModelResults
        Of a model without rows (see `lmer` on sources).

    Raises
    ------
    ValueError
        If a formula is given instead of rows.
    DataError
        If the model has no formula, was given weights or an offset as arrays, or has functions of whole columns; or if
        a fixed effect has a category that the fit has not seen.

    Examples
    --------
    >>> import sparselmm
    >>> data = sparselmm.datasets.load("sleepstudy")
    >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data[:100])
    >>> more = fit.update(data[100:])
    >>> more.nobs
    180
    """
    from .known import plan_and_sums
    from .model import read
    from .sources import CHUNK_ROWS, Frames, is_source, open_source

    if new_rows is None or (isinstance(new_rows, str) and "~" in new_rows):
        raise ValueError(
            "update(new_rows) adds rows. For another formula, call lmer() with it; for another criterion, "
            "fit.model.fit(reml=False)."
        )
    plan, sums = plan_and_sums(fit.model)
    source = open_source(new_rows) if is_source(new_rows) else Frames([new_rows])
    model = plan.model(sums + read(plan, source, progress, chunk_rows or CHUNK_ROWS))
    given: dict[str, Any] = {"reml": fit.reml, "start": fit.theta, "engine": fit._engine, "progress": progress}
    return model.fit(**given | options)


def load_model(path: str | Path, context: Mapping[str, Any] | None = None) -> StreamedModel:
    """Return the model that `StreamedModel.save` wrote.

    Parameters
    ----------
    path : str or Path
    context : mapping, optional
        Functions of your own that the formula calls.

    Returns
    -------
    StreamedModel

    Raises
    ------
    DataError
        If that is not what the file holds, or its formula calls anything but arithmetic, functions of formulas and of
        NumPy, and those of the context.

    Examples
    --------
    >>> import sparselmm
    >>> data = sparselmm.datasets.load("sleepstudy")
    >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data[:100]).update(data[100:])
    >>> fit.model.save("sleepstudy.npz")
    >>> again = sparselmm.load_model("sleepstudy.npz").fit()
    >>> again.fe_params.round(3)
    Intercept    251.405
    Days          10.467
    dtype: float64
    """
    from .storage import load

    return load(path, dict(context or {}))
