"""Many responses on one design: checked, named, and reduced to their cross-products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..checks import check_sizes
from ..crossproducts import rounding
from ..errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..crossproducts import CrossProducts
    from ..model import LinearMixedModel

SHOWN = 5  # responses named in an error
CHUNK = 4_000_000  # numbers of the centred responses that are held at a time


@dataclass(frozen=True, eq=False)
class Responses:
    """What the likelihood needs of k responses, in the pilot basis of the design's `CrossProducts`.

    Attributes
    ----------
    cross : CrossProducts
        Of the design, with any response.
    Zy, Xy, yy : ndarray (k, q), (k, p), (k,)
    center : ndarray (k, p)
        Coefficients of every response's pilot fit.
    """

    cross: CrossProducts
    Zy: np.ndarray
    Xy: np.ndarray
    yy: np.ndarray
    center: np.ndarray

    @classmethod
    def from_rows(cls, model: LinearMixedModel, Y: np.ndarray) -> Responses:
        """Return the cross-products of the columns of Y (n, k), offset removed."""
        cross, weights, k = model.cross, model.weights, Y.shape[1]
        X = model.exog @ cross.basis
        Xw = X if weights is None else X * weights[:, None]
        Zt = sp.vstack([term.Z.T for term in model.terms], format="csr")
        arrays = np.empty((k, cross.n_effects)), np.empty((k, cross.n_fixed)), np.empty(k), np.empty((k, cross.n_fixed))
        width = max(1, CHUNK // model.nobs)
        for part in (slice(start, start + width) for start in range(0, k, width)):
            y = Y[:, part] if model.offset is None else Y[:, part] - model.offset[:, None]
            center = np.linalg.solve(cross.XX, Xw.T @ y)
            y = y - X @ center
            yw = y if weights is None else y * weights[:, None]
            for array, values in zip(arrays, (Zt @ yw, X.T @ yw, np.einsum("ik,ik->k", yw, y), center), strict=True):
                array[part] = values.T
        return cls(cross, *arrays)

    def __len__(self) -> int:
        return self.yy.size

    def take(self, index: np.ndarray | slice) -> Responses:
        """Return some of the responses."""
        return Responses(self.cross, self.Zy[index], self.Xy[index], self.yy[index], self.center[index])

    def cross_of(self, i: int) -> CrossProducts:
        """Return the CrossProducts of the design with response i."""
        return replace(self.cross, Zy=self.Zy[i], Xy=self.Xy[i], yy=float(self.yy[i]), center=self.center[i])


def response_array(model: LinearMixedModel, Y: ArrayLike, what: str = "Y") -> tuple[np.ndarray, list[Any]]:
    """Return responses as an array (n, k) and their names; rows that the fit left out are left out.

    Raises
    ------
    DataError
        If shapes or labels disagree with the fit, or a value is missing.
    """
    names = list(getattr(Y, "columns", []))
    index = getattr(Y, "index", None)
    try:
        values = np.asarray(Y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} is not numeric: {error}. Convert it to numbers.") from None
    values = values[:, None] if values.ndim == 1 else values
    kept = None if model.design is None else model.design.kept
    if kept is not None and values.shape[0] == kept.size:
        values, index = values[kept], index[kept] if isinstance(index, pd.Index) else None
    if values.ndim != 2 or values.shape[0] != model.nobs or not values.shape[1]:
        raise DataError(f"{what} has shape {values.shape}; the fit has {model.nobs} rows, one response per column.")
    if isinstance(index, pd.Index) and isinstance(model.index, pd.Index) and not index.equals(model.index):
        raise DataError(
            f"{what} has another index than the data of the fit. Rows are matched by position: give both the same "
            "index, or pass an array."
        )
    names = names or list(range(values.shape[1]))
    missing = np.any(~np.isfinite(values), axis=0)
    if missing.any():
        raise DataError(
            f"{_named(names, missing)} hold missing or infinite values. Without those rows the design is another: "
            "fit such responses by themselves."
        )
    largest = np.maximum(values.max(axis=0), -values.min(axis=0))
    check_sizes(((f"Response {name!r}", size) for name, size in zip(names, largest, strict=True)), smallest=0.0)
    return values, names


def check_varies(model: LinearMixedModel, Y: np.ndarray, yy: float | np.ndarray, names: Sequence[Any]) -> None:
    """Raise a DataError if a response leaves no residual variance: yy (k,) are sums of squared pilot residuals."""
    constant = yy <= rounding(Y if model.offset is None else Y - model.offset[:, None], model.weights)
    if constant.any():
        raise DataError(
            f"{_named(names, constant)} are constant or an exact linear function of the fixed effects: there is no "
            "residual variance to estimate. Leave them out."
        )


def _named(names: Sequence[Any], which: np.ndarray) -> str:
    """Return the first names of the marked responses as the subject of a sentence."""
    marked = [name for name, bad in zip(names, which, strict=True) if bad]
    more = f" and {len(marked) - SHOWN} more" if len(marked) > SHOWN else ""
    return f"Response(s) {', '.join(map(repr, marked[:SHOWN]))}{more}"
