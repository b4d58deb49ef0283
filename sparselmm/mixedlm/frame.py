"""From formulas and a data frame to the arrays and variance components of the classical interface."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from formulaic.transforms.contrasts import (
    DiffContrasts,
    HelmertContrasts,
    PolyContrasts,
    SumContrasts,
    TreatmentContrasts,
)

from ..caller import listening
from ..columns import Columns, Expression, resolve
from ..data import Table, column_names, index_names, read_table
from ..errors import FormulaError
from ..formula_text import column_name, formula_terms, numeric_candidates, quoted, spelled, terms_as_written
from ..frame import complete_rows, with_array
from ..terms import factorize
from .design import Component, Grouping, matrix_component, nested_component, slopes_component

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ..columns import Scope

GROUPS = "argument groups"  # column of a Table that was given as an array
PATSY_NAMES = {
    "Treatment": lambda reference=None: (
        TreatmentContrasts() if reference is None else TreatmentContrasts(base=reference)
    ),
    "Sum": SumContrasts,
    "Poly": PolyContrasts,
    "Helmert": HelmertContrasts,
    "Diff": DiffContrasts,
}


@dataclass(frozen=True, eq=False)
class FormulaDesign:
    """The evaluated formulas of a model; `columns` builds the fixed columns again from new data."""

    endog: pd.Series
    exog: pd.DataFrame
    groups: np.ndarray
    exog_re: pd.DataFrame | None
    components: list[Component]
    columns: Ordered


@dataclass(frozen=True, eq=False)
class Ordered:
    """The columns of a formula in patsy's order, which positions of packed parameters follow.

    Terms without numbers come first, then those of every set of numeric factors, by the number of their factors each.
    """

    columns: Columns
    order: np.ndarray

    @classmethod
    def fit(cls, text: str, table: Table, scope: Scope) -> tuple[Ordered, np.ndarray]:
        """Return the columns of a formula and their values (n, c), see `Columns.fit`."""
        columns, values = Columns.fit(text, table, scope)
        order = np.arange(values.shape[1])
        if columns.spec is not None:
            sets, place, keys = {frozenset[str](): 0}, {}, []
            for i, term in enumerate(terms_as_written(text)):
                numeric = frozenset(f.expr for f in term.factors if f.expr != "1" and columns.categories(f) is None)
                place[term] = sets.setdefault(numeric, len(sets)), len(term.factors), i
            for term, _, names in columns.spec.structure:
                keys += [place[term]] * len(names)
            order = np.array(sorted(order, key=keys.__getitem__), dtype=int)
        return cls(columns, order), values[:, order]

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [self.columns.names[i] for i in self.order]

    @property
    def variables(self) -> tuple[str, ...]:
        """The columns of the data that are used."""
        return self.columns.variables

    def build(self, table: Table) -> np.ndarray:
        """Return the values (n, c) of the columns from new data."""
        return self.columns.build(table)[:, self.order]


def build_design(
    formula: str,
    data: Any,
    groups: Any,
    re_formula: str | None,
    vc_formula: Mapping[str, str] | None,
    subset: ArrayLike | None,
    missing: str,
    context: Mapping[str, Any],
) -> FormulaDesign:
    """Return the design of the formulas on any data frame; parameters as in `MixedLM.from_formula`."""
    left, tilde, right = formula.partition("~")
    if not tilde or not left.strip():
        raise FormulaError(f"The formula {formula!r} has no response: write 'y ~ x'.")
    if "|" in right:
        raise FormulaError(f"{formula!r} has lme4's bars: give it to sparselmm.lmer, or use groups= and re_formula=.")
    if isinstance(vc_formula, str):
        raise FormulaError(f"vc_formula is a dictionary of formulas by name: {{'name': {vc_formula!r}}}.")
    vc_formula = dict(sorted((vc_formula or {}).items()))
    texts = [f"0 + {left}", right, *([] if re_formula is None else [re_formula]), *vc_formula.values()]
    texts = [text.strip() or "1" for text in texts]
    names, scope = resolve(texts, column_names(data), {**PATSY_NAMES, **context}, None, index_names(data))
    by_name = isinstance(groups, str)
    table = read_table(data, sorted({*names, groups}) if by_name else names)
    if not by_name:
        table = with_array(table, GROUPS, np.asarray(groups))
    if subset is not None:
        table = table.part(table.columns, pd.Series(np.arange(len(table)), index=table.index).loc[subset].to_numpy())
    table, _ = complete_rows(table, "drop" if missing == "drop" else "raise")
    booleans = [name for name, values in table.columns.items() if values.dtype == bool]
    scope = replace(scope, contrasts=dict.fromkeys(booleans, TreatmentContrasts()))  # two categories, as patsy has it
    grouping_labels = np.asarray(table.columns[groups if by_name else GROUPS])

    response, y = Columns.fit(texts[0], table, scope)
    if len(response.names) != 1:
        raise FormulaError(f"The response {left.strip()!r} has {len(response.names)} columns; a model has one.")
    columns, X = Ordered.fit(texts[1], table, scope)
    exog_re = None
    if re_formula is not None:
        effects, values = Ordered.fit(texts[2], table, scope)
        group_name = groups if by_name else "Group"
        exog_re = pd.DataFrame(values, columns=[name.replace("Intercept", group_name) for name in effects.names])
    components = []
    if vc_formula:
        grouping = Grouping(grouping_labels)
        components = [_component(name, text, table, scope, grouping) for name, text in vc_formula.items()]
    endog = pd.Series(y[:, 0], index=table.index, name=response.names[0])
    exog = pd.DataFrame(X, index=table.index, columns=columns.names)
    return FormulaDesign(endog, exog, grouping_labels, exog_re, components, columns)


def _component(name: str, text: str, table: Table, scope: Scope, grouping: Grouping) -> Component:
    """Return a variance component; its formula is evaluated within every group, as the classical interface does."""
    text = text.strip() or "1"
    candidates = numeric_candidates(text)
    if candidates and all(column is None or table.columns[column].dtype.kind in "iuf" for column in candidates):
        columns, values = Columns.fit(text, table, scope)
        component = slopes_component(name, grouping, values, np.array(columns.names, dtype=object))
        single = "1" if candidates == (None,) else f"0 + {columns.names[0]}"
        return replace(component, bar=(single, None)) if len(candidates) == 1 else component
    found = _single_factor(text, table)
    if found is None:
        return _evaluated_by_group(name, text, table, scope, grouping)
    column, title, slope = found
    codes, levels = factorize(table.columns[column], column)
    suffix = "" if slope is None else f":{slope}"
    labels = np.array([f"{title}[{level}]{suffix}" for level in levels], dtype=object)
    slopes = None if slope is None else Expression.on(quoted(slope), table, scope).numbers(table)
    bar = ("1" if slope is None else f"0 + {slope}", column)
    return replace(nested_component(name, grouping, codes, labels, slopes), bar=bar)


def _single_factor(text: str, table: Table) -> tuple[str, str, str | None] | None:
    """Return (column, title, slope) of a formula ``0 + C(column)`` or ``0 + C(column):slope``; None for any other."""
    terms = list(formula_terms(text))
    if len(terms) != 1 or not 1 <= len(terms[0].factors) <= 2:
        return None
    factor, slope = None, None
    for part in terms[0].factors:
        column = column_name(spelled(part))
        title = column if column is not None else part.expr
        column = _inside_C(part.expr) if column is None else column
        if column not in table.columns:
            return None
        if title == column and table.columns[column].dtype.kind in "iuf" and slope is None:
            slope = column
        elif factor is None and (title != column or table.columns[column].dtype.kind not in "iuf"):
            factor = column, title
        else:
            return None
    return None if factor is None else (*factor, slope)


def _inside_C(expression: str) -> str | None:
    """Return the name in an expression ``C(name)``, None for any other."""
    try:
        call = ast.parse(expression, mode="eval").body
    except SyntaxError:
        return None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "C"):
        return None
    if len(call.args) == 1 and not call.keywords and isinstance(call.args[0], ast.Name):
        return call.args[0].id
    return None


def _evaluated_by_group(name: str, text: str, table: Table, scope: Scope, grouping: Grouping) -> Component:
    """Return the component of any formula, evaluated on one group after the other."""
    blocks: list[sp.csr_array] = []
    labels: list[str] = []
    for rows in grouping.rows:
        with listening():  # a factor with one level in a group is no news
            columns, values = Columns.fit(text, table.part(table.columns, rows), replace(scope, memory={}))
        blocks.append(sp.csr_array(values))
        labels += columns.names
    widths = [block.shape[1] for block in blocks]
    Z = sp.block_diag(blocks, format="csr")[np.argsort(np.concatenate(grouping.rows))]
    owner = np.repeat(np.arange(len(grouping)), widths)
    return matrix_component(name, Z, owner, np.array(labels, dtype=object))
