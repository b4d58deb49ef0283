"""CHOLMOD through scikit-sparse: the adapter to its two APIs, and SparseCore, the sparse Schur complement.

The only module that imports scikit-sparse (0.4, and the different API of 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version as installed_version
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from ..errors import EngineError
from ..threads import forget_libraries
from .gram import GramPlan

if TYPE_CHECKING:
    from ..crossproducts import CrossProducts
    from .coupling import SparseCoupling

REMEDY = (
    "CHOLMOD is needed through scikit-sparse. On Debian or Ubuntu: apt-get install libsuitesparse-dev "
    "libopenblas0-pthread, then pip install 'scikit-sparse>=0.4.16,<0.5'. On macOS: brew install suite-sparse, "
    "then the same pip command. With conda: conda install -c conda-forge scikit-sparse."
)


@cache
def _library() -> ModuleType:
    """Return the sksparse.cholmod module, or raise with the remedy."""
    try:
        from sksparse import cholmod
    except ImportError as error:
        raise EngineError(f"{REMEDY} ({error})") from error
    forget_libraries()  # CHOLMOD brings a BLAS of its own
    return cholmod


def is_missing() -> bool:
    """Return True if scikit-sparse cannot be imported."""
    try:
        _library()
    except EngineError:
        return True
    return False


def version() -> str:
    """Return the version of scikit-sparse, or the remedy if it is missing."""
    return REMEDY if is_missing() else f"scikit-sparse {installed_version('scikit-sparse')}"


class Cholesky:
    """P A P' = L L' of a fixed pattern: analysed once, factored for many values.

    Parameters
    ----------
    indptr, indices : ndarray of int32
        Lower triangle of A by columns, sorted.
    order : {"default", "natural"}
    """

    def __init__(self, indptr: np.ndarray, indices: np.ndarray, order: str = "default") -> None:
        size = indptr.size - 1
        self._library = _library()
        # CHOLMOD reads the arrays in place: one int32/float64 matrix whose data are overwritten for every θ
        self._matrix = sp.csc_matrix((np.ones(indices.size), indices, indptr), shape=(size, size))
        self._new_api = hasattr(self._library, "CholeskyFactor")
        if self._new_api:
            self._symbolic = self._library.CholeskyFactor(sp.csc_array(self._matrix), lower=True, order=order)
            self.permutation = np.array(self._symbolic.perm)
        else:
            self._factor = self._library.analyze(self._matrix, ordering_method=order)
            self.permutation = self._factor.P()

    def factorize(self, data: np.ndarray) -> None:
        """Factor the matrix whose lower triangle holds `data`."""
        self._matrix.data[:] = data
        try:
            if self._new_api:  # factorize turns a supernodal factor into a simplicial one: keep the symbolic one
                self._factor = self._symbolic.copy().factorize(sp.csc_array(self._matrix))
            else:
                self._factor.cholesky_inplace(self._matrix)
        except self._library.CholmodNotPositiveDefiniteError as error:
            raise EngineError(f"The Cholesky factorisation failed: {error}. θ is out of range.") from error

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """Return A⁻¹ rhs, (q, r)."""
        rhs = np.asfortranarray(rhs)
        return self._factor.solve(rhs) if self._new_api else self._factor.solve_A(rhs)

    def lower_factor(self) -> sp.csc_matrix:
        """Return L as a sorted CSC matrix."""
        L = self._factor.factor.copy() if self._new_api else self._factor.L()
        L.sort_indices()
        return L


class SparseCore:
    """C = Λ'SΛ + I - R'R over the terms that are not eliminated, sparse, factored by CHOLMOD.

    Works in CHOLMOD's order: column i of the terms stands at position ``rank[i]`` here, and vectors come in
    that order, so that the coupling, C and L share one lower triangle.
    """

    def __init__(self, cross: CrossProducts, terms: Sequence[int], extra: sp.sparray | None = None) -> None:
        first = GramPlan(cross, terms, extra)
        permutation = Cholesky(first.indptr, first.indices).permutation
        self.rank = np.empty_like(permutation)
        self.rank[permutation] = np.arange(permutation.size)
        self.permutation = permutation
        self.plan = GramPlan(cross, terms, extra, rank=self.rank)
        self._cholesky = Cholesky(self.plan.indptr, self.plan.indices, order="natural")
        self.map = self.plan.map
        self.size = self.plan.size
        self._L: Any = None  # sorted CSC
        self._inverse: np.ndarray | None = None

    def describe(self) -> str:
        """Return how the remainder is factored."""
        size = "" if self._L is None else f" ({self._L.nnz:,} entries in L)"
        return f"sparse Cholesky (CHOLMOD) of the remaining {self.size:,} columns{size}"

    def factorize(self, factors: Sequence[np.ndarray], coupling: SparseCoupling | None) -> None:
        """Form C for the given λ_k, subtract the coupling's R'R and factor it."""
        data = self.plan.values(factors)
        if coupling is not None:
            coupling.subtract_gram_sparse(data, self.plan.indptr, self.plan.indices)
        self._cholesky.factorize(data)
        self._L = self._cholesky.lower_factor()
        self._inverse = None

    def logdet(self) -> float:
        """Return log|C|."""
        return 2.0 * float(np.log(self._L.data[self._L.indptr[:-1]]).sum())

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """Return C⁻¹ rhs, (q, r)."""
        return self._cholesky.solve(rhs)

    def gram_dot(self, V: np.ndarray) -> np.ndarray:
        """Return S V, (q, r)."""
        return self.plan.matrix @ V

    @property
    def inverse(self) -> np.ndarray:
        """C⁻¹ on the pattern of L: data of a lower CSC matrix with L's indptr and indices."""
        if self._inverse is None:
            from .selinv import selected_inverse

            self._inverse = selected_inverse(self._L.indptr, self._L.indices, self._L.data)
        return self._inverse

    def quadratic(
        self, kernels: ModuleType, values: np.ndarray, pattern: tuple[np.ndarray, ...], *sizes: np.ndarray | int
    ) -> np.ndarray:
        """Return Σ_ab G_ja C⁻¹_ab G_jb' per level of a coupling with the given values."""
        L = self._L
        return kernels.quadratic_sparse(self.inverse, L.indptr, L.indices, values, *pattern, *sizes)

    def inverse_blocks(self, k: int) -> np.ndarray:
        """Return the diagonal blocks of C⁻¹ of term k, (l, c, c)."""
        shape, part = self.map.shapes[k], self.map.effect_slices[k]
        positions = self.rank[part].reshape(shape.n_levels, shape.n_columns)
        L = self._L
        if shape.n_columns == 1:
            return self.inverse[L.indptr[positions]][:, :, None]
        lower = sp.csc_array((self.inverse, L.indices, L.indptr), shape=L.shape)
        blocks = np.empty((shape.n_levels, shape.n_columns, shape.n_columns))
        for a in range(shape.n_columns):
            for b in range(a + 1):
                row = np.maximum(positions[:, a], positions[:, b])
                column = np.minimum(positions[:, a], positions[:, b])
                blocks[:, a, b] = blocks[:, b, a] = lower[row, column]
        return blocks
