"""Results in a file: arrays and JSON in one .npz, nothing that runs code when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..errors import DataError
from ..files import NUMBERS, opened_to_write, read_arrays, require
from .arrays import predicted
from .design import matrix_component
from .likelihood import existing_factors
from .params import MixedLMParams

if TYPE_CHECKING:
    from pathlib import Path

    from .base import GroupedModel
    from .frame import Ordered
    from .model import MixedLM
    from .results import MixedLMResults

FORMAT = 1
SIZES = ("k_fe", "k_re", "k_re2", "k_vc", "nobs", "df_resid")
FLAGS = ("converged", "reml", "use_sqrt")
KINDS = dict.fromkeys(SIZES, int) | dict.fromkeys(FLAGS, bool) | {"scale": float, "llf": float, "message": str}
NAMES = ("param_names", "exog_re_names", "exog_re_names_full", "vcomp_names", "xnames")
MATRICES = ("facts", "exog", "exog_re", "joint_covariance")
OTHER_KINDS = {"boundary": "b", "free": "b", "undefined": "b", "group_sizes": "i", "groups": NUMBERS + "U"}


def save(fit: MixedLMResults, path: str | Path, remove_data: bool) -> None:
    """Write a fit, and the data of its model unless `remove_data`; see `MixedLMResults.save`."""
    model = fit.model
    facts = {name: getattr(fit, name) for name in KINDS}
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
    with opened_to_write(path) as file:
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
    with open(path, "rb") as file:
        try:
            arrays = read_arrays(file, NUMBERS + "U")
            facts = json.loads(str(arrays["facts"]))
            require(facts["format"] == FORMAT, "it was written by another version of sparselmm; fit and save again")
            _check(facts, arrays)
            return _results(results_class, facts, arrays)
        except Exception as error:  # whatever a broken or hostile file leads to
            reason = error or type(error).__name__
            raise DataError(f"{path} holds no results that can be read ({reason}). Save them again.") from None


def _results(
    results_class: type[MixedLMResults], facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> MixedLMResults:
    """Return the results of checked facts and arrays."""
    fit = object.__new__(results_class)
    for name in KINDS:
        setattr(fit, name, facts[name])
    data = SimpleNamespace(frame=None, **{name: facts[name] for name in (*NAMES, "ynames")})
    index = pd.Index(arrays["index"]) if "index" in arrays else pd.RangeIndex(0) if facts["labelled"] else None
    if facts["data"]:
        fit.model = _model(arrays, facts)
        fit.model.data, fit.model._index, fit.model.formula = data, index, facts["formula"]
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


def _check(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Raise a ValueError unless facts and arrays have the types and sizes of a fit."""
    for name, kind in KINDS.items():
        require(type(facts[name]) is kind, f"{name} is no {kind.__name__}")
    k_fe, k_re, k_re2, k_vc, nobs, _ = (facts[name] for name in SIZES)
    require(min(k_fe, k_re, k_vc) >= 0 < min(nobs, k_re + k_vc) and k_re2 == k_re * (k_re + 1) // 2, "sizes disagree")
    require(np.isfinite(facts["scale"]) and facts["scale"] > 0, "the residual variance is not positive")
    m = k_re2 + k_vc
    counts = {"param_names": k_fe + m, "exog_re_names": k_re, "exog_re_names_full": k_re2, "vcomp_names": k_vc}
    for name, count in (counts | {"xnames": k_fe, "exog_names": k_fe}).items():
        valid = isinstance(facts[name], list) and all(isinstance(text, str) for text in facts[name])
        require(valid and len(facts[name]) == count, f"{name} are not {count} names")
    texts = [facts["ynames"], facts["endog_names"], facts["formula"] or ""]
    require(all(isinstance(text, str) for text in texts), "a name is no text")
    require(all(array.ndim == 1 for name, array in arrays.items() if name not in MATRICES), "an array is no vector")
    k = k_fe + m
    shapes = {"params": (k,), "joint_covariance": (k + 1, k + 1), "boundary": (m,), "free": (k,), "undefined": (k,)}
    shapes["group_sizes"] = (max(1, arrays["group_sizes"].size),)
    if facts["data"]:
        shapes |= {"endog": (nobs,), "exog": (nobs, k_fe), "groups": (nobs,)}
        shapes |= {"exog_re": (nobs, k_re)} if k_re else {}
    for name, shape in shapes.items():
        array = arrays[name]
        valid = array.shape == shape and array.dtype.kind in OTHER_KINDS.get(name, "f")
        if name != "joint_covariance" and array.dtype.kind == "f":  # which is NaN where there is no standard error
            valid = valid and np.isfinite(array).all()
        require(valid, f"{name} is not as the rest says")


def _model(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> MixedLM:
    """Return the model of the arrays in a file."""
    from .model import MixedLM

    components = []
    for k, name in enumerate(facts["vcomp_names"]):
        part = {key: arrays[f"component{k}_{key}"] for key in ("data", "indices", "indptr", "owner", "labels")}
        shape = arrays["endog"].size, part["owner"].size
        Z = sp.csr_array((part["data"], part["indices"], part["indptr"]), shape=shape)
        Z.check_format(full_check=True)
        owner, n_groups = part["owner"], np.unique(arrays["groups"]).size
        valid = owner.dtype.kind == "i" and ((owner >= 0) & (owner < n_groups)).all() and np.isfinite(Z.data).all()
        require(valid and len(part["labels"]) == len(owner), f"component {name!r} is not as the rest says")
        components.append(matrix_component(name, Z, part["owner"], part["labels"]))
    model = object.__new__(MixedLM)
    model.endog_names, model.exog_names = facts["endog_names"], facts["exog_names"]
    data = arrays["endog"], arrays["exog"], arrays["groups"], arrays.get("exog_re")
    model._set_up(*data, facts["exog_re_names"], components, facts["use_sqrt"])
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
        columns: Ordered | None = None,
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
        what = "This" if name.startswith("_") else repr(name)
        raise AttributeError(f"{what} needs the data of the fit, which were removed.")
