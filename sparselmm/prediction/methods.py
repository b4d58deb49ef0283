"""Methods of `LinearMixedModelResults`: predictions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..habits import explains
from ..labels import frozen, labelled

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike

    from ..results import LinearMixedModelResults


def is_read_in_chunks(new: Any) -> bool:
    """Return whether new data are a source (see `lmer`), not a frame in memory."""
    from ..streaming.sources import is_source

    return is_source(new)


class PredictionMethods:
    """Predictions."""

    @explains(
        allow_new_levels="new_levels='zero'",
        re_form="random=False, True or the names of terms",
        newdata="new=",
        exog="new=",
        alpha="level=",
        type="interval='mean' or 'prediction'",
    )
    def predict(
        self: LinearMixedModelResults,
        new: Any = None,
        random: bool | str | Sequence[str] = True,
        new_levels: str = "raise",
        offset: ArrayLike | None = None,
        *,
        se: bool = False,
        interval: str | None = None,
        level: float = 0.95,
        weights: float | str | ArrayLike | None = None,
        ddf: str | None = None,
        sink: str | Path | None = None,
        columns: str | Sequence[str] | None = None,
        progress: bool = False,
    ) -> Any:
        """Predict the response, with standard errors and intervals if asked for.

        Parameters
        ----------
        new : data frame or dict of arrays, optional
            The columns that the formula uses, without the response. Default: the data of the fit. The model must
            come from a formula. With `sink` also a source that is read in chunks (see `lmer`).
        random : bool, str or list of str
            Whether random effects are included, or the names of the terms whose are.
        new_levels : {"raise", "zero"}
            What to do with a level that the fit has not seen: an error, or random effects of zero, whose variance is
            that of the population of levels.
        offset : array_like, shape (n_new,), optional
            Needed if the fit had an array of offsets.
        se : bool
            Whether to add standard errors.
        interval : {None, "mean", "prediction"}
            ``"mean"``: interval for x'β + z'b with the random effects b that are included; with ``random=False`` for
            the population mean x'β. ``"prediction"``: interval for a new observation, which adds the residual variance
            and, of terms that are not included, the variance of a level drawn afresh.
        level : float
            Of the intervals.
        weights : float, str or array_like, shape (n_new,), optional
            Weights of the new observations, whose residual variance is σ²/weight, for ``interval="prediction"``.
            Default: those of the fit, or one if it had none.
        ddf : {"satterthwaite", "z", "kenward-roger", "residual"}, optional
            Degrees of freedom of intervals. Default: Satterthwaite's with ``random=False``; the normal distribution
            (``"z"``) where random effects are included, as Satterthwaite's cost two more passes over the rows for
            every variance parameter. The last two are for population means.
        sink : str or Path, optional
            Parquet file to which predictions are written, chunk after chunk, in the order of the rows. It appears when
            all are written, under this name.
        columns : sequence of str, optional
            Columns of `new` that are written before the predictions. Default: those of the grouping factors that are
            included.
        progress : bool
            With `sink`: whether to show a bar of the rows; needs tqdm.

        Returns
        -------
        Series, shape (n_new,)
            With the index of the new data; NaN where a value that is needed is missing.
        DataFrame
            With `se` or `interval`: columns estimate and std.error, and with `interval` df (infinite for the normal
            distribution), conf.low and conf.high. The std.error of ``interval="prediction"`` is the standard
            deviation of the new observation around its prediction.
        Path
            With `sink`: the file, whose last columns are estimate and, with `se` or `interval`, those of the DataFrame.

        Raises
        ------
        DataError
            If a column is missing or a level is new.

        Notes
        -----
        The variance is that of x'β̂ + z'b̂ - x'β - z'b over repetitions of y and b, the estimation of β included; the
        variance parameters are taken as known, but for the degrees of freedom. For n rows it costs the solves for the
        levels that occur, and a few operations for each row.

        References
        ----------
        Henderson (1975), Best linear unbiased estimation and prediction under a selection model, Biometrics 31.

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("sleepstudy")
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
        >>> fit.predict({"Days": [0, 10], "Subject": ["308", "308"]}).round(1)
        0    253.7
        1    450.3
        dtype: float64
        >>> fit.predict({"Days": [0, 10]}, random=False, interval="mean").round(0)
           estimate  std.error    df  conf.low  conf.high
        0     251.0        7.0  17.0     237.0      266.0
        1     356.0       16.0  17.0     322.0      390.0
        """
        options: dict[str, Any] = {"se": se, "interval": interval, "level": level, "weights": weights, "ddf": ddf}
        from .intervals import predict

        if sink is not None or (new is not None and is_read_in_chunks(new)):
            from .sink import predict_to

            return predict_to(self, new, random, new_levels, offset, options, sink, columns, progress)
        if columns is not None:
            raise ValueError("columns are those written to a file: give sink='out.parquet', too.")
        return predict(self, new, random, new_levels, offset, **options)

    @labelled
    def coefficients_se(self: LinearMixedModelResults) -> dict[str, pd.DataFrame]:
        """Standard errors of `coefficients`, levels in rows, for each term: of β̂ + b̂ - β - b, θ taken as known."""
        from .variance import coefficient_variances

        return {
            name: frozen(pd.DataFrame, np.sqrt(coefficient_variances(self, k)), table.index, columns=table.columns)
            for k, (name, table) in enumerate(self.coefficients.items())
        }

    @cached_property
    def _spanning_columns(self: LinearMixedModelResults) -> list[str]:
        """Names of the columns of the formula that are no functions of their own row."""
        from .rowwise import spanning_columns

        design = self.model.design
        return [] if design is None or design.is_rowwise else spanning_columns(design)
