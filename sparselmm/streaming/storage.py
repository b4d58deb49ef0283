"""Files of models without rows: a ZIP archive of NumPy arrays and JSON; reading one runs no code of its."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any
from zipfile import ZipFile

import numpy as np
import pandas as pd

from ..coding import ContrastsRegistry
from ..columns import R_NAMES, TRANSFORMS, Columns
from ..crossproducts import CrossProducts
from ..data import Table
from ..errors import DataError
from ..files import NUMBERS, opened_archive, read_arrays, replaced, require
from ..formula import parse_formula
from ..formula_text import Token, bare, tokenize
from ..frame import DesignSpec
from ..roles import read_roles
from .known import plan_and_sums
from .pilot import without_levels
from .plan import Plan, Sums
from .wholeness import check_rowwise
from .wire import read, written

if TYPE_CHECKING:
    from pathlib import Path

    from ..model import LinearMixedModel
    from .model import StreamedModel

FORMAT = 1
CONTRASTS = ("treatment", "sum", "helmert", "poly")
NUMPY = (
    "abs", "arctan", "ceil", "clip", "cos", "exp", "expm1", "floor", "hypot", "log", "log10", "log1p", "log2",
    "maximum", "minimum", "power", "round", "sign", "sin", "sinh", "sqrt", "square", "tan", "tanh", "trunc", "where",
)  # fmt: skip
PLAIN = (
    ast.Expression, ast.Load, ast.Name, ast.Constant, ast.Call, ast.keyword, ast.List, ast.Tuple, ast.Attribute,
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


def save(model: LinearMixedModel, path: str | Path) -> None:
    """Write a model from a formula to a file; see `StreamedModel.save`."""
    plan, sums = plan_and_sums(model)
    roles = plan.roles
    check_rowwise(roles, plan.sample)
    _check_plain(roles.formula, roles.scope.namespace)
    arrays: dict[str, Any] = {}
    columns: dict[str, dict[str, bool]] = {}
    for number, (name, values) in enumerate(plan.sample.columns.items()):
        columns[name], arrays[f"{number}"] = {}, values
        if isinstance(values, pd.Categorical):
            arrays[f"{number}"], arrays[f"{number}.categories"] = values.codes, values.categories.to_numpy()
            columns[name] = {"ordered": bool(values.ordered)}
    arrays = {name: values.astype(str) if values.dtype.kind == "O" else values for name, values in arrays.items()}
    formula_offsets = parse_formula(roles.formula).offsets
    facts = {
        "format": FORMAT,
        "formula": roles.formula,
        "weights": None if roles.weights is None else bare(roles.weights),
        "offset": bare(roles.offsets[-1]) if len(roles.offsets) > len(formula_offsets) else None,
        "contrasts": {name: _name_of(name, kind) for name, kind in roles.scope.contrasts.items()},
        "missing": plan.missing,
        "columns": columns,
        "facts": written(Sums(None, sums.facts))[1],
    }
    with replaced(path) as unfinished, ZipFile(unfinished, "w") as archive:
        archive.writestr("model.json", json.dumps(facts))
        with archive.open("sample.npz", "w") as file:
            np.savez(file, **arrays)
        with archive.open("cross.npz", "w", force_zip64=True) as file:
            sums.products.save(file)


def load(path: str | Path, context: Mapping[str, Any]) -> StreamedModel:
    """Return the model that `save` wrote; see `sparselmm.load_model`."""
    with open(path, "rb") as file:
        try:
            return _model(file, context)
        except Exception as error:  # whatever a broken or hostile file leads to
            reason = error or type(error).__name__
            raise DataError(f"{path} holds no model that can be read ({reason}). Save it again.") from None


def _model(file: IO[bytes], context: Mapping[str, Any]) -> StreamedModel:
    """Return the model in a binary file."""
    with opened_archive(file) as archive:
        facts = json.loads(archive.read("model.json"))
        require(facts["format"] == FORMAT, "it was written by another version of sparselmm; read the data again")
        with archive.open("sample.npz") as part:
            arrays = read_arrays(part, NUMBERS + "U")
        with archive.open("cross.npz") as part:
            cross = CrossProducts.load(part)
    _check_plain(facts["formula"], context)
    require(set(facts["contrasts"].values()) <= set(CONTRASTS), "its contrasts have no name")
    plan = _plan(facts, arrays, cross, context)
    sizes = [
        (len(columns.names), bar.structure) for bar, (columns, _) in zip(plan.roles.bars, plan.spec.random, strict=True)
    ]
    require(sizes == [(shape.n_columns, shape.structure) for shape in cross.shapes], "its sums are of other terms")
    require(len(plan.spec.fixed.names) == len(cross.center), "its sums are of other fixed effects")
    sums = read(None, facts["facts"])
    require(sums.facts.fits(plan.sample.columns), "what it counted is of other columns")
    return plan.model(replace(sums, cross=cross))


def _plan(
    facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray], cross: CrossProducts, context: Mapping[str, Any]
) -> Plan:
    """Return the plan of a file."""
    columns = {}
    for number, (name, kind) in enumerate(facts["columns"].items()):
        values = arrays[f"{number}"]
        if kind:
            categories = pd.Index(_objects(arrays[f"{number}.categories"]))
            values = pd.Categorical.from_codes(values, categories, ordered=kind["ordered"])
        columns[name] = values if kind else _objects(values)
    sample = Table(columns, {}, pd.RangeIndex(len(next(iter(columns.values())))))
    options = {name: facts[name] for name in ("weights", "offset", "contrasts")}
    roles = read_roles(facts["formula"], list(columns), context=context, **options)
    fixed, _ = Columns.fit(roles.fixed, sample, roles.scope)
    terms = [roles.fit_term(k, sample) for k in range(len(roles.bars))]
    spec = DesignSpec(fixed, without_levels(part for _, part in terms), roles.offsets_on(sample))
    return Plan(roles, spec, sample, cross.basis, cross.center, facts["missing"])


def _objects(values: np.ndarray) -> np.ndarray:
    """Return texts as objects, other arrays as they are."""
    return values.astype(object) if values.dtype.kind == "U" else values


def _check_plain(formula: str, context: Mapping[str, Any]) -> None:
    """Raise a DataError if a formula does more than arithmetic and calls of functions that are known to be harmless."""
    calls = {*TRANSFORMS, *R_NAMES, *context, "abs", "max", "min", "offset", "round"} - {
        "np",
        "stateful_transform",
        "eval",
    }
    for text in (token.token.strip("{}") for token in tokenize(formula) if token.kind is Token.Kind.PYTHON):
        try:
            tree = ast.parse(text, mode="eval")
        except SyntaxError:
            raise DataError(f"'{text}' of the formula cannot be kept in a file. Compute it in the data.") from None
        for node in ast.walk(tree):
            known = isinstance(node, PLAIN)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                known = node.func.id in calls
            if isinstance(node, ast.Attribute):
                known = isinstance(node.value, ast.Name) and (
                    (node.value.id == "np" and node.attr in NUMPY)
                    or (node.value.id == "contr" and node.attr in CONTRASTS)
                )
            if not known:
                raise DataError(
                    f"'{text}' of the formula calls what a file may not: arithmetic, functions of formulas and "
                    "elementwise ones of NumPy may stand in it. Give functions of yours with context=, or compute the "
                    "column in the data."
                )


def _name_of(column: str, kind: object) -> str:
    """Return the name of contrasts."""
    for name in CONTRASTS:
        if getattr(ContrastsRegistry, name) is kind:
            return name
    raise DataError(f"The contrasts of {column!r} have no name. Give them by one: {', '.join(CONTRASTS)}.")
