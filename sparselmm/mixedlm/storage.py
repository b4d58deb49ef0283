"""Results in a file: arrays and JSON in one .npz, nothing that runs code when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..errors import DataError
from .base import predicted
from .design import matrix_component
from .likelihood import existing_factors
from .params import MixedLMParams

if TYPE_CHECKING:
    from pathlib import Path

    from ..columns import Columns
    from .base import GroupedModel
    from .model import MixedLM
    from .results import MixedLMResults

FORMAT = 1
NUMBERS = ("scale", "llf", "converged", "message", "reml", "nobs", "df_resid", "use_sqrt")
SIZES = ("k_fe", "k_re", "k_re2", "k_vc")


def save(fit: MixedLMResults, path: str | Path, remove_data: bool) -> None:
    """Write a fit, and the data of its model unless `remove_data`; see `MixedLMResults.save`."""
    model = fit.model
    facts = {name: getattr(fit, name) for name in (*NUMBERS, *SIZES)}
    facts |= vars(model.data) | {"frame": None, "format": FORMAT, "labelled": model._index is not None}
    facts |= {"endog_names": model.endog_names, "exog_names": model.exog_names, "formula": model.formula}
    arrays: dict[str, Any] = {
        "params": np.asarray(fit.params),
        "joint_covariance": fit._joint_covariance,
        "boundary": fit.boundary,
        "free": fit._free,
        "undefined": fit._undefined,
        "group_sizes": fit.group_sizes,
    }
    arrays |= {} if remove_data else _data(model)
    text = json.dumps(facts | {"data": not remove_data}, default=lambda value: value.item())
    with open(path, "wb") as file:
        np.savez(file, facts=np.array(text), **arrays)


def _data(model: GroupedModel) -> dict[str, np.ndarray]:
    """Return the arrays of a model, by the names that they have in a file."""
    arrays = {"endog": model.endog, "exog": model.exog, "groups": _plain(model.groups)}
    if model.exog_re is not None:
        arrays["exog_re"] = model.exog_re
    if model._index is not None:
        arrays["index"] = _plain(model._index.to_numpy())
    for k, component in enumerate(model._components):
        Z = component.term.Z
        parts = {"data": Z.data, "indices": Z.indices, "indptr": Z.indptr, "owner": component.owner}
        parts["labels"] = _plain(component.labels)
        arrays |= {f"component{k}_{name}": values for name, values in parts.items()}
    return arrays


def _plain(labels: np.ndarray) -> np.ndarray:
    """Return labels as an array that needs no pickle: objects as strings."""
    return labels.astype(str) if labels.dtype.kind == "O" else labels


def load(results_class: type[MixedLMResults], path: str | Path) -> MixedLMResults:
    """Return the results that `save` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    facts = json.loads(str(arrays["facts"]))
    if facts["format"] != FORMAT:
        raise DataError(f"{path} was written by another version of sparselmm. Fit and save again.")
    fit = object.__new__(results_class)
    for name in (*NUMBERS, *SIZES):
        setattr(fit, name, facts[name])
    names = ("param_names", "exog_re_names", "exog_re_names_full", "vcomp_names", "xnames", "ynames")
    data = SimpleNamespace(frame=None, **{name: facts[name] for name in names})
    index = pd.Index(arrays["index"]) if "index" in arrays else pd.RangeIndex(0) if facts["labelled"] else None
    if facts["data"]:
        fit.model = _model(arrays, data.vcomp_names, facts["exog_names"], fit.use_sqrt)
        fit.model.data, fit.model._index, fit.model.formula = data, index, facts["formula"]
        fit.model.endog_names = facts["endog_names"]
    else:
        left = RemovedModel(data, facts["endog_names"], facts["exog_names"], facts["formula"], index)
        fit.model = left  # type: ignore[assignment]  # a stand-in that says what it lacks
    fit.params_object = MixedLMParams.from_packed(arrays["params"], fit.k_fe, fit.k_re, False, True)
    fit.vcomp_unscaled, fit._beta = fit.params_object.vcomp, fit.params_object.fe_params
    fit._factors = existing_factors(fit.params_object.cov_re, fit.params_object.vcomp)
    fit.boundary, fit._free, fit._undefined = (arrays[name] for name in ("boundary", "free", "undefined"))
    fit.group_sizes = arrays["group_sizes"]
    fit._joint_covariance = arrays["joint_covariance"]
    fit.hist = fit.freepat = fit.fe_pen = fit.cov_pen = None
    return fit


def _model(arrays: Mapping[str, np.ndarray], names: Sequence[str], exog_names: list[str], use_sqrt: bool) -> MixedLM:
    """Return the model of the arrays in a file."""
    from .model import MixedLM

    components = []
    for k, name in enumerate(names):
        part = {key: arrays[f"component{k}_{key}"] for key in ("data", "indices", "indptr", "owner", "labels")}
        shape = arrays["endog"].size, part["owner"].size
        Z = sp.csr_array((part["data"], part["indices"], part["indptr"]), shape=shape)
        components.append(matrix_component(name, Z, part["owner"], part["labels"]))
    model = object.__new__(MixedLM)
    model.exog_names = exog_names
    model._set_up(arrays["endog"], arrays["exog"], arrays["groups"], arrays.get("exog_re"), components, use_sqrt)
    return model


class RemovedModel:
    """What remains of a model without its data: names, and the fixed part of predictions from design matrices."""

    def __init__(
        self,
        data: SimpleNamespace,
        endog_names: str,
        exog_names: list[str],
        formula: str | None,
        index: pd.Index | None,
        columns: Columns | None = None,
    ) -> None:
        self.data, self.endog_names, self.exog_names = data, endog_names, exog_names
        self.formula, self._index, self._columns = formula, index, columns

    def _predict(self, beta: np.ndarray, exog: Any, transform: bool) -> np.ndarray | pd.Series:
        """Return Xβ of new data, through the formula if it is known."""
        if exog is None:
            raise AttributeError("The data of the fit were removed: give exog.")
        return predicted(self._columns if transform else None, beta, exog)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"{name!r} needs the data of the fit, which were removed.")
