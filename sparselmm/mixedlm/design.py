"""Groups, random effects and variance components of the classical interface as terms of the sparse engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ..errors import DataError
from ..terms import RandomTerm, factorize

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class VCSpec:
    """Variance components of a model, group by group in sorted order.

    Parameters
    ----------
    names : list of str
        Names of the components.
    colnames : list of list of list of str
        ``colnames[k][i]`` names the columns of ``mats[k][i]``.
    mats : list of list of array_like
        ``mats[k][i]`` is the design of component k in group i, dense or sparse.
    """

    def __init__(self, names: list[str], colnames: list[list[list[str]]], mats: list[list[Any]]) -> None:
        self.names, self.colnames, self.mats = names, colnames, mats

    @classmethod
    def from_dict(cls, components: Mapping[str, Mapping[Any, Any]]) -> VCSpec:
        """Return the components of a dictionary name -> group -> design."""
        groups = sorted(set().union(*(mats.keys() for mats in components.values())))
        names = sorted(components)
        mats = [[components[name][group] for group in groups] for name in names]
        return cls(names, [[_column_names(mat) for mat in part] for part in mats], mats)


def _column_names(mat: Any) -> list[str]:
    """Return the names of the columns of one design."""
    return list(mat.columns) if isinstance(mat, pd.DataFrame) else [str(j) for j in range(mat.shape[1])]


class Grouping:
    """The disjoint groups of a model, sorted by label.

    Attributes
    ----------
    codes : ndarray (n,)
        Group of each row.
    levels : pandas.Index
    """

    def __init__(self, groups: ArrayLike) -> None:
        self.codes, self.levels = factorize(np.asarray(groups), "groups")

    def __len__(self) -> int:
        return len(self.levels)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Rows of every group."""
        return np.bincount(self.codes, minlength=len(self))

    @cached_property
    def rows(self) -> list[np.ndarray]:
        """Positions of the rows of every group."""
        return np.split(np.argsort(self.codes, kind="stable"), np.cumsum(self.sizes)[:-1])


@dataclass(frozen=True, eq=False)
class Component:
    """One variance component: independent coefficients with a common variance.

    Attributes
    ----------
    name : str
    term : RandomTerm
        With one coefficient per level, q of them, group after group.
    owner : ndarray (q,)
        Group of every coefficient, ascending.
    labels : ndarray (q,)
        Name of every coefficient within its group.
    bar : tuple of str or None
        What lme4's bar would hold, columns and factor within the group (None: the group itself), if it can.
    """

    name: str
    term: RandomTerm
    owner: np.ndarray
    labels: np.ndarray
    bar: tuple[str, str | None] | None = None


def nested_component(
    name: str, grouping: Grouping, codes: np.ndarray, labels: np.ndarray, values: np.ndarray | None = None
) -> Component:
    """Return a component with a coefficient for every pair of a group and a level of a factor that occurs.

    Parameters
    ----------
    codes : ndarray (n,)
        Level of the factor in each row.
    labels : ndarray
        Names of the levels.
    values : ndarray (n,), optional
        What the coefficient multiplies; default 1.
    """
    pairs = grouping.codes * np.int64(len(labels)) + codes
    term = RandomTerm(pairs, values, name)
    owner, level = np.divmod(term.levels.to_numpy(), len(labels))
    return Component(name, term, owner, labels[level])


def matrix_component(name: str, Z: sp.sparray, owner: np.ndarray, labels: np.ndarray) -> Component:
    """Return the component whose coefficients multiply the columns of a sparse Z (n, q).

    Where every row has at most one entry and every column some, it is a grouped term, which the engine eliminates.
    """
    Z = sp.csr_array(Z)
    Z.eliminate_zeros()
    count = np.diff(Z.indptr)
    if Z.nnz and count.max() == 1 and (np.bincount(Z.indices, minlength=Z.shape[1]) > 0).all():
        codes, values = np.zeros(Z.shape[0], dtype=np.int64), np.zeros(Z.shape[0])
        codes[count == 1], values[count == 1] = Z.indices, Z.data
        return Component(name, RandomTerm(codes, values, name), owner, labels)
    return Component(name, RandomTerm.from_matrix(Z, name), owner, labels)


def slopes_component(name: str, grouping: Grouping, values: np.ndarray, labels: np.ndarray) -> Component:
    """Return the component with a coefficient per group for every column of values (n, c)."""
    count = len(grouping)
    Z = RandomTerm(grouping.codes, values).Z
    return matrix_component(name, Z, np.repeat(np.arange(count), len(labels)), np.tile(labels, count))


def components_of(spec: VCSpec, grouping: Grouping) -> list[Component]:
    """Return the components of a VCSpec."""
    return [_component(*parts, grouping) for parts in zip(spec.names, spec.colnames, spec.mats, strict=True)]


def _component(name: str, colnames: list[list[str]], mats: list[Any], grouping: Grouping) -> Component:
    """Return one component from its designs by group."""
    if len(mats) != len(grouping):
        raise DataError(f"Variance component {name!r} has {len(mats)} designs for {len(grouping)} groups.")
    entries = [_entries(mat, size, name) for mat, size in zip(mats, grouping.sizes, strict=True)]
    widths = np.array([width for *_, width in entries])
    first = np.cumsum(widths) - widths
    rows = np.concatenate([where[i] for where, (i, *_) in zip(grouping.rows, entries, strict=True)])
    columns = np.concatenate([start + j for start, (_, j, *_) in zip(first, entries, strict=True)])
    data = np.concatenate([values for _, _, values, _ in entries])
    Z = sp.coo_array((data, (rows, columns)), shape=(grouping.codes.size, int(widths.sum())))
    labels = np.array([str(label) for part in colnames for label in part], dtype=object)
    return matrix_component(name, Z, np.repeat(np.arange(len(grouping)), widths), labels)


def _entries(mat: Any, size: int, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return rows, columns and values of the non-zero entries of a design, and its number of columns."""
    if sp.issparse(mat):
        coo = sp.coo_array(mat)
        i, j, values = coo.row, coo.col, coo.data
    else:
        mat = np.asarray(mat, dtype=float)
        mat = mat[:, None] if mat.ndim == 1 else mat
        i, j = mat.nonzero()
        values = mat[i, j]
    if mat.shape[0] != size:
        raise DataError(f"Variance component {name!r} has a design of {mat.shape[0]} rows in a group of {size}.")
    return i, j, values, mat.shape[1]


def spec_of(components: Sequence[Component], grouping: Grouping, sparse: bool = False) -> VCSpec:
    """Return the components by group, as users of the classical interface read them."""
    mats, colnames = [], []
    for component in components:
        width = np.bincount(component.owner, minlength=len(grouping))
        stop = np.cumsum(width)
        Z = component.term.Z.tocsc()
        parts = [
            Z[:, end - size : end].tocsr()[rows] for end, size, rows in zip(stop, width, grouping.rows, strict=True)
        ]
        mats.append(parts if sparse else [part.toarray() for part in parts])
        colnames.append([part.tolist() for part in np.split(component.labels, stop[:-1])])
    return VCSpec([component.name for component in components], colnames, mats)
