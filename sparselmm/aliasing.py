"""Variances and covariances that no response could tell apart in this design, named in the user's columns.

The covariance of y is linear in the entries γ of the relative covariances λ_kλ_k' and in the residual variance,
V = W⁻¹ + Σ_p γ_p K_p. A combination of the K_p that is zero is a direction in which the likelihood is constant. The
Gram matrix tr(W K_p W K_q) shows all of them, and is made of the blocks of S = Z'WZ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import scipy.linalg as sla
import scipy.sparse as sp

from .caller import warn
from .crossproducts import CrossProducts
from .errors import DataWarning

DEPENDENT = 1e-12  # share of a column's sum of squares outside the span of those before it that is rounding
ABSORBED = 1e-10  # and outside the span of X
ALIASED = 1e-10  # eigenvalue of the Gram matrix of unit kernels that counts as zero
ROUNDED, MOST_ROUNDED = 256 * np.finfo(float).eps, 1e-8  # or this times the inflation by other columns, at most
PART = 1e-4  # share of its largest entry from which an entry belongs to a combination
MOST_ENTRIES, MOST_PAIRS = 300, 1 << 25  # of γ, and pairs of levels in a block of S, for which the Gram matrix is made
SLICE = 1 << 18  # pairs of levels at a time
Entry = tuple[int, int, int]  # a term and two of its columns; the residual variance has the term -1


@dataclass(frozen=True)
class Alias:
    """Variances that the design cannot tell apart.

    Attributes
    ----------
    terms : tuple of str
        Names of their terms.
    message : str
        Which they are, why, and the remedy.
    exchangeable : bool
        Whether one makes up for another, so that the covariance of the response and all that follows from it stand.
    entries : tuple of (int, int, int)
        The variances and covariances: a term and two of its columns; the residual variance has the term -1.
    """

    terms: tuple[str, ...]
    message: str
    exchangeable: bool
    entries: tuple[Entry, ...]

    def __str__(self) -> str:
        return self.message


def warn_of_aliases(cross: CrossProducts, terms: Sequence[Any], names: Sequence[str]) -> tuple[Alias, ...]:
    """Give a DataWarning for every set of variances that the design cannot tell apart; return them.

    Parameters
    ----------
    cross : CrossProducts
    terms : sequence of RandomTerm or StreamedTerm
    names : sequence of str
        Names of the fixed-effects columns.
    """
    found, usable = [], []
    for k, term in enumerate(terms):
        dependent, absorbed = _dependent(cross, k), _absorbed(cross, k)
        if dependent is not None:
            total = cross.diagonal[k].sum(axis=0)
            found.append(_warned(terms, [(k, dependent, dependent)], _on_dependent(total, term, dependent), True))
        elif absorbed is not None:
            message = _on_absorbed(cross, k, term, absorbed, names)
            found.append(_warned(terms, [(k, absorbed, absorbed)], message, exchangeable=False))
        else:
            usable.append(k)
    for entries in _combinations(cross, usable):
        inside = len({k for k, _, _ in entries}) == 1
        message = _on_one_term(cross, terms, entries) if inside else _on_several_terms(terms, entries)
        found.append(_warned(terms, entries, message, exchangeable=True))
    return tuple(found)


def _warned(terms: Sequence[Any], entries: Sequence[Entry], message: str, exchangeable: bool) -> Alias:
    """Give the warning and return the Alias."""
    warn(message, DataWarning)
    involved = tuple(dict.fromkeys(terms[k].name for k, _, _ in entries if k >= 0))
    return Alias(involved, message, exchangeable, tuple(entries))


def _on_dependent(total: np.ndarray, term: Any, i: int) -> str:
    """Return the message on column i of a term, zero or a combination of those before it."""
    x = term.columns[i]
    if not total[i, i]:
        return f"Term {term.name!r}: the column {x} is zero in every row, so that it has no variance. Remove it."
    if i == 1 and term.columns[0] == "Intercept":
        return (
            f"Term {term.name!r}: {x} varies so little about its mean, {total[0, 1] / total[0, 0]:.6g}, that rounding "
            f"hides it: its variance cannot be told from that of Intercept. Subtract the mean from {x}, or remove it "
            "from the term if it is constant."
        )
    return (
        f"Term {term.name!r}: the column {x} depends linearly on {_listed(term.columns[:i])}, so that their variances "
        f"cannot be told apart. Remove {x} from the term."
    )


def _on_absorbed(cross: CrossProducts, k: int, term: Any, i: int, names: Sequence[str]) -> str:
    """Return the message on column i of a term, whose effects are combinations of the fixed ones."""
    weights = cross.basis @ np.linalg.solve(cross.XX, cross.ZX[_effects(cross, k, i)].T)
    used = [name for name, row in zip(names, weights, strict=True) if np.abs(row).max() > 1e-8]
    named = [name for name in used if name != "Intercept"] or used
    return (
        f"Term {term.name!r}: the fixed effects {_listed(named)} determine the effect {term.columns[i]} of every level "
        f"of {term.name}: the data say nothing about its variance. Leave {term.columns[i]} out of the term, or "
        "those fixed effects out of the model."
    )


def _on_one_term(cross: CrossProducts, terms: Sequence[Any], entries: Sequence[Entry]) -> str:
    """Return the message on entries of the covariance of one term that cannot be told apart."""
    term, block = terms[entries[0][0]], cross.diagonal[entries[0][0]]
    involved = sorted({i for _, *pair in entries for i in pair})
    within = [i for i in involved if _is_constant(block, term.columns, i)]
    if within:
        constant, be = _listed([term.columns[i] for i in within]), "is" if len(within) == 1 else "are"
        reason = f"{constant} {be} constant within every level of {term.name}. Remove {constant} from the term"
    else:
        columns = [term.columns[i] for i in involved]
        reason = f"{_listed(columns)} depend linearly on each other within every level. Remove {columns[-1]}"
    verb = "cannot tell apart" if len(entries) > 1 else "say nothing about"
    message = f"Term {term.name!r}: the data {verb} the {_words(terms, entries)}, as {reason}"
    if any(i != j for _, i, j in entries):
        message += ", or the correlations with '||'"
    return message + ". Everything but these estimates stands."


def _on_several_terms(terms: Sequence[Any], entries: Sequence[Entry]) -> str:
    """Return the message on entries of several covariances that cannot be told apart."""
    same = {
        (re.sub(r"\.\d+$", "", terms[k].name), *terms[k].columns, terms[k].structure) for k, _, _ in entries if k >= 0
    }
    involved = sorted({terms[k].name for k, _, _ in entries if k >= 0})
    where = f"Terms {_listed([repr(name) for name in involved])}" if len(involved) > 1 else f"Term {involved[0]!r}"
    if len(same) == 1 and len(involved) == 2 and all(k >= 0 for k, _, _ in entries):
        return (
            f"{where} are one term that is in the model twice: more variance of one makes up for less of the other. "
            "Remove one. Everything but these estimates stands."
        )
    return (
        f"{where}: the data cannot tell apart the {_words(terms, entries, by_term=True)}, as more of one makes up for "
        "less of another. Remove one of the terms, or a column that two of them share, such as the intercept by "
        "(0 + x | g). Everything but these estimates stands."
    )


def _words(terms: Sequence[Any], entries: Sequence[Entry], by_term: bool = False) -> str:
    """Return the names of variances and covariances."""
    found = []
    for k, i, j in sorted(entries, key=lambda entry: (entry[1] != entry[2], entry)):
        if k < 0:
            found.append("residual variance")
            continue
        columns = terms[k].columns
        what = f"variance of {columns[i]}" if i == j else f"covariance of {columns[j]} and {columns[i]}"
        found.append(f"{what} in {terms[k].name}" if by_term else what)
    return _listed(found)


def _listed(names: Sequence[str], most: int = 4) -> str:
    """Return names as words, the last ones left out if there are many."""
    names = [*names[:most], f"{len(names) - most} more"] if len(names) > most + 1 else list(names)
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _is_constant(block: np.ndarray, columns: Sequence[str], i: int) -> bool:
    """Return whether column i of a term, not its intercept, is constant within every level."""
    if "Intercept" not in columns or columns[i] == "Intercept":
        return False
    o = columns.index("Intercept")
    product = block[:, i, i] * block[:, o, o]
    return bool((product - block[:, i, o] ** 2 <= ALIASED * product).all())


def _effects(cross: CrossProducts, k: int, i: int) -> slice:
    """Return the places of the effects of column i of term k."""
    part = cross.relative_factor.effect_slices[k]
    return slice(part.start + i, part.stop, cross.shapes[k].n_columns)


def _dependent(cross: CrossProducts, k: int) -> int | None:
    """Return the first column of a term that is zero or a combination of those before it, None without one."""
    block = cross.diagonal[k]
    if sp.issparse(block):
        return None
    total = block.sum(axis=0)
    size = np.sqrt(np.diag(total))
    if not size.all():
        return int(size.argmin())
    inner = total / np.outer(size, size)
    for i in range(1, len(total) if cross.shapes[k].structure != "diagonal" else 0):
        outside = 1.0 - inner[i, :i] @ np.linalg.lstsq(inner[:i, :i], inner[:i, i], rcond=None)[0]
        if outside < DEPENDENT:
            return i
    return None


def _absorbed(cross: CrossProducts, k: int) -> int | None:
    """Return the first column of a term whose effects are combinations of the fixed ones, None without one."""
    shape, block = cross.shapes[k], cross.diagonal[k]
    if cross.n_fixed < shape.n_levels:
        return None
    L = np.linalg.cholesky(cross.XX)
    for i in range(shape.n_columns):
        whole = block.diagonal().sum() if sp.issparse(block) else block[:, i, i].sum()
        F = sla.solve_triangular(L, cross.ZX[_effects(cross, k, i)].T, lower=True)
        if whole - np.square(F).sum() <= ABSORBED * whole:
            return i
    return None


def _combinations(cross: CrossProducts, usable: Sequence[int]) -> Iterator[list[Entry]]:
    """Yield the entries of every combination of kernels that is zero, those of the same terms together."""
    entries = [(k, int(i), int(j)) for k in usable for i, j in zip(*cross.shapes[k].entries, strict=True)]
    if not 0 < len(entries) <= MOST_ENTRIES or any(block.nnz > MOST_PAIRS for block in cross.cross.values()):
        return
    units = {k: _units(cross, k) for k in usable}
    gram = _gram(cross, units, entries)
    size = np.sqrt(np.where(np.diag(gram) > ALIASED**2 * cross.nobs, np.diag(gram), 1.0))  # one for a kernel of zeros
    values, vectors = np.linalg.eigh(gram / np.outer(size, size))
    inflation = max(np.square(cross.column_scale(k)[:, None] * T).sum() for k, T in units.items())
    zero = np.clip(ROUNDED * inflation, ALIASED, MOST_ROUNDED)
    null = (vectors[:, values < zero] / size[:, None]).T
    directions = [_in_columns(cross, units, entries, vector) for vector in null]
    found = []
    for direction in _reduced(np.array(directions).reshape(len(null), len(entries) + 1)):
        part = np.flatnonzero(np.abs(direction) > PART * np.abs(direction).max())
        found.append([[*entries, (-1, 0, 0)][p] for p in part])
    terms = {id(one): sorted({k for k, _, _ in one}) for one in found}
    for _, same in groupby(sorted(found, key=lambda one: terms[id(one)]), key=lambda one: terms[id(one)]):
        yield sorted({entry for one in same for entry in one})


def _units(cross: CrossProducts, k: int) -> np.ndarray:
    """Return T (c, c): the columns of term k times T have mean squares of one and, if correlated, products of zero."""
    block, c = cross.diagonal[k], cross.shapes[k].n_columns
    if sp.issparse(block) or cross.shapes[k].structure == "diagonal":
        return np.diag(1.0 / cross.column_scale(k))
    return np.linalg.inv(np.linalg.cholesky(block.sum(axis=0) / cross.nobs)).T.reshape(c, c)


def _gram(cross: CrossProducts, units: dict[int, np.ndarray], entries: Sequence[Entry]) -> np.ndarray:
    """Return tr(W K_p W K_q) of all kernels, that of the residual variance the last."""
    gram = np.zeros((len(entries) + 1, len(entries) + 1))
    place = {entry: p for p, entry in enumerate(entries)}
    for k in units:
        for m in units:
            if k > m:
                continue
            products = _products(cross, k, m, units)
            for _, i, j in (entry for entry in entries if entry[0] == k):
                for _, r, s in (entry for entry in entries if entry[0] == m):
                    value = 0.5 * (products[i, r, j, s] + products[i, s, j, r])
                    p, q = place[k, i, j], place[m, r, s]
                    gram[p, q] = gram[q, p] = value
        block = cross.diagonal[k]
        trace = np.array([[block.diagonal().sum()]]) if sp.issparse(block) else block.sum(axis=0)
        trace = units[k].T @ trace @ units[k]
        for _, i, j in (entry for entry in entries if entry[0] == k):
            gram[place[k, i, j], -1] = gram[-1, place[k, i, j]] = trace[i, j]
    gram[-1, -1] = cross.nobs
    return gram


def _products(cross: CrossProducts, k: int, m: int, units: dict[int, np.ndarray]) -> np.ndarray:
    """Return Σ C[i, r] C[j, s] over pairs of levels, (c_k, c_m, c_k, c_m), C = T_k'Z_a'WZ_bT_m the block of a pair."""
    c, d = units[k].shape[0], units[m].shape[0]
    block = cross.diagonal[k] if k == m else cross.cross[k, m]
    if isinstance(block, sp.csr_array):
        block = np.asarray(block.data)[:, None, None] if c == d == 1 else block.tobsr((c, d)).data
    total = np.zeros((c * d, c * d))
    for start in range(0, len(block), SLICE):
        C = (units[k].T @ block[start : start + SLICE].astype(float) @ units[m]).reshape(-1, c * d)
        total += C.T @ C
    return total.reshape(c, d, c, d)


def _in_columns(
    cross: CrossProducts, units: dict[int, np.ndarray], entries: Sequence[Entry], vector: np.ndarray
) -> np.ndarray:
    """Return a combination of kernels of the columns times T as one of the user's columns over their size."""
    direction = vector.copy()
    for k, T in units.items():
        places = [p for p, entry in enumerate(entries) if entry[0] == k]
        rows, columns = cross.shapes[k].entries
        D = np.zeros(T.shape)
        D[rows, columns] = D[columns, rows] = np.where(rows == columns, 1.0, 0.5) * vector[places]
        size = cross.column_scale(k)
        direction[places] = (T @ D @ T.T * np.outer(size, size))[rows, columns]
    return direction


def _reduced(vectors: np.ndarray) -> np.ndarray:
    """Return a basis with many zeros of the span of the rows: their reduced echelon form."""
    vectors = vectors / np.maximum(np.abs(vectors).max(axis=1, keepdims=True), np.finfo(float).tiny)
    for i in range(len(vectors)):
        pivot = int(np.abs(vectors[i]).argmax())
        vectors[i] /= vectors[i, pivot]
        others = np.arange(len(vectors)) != i
        vectors[others] -= np.outer(vectors[others, pivot], vectors[i])
    return vectors
