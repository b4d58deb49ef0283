"""Designs on which the stochastic engine is compared with the exact one: communities, skew, few moves, slopes."""

import numpy as np

from sparselmm import LinearMixedModel, RandomTerm


def ratings(rng, n=12_000, users=900, items=500, communities=6, skew=1.0, home=0.7):
    """Return users and items of n ratings, log-normal degrees, most within communities; every level occurs."""
    own, others = rng.integers(0, communities, users), rng.integers(0, communities, items)
    u = np.r_[np.arange(users), rng.choice(users, n - users, p=_shares(rng, users, skew))]
    i = rng.choice(items, n, p=_shares(rng, items, skew))
    i[:items] = rng.permutation(items)
    for k in range(communities):
        chosen = np.flatnonzero((own[u] == k) & (rng.random(n) < home) & (np.arange(n) >= items))
        members = np.flatnonzero(others == k)
        if members.size:
            i[chosen] = rng.choice(members, chosen.size)
    return u, i


def panel(rng, workers=2_000, firms=250, years=8, move=0.12, communities=10, mixing=0.05):
    """Return worker, firm and year of a panel whose workers move now and then, mostly within their community."""
    own, others = rng.integers(0, communities, firms), rng.integers(0, communities, workers)
    members = [np.flatnonzero(own == k) for k in range(communities)]

    def draw(community):
        return np.array([rng.choice(members[k]) if members[k].size else rng.integers(firms) for k in community])

    f = np.empty((workers, years), dtype=int)
    f[:, 0] = draw(others)
    for t in range(1, years):
        where = np.where(rng.random(workers) < mixing, rng.integers(0, communities, workers), others)
        f[:, t] = np.where(rng.random(workers) < move, draw(where), f[:, t - 1])
    return np.repeat(np.arange(workers), years), f.ravel(), np.tile(np.arange(years), workers)


def _shares(rng, count, skew):
    weights = rng.lognormal(0, skew, count)
    return weights / weights.sum()


def model(rng, factors, sd, columns=None, structures=None, weights=False, residual=1.0, covariates=1):
    """Return a model with one term for every factor; columns[k] of (1, x, ...) are random, sd (c_k,) each."""
    n = factors[0].size
    X = np.column_stack([np.ones(n), rng.standard_normal((n, covariates))])
    w = rng.uniform(0.5, 2.0, n) if weights else None
    y = X @ np.full(X.shape[1], 0.5) + residual * rng.standard_normal(n) / (1.0 if w is None else np.sqrt(w))
    terms = []
    for k, (factor, size) in enumerate(zip(factors, sd, strict=True)):
        c = 1 if columns is None else columns[k]
        structure = "unstructured" if structures is None else structures[k]
        terms.append(RandomTerm(factor, X[:, :c], f"g{k}", structure=structure))
        y += terms[-1].Z @ (rng.standard_normal((terms[-1].n_levels, c)) * size).ravel()
    return LinearMixedModel(y, X, terms, weights=w)


def third(rng, factors, levels):
    """Return the factors and one more of so many levels."""
    return [*factors, rng.integers(0, levels, factors[0].size)]


DESIGNS = {
    "ratings": lambda r: model(r, ratings(r), (0.5, 0.5)),
    "ratings in sealed communities": lambda r: model(r, ratings(r, home=0.98), (0.5, 0.5)),
    "ratings, skewed": lambda r: model(r, ratings(r, skew=2.0), (0.5, 0.5)),
    "ratings, rare levels": lambda r: model(r, ratings(r, n=3_000, users=1_500, items=700), (0.8, 0.8)),
    "ratings, strong effects": lambda r: model(r, ratings(r), (5.0, 3.0)),
    "ratings, weights": lambda r: model(r, ratings(r), (0.5, 0.5), weights=True),
    "ratings, 30 covariates": lambda r: model(r, ratings(r), (0.5, 0.5), covariates=30),
    "panel": lambda r: model(r, panel(r)[:2], (1.0, 0.7), residual=0.5),
    "panel, few moves": lambda r: model(r, panel(r, move=0.03)[:2], (1.0, 0.7), residual=0.5),
    "panel, strong effects": lambda r: model(r, panel(r, move=0.05)[:2], (5.0, 3.0), residual=0.5),
    "panel, 30 sealed communities": lambda r: model(
        r, panel(r, communities=30, mixing=0.01, move=0.06)[:2], (5.0, 3.0), residual=0.5
    ),
    "panel with years": lambda r: model(r, panel(r), (1.0, 0.7, 0.3), residual=0.5),
    "panel, weights": lambda r: model(r, panel(r)[:2], (1.0, 0.7), residual=0.5, weights=True),
    "panel, slopes of workers": lambda r: model(
        r, panel(r, workers=1_000, firms=150)[:2], ((1.0, 0.5), 0.7), columns=(2, 1), residual=0.5
    ),
    "panel, slopes of firms": lambda r: model(r, panel(r)[:2], (1.0, (0.7, 0.4)), columns=(1, 2), residual=0.5),
    "three factors": lambda r: model(r, third(r, ratings(r), 300), (0.5, 0.5, 0.5)),
    "slopes of users": lambda r: model(r, ratings(r), ((0.5, 0.3), 0.5), columns=(2, 1)),
    "slopes of both": lambda r: model(r, ratings(r, users=500, items=300), ((0.5, 0.3), (0.4, 0.4)), columns=(2, 2)),
    "uncorrelated slopes": lambda r: model(
        r, ratings(r), ((0.5, 0.3), 0.5), columns=(2, 1), structures=("diagonal", "unstructured")
    ),
    "a variance of zero": lambda r: model(r, ratings(r), (0.5, 0.0)),
    "a slope of no variance": lambda r: model(r, ratings(r), ((0.5, 0.0), 0.5), columns=(2, 1)),
}
