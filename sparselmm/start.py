"""Start values of θ: those that a user means, else from moments: quadratic forms of the least-squares residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import scipy.linalg as sla
import scipy.sparse as sp

from .checks import check_sizes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .crossproducts import CrossProducts
    from .errors import FitInterrupted
    from .fitted import FittedModel
    from .record import FitRecord

    Start: TypeAlias = ArrayLike | FittedModel | FitRecord | FitInterrupted  # θ, or what to go on from

SMALLEST = 0.3  # start for a variance that the moments put below this many residual variances of a level mean
LARGEST = 1e3  # and the largest relative standard deviation, in units of the column's root mean square


def start_of(start: Start | None, cross: CrossProducts) -> np.ndarray:
    """Return the start value of θ that `start` means, (m,), see `LinearMixedModel.fit`."""
    if start is None:
        return moment_start(cross)
    start = getattr(start, "record", start)
    start = np.asarray(getattr(start, "theta", start), dtype=float)
    size = cross.relative_factor.n_theta
    if start.shape != (size,):
        raise ValueError(f"start has shape {start.shape}; this model has {size} entries of theta.")
    if not np.isfinite(start).all():
        raise ValueError("start holds missing or infinite values.")
    check_sizes([("start", start)], smallest=0.0)
    return start


def moment_start(cross: CrossProducts) -> np.ndarray:
    """Return θ with diagonal λ_k from MINQUE(0) variances, (m,)."""
    return moment_starts(cross, cross.Zy[None], np.array([cross.yy]))[0]


def moment_starts(cross: CrossProducts, Zy: np.ndarray, yy: np.ndarray) -> np.ndarray:
    """Return θ with diagonal λ_k from MINQUE(0) variances for k responses, (k, m); Zy (k, q), yy (k,) as in `cross`.

    Solves E[y'Py], E[|Z_a'Py|²] = their values for σ² and one variance per random column a, where P projects on
    the complement of X (Rao 1971; Searle, Casella & McCulloch 1992, section 11.3).
    """
    L = np.linalg.cholesky(cross.XX)
    F = sla.solve_triangular(L, cross.ZX.T, lower=True).T if cross.n_fixed else cross.ZX
    blocks = _Columns(cross, F)
    count = len(blocks.columns)
    system, moments = np.zeros((count + 1, count + 1)), np.empty((count + 1, len(yy)))
    moments[0], system[0, 0] = yy, cross.nobs - cross.n_fixed
    for a, column in enumerate(blocks.columns):
        moments[a + 1] = np.sum(Zy[:, column] ** 2, axis=1)  # Z'Py: the pilot fit is least squares
        system[0, a + 1] = system[a + 1, 0] = blocks.trace(a)
        for b in range(a + 1):
            system[a + 1, b + 1] = system[b + 1, a + 1] = blocks.squared_norm(a, b)
    size = np.sqrt([system[0, 0], *(blocks.size(a) or 1.0 for a in range(count))])  # what P leaves may be rounding
    solution = np.linalg.lstsq(system / np.outer(size, size), moments / size[:, None], rcond=1e-12)[0] / size[:, None]
    variances = solution[1:] / np.where(solution[0] > 0, solution[0], yy / cross.nobs)
    theta, first = np.zeros((len(yy), cross.relative_factor.n_theta)), 0
    for k, (shape, part) in enumerate(zip(cross.shapes, cross.relative_factor.theta_slices, strict=True)):
        rms = cross.column_scale(k)
        smallest = np.sqrt(SMALLEST * shape.n_levels / cross.nobs) / rms
        diagonal = np.sqrt(np.maximum(variances[first : first + shape.n_columns].T, 0.0))
        rows, columns = shape.entries
        theta[:, np.arange(part.start, part.stop)[rows == columns]] = np.clip(diagonal, smallest, LARGEST / rms)
        first += shape.n_columns
    return theta


class _Columns:
    """Traces and norms of Z_a'PZ_b for the random columns a, b: one column of a term over all its levels."""

    def __init__(self, cross: CrossProducts, F: np.ndarray) -> None:
        self.cross, self.F = cross, F
        self.columns, self.owner = [], []
        for k, (shape, part) in enumerate(zip(cross.shapes, cross.relative_factor.effect_slices, strict=True)):
            for i in range(shape.n_columns):
                self.columns.append(slice(part.start + i, part.stop, shape.n_columns))
                self.owner.append((k, i))
        self.FF = [F[part].T @ F[part] for part in self.columns]

    def _gram(self, a: int, b: int) -> np.ndarray | sp.sparray:
        """Return Z_a'WZ_b: a vector where it is diagonal, else sparse."""
        (k, i), (m, j) = self.owner[a], self.owner[b]
        if k == m:
            block = self.cross.diagonal[k]
            return block if sp.issparse(block) else block[:, i, j]
        if k > m:
            return self._gram(b, a).T
        return self.cross.cross[k, m][i :: self.cross.shapes[k].n_columns, j :: self.cross.shapes[m].n_columns]

    def trace(self, a: int) -> float:
        """Return tr Z_a'PZ_a."""
        gram = self._gram(a, a)
        return (gram.diagonal() if sp.issparse(gram) else gram).sum() - np.trace(self.FF[a])

    def squared_norm(self, a: int, b: int) -> float:
        """Return the squared Frobenius norm of Z_a'PZ_b."""
        gram, left, right = self._gram(a, b), self.F[self.columns[a]], self.F[self.columns[b]]
        product = gram @ right if sp.issparse(gram) else gram[:, None] * right
        return _squares(gram) - 2.0 * np.sum(left * product) + np.sum(self.FF[a] * self.FF[b])

    def size(self, a: int) -> float:
        """Return the squared Frobenius norm of Z_a'WZ_a."""
        return _squares(self._gram(a, a))


def _squares(gram: np.ndarray | sp.sparray) -> float:
    """Return the sum of squares of the entries."""
    return float(np.sum(np.square(gram.data if sp.issparse(gram) else gram, dtype=float)))
