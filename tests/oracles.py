"""Slow, obvious computations that the fast ones are compared with: everything dense, n x n."""

import numpy as np

from sparselmm import RandomTerm
from sparselmm.covariance import RelativeFactor, TermShape


def dense_Z(terms):
    """Return Z, (n, q), row by row."""
    blocks = []
    for term in terms:
        if term.matrix is not None:
            blocks.append(term.matrix.toarray())
            continue
        n, c = term.values.shape
        block = np.zeros((n, term.n_levels * c))
        for i in range(n):
            for a in range(c):
                block[i, term.codes[i] * c + a] = term.values[i, a]
        blocks.append(block)
    return np.hstack(blocks)


def relative_factor(terms):
    """Return the map between θ and Λ of the terms."""
    return RelativeFactor([TermShape(t.n_levels, t.n_columns, t.structure) for t in terms])


def dense_Lambda(terms, theta):
    """Return Λ(θ), (q, q)."""
    factors = relative_factor(terms).unpack(theta)
    q = sum(t.n_effects for t in terms)
    Lambda, at = np.zeros((q, q)), 0
    for term, factor in zip(terms, factors, strict=True):
        for _ in range(term.n_levels):
            stop = at + factor.shape[0]
            Lambda[at:stop, at:stop] = factor
            at = stop
    return Lambda


class DenseModel:
    """The likelihood of θ from n x n matrices: V = W⁻¹ + ZΛΛ'Z' in units of σ²."""

    def __init__(self, y, X, terms, theta, reml, weights=None):
        n, p = X.shape
        self.y, self.X, self.terms, self.Z = y, X, terms, dense_Z(terms)
        self.Lambda = dense_Lambda(terms, theta)
        inverse_weights = np.ones(n) if weights is None else 1.0 / weights
        V = np.diag(inverse_weights) + self.Z @ self.Lambda @ self.Lambda.T @ self.Z.T
        self.Vinv = np.linalg.inv(V)
        self.XVX = X.T @ self.Vinv @ X
        self.beta = np.linalg.solve(self.XVX, X.T @ self.Vinv @ y)
        self.P = self.Vinv - self.Vinv @ X @ np.linalg.solve(self.XVX, X.T @ self.Vinv)
        self.reml = reml
        self.N = n - (p if reml else 0)
        self.scale = y @ self.P @ y / self.N
        logdet = np.linalg.slogdet(V)[1] + (np.linalg.slogdet(self.XVX)[1] if reml else 0.0)
        self.deviance = logdet + self.N * (1.0 + np.log(2.0 * np.pi * self.scale))
        self.b = self.Lambda @ self.Lambda.T @ self.Z.T @ self.Vinv @ (y - X @ self.beta)

    def directions(self, theta):
        """Return V_p = ZD_pZ' of every entry of θ."""
        step = 1.0
        matrices = []
        for unit in np.eye(len(theta)):
            E = dense_Lambda(self.terms, step * unit)
            matrices.append(self.Z @ (E @ self.Lambda.T + self.Lambda @ E.T) @ self.Z.T)
        return matrices

    def gradient(self, theta):
        """Return tr(QV_p) - y'PV_pPy/σ² with Q = P for REML, V⁻¹ for ML."""
        Py = self.P @ self.y
        Q = self.P if self.reml else self.Vinv
        return np.array([np.trace(Q @ Vp) - Py @ Vp @ Py / self.scale for Vp in self.directions(theta)])

    def hessian(self, theta):
        """Return the average information plus the curvature of ΛΛ' in θ, from n x n matrices."""
        Py = self.P @ self.y
        Q = self.P if self.reml else self.Vinv
        V = self.directions(theta)
        m = len(theta)
        first = np.array([Py @ Vp @ Py / self.scale for Vp in V])
        hessian = np.empty((m, m))
        for a in range(m):
            for b in range(m):
                Ea, Eb = (dense_Lambda(self.terms, unit) for unit in (np.eye(m)[a], np.eye(m)[b]))
                Vab = self.Z @ (Ea @ Eb.T + Eb @ Ea.T) @ self.Z.T
                hessian[a, b] = (
                    Py @ V[a] @ self.P @ V[b] @ Py / self.scale
                    - first[a] * first[b] / self.N
                    + np.trace(Q @ Vab)
                    - Py @ Vab @ Py / self.scale
                )
        return hessian


def random_design(rng, n=60, kinds=("scalar", "slope"), p=2):
    """Return y, X and terms: one term of each kind, unbalanced levels."""
    X = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    terms, y = [], X @ rng.standard_normal(p) + rng.standard_normal(n)
    for number, kind in enumerate(kinds):
        levels = int(rng.integers(3, 12))
        groups = np.r_[np.arange(levels), rng.integers(0, levels, n - levels)]
        rng.shuffle(groups)
        name = f"g{number}"
        if kind == "matrix":
            Z = rng.standard_normal((n, 5)) * (rng.random((n, 5)) < 0.4)
            term = RandomTerm.from_matrix(Z, name=name)
        elif kind == "scalar":
            term = RandomTerm(groups, name=name)
        else:
            c = {"slope": 2, "diagonal": 3, "three": 3, "plain": 1}[kind]
            values = np.column_stack([np.ones(n), rng.standard_normal((n, c - 1))]) if c > 1 else rng.standard_normal(n)
            term = RandomTerm(groups, values, name, structure="diagonal" if kind == "diagonal" else "unstructured")
        effects = rng.standard_normal(term.n_effects) * rng.uniform(0, 1.5)
        y = y + term.Z @ effects
        terms.append(term)
    return y, X, terms
