"""A fit as the package marginaleffects takes it: coefficients, covariance, data and design of new data."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import read_table
from ..errors import DataError
from ..frame import total
from .grid import ReferenceGrid

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import ArrayLike

    from ..columns import Columns, Expression
    from ..results import LinearMixedModelResults

MISSING = "to_marginaleffects() needs the package marginaleffects, 0.6 or later: pip install marginaleffects."


def adapter(fit: LinearMixedModelResults) -> Any:
    """Return the fit as a model of marginaleffects; an offset is one more column, whose coefficient 1 is certain."""
    grid, model = ReferenceGrid(fit), fit.model
    try:
        import polars as pl
        from marginaleffects.classes import ModelAbstract, ModelVault
    except ImportError as error:
        raise ImportError(MISSING) from error

    fixed = int(model.offset is not None)
    covariance = np.pad(fit.cov_params().to_numpy(), (0, fixed))

    class Adapter(ModelAbstract):  # type: ignore[misc]  # a class of a package that is not checked
        """Predictions of the fixed effects of a mixed model."""

        df_resid = np.inf  # its tests are normal

        def get_exog(self, newdata: Any) -> np.ndarray:
            """Return the fixed columns of new data, (n, p), and the offset."""
            return _design(grid, newdata)

        def get_predict(self, params: ArrayLike, newdata: np.ndarray) -> pl.DataFrame:
            """Return the predictions of the rows of a design."""
            estimate = newdata @ np.asarray(params)
            return pl.DataFrame({"rowid": np.arange(estimate.size, dtype=np.int32), "estimate": estimate})

        def get_vcov(self, vcov: bool = True) -> np.ndarray | None:
            """Return the covariance of the coefficients."""
            if not isinstance(vcov, bool):
                raise ValueError("vcov is True, False or a matrix such as fit.inference('kenward-roger').covariance.")
            return covariance if vcov else None

        def get_autodiff_args(self) -> dict[str, Any]:
            """Say that predictions are linear: differences of differences would lose the errors of slopes."""
            return {"model_type": "linear", "family": None, "link": None}

    columns = {name: _column(pl, values) for name, values in grid.design.table.columns.items()}
    columns.setdefault(model.endog_name, model.endog)
    vault = ModelVault(
        coef=np.append(fit.beta, np.ones(fixed)),
        coefnames=np.array([*model.exog_names, *["offset"] * fixed]),
        formula=lambda data: (None, _design(grid, data)),  # its own reader does not know bars
        modeldata=pl.DataFrame(columns),
        package="sparselmm",
        variable_names=[model.endog_name, *grid.axes],
    )
    wrapped = Adapter(fit, vault)
    for name, axis in grid.axes.items():
        if axis.categorical and wrapped.get_variable_type(name) != "boolean":
            wrapped.set_variable_type(name, "character")
    return wrapped


def _design(grid: ReferenceGrid, data: Any) -> np.ndarray:
    """Return the fixed columns that the model kept, (n, p), and its offset if it has one."""
    spec, model = grid.design.spec, grid.model
    used: list[Columns | Expression] = [spec.fixed, *spec.offsets]
    table = read_table(data, sorted({name for part in used for name in part.variables}))
    X, offset = spec.fixed.build(table)[:, model.kept], total(spec.offsets, table)
    design = X if offset is None else np.column_stack([X, offset])
    if np.isnan(design).any():
        raise DataError("The new data have missing values in the predictors. Drop those rows.")
    return design


def _column(pl: ModuleType, values: Any) -> Any:
    """Return a column of the data as polars has it, labels as an Enum in the order of the levels."""
    if getattr(values, "categories", None) is None and values.dtype != object:
        return values
    levels = values.categories if hasattr(values, "categories") else np.unique(values)
    return pl.Series([str(value) for value in values], dtype=pl.Enum([str(level) for level in levels]))
