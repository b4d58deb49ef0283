"""Hypotheses on the terms of the fixed effects: the contrasts L of Types I, II and III, and of deleting a term.

Coordinates are those of the pilot basis (`CrossProducts`), where the units of the columns do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import solve_triangular

from ..fixed_terms import FixedTerm
from ..formula_text import column_name, spelled

if TYPE_CHECKING:
    from ..columns import Columns
    from ..data import Table
    from ..frame import Design
    from ..model import LinearMixedModel
    from ..streaming.design import StreamedDesign

TOLERANCE = 1e-7  # relative singular value below which a direction counts as zero
TYPES = {1: 1, 2: 2, 3: 3, "1": 1, "2": 2, "3": 3, "I": 1, "II": 2, "III": 3}


@dataclass(frozen=True, eq=False)
class TermColumns:
    """A term of the fixed effects and its columns, in two codings.

    Attributes
    ----------
    term : FixedTerm
    categorical, numeric : frozenset of str
        Its factors of either kind.
    own : ndarray (p, c)
        Its columns of the model.
    cells : ndarray (p, w)
        Its columns with one for every combination of levels (overparametrised), times the numeric factors.
    treated : ndarray (p, c)
        Its columns with treatment contrasts in the place of the model's.
    """

    term: FixedTerm
    categorical: frozenset[str]
    numeric: frozenset[str]
    own: np.ndarray
    cells: np.ndarray
    treated: np.ndarray

    def is_contained_in(self, other: TermColumns) -> bool:
        """Return whether `other` has the same numeric factors, and the categorical ones of this term and more."""
        return self.numeric == other.numeric and self.categorical < other.categorical

    def is_margin_of(self, other: TermColumns) -> bool:
        """Return whether `other` has all factors of this term and more."""
        return set(self.term.factors) < set(other.term.factors)


def term_columns(model: LinearMixedModel, centered: bool = False, booleans: bool = False) -> list[TermColumns]:
    """Return the terms of the fixed effects with their columns.

    With `centered`, factors that the model codes with a column less than levels have the mean over their levels
    subtracted in `cells`. With `booleans`, a boolean column is a factor of two levels where the model's columns span
    both, else a number.
    """
    basis = model.cross.basis
    own = solve_triangular(basis, np.eye(basis.shape[0])) if basis.size else basis
    terms = model.fixed_terms
    coded: tuple[frozenset[str], list[tuple[np.ndarray, np.ndarray]]] | None = None
    if model.design is not None and model.design.spec.fixed.spec is not None:
        two_valued = _boolean_factors(model.design) if booleans else frozenset()
        coded = _cells(model, centered, two_valued)
        if coded is None and two_valued:
            coded = _cells(model, centered, frozenset())
    if coded is None:
        coded = frozenset(), [(own[:, term.columns], own[:, term.columns]) for term in terms]
    categorical, columns = coded
    return [
        TermColumns(
            term,
            categorical.intersection(term.factors),
            frozenset(term.factors) - categorical,
            own[:, term.columns],
            cells,
            treated,
        )
        for term, (cells, treated) in zip(terms, columns, strict=True)
    ]


def _boolean_factors(design: Design | StreamedDesign) -> frozenset[str]:
    """Return the factors of the fixed effects that are boolean columns."""
    spec = design.spec.fixed.spec
    assert spec is not None, "there are but numeric columns"
    factors = {factor for term in spec.formula for factor in term.factors}
    columns = ((factor.expr, design.table.columns.get(column_name(spelled(factor)) or "")) for factor in factors)
    return frozenset(name for name, column in columns if column is not None and column.dtype == bool)


def _cells(
    model: LinearMixedModel, centered: bool, booleans: frozenset[str]
) -> tuple[frozenset[str], list[tuple[np.ndarray, np.ndarray]]] | None:
    """Return the categorical factors, and for every term `cells` and `treated` of its `TermColumns`.

    None if they are not all in the span of the model's columns, as with contrasts of fewer columns than levels.
    """
    assert model.design is not None and model.design.spec.fixed.spec is not None, "see `term_columns`"
    columns, (table, X, project) = model.design.spec.fixed, model.fixed_rows()
    coded, categorical = _coded_factors(columns, table, booleans)
    found = []
    for term, scoped, _ in model.design.spec.fixed.spec.structure:
        reduced = {str(f.factor) for f in scoped[0].factors if f.reduced} if len(scoped) == 1 else set()
        reduced |= booleans.intersection(factor.expr for factor in term.factors)
        product, kept = np.ones((len(X), 1)), np.ones(1, dtype=bool)
        for factor in term.factors:
            if factor.expr != "1":
                part = coded[factor.expr]
                beyond = np.arange(part.shape[1]) >= (factor.expr in reduced)  # its columns with treatment contrasts
                part = part - part.mean(axis=1, keepdims=True) if centered and factor.expr in reduced else part
                product = (product[:, :, None] * part[:, None, :]).reshape(len(X), -1)
                kept = (kept[:, None] & beyond).ravel()
        inside = project @ product
        if np.linalg.norm(product - X @ inside) > 1e-6 * np.linalg.norm(product):
            return None
        found.append((inside, inside[:, kept]))
    return categorical, found


def _coded_factors(
    columns: Columns, table: Table, booleans: frozenset[str]
) -> tuple[dict[str, np.ndarray], frozenset[str]]:
    """Return the matrix of every factor, dummy variables of all levels or numeric columns, and the categorical ones."""
    import pandas as pd
    from formulaic import ModelSpec, SimpleFormula
    from formulaic.parser.types import Term

    from ..columns import Expression, model_matrix, positions

    fitted = columns.spec
    assert fitted is not None, "see `term_columns`"
    factors = {factor.expr: factor for term in fitted.formula for factor in term.factors if factor.expr != "1"}
    coded, numeric = {}, []
    for name, factor in factors.items():
        known = fitted.encoder_state.get(name, (None, {}))[1].get("categories")
        levels = [False, True] if name in booleans else known
        if levels is None:
            numeric.append(factor)
            continue
        labels = Expression(spelled(factor), columns.variables, columns.scope).values(table)
        coded[name] = np.eye(len(levels))[positions(pd.Index(levels), labels)]
    categorical = frozenset(coded)
    if numeric:
        spec = ModelSpec(SimpleFormula([Term([f]) for f in numeric]), ensure_full_rank=False, output="numpy")
        spec, values = model_matrix(columns.text, spec, table, columns.scope)
        start = 0
        for term, _, names in spec.structure:
            coded[term.factors[0].expr] = values[:, start : start + len(names)]
            start += len(names)
    return coded, categorical


def contrasts(model: LinearMixedModel, type: int | str) -> dict[str, np.ndarray]:
    """Return L (r, p) in the user's columns for every term but the intercept: the hypothesis Lβ = 0 of that type.

    Types I and II are those of X'X: a term adjusted for the terms before it, or for all that do not contain it.
    Type III is SAS's: functions of the cells that are estimable, do not involve terms that neither are nor contain
    the term, and are orthogonal to those of the terms that contain it. It does not depend on the coding of factors.

    F depends on the span of the rows of L only, Satterthwaite's denominator on the rows themselves. They are
    lmerTest's: a unit triangle in the columns of the term where Type I or II adjusts it, else the identity, in Type III
    with treatment contrasts whatever the model's are.

    Parameters
    ----------
    model : LinearMixedModel
    type : {1, 2, 3, "I", "II", "III"}

    References
    ----------
    SAS Institute, The four types of estimable functions, SAS/STAT User's Guide.
    """
    kind = TYPES.get(type.upper() if isinstance(type, str) else type)
    if kind is None:
        raise ValueError(
            f"type={type!r} is not one of 1, 2, 3, 'I', 'II', 'III'. To compare fits use sparselmm.compare(fit, other)."
        )
    terms = term_columns(model, centered=all(term.factors for term in model.fixed_terms), booleans=True)
    terms = [one for one in terms if one.own.shape[1]]  # the model is one without those whose columns were dropped
    if kind == 3:
        hypotheses = [_type_three(one, terms) for one in terms]
        return _in_user_columns(model, terms, hypotheses, columns=[one.treated for one in terms])
    gram = model.exog_gram
    root = np.linalg.cholesky(gram).T if gram.size else gram
    rows = []
    for i, one in enumerate(terms):
        others = terms[:i] if kind == 1 else [t for t in terms if t is not one and not one.is_contained_in(t)]
        rows.append(_adjusted(one, others, root))
    triangular = [kind == 1 or any(one.is_contained_in(t) for t in terms) for one in terms]
    return _in_user_columns(model, terms, rows, triangular)


def deletions(model: LinearMixedModel) -> dict[str, np.ndarray]:
    """Return L (r, p) in the user's columns for every term that is no margin of another: the model without it."""
    terms = term_columns(model)
    last = [t for t in terms if t.term.factors and not any(t.is_margin_of(other) for other in terms)]
    rows = [_null_space([other.cells for other in terms if other is not t], model.cross.n_fixed).T for t in last]
    return _in_user_columns(model, last, rows)


def _in_user_columns(
    model: LinearMixedModel,
    terms: Sequence[TermColumns],
    rows: Sequence[np.ndarray],
    triangular: Sequence[bool] | None = None,
    columns: Sequence[np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Return the rows in terms of the user's β; the intercept is left out, as is a term without a hypothesis.

    Rows are combined to the identity in `columns` of the term (p, c), or its own, if they have that rank, except the
    triangular ones.
    """
    columns = [one.own for one in terms] if columns is None else columns
    hypotheses = {}
    for i, (one, L) in enumerate(zip(terms, rows, strict=True)):
        if not one.term.factors or not len(L):
            continue
        if triangular is not None and triangular[i]:
            L = L / np.diag(L @ one.own)[:, None]
        else:
            blocks = (L @ part for part in (columns[i], one.own))  # L in columns of X
            regular = (B for B in blocks if B.shape[0] == B.shape[1] and np.linalg.cond(B) < 1.0 / TOLERANCE)
            L = np.linalg.solve(next(regular, np.eye(len(L))), L)
        hypotheses[one.term.name] = solve_triangular(model.cross.basis, L.T, trans=1).T
    return hypotheses


def _adjusted(one: TermColumns, others: Sequence[TermColumns], root: np.ndarray) -> np.ndarray:
    """Return Q'X, (r, p), with Q an orthonormal basis of the term's columns adjusted for those of the other terms."""
    before = np.linalg.qr(root @ _unit(np.hstack([np.zeros((len(root), 0)), *(t.own for t in others)])))[0]
    mine = root @ one.own
    return np.linalg.qr(mine - before @ (before.T @ mine))[0].T @ root


def _type_three(one: TermColumns, terms: Sequence[TermColumns]) -> np.ndarray:
    """Return the Type III hypothesis of a term, (r, p)."""
    p = one.own.shape[0]
    containing = [t for t in terms if one.is_contained_in(t)]
    outside = [t.cells for t in terms if t is not one and t not in containing]
    space = _null_space(outside, p)  # estimable functions of the term and of those that contain it
    inner = _null_space([*outside, one.cells], p)  # of those that contain it
    if inner.shape[1]:
        cells = np.hstack([t.cells for t in (one, *containing)])
        space = space @ _null_space([(space.T @ cells) @ (cells.T @ inner)], space.shape[1])
    return space.T


def _null_space(columns: Sequence[np.ndarray], p: int) -> np.ndarray:
    """Return an orthonormal basis (p, r) of the vectors orthogonal to all columns."""
    A = _unit(np.hstack([np.zeros((p, 0)), *columns]))
    if not A.size:
        return np.eye(p)
    U, s, _ = np.linalg.svd(A)
    return U[:, int((s > TOLERANCE * s[0]).sum()) :]


def _unit(columns: np.ndarray) -> np.ndarray:
    """Return the columns divided by their norms; columns of zeros are left out."""
    norms = np.linalg.norm(columns, axis=0)
    return columns[:, norms > 0] / norms[norms > 0]
