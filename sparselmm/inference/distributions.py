"""Student's t and F where the degrees of freedom may be infinite (normal and chi-squared) or undefined (NaN)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc, fdtrc, ndtr, ndtri, stdtr, stdtrit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def two_sided(t: np.ndarray, df: float | np.ndarray) -> np.ndarray:
    """Return the two-sided p-values of t statistics."""
    t, df = np.broadcast_arrays(-np.abs(t), np.asarray(df, dtype=float))
    return 2.0 * np.where(np.isinf(df), ndtr(t), stdtr(np.where(np.isinf(df), 1.0, df), t))


def t_quantile(probability: float, df: float | np.ndarray) -> np.ndarray:
    """Return the quantiles of Student's t."""
    df = np.asarray(df, dtype=float)
    finite = np.where(np.isinf(df), 1.0, df)
    return np.where(np.isinf(df), ndtri(probability), stdtrit(finite, probability))


def f_tail(F: ArrayLike, df_num: ArrayLike, df_denom: ArrayLike) -> np.ndarray:
    """Return the upper tail of F, of chi-squared over df_num where df_denom is infinite; NaN where df_num is zero."""
    F, df_num, df_denom = np.broadcast_arrays(*(np.asarray(a, dtype=float) for a in (F, df_num, df_denom)))
    infinite = np.isinf(df_denom)
    tail = np.where(infinite, chdtrc(df_num, df_num * F), fdtrc(df_num, np.where(infinite, 1.0, df_denom), F))
    return np.where(df_num > 0, tail, np.nan)
