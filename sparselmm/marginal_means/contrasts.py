"""Contrasts among the means of a family: matrices of weights by name, or given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from math import gcd, lcm
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    Method: TypeAlias = str | dict[str, Sequence[float]] | pd.DataFrame | ArrayLike  # a name of METHODS, or weights

MOST_POWERS = 6
POLYNOMIALS = ("linear", "quadratic", "cubic", "quartic", "degree 5", "degree 6")
Weights = tuple[np.ndarray, list[str]]  # K (c, k) and the labels of its rows
OPERATORS = re.compile(r"[-+/*]")


def matrix(
    method: Method, names: Sequence[str], ref: int | str | Sequence[int | str] = 0, reverse: bool = False
) -> tuple[np.ndarray, list[str], str]:
    """Return the weights K (c, k) of contrasts among k means, their labels, and the usual adjustment.

    Parameters
    ----------
    method : str, dict, DataFrame or array_like (c, k)
        A name of METHODS; a weight per mean in the values of a dict or the columns of a DataFrame, or in the rows of
        an array.
    names : list of str
        Labels of the means.
    ref : int or str, or a list of them
        The control of ``trt.vs.ctrl``.
    reverse : bool
        Whether differences are turned round.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(
                f"method={method!r} is not one of {', '.join(METHODS)}. Give your own weights as a dict of lists."
            )
        build, adjust = METHODS[method]
        K, labels = build([_guarded(name) for name in names], control(ref, names), bool(reverse))
        return np.asarray(K, dtype=float).reshape(-1, len(names)), labels, adjust
    if isinstance(method, dict):
        method = pd.DataFrame(method)
    if isinstance(method, pd.DataFrame):
        K, labels = method.to_numpy(dtype=float).T, [str(label) for label in method.columns]
    else:
        K = np.atleast_2d(np.asarray(method, dtype=float))
        labels = [f"c{i + 1}" for i in range(len(K))]
    if K.ndim != 2 or K.shape[1] != len(names):
        raise ValueError(f"Contrasts need {len(names)} weights each, one per mean ({', '.join(names)}).")
    return (-K if reverse else K), labels, "none"


def products(
    methods: str | Sequence[Method], keys: pd.DataFrame, ref: int | str | Sequence[int | str] = 0, reverse: bool = False
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the products of contrasts of every factor in keys (k, f), the first fastest, and their labels."""
    methods = [methods] * keys.shape[1] if isinstance(methods, str) else list(methods)
    if len(methods) != keys.shape[1]:
        raise ValueError(f"interaction needs a method for each of {', '.join(keys)}, not {len(methods)}.")
    K, titles = np.ones((1, 1)), pd.DataFrame(index=[0])
    for name, method in zip(keys, methods, strict=True):
        factor, labels, _ = matrix(method, [text(value) for value in keys[name].unique()], ref, reverse)
        K = np.kron(factor, K)
        column = pd.DataFrame({f"{name}_{method if isinstance(method, str) else 'custom'}": labels})
        titles = column.merge(titles, how="cross")[[*titles, *column]]
    if K.shape[1] != len(keys):
        raise ValueError("Contrasts of interactions need every combination of the factors among the rows.")
    return K, {name: titles[name].to_numpy() for name in titles}


def row_labels(keys: pd.DataFrame, rows: np.ndarray, named: bool) -> list[str]:
    """Return what some rows of keys are called in contrasts; bare numbers get the name of their factor if `named`."""
    columns = []
    for name in keys:
        texts = [text(value) for value in keys[name]]
        if named and all(_is_number(label) for label in texts):
            texts = [f"{name}{label}" for label in texts]
        columns.append([texts[i] for i in rows])
    return [" ".join(label) for label in zip(*columns, strict=True)] if columns else [""] * len(rows)


def control(ref: int | str | Sequence[int | str], names: Sequence[str]) -> list[int]:
    """Return the positions of the control."""
    found = []
    for one in ref if isinstance(ref, (list, tuple)) else [ref]:
        if isinstance(one, str) and one in names:
            found.append(names.index(one))
        elif isinstance(one, (int, np.integer)) and -len(names) <= one < len(names):
            found.append(int(one) % len(names))
        else:
            raise ValueError(f"ref={one!r} is no position or label of the means: {', '.join(names)}.")
    return found


def pairwise(names: Sequence[str], ref: list[int], reverse: bool) -> Weights:
    """Return all differences of two, A - B where A comes first."""
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    return _reversed_pairs(names, pairs) if reverse else _differences(names, pairs)


def revpairwise(names: Sequence[str], ref: list[int], reverse: bool) -> Weights:
    """Return all differences of two, B - A where A comes first."""
    pairs = [(j, i) for j in range(len(names)) for i in range(j)]
    return _reversed_pairs(names, pairs) if reverse else _differences(names, pairs)


def trt_vs_ctrl(names: Sequence[str], ref: list[int], reverse: bool) -> Weights:
    """Return the differences from the control, or from the average of several."""
    if len(ref) == 1:
        pairs = [(i, ref[0]) for i in range(len(names)) if i != ref[0]]
        return _reversed_pairs(names, pairs) if reverse else _differences(names, pairs)
    average = np.isin(np.arange(len(names)), ref) / len(set(ref))
    title, others = f"avg({','.join(names[i] for i in ref)})", [i for i in range(len(names)) if i not in ref]
    K, sign = np.eye(len(names))[others] - average, -1.0 if reverse else 1.0
    return sign * K, [f"{title} - {names[i]}" if reverse else f"{names[i]} - {title}" for i in others]


def trt_vs_ctrlk(names: Sequence[str], ref: list[int], reverse: bool) -> Weights:
    """Return the differences from the last."""
    return trt_vs_ctrl(names, [len(names) - 1], reverse)


def consec(names: Sequence[str], ref: list[int], reverse: bool) -> Weights:
    """Return the differences of each from the one before."""
    pairs = [(i + 1, i) for i in range(len(names) - 1)]
    return _reversed_pairs(names, pairs) if reverse else _differences(names, pairs)


def mean_chg(names: Sequence[str], ref: list[int], reverse: bool) -> Weights:
    """Return the mean of all after minus the mean of all before every point between two."""
    k, sign = len(names), -1.0 if reverse else 1.0
    K = [np.where(np.arange(k) < i, -1.0 / i, 1.0 / (k - i)) for i in range(1, k)]
    return sign * np.array(K), [f"{names[i - 1]}|{names[i]}" for i in range(1, k)]


def eff(names: Sequence[str], ref: list[int], reverse: bool) -> Weights:
    """Return the differences from the mean of all."""
    k, sign = len(names), -1.0 if reverse else 1.0
    return sign * (np.eye(k) - 1.0 / k), [f"{name} effect" for name in names]


def del_eff(names: Sequence[str], ref: list[int], reverse: bool) -> Weights:
    """Return the differences from the mean of the others."""
    k = len(names)
    K, labels = eff(names, ref, reverse)
    return K * (k / (k - 1.0)) if k > 1 else K, labels


def poly(names: Sequence[str], ref: list[int], reverse: bool) -> Weights:
    """Return orthogonal polynomials in equally spaced points, in smallest integers (Fisher & Yates 1938)."""
    k = len(names)
    rows = [[Fraction(1)] * k]
    for power in range(1, min(k, MOST_POWERS + 1)):
        row = [Fraction(i**power) for i in range(k)]
        for other in rows:
            share = sum((a * b for a, b in zip(row, other, strict=True)), Fraction(0)) / sum(b * b for b in other)
            row = [a - share * b for a, b in zip(row, other, strict=True)]
        rows.append(row)
    K = []
    for row in rows[1:]:
        whole = [int(value * lcm(*(v.denominator for v in row))) for value in row]
        K.append([value // gcd(*whole) for value in whole])
    sign = -1 if reverse else 1
    return sign * np.array(K, dtype=float).reshape(-1, k), list(POLYNOMIALS[: len(K)])


def identity(names: Sequence[str], ref: list[int], reverse: bool) -> Weights:
    """Return the means themselves."""
    return (-1.0 if reverse else 1.0) * np.eye(len(names)), list(names)


METHODS = {
    "pairwise": (pairwise, "tukey"),
    "revpairwise": (revpairwise, "tukey"),
    "trt.vs.ctrl": (trt_vs_ctrl, "dunnettx"),
    "trt.vs.ctrlk": (trt_vs_ctrlk, "dunnettx"),
    "consec": (consec, "mvt"),
    "mean_chg": (mean_chg, "mvt"),
    "eff": (eff, "fdr"),
    "del.eff": (del_eff, "fdr"),
    "poly": (poly, "none"),
    "identity": (identity, "none"),
}


def _differences(names: Sequence[str], pairs: list[tuple[int, int]]) -> Weights:
    """Return the weights and labels of differences."""
    K = np.zeros((len(pairs), len(names)))
    for row, (i, j) in enumerate(pairs):
        K[row, i], K[row, j] = 1.0, -1.0
    return K, [f"{names[i]} - {names[j]}" for i, j in pairs]


def _reversed_pairs(names: Sequence[str], pairs: list[tuple[int, int]]) -> Weights:
    """Return the weights and labels of the differences turned round."""
    return _differences(names, [(j, i) for i, j in pairs])


def _guarded(name: str) -> str:
    """Return a label in parentheses if it looks like a sum or product."""
    return f"({name})" if OPERATORS.search(name) else name


def text(value: object) -> str:
    """Return a level as text."""
    return f"{value:.15g}" if isinstance(value, (float, np.floating)) else str(value)


def _is_number(label: str) -> bool:
    """Return whether a label says a number."""
    try:
        float(label)
    except ValueError:
        return False
    return not OPERATORS.search(label[1:])
