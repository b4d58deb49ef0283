"""The choice of engines: limits of memory, predicted costs, and the route that follows from them."""

import numpy as np
import pytest
import scipy.sparse as sp
from oracles import random_design

from sparselmm import DataError, EngineError, LinearMixedModel, RandomTerm, lmer
from sparselmm.crossproducts import CrossProducts
from sparselmm.engines import choose as choosing
from sparselmm.engines import exact, memory
from sparselmm.engines.cholmod import SparseCore
from sparselmm.engines.choose import choose, choose_engine
from sparselmm.engines.core import DenseCore
from sparselmm.engines.cost import Cost, classical_memory, pcg_cost, seconds
from sparselmm.engines.dense import DenseGroupEngine
from sparselmm.engines.exact import ExactPlan, is_nested
from sparselmm.engines.memory import Limit, free_memory, limit_of, shown


def crossed(seed=0, n=2_000, levels=(90, 60), effects=0.6):
    """Return a model with crossed factors."""
    rng = np.random.default_rng(seed)
    y, terms = rng.standard_normal(n), []
    for k, count in enumerate(levels):
        codes = rng.integers(0, count, n)
        terms.append(RandomTerm(codes, name=f"g{k}"))
        y += effects * rng.standard_normal(count)[codes]
    return LinearMixedModel(y, np.ones(n), terms)


def chain(n=600, slopes=False):
    """Return a model of pupils within classes within schools."""
    rng = np.random.default_rng(1)
    pupil = rng.integers(0, 120, n)
    values = np.column_stack([np.ones(n), rng.standard_normal(n)]) if slopes else None
    terms = [
        RandomTerm(pupil // 24, name="school"),
        RandomTerm(pupil, values, name="pupil"),
        RandomTerm(pupil // 6, name="class"),
    ]
    return LinearMixedModel(rng.standard_normal(n) + rng.standard_normal(120)[pupil], np.ones(n), terms)


LIMITS = {
    "8GB": 8e9,
    "500 MB": 5e8,
    "1.5 GiB": 1.5 * 2**30,
    "2e9": 2e9,
    3_000: 3_000.0,
    4.5e9: 4.5e9,
    "7 kb": 7e3,
    float("inf"): float("inf"),
}


@pytest.mark.parametrize("given", LIMITS, ids=str)
def test_limits_are_read(given):
    assert limit_of(given) == LIMITS[given]


@pytest.mark.parametrize("given", ["much", "8 horses", "-1GB", "", 0, -5, float("nan"), "GB", "1.2.3"], ids=str)
def test_other_limits_are_errors(given):
    with pytest.raises(ValueError, match=r"memory_limit=.*give bytes or text such as '8GB'"):
        crossed().fit(memory_limit=given)


def test_amounts_are_shown_with_two_digits():
    assert [shown(size) for size in (3, 4.56e6, 3.21e8, 1e9, 2.54e10, 1.23e12)] == [
        "less than 1 MB",
        "4.6 MB",
        "320 MB",
        "1 GB",
        "25 GB",
        "1,200 GB",
    ]
    assert [seconds(value) for value in (0.001, 0.0123, 4.44, 1_234)] == [
        "less than 0.01 s",
        "0.012 s",
        "4.4 s",
        "1,200 s",
    ]


FILES = {
    "/proc/meminfo": "MemTotal:  32000 kB\nMemAvailable:  16000 kB\n",
    "/sys/fs/cgroup/memory.max": "9000000\n",
    "/sys/fs/cgroup/memory.current": "5000000\n",
    "/sys/fs/cgroup/memory.stat": "anon 4000000\ninactive_file 1000000\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "/sys/fs/cgroup/memory/memory.usage_in_bytes": "5000000\n",
}


@pytest.mark.parametrize(
    ("changed", "free"),
    [
        ({}, 5_000_000),  # the container's, with the files that can be dropped
        ({"/sys/fs/cgroup/memory.max": "max\n"}, 16_384_000),  # no limit: the machine's
        ({"/sys/fs/cgroup/memory/memory.limit_in_bytes": "5600000\n"}, 600_000),  # cgroup 1
    ],
)
def test_free_memory_is_the_least_of_machine_and_container(monkeypatch, changed, free):
    monkeypatch.setattr(memory, "_text", lambda path: {**FILES, **changed}.get(path, ""))
    assert free_memory() == free
    assert limit_of() == memory.SHARE * free


def test_free_memory_elsewhere(monkeypatch):
    monkeypatch.setattr(memory, "_text", lambda path: "")
    monkeypatch.setattr(memory.os, "sysconf", {"SC_PHYS_PAGES": 1_000, "SC_PAGE_SIZE": 4_096}.get)
    assert free_memory() == 4_096_000
    monkeypatch.delattr(memory.os, "sysconf")
    assert free_memory() == float("inf")


def test_nothing_is_looked_up_for_trifles(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: pytest.fail("looked up"))
    assert Limit().admits(1e6) and Limit("2MB").admits(2e6) and not Limit("2MB").admits(3e6)
    crossed().fit()


@pytest.mark.parametrize("kinds", [("scalar", "scalar"), ("slope", "three", "scalar"), ("scalar", "matrix")])
def test_sizes_are_those_of_the_matrices(kinds):
    y, X, terms = random_design(np.random.default_rng(2), n=200, kinds=kinds)
    cross = CrossProducts.from_arrays(y, X, terms)
    plan = ExactPlan(cross, Limit())
    Z = [term.Z.toarray() for term in terms]
    first = Z.pop(plan.eliminated)
    B, S = first.T @ np.hstack(Z), np.hstack(Z).T @ np.hstack(Z)
    sizes = plan.sizes
    assert (sizes.first, sizes.core) == B.shape
    assert sizes.entries == np.count_nonzero(B)
    assert sizes.pairs == np.sum(np.count_nonzero(B, axis=1) ** 2)
    inside = sum(np.count_nonzero(z.T @ z) for z, k in zip(Z, plan.rest, strict=True) if terms[k].matrix is None)
    assert sizes.gram == np.count_nonzero(S) - inside
    assert plan.density == np.count_nonzero(abs(B).T @ abs(B)) / S.size  # all columns are in the sample
    assert pcg_cost(sizes).memory > 0


@pytest.mark.parametrize("seed", range(4))
def test_the_floor_is_below_the_cost(seed, monkeypatch):
    monkeypatch.setattr(exact, "SMALL_CORE", 0)
    monkeypatch.setattr(exact, "FILLS", 1.0)
    rng = np.random.default_rng(seed)
    n = 1_500
    terms = [RandomTerm(rng.integers(0, count, n), name=str(count)) for count in (900, 500)]
    plan = ExactPlan(CrossProducts.from_arrays(rng.standard_normal(n), np.ones((n, 1)), terms), Limit())
    assert plan.floor.factor <= plan.cost.factor and plan.floor.memory <= plan.cost.memory
    plan.engine()


def test_the_remainder_that_fits_is_taken():
    """A ring of levels: without fill, while a dense remainder needs q² numbers."""
    codes = np.arange(4_000)
    terms = [RandomTerm(codes // 2, name="g"), RandomTerm((codes + 1) // 2 % 2_000, name="h")]
    cross = CrossProducts.from_arrays(np.random.default_rng(0).standard_normal(4_000), np.ones((4_000, 1)), terms)
    plan = ExactPlan(cross, Limit("20MB"))
    assert plan.cost.memory < 20e6 and isinstance(plan.engine().core, SparseCore)
    model = crossed(levels=(700, 500), n=20_000)
    plan = ExactPlan(model.cross, Limit())
    assert plan.fills and isinstance(plan.engine().core, DenseCore)
    assert plan.cost.memory > 16 * 500**2


@pytest.mark.parametrize("slopes", [False, True])
def test_chains_are_nested(slopes):
    assert is_nested(chain(slopes=slopes).cross)
    assert not is_nested(crossed().cross)
    model = chain(slopes=slopes)
    partly = [*model.terms, RandomTerm(np.arange(600) % 7, name="other")]
    assert not is_nested(LinearMixedModel(model.endog, model.exog, partly).cross)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (chain(), "nested"),
        (LinearMixedModel(np.arange(60.0) % 7, np.ones(60), RandomTerm(np.arange(60) % 5)), "a single term"),
    ],
    ids=["chain", "single"],
)
@pytest.mark.parametrize("engine", ["pcg", "polish"])
def test_what_has_nothing_to_iterate_is_exact(model, why, engine):
    fit = model.fit(engine=engine)
    assert fit.deviance == pytest.approx(model.fit().deviance, rel=1e-12)
    assert fit.optimizer.monte_carlo is None
    assert f"Exact instead of engine='{engine}'" in fit.optimizer.choice and why in fit.optimizer.choice
    assert "Exact instead of" in str(fit.optimizer)


def test_no_grouping_factor():
    rng = np.random.default_rng(0)
    terms = [RandomTerm.from_matrix(rng.standard_normal((80, 4)), name=name) for name in "ab"]
    fit = LinearMixedModel(rng.standard_normal(80), np.ones(80), terms).fit(engine="pcg")
    assert "no term has a grouping factor" in fit.optimizer.choice


GB = 1e9
ROUTES = [  # exact factor, inverse, GB; pcg seconds, GB; limit in GB; route; words
    (
        (0.1, 0.2, 1),
        (2, 1),
        8,
        "exact",
        "Exact, 1.2 s and 1 GB predicted; conjugate gradients would take 2 s and 1 GB.",
    ),
    ((1, 1, 1), (10, 1), 8, "exact", "Exact, 8 s"),
    (
        (0.02, 0.02, 1),
        (0.1, 1),
        8,
        "exact",
        "would take 0.1 s and 1 GB, which is no gain to give up exact numbers for.",
    ),
    ((1, 1, 1), (2, 1), 8, "polish", "then two exact steps, 2 s each and 1 GB; exact alone would take 8 s."),
    ((1, 5, 1), (1, 1), 8, "deviance", "then one factorisation, 1 s and 1 GB, for the deviance if"),
    ((1, 5, 6), (1, 3), 8, "pcg", "the exact engine needs 6 GB besides, of 8 GB"),
    ((50, 50, 1), (2, 1), 8, "pcg", "would take at least 400 s and 1 GB."),
    ((0.1, 0.2, 9), (2, 1), 8, "pcg", "the exact engine needs at least 9 GB of 8 GB."),
    ((50, 50, 1), (2, 9), 8, "exact", "Exact, 400 s and 1 GB predicted; conjugate gradients need 9 GB of 8 GB."),
]


@pytest.mark.parametrize(("own", "other", "limit", "route", "words"), ROUTES)
def test_routes(own, other, limit, route, words, monkeypatch):
    factor, inverse, size = own
    monkeypatch.setattr(exact, "SMALL_CORE", 0)
    monkeypatch.setattr(exact, "dense_cost", lambda sizes: Cost(factor, inverse, size * GB))
    monkeypatch.setattr(choosing, "pcg_cost", lambda sizes: Cost(other[0] / 4, 0.0, other[1] * GB))
    choice = choose(crossed().cross, memory_limit=f"{limit}GB")
    assert choice.route == route and words in choice.reason


def test_nothing_is_analysed_that_cannot_pay(monkeypatch):
    monkeypatch.setattr(choosing, "PATIENCE", 1e-3)
    monkeypatch.setattr(choosing, "QUICK", 0.0)
    monkeypatch.setattr(exact, "SMALL_CORE", 0)
    monkeypatch.setattr(exact, "FILLS", 1.0)
    monkeypatch.setattr("sparselmm.engines.cholmod.SparseCore", lambda *_: pytest.fail("analysed"))
    monkeypatch.setattr(choosing, "pcg_cost", lambda sizes: Cost(0.0, 0.0, 1.0))
    choice = choose(crossed(levels=(2_000, 1_500), n=8_000).cross)
    assert choice.route == "pcg" and "at least" in choice.reason


@pytest.mark.parametrize("engine", ["auto", "cholmod", "pcg", "polish"])
def test_what_does_not_fit_is_an_error_before_it_starts(engine, monkeypatch):
    monkeypatch.setattr(ExactPlan, "engine", lambda self: pytest.fail("started"))
    with pytest.raises(EngineError, match=r"does not fit the memory: it needs .* for the Cholesky .* Raise"):
        crossed(levels=(400, 300)).fit(engine=engine, memory_limit="10 kB")


@pytest.mark.parametrize(
    ("engine", "own", "other", "fits"),
    [("cholmod", 9, 1, "pcg"), ("polish", 9, 1, "pcg"), ("pcg", 1, 9, "cholmod"), ("polish", 1, 9, "cholmod")],
)
def test_errors_name_the_engine_that_fits(engine, own, other, fits, monkeypatch):
    monkeypatch.setattr(exact, "SMALL_CORE", 0)
    monkeypatch.setattr(exact, "dense_cost", lambda sizes: Cost(1.0, 1.0, own * GB))
    monkeypatch.setattr(choosing, "pcg_cost", lambda sizes: Cost(1.0, 1.0, other * GB))
    with pytest.raises(EngineError, match=f"engine='{engine}' needs 9 GB .*limit is 8 GB. engine='{fits}' needs 1 GB"):
        crossed().fit(engine=engine, memory_limit="8GB")


def test_the_exact_engine_is_not_made_where_it_does_not_fit(monkeypatch):
    monkeypatch.setattr(exact, "SMALL_CORE", 0)
    monkeypatch.setattr(memory, "free_memory", lambda: 1e5)
    monkeypatch.setattr(memory, "TRIFLE", 0)
    with pytest.raises(EngineError, match="does not fit the memory"):
        choose_engine(crossed().cross)


def test_dense_needs_the_covariance_of_the_rows():
    model = crossed()
    Z = sp.hstack([term.Z for term in model.terms])
    assert classical_memory(Z) == pytest.approx(8 * (2_000 * 150 + 150**2 + 2 * 2_000**2 + 2 * 2_000 * 150))
    two = sp.block_diag([Z, Z])
    assert classical_memory(two) == pytest.approx(8 * (2 * (2_000 * 150 + 150**2) + 2 * 2_000**2 + 2 * 2_000 * 150))
    with pytest.raises(EngineError, match=r"engine='dense' needs 71 MB .* limit is 20 MB"):
        model.fit(engine="dense", memory_limit="20 MB")
    small = crossed(n=300, levels=(20, 10))
    assert isinstance(small.fit(engine="dense", memory_limit="20 MB").likelihood.engine, DenseGroupEngine)


def test_dense_needs_rows():
    class Term:
        @property
        def Z(self):
            raise DataError("This needs the rows.")

    choice = choose(crossed().cross, "dense", terms=[Term()])
    with pytest.raises(EngineError, match=r"engine='dense' needs the rows of the data.*engine='auto'"):
        choice.exact()


def test_small_problems_have_nothing_to_choose():
    fit = crossed().fit()
    assert fit.optimizer.choice == "" and "choice" not in str(fit.optimizer)
    assert fit._engine == "cholmod"


def test_lmer_passes_everything_on():
    rng = np.random.default_rng(0)
    data = {"y": rng.standard_normal(400), "g": np.arange(400) % 30, "h": np.arange(400) // 7 % 20}
    fits = [lmer("y ~ 1 + (1 | g) + (1 | h)", data, engine="pcg", rng=rng) for rng in (1, 1, 2)]
    assert fits[0].deviance == pytest.approx(fits[1].deviance, rel=1e-12) and fits[0].optimizer.monte_carlo is not None
    with pytest.raises(EngineError, match="does not fit"):
        lmer("y ~ 1 + (1 | g) + (1 | h)", data, memory_limit=10)


def test_progress_says_what_was_chosen(capsys):
    chain().fit(engine="pcg", progress=True)
    assert "Exact instead of engine='pcg'" in capsys.readouterr().err


def test_arrays_are_checked_as_before():
    with pytest.raises(DataError, match="no rows"):
        LinearMixedModel([], np.ones((0, 1)), RandomTerm(np.zeros(0, dtype=int)))
