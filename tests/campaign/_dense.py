"""The likelihood from n × n matrices that keep their digits: whitened rows, orthogonal bases, no units."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.linalg as sla
from oracles import dense_Lambda, dense_Z, relative_factor

Array = np.ndarray


class Dense:
    """One design: V(θ) = W⁻¹ + ZΛΛ'Z', its Cholesky factor and a QR decomposition of the whitened X."""

    def __init__(self, y: Array, X: Array, terms: list, reml: bool, weights: Array | None = None) -> None:
        self.y, self.X, self.terms, self.reml = y, X, terms, reml
        self.Z, self.W = dense_Z(terms), np.ones(y.size) if weights is None else weights
        self.N = y.size - (X.shape[1] if reml else 0)
        self.map = relative_factor(terms)

    def at(self, theta: Array) -> DensePoint:
        """Return the likelihood at θ."""
        return DensePoint(self, theta)

    @cached_property
    def directions(self) -> list[Array]:
        """∂Λ/∂θ_p for every entry of θ, (q, q) each."""
        return [dense_Lambda(self.terms, unit) for unit in np.eye(self.map.n_theta)]


class DensePoint:
    """Everything at one θ; V in units of σ²."""

    def __init__(self, dense: Dense, theta: Array) -> None:
        self.dense, self.theta, Z, y, X = dense, theta, dense.Z, dense.y, dense.X
        self.Lambda = dense_Lambda(dense.terms, theta)
        ZL = Z @ self.Lambda
        self.L = np.linalg.cholesky(np.diag(1.0 / dense.W) + ZL @ ZL.T)
        Xw, yw = (sla.solve_triangular(self.L, rows, lower=True) for rows in (X, y))
        self.size = np.linalg.norm(Xw, axis=0)
        self.Q, self.R = np.linalg.qr(Xw / self.size)
        rest = yw - self.Q @ (self.Q.T @ yw)
        rest -= self.Q @ (self.Q.T @ rest)
        self.beta = sla.solve_triangular(self.R, self.Q.T @ yw) / self.size
        self.scale = rest @ rest / dense.N
        self.Py = sla.solve_triangular(self.L, rest, lower=True, trans=1)
        self.deviance = 2.0 * np.log(np.diag(self.L)).sum() + dense.N * (1.0 + np.log(2.0 * np.pi * self.scale))
        if dense.reml:
            self.deviance += 2.0 * (np.log(np.abs(np.diag(self.R))).sum() + np.log(self.size).sum())

    @property
    def b(self) -> Array:
        """Conditional modes, (q,)."""
        return self.Lambda @ (self.Lambda.T @ (self.dense.Z.T @ self.Py))

    @property
    def bse(self) -> Array:
        """Standard errors of β, (p,)."""
        root = sla.solve_triangular(self.R, np.eye(self.R.shape[0])) / self.size[:, None]
        return np.sqrt(self.scale) * np.linalg.norm(root, axis=1)

    @property
    def conditional_cov(self) -> Array:
        """Covariance of b given y, β and θ, σ²Λ(I - Λ'Z'V⁻¹ZΛ)Λ', (q, q)."""
        H = sla.solve_triangular(self.L, self.dense.Z @ self.Lambda, lower=True)
        return self.scale * self.Lambda @ (np.eye(H.shape[1]) - H.T @ H) @ self.Lambda.T

    @cached_property
    def projector(self) -> Array:
        """P under REML and V⁻¹ under ML: what the traces of the derivatives are taken with, (n, n)."""
        root = sla.solve_triangular(self.L, np.eye(self.L.shape[0]), lower=True)
        inner = root - self.Q @ (self.Q.T @ root) if self.dense.reml else root
        return root.T @ inner

    @cached_property
    def gradient(self) -> Array:
        """tr(QV_p) - y'PV_pPy/σ² for every entry of θ."""
        Z, ZPy = self.dense.Z, self.dense.Z.T @ self.Py
        ZQZ = Z.T @ self.projector @ Z
        inner = [E @ self.Lambda.T for E in self.dense.directions]
        return np.array([2.0 * (np.sum(ZQZ * D) - ZPy @ D @ ZPy / self.scale) for D in inner])

    def derivative_in(self, k: int) -> Array:
        """∂d/∂(λ_kλ_k'), (c, c): the sum over the levels of the blocks of Z'QZ - Z'Py y'PZ/σ²."""
        shape, part = self.dense.map.shapes[k], self.dense.map.effect_slices[k]
        Z = self.dense.Z[:, part]
        ZPy = Z.T @ self.Py
        full = Z.T @ self.projector @ Z - np.outer(ZPy, ZPy) / self.scale
        blocks = full.reshape(shape.n_levels, shape.n_columns, shape.n_levels, shape.n_columns)
        return np.einsum("jajb->ab", blocks)
