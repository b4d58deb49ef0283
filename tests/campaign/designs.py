"""Generated designs against the dense n × n computation, at any θ and at the optimum."""

from __future__ import annotations

import time
import warnings
from types import SimpleNamespace

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from scipy.optimize import minimize

from sparselmm import ConvergenceWarning, DataError, DataWarning, LinearMixedModel, RandomTerm
from sparselmm.covariance import TermShape
from sparselmm.results import LinearMixedModelResults as Fit

from ._dense import Array, Dense, DensePoint
from ._specs import SPECS, Data, Spec, build
from .outcome import Outcome, described

SHORT, LONG = 60, 10_000
NOTE = (
    "Likelihood, gradient, estimates, errors, modes and their variances at random θ and at the optimum against n × n "
    "matrices; the optimum against perturbations, other starts and (one in ten) an optimiser of the dense likelihood; "
    "the boundary by the sign of the dense derivative; what is said not to be identified, by the rank."
)
ENDS = (  # of runs that are not certified, as the warning says them
    "do not tell the variances",
    "the residual variance goes to zero",
    "dominated by rounding",
    "limit of evaluations",
)
MEANT = 1e-6  # relative error from rounding above which the numbers of a run that is not certified mean nothing
BETTER = 1e-6  # of the deviance: an optimum that is beaten by more is not one


def run(count: int, seed: int) -> Outcome:
    """Return the Outcome of `count` generated designs."""
    outcome, begin = Outcome("designs", 0, note=NOTE), time.perf_counter()

    @seeded(seed)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(SPECS)
    def trials(spec: Spec) -> None:
        number = outcome.tried
        outcome.tried += 1
        try:
            kind = check(spec, thorough=number % 10 == 0)
        except Exception as error:
            kind = "failed"
            outcome.failures.append({"seed": seed, "number": number, "design": repr(spec), **described(error)})
        outcome.counts[kind] = outcome.counts.get(kind, 0) + 1

    trials()
    outcome.seconds = time.perf_counter() - begin
    return outcome


def check(spec: Spec, thorough: bool = False) -> str:
    """Check one design and return what kind it was: refused, or how the fit ended."""
    data = build(spec)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", DataWarning)
            warnings.filterwarnings("ignore", "Terms? ", DataWarning)  # variances that the design cannot tell apart
            model = LinearMixedModel(data.y, data.X, data.terms, weights=data.weights, offset=data.offset)
    except DataError as error:
        assert refused_rightly(data, str(error)), f"refused without reason: {error}"
        return "refused"
    check_aliases(model)
    rng = np.random.default_rng(spec.seed)
    dense = Dense(_response(data), model.exog, list(model.terms), spec.reml, data.weights)
    theta = _random_theta(model, spec.reml, rng)
    for engine in ("cholmod", "dense", "pcg") if thorough else ("cholmod",):
        agree(_results_at(model, spec.reml, theta, engine), dense.at(theta), f"{engine} at a random θ")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = model.fit(spec.reml)
    assert all(issubclass(w.category, ConvergenceWarning) for w in caught), [str(w.message) for w in caught]
    assert fit.converged != bool(caught), "a ConvergenceWarning and `converged` say different things"
    at = dense.at(fit.theta)
    if fit.converged or rounding(fit, at) < MEANT:
        agree(fit, at, "the fit")
    if not fit.converged:
        return "not certified: " + next(text for text in ENDS if text in fit.optimizer.message)
    check_boundary(fit, at)
    check_optimum(fit, dense, at, rng)
    if several(fit, rng) or (thorough and beyond_a_barrier(fit, dense, at)):
        return "several optima"
    return "variances not told apart" if model.aliased else "singular" if fit.singular else "regular"


def refused_rightly(data: Data, message: str) -> bool:
    """Return whether the data are as a message of a refusal says."""
    n, p = data.y.size, np.linalg.matrix_rank(data.X) if data.X.size else 0
    if "no residual" in message:
        return p >= n
    if "single level" in message:
        return any(term.codes is not None and term.n_levels == 1 for term in data.terms)
    if "cannot be told" in message:
        return any(term.codes is not None and term.n_effects >= n for term in data.terms)
    return False


def check_aliases(model: LinearMixedModel) -> None:
    """Assert that variances are said not to be told apart if and only if their n × n kernels depend on each other."""
    W, kernels, absorbed = np.ones(model.nobs) if model.weights is None else model.weights, [], False
    basis = np.linalg.qr(np.sqrt(W)[:, None] * model.exog)[0]
    for term in model.terms:
        columns = _columns(term, np.sqrt(W))
        blocks = np.split(
            np.sqrt(W)[:, None, None] * term.Z.toarray().reshape(model.nobs, -1, term.n_columns), term.n_columns, 2
        )
        rests = ((Z - basis @ (basis.T @ Z), Z) for Z in (block[:, :, 0] for block in blocks))
        absorbed |= any(np.sum(rest**2) < 1e-8 * np.sum(Z**2) for rest, Z in rests)
        pairs = zip(*TermShape(1, len(columns), term.structure).entries, strict=True)
        kernels += [columns[i] @ columns[j].T + columns[j] @ columns[i].T for i, j in pairs]
    vectors = np.array([K.ravel() for K in (*kernels, np.eye(model.nobs))])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)[:, None]
    lowest = np.linalg.eigvalsh(vectors @ vectors.T)[0]
    known = min(map(_independence, model.terms)) > 1e-3  # cross-products tell columns apart up to ε over its square
    assert model.aliased or lowest > 1e-13 or not known, (
        f"variances that cannot be told apart are not named: {lowest:.1e}"
    )
    assert not model.aliased or absorbed or lowest < 1e-7, f"named without reason: {lowest:.1e}, {model.aliased}"


def _independence(term: RandomTerm) -> float:
    """Return the smallest singular value of the columns of a term, each of length one."""
    if term.matrix is not None:
        return 1.0
    return float(
        np.linalg.svd(term.values / np.maximum(np.linalg.norm(term.values, axis=0), 1e-300), compute_uv=False)[-1]
    )


def _columns(term: RandomTerm, root: Array) -> list[Array]:
    """Return for each column of a term, made orthonormal if correlated, its block of Z, weighted, (n, l) each."""
    if term.matrix is not None:
        return [root[:, None] * term.matrix.toarray()]
    values = root[:, None] * term.values
    if term.structure == "diagonal":
        values = values / np.maximum(np.linalg.norm(values, axis=0), 1e-300)
    else:
        size, (Q, R) = np.linalg.norm(values, axis=0), np.linalg.qr(values)
        values = Q * (np.abs(np.diag(R)) > 1e-7 * size)  # a column of zeros for one that depends on those before it
    levels = np.eye(term.n_levels)[term.codes]
    return [column[:, None] * levels for column in values.T]


def agree(fit: Fit, at: DensePoint, where: str) -> None:
    """Assert that everything a fit says at its θ is what the dense computation says, but what is a matter of chance."""
    lost = rounding(fit, at)
    if not fit.likelihood.engine.slack:
        agree_in_likelihood(fit, at, where, lost)
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        sigma = np.sqrt(at.scale)
    close(fit.scale, at.scale, f"scale, {where}", rtol=1e-6 + lost)
    close(fit.params / at.bse, at.beta / at.bse, f"params, {where}", atol=1e-5 + lost, rtol=1e-9)
    close(fit.bse / at.bse, 1.0, f"bse, {where}", atol=1e-6 + lost)
    spread = np.sqrt(np.einsum("ij,ij->i", at.Lambda, at.Lambda)) * sigma
    spread = np.where(spread > 0.0, spread, 1.0)
    ours = np.concatenate([effects.to_numpy().ravel() for effects in fit.random_effects.values()])
    close(ours / spread, at.b / spread, f"random effects, {where}", atol=1e-5 + 10 * lost, rtol=1e-6)
    cov = at.conditional_cov
    for term, part in zip(fit.model.terms, at.dense.map.effect_slices, strict=True):
        c, block = term.n_columns, cov[part, part]
        reference = np.array([block[j : j + c, j : j + c] for j in range(0, len(block), c)])
        units = np.array([np.outer(s, s) for s in spread[part].reshape(-1, c)])
        close(
            fit.random_effects_cov[term.name] / units,
            reference / units,
            f"variances of modes, {where}",
            atol=1e-6 + lost,
        )


def agree_in_likelihood(fit: Fit, at: DensePoint, where: str, lost: float) -> None:
    """Assert that the deviance and its gradient are those of the dense computation."""
    close(fit.deviance, at.deviance, f"deviance, {where}", atol=(1e-7 + lost) * (1.0 + at.dense.N))
    size, many = fit.likelihood.theta_scale, at.dense.N + len(at.b)
    gradient = fit.likelihood.derivatives(fit.likelihood.evaluate(fit.theta)).gradient * size
    close(gradient, at.gradient * size, f"gradient, {where}", atol=(1e-5 + 10 * lost) * many, rtol=1e-6)


def rounding(fit: Fit, at: DensePoint) -> float:
    """Return the relative error that cross-products cannot avoid: what cancels in σ², and the condition of M(θ)."""
    cancelled = fit.model.cross.yy / (at.dense.N * at.scale)
    condition = 1.0 + np.sum(at.dense.W[:, None] * (np.abs(at.dense.Z) @ np.abs(at.Lambda)) ** 2)
    return 10.0 * float(np.finfo(float).eps * (cancelled + condition))


def check_optimum(fit: Fit, dense: Dense, at: DensePoint, rng: np.random.Generator) -> None:
    """Assert that no perturbed θ has a lower deviance."""
    size, better = fit.likelihood.theta_scale, BETTER + rounding(fit, at) * dense.N
    for reach in (1e-4, 1e-3, 1e-2, 0.05):
        theta = fit.theta + reach * size * rng.standard_normal(fit.theta.size)
        other = dense.at(theta).deviance
        assert other > at.deviance - better, f"beaten by {at.deviance - other:.3g} at a distance of {reach}"


def beyond_a_barrier(fit: Fit, dense: Dense, at: DensePoint) -> bool:
    """Return whether an independent optimiser finds another optimum; assert that the deviance rises on the way."""
    size, better = fit.likelihood.theta_scale, BETTER + rounding(fit, at) * dense.N
    found = minimize(_scaled, fit.theta / size + 0.01, (dense, size), method="L-BFGS-B", jac=True)
    if found.fun > at.deviance - better:
        return False
    way = found.x * size - fit.theta
    highest = max(dense.at(fit.theta + share * way).deviance for share in np.linspace(0.02, 0.98, 25))
    assert highest > at.deviance + better, f"L-BFGS-B is better by {at.deviance - found.fun:.3g}"
    return True


def _scaled(theta: Array, dense: Dense, size: Array) -> tuple[float, Array]:
    """Return the dense deviance and its gradient in θ divided by its size."""
    at = dense.at(theta * size)
    return at.deviance, at.gradient * size


def several(fit: Fit, rng: np.random.Generator) -> bool:
    """Return whether another start ends at a better optimum: likelihoods of few rows can have several."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = fit.likelihood.theta_scale * rng.uniform(0.1, 2.0, fit.theta.size)
        return fit.model.fit(fit.reml, start=start).deviance < fit.deviance - BETTER


def check_boundary(fit: Fit, at: DensePoint) -> None:
    """Assert that the deviance grows with every variance at zero, and that a fit is called singular if one is."""
    some = False
    for k, factor in enumerate(at.dense.map.unpack(fit.theta)):
        part, shape = at.dense.map.theta_slices[k], at.dense.map.shapes[k]
        size = np.empty(shape.n_columns)
        size[shape.entries[0]] = fit.likelihood.theta_scale[part]
        left, values, _ = np.linalg.svd(factor / size[:, None])
        null = left[:, values < 1e-5]
        some |= bool(null.size)
        A = at.derivative_in(k) * np.outer(size, size)
        inner = null.T @ A @ null
        lowest = np.diag(inner).min(initial=np.inf) if shape.structure == "diagonal" else _lowest(inner)
        assert lowest > -1e-4 * shape.n_levels, f"term {k}: the deviance falls with a variance at zero, {lowest:.3g}"
    assert not some or fit.singular, "a covariance is singular and the fit does not say so"


def _lowest(matrix: Array) -> float:
    return float(np.linalg.eigvalsh(matrix)[0]) if matrix.size else np.inf


def close(ours: object, theirs: object, what: str, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Assert that numbers agree."""
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=rtol, atol=atol, err_msg=what)


def _response(data: Data) -> Array:
    return data.y if data.offset is None else data.y - data.offset


def _random_theta(model: LinearMixedModel, reml: bool, rng: np.random.Generator) -> Array:
    """Return some θ in natural units, some of its columns zero."""
    theta = model.likelihood(reml).theta_scale * rng.standard_normal(model.cross.relative_factor.n_theta)
    return theta * rng.choice([0.0, 0.1, 1.0, 1.0, 5.0], theta.size)


def _results_at(model: LinearMixedModel, reml: bool, theta: Array, engine: str) -> Fit:
    """Return results at a θ that is no optimum."""
    likelihood = model.likelihood(reml, engine)
    record = SimpleNamespace(theta=theta, monte_carlo=None, converged=True, singular=False)
    return Fit(model, likelihood, record, likelihood.evaluate(theta))
