"""Variances of prediction errors, from the joint covariance of β̂ and b̂ - b (Henderson 1975)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import scipy.sparse as sp

from ..covariance import cov_re
from ..inference.quadratic import ConditionalCovariance
from ..threads import single_threaded
from .rows import Part, Rows

if TYPE_CHECKING:
    from ..covariance import TermShape
    from ..engines.pcg import PcgEngine
    from ..results import LinearMixedModelResults
    from ..terms import RandomTerm

ROWS = 64  # solved for at a time


@single_threaded
def relative_variance(K: ConditionalCovariance, rows: Rows) -> np.ndarray:
    """Return the variance of x'β̂ + z'b̂ - x'β - z'b for every row in units of σ², (n,): equation (P3).

    b has the random effects of the terms that are included in the rows; a level that the fit has not seen has a
    prediction of zero and its prior variance. So have the levels of `rows.fresh`, which the rows leave out of b̂.

    Parameters
    ----------
    K : ConditionalCovariance
        At the θ that is taken as known.
    rows : Rows
    """
    map_ = K.likelihood.map
    priors = [cov_re(factor) for factor in map_.unpack(K.at.theta)]
    n = len(rows.exog)
    Z = sp.hstack([_known(rows.parts.get(k), n, shape) for k, shape in enumerate(map_.shapes)], format="csr")
    variance = _variances(K, rows.exog, Z)
    for k, part in rows.parts.items():
        if part.matrix is None and (part.codes < 0).any():
            variance += np.where(part.codes < 0, _quadratic(part.values, priors[k]), 0.0)
    for k, values in rows.fresh.items():
        variance += _quadratic(values, priors[k])
    return variance


def _variances(K: ConditionalCovariance, X: np.ndarray, Z: sp.csr_array) -> np.ndarray:
    """Return the variance of x'β̂ + z'(b̂ - b) over σ², (n,): of few rows an iterative engine solves for the rows."""
    if not K.likelihood.engine.slack:
        return K.prediction_variances(X, Z)
    engine = cast("PcgEngine", K.likelihood.engine)
    engine.check_solves(min(len(X), engine.core_map.n_effects))
    if len(X) > engine.core_map.n_effects:
        return K.prediction_variances(X, Z)
    variances = np.einsum("ij,ij->i", *2 * [K.reduced(X, Z)])
    for start in range(0, len(X), ROWS):
        part = Z[start : start + ROWS].toarray()
        variances[start : start + ROWS] += np.einsum("ij,ji->i", part, K.dot(part.T))
    return variances


def coefficient_variances(fit: LinearMixedModelResults, k: int) -> np.ndarray:
    """Return the variances of the errors of fixed plus random effects of every level of term k, as `coefficients`."""
    names, term = fit.model.exog_names, fit.model.terms[k]
    levels, columns = np.arange(term.n_levels), dict.fromkeys([*names, *term.columns])
    variances = np.empty((levels.size, len(columns)))
    K = ConditionalCovariance(fit.likelihood, fit.evaluation)
    for i, name in enumerate(columns):
        x, z = (np.tile([float(name == other) for other in among], (levels.size, 1)) for among in (names, term.columns))
        variances[:, i] = fit.scale * relative_variance(K, Rows(x, None, {k: Part(levels, z)}, {}, None))
    return variances


def _known(part: Part | RandomTerm | None, n: int, shape: TermShape) -> sp.csr_array:
    """Return a term's block of Z for the rows (n, l*c): zero for levels that are not known and for a term left out."""
    if part is None:
        return sp.csr_array((n, shape.n_effects))
    if part.matrix is not None:
        return part.matrix
    c, known = shape.n_columns, (part.codes >= 0)[:, None]
    columns = np.where(known, part.codes[:, None] * c + np.arange(c), 0)
    values = np.where(known, part.values, 0.0)
    return sp.csr_array((values.ravel(), columns.ravel(), np.arange(0, n * c + 1, c)), shape=(n, shape.n_effects))


def _quadratic(values: np.ndarray | sp.sparray, covariance: np.ndarray) -> np.ndarray:
    """Return v_i'Gv_i for every row of values, (n,)."""
    if sp.issparse(values):
        Z = sp.csr_array(values)
        return covariance[0, 0] * Z.multiply(Z).sum(axis=1)
    return np.einsum("ia,ia->i", values @ covariance, values)
