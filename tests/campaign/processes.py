"""Threads, forks, new processes and pickles: the numbers of one thread in one process, and no deadlock.

A trial takes a few pieces of work at random and does them in threads that share data, models and fits, in children of
a fork (also while other threads are at work), in new processes, or on objects that went through a pickle.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import select
import signal
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache

import numpy as np
import pandas as pd

import sparselmm
from sparselmm import DataWarning, LinearMixedModel, MixedLM

from .interrupts import blas_threads, changes, rows, same, state
from .outcome import Outcome, attempt

SHORT, LONG = 12, 1_000
NOTE = "fits, predictions, streams and refits in threads, after a fork, in new processes, and after a pickle"
FORMULA = "y ~ x + f + (x | g) + (1 | h)"
TIMEOUT = 120.0  # seconds after which something hangs


def run(count: int, seed: int) -> Outcome:
    """Return the Outcome of `count` trials."""
    with blas_threads():
        return attempt("processes", count, seed, trial, NOTE)


def trial(rng: np.random.Generator, number: int) -> str:
    """Do some work in one of the ways and return its name."""
    way = WAYS[rng.choice(len(WAYS), p=SHARES)]
    expected = answers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks in a process with threads
        before = state()
        way(rng, expected)
        change = changes(before)
    assert not change, f"{way.__name__}: {change}"
    return way.__name__


@cache
def answers() -> dict[Callable[[], list], list]:
    """Return what each piece of work gives in this thread, when everything is imported."""
    return {work: work() for work in WORK} | {work: work() for work in WORK}


def drawn(rng: np.random.Generator, count: int) -> list[Callable[[], list]]:
    """Return some pieces of work."""
    return [WORK[i] for i in rng.integers(len(WORK), size=count)]


def check(given: dict | list, expected: dict, how: str) -> None:
    """Raise an AssertionError unless pairs of work and answer are as expected."""
    for work, values in given:
        assert same(values, expected[work]), f"{how}: {work.__name__} gives {values[:4]}, not {expected[work][:4]}"


# work ------------------------------------------------------------------------------------------------------------


@cache
def model() -> LinearMixedModel:
    """Return a model that all threads share."""
    return LinearMixedModel.from_formula(FORMULA, rows())


@cache
def fitted() -> sparselmm.LinearMixedModelResults:
    """Return a fit that all threads share."""
    return model().fit()


@cache
def probed() -> sparselmm.LinearMixedModelResults:
    """Return a fit by conjugate gradients that all threads share."""
    return model().fit(engine="pcg")


def fit_shared_model() -> list:
    """Fit the model that all share."""
    return list(model().fit(reml=False).params)


def fit_by_probes() -> list:
    """Fit the model that all share by conjugate gradients."""
    return list(model().fit(engine="pcg").params)


def fit_formula() -> list:
    """Fit a formula with factors and splines, whose warnings are filtered."""
    return list(sparselmm.lmer("y ~ f * bs(x, df=4) + (1 | g) + (1 | h)", rows()).params)


def fit_grouped() -> list:
    """Fit a MixedLM."""
    return list(MixedLM.from_formula("y ~ x", rows(), groups="g").fit().params)


def fit_stream() -> list:
    """Fit an iterator."""
    return list(sparselmm.lmer("y ~ x + (1 | g)", iter([rows()[:90], rows()[90:]])).params)


def ask_shared_fit() -> list:
    """Ask the fit that all share for everything that needs its factor."""
    fit = fitted()
    effects = fit.random_effects["g"].to_numpy().ravel()
    return [*fit.predict(rows()[:9]), *effects, *fit.bse, *fit.conf_int().to_numpy().ravel(), len(str(fit.summary()))]


def ask_shared_probes() -> list:
    """Ask the fit by conjugate gradients that all share."""
    return [*probed().predict(rows()[:9]), *probed().bse]


def refit_many() -> list:
    """Fit more responses."""
    Y = rows()["y"].to_numpy()[:, None] + np.random.default_rng(1).normal(size=(160, 4))
    return list(fitted().refit_many(Y).params.to_numpy().ravel())


def bootstrap() -> list:
    """Bootstrap, in which warnings are not shown."""
    return list(fitted().bootstrap(3, rng=1).replicates.to_numpy().ravel())


def influence() -> list:
    """Leave out levels."""
    return list(fitted().influence("h").cooks_distance)


def profile() -> list:
    """Profile a fixed effect."""
    return list(fitted().profile(["x"]).conf_int().to_numpy().ravel())


def warned() -> list:
    """Fit what warns, which is an error here, as no other thread may change."""
    try:
        sparselmm.lmer("y ~ x + copy + (1 | g)", rows().assign(copy=rows()["x"]))
    except DataWarning:
        return [1.0]
    return [0.0]


WORK = [fit_shared_model, fit_by_probes, fit_formula, fit_grouped, fit_stream, ask_shared_fit, ask_shared_probes]
WORK += [refit_many, bootstrap, influence, profile, warned]


# ways ------------------------------------------------------------------------------------------------------------


def in_threads(rng: np.random.Generator, expected: dict) -> None:
    """Do work in threads."""
    work = drawn(rng, 12)
    for job in (fitted, probed):  # threads that come later find no factor of theirs
        job()
    check(_threaded(work, int(rng.integers(2, 7))), expected, "threads")


def _threaded(work: list, threads: int) -> list:
    """Return pairs of work and answer, done in threads."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="campaign")
    try:
        futures = [(job, pool.submit(job)) for job in work]
        return [(job, future.result(timeout=TIMEOUT)) for job, future in futures]
    finally:
        pool.shutdown(wait=True)


def after_fork(rng: np.random.Generator, expected: dict) -> None:
    """Do work in a child."""
    check(_forked(drawn(rng, 3)), expected, "fork")


def after_fork_amid_threads(rng: np.random.Generator, expected: dict) -> None:
    """Do work in a child of a process whose other threads are at work, and may hold locks."""
    stop = threading.Event()

    def keep_on(work: Callable) -> None:
        while not stop.is_set():
            work()

    threads = [threading.Thread(target=keep_on, args=(work,), name="busy") for work in (fit_formula, refit_many)]
    for thread in threads:
        thread.start()
    try:
        work = drawn(rng, 2)
        check(_forked(work), expected, "fork amid threads")
    finally:
        stop.set()
        for thread in threads:
            thread.join(TIMEOUT)


def _forked(work: list) -> list:
    """Return pairs of work and answer, done in a child of os.fork, with the state of the child at its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        faulthandler.dump_traceback_later(TIMEOUT - 10.0)  # where it hangs
        with suppress(BaseException):
            os.close(reading)
            try:
                answers = [job() for job in work] + [state()["BLAS threads"]]
            except BaseException as error:
                answers = f"{type(error).__name__}: {error}"
            with os.fdopen(writing, "wb") as file:
                pickle.dump(answers, file)
            status = 0
        os._exit(status)
    os.close(writing)
    content = b""
    with os.fdopen(reading, "rb") as file:
        while select.select([file], [], [], TIMEOUT)[0]:
            part = os.read(file.fileno(), 1 << 16)
            content += part
            if not part:
                break
        else:
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    names = [job.__name__ for job in work]
    assert status == 0 and content, f"the child with {names} ended with status {status}"
    answers = pickle.loads(content)
    assert isinstance(answers, list), f"the child with {names} raised {answers}"
    assert len(set(answers[-1])) == 1, f"the child with {names} ends with {answers[-1]} BLAS threads"
    return list(zip(work, answers, strict=False))


def in_pool(rng: np.random.Generator, expected: dict) -> None:
    """Do work in a pool of processes that are forked."""
    work = drawn(rng, 4)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        answers = [pool.apply_async(job) for job in work]
        check([(job, one.get(TIMEOUT)) for job, one in zip(work, answers, strict=True)], expected, "pool")


def in_new_process(rng: np.random.Generator, expected: dict) -> None:
    """Do work, and ask a fit that was sent there, in a process that imports the package anew."""
    work = [job for job in drawn(rng, 3) if job is not warned]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answers = [pool.apply_async(job) for job in work]
        check([(job, one.get(TIMEOUT)) for job, one in zip(work, answers, strict=True)], expected, "spawn")
        text = pool.apply_async(_summary, [fitted()]).get(TIMEOUT)
    assert text == _summary(fitted()), "the summary of a fit is another in a new process"


def _summary(fit: object) -> str:
    """Return the summary of a fit."""
    return str(fit.summary())


def after_pickle(rng: np.random.Generator, expected: dict) -> None:
    """Use what went through a pickle."""
    fit = [fitted, probed][rng.integers(2)]()
    protocol = int(rng.integers(2, pickle.HIGHEST_PROTOCOL + 1))
    again = pickle.loads(pickle.dumps(fit, protocol))
    assert str(again.summary()) == str(fit.summary()), "the summary of a pickled fit is another"
    assert same(list(again.predict(rows()[:9])), list(fit.predict(rows()[:9]))), "predictions of a pickled fit differ"
    assert same(list(again.bse), list(fit.bse)), "standard errors of a pickled fit differ"
    refitted = pickle.loads(pickle.dumps(fit.model, protocol)).fit()
    assert same(list(refitted.params), list(fitted().params)), "a pickled model has another optimum"
    part = [
        lambda: fit.refit_many(rows()[["y"]]).params,
        lambda: fit.bootstrap(2, rng=1).replicates,
        lambda: fit.random_effects["g"],
        lambda: fit.conf_int(),
        lambda: MixedLM.from_formula("y ~ x", rows(), groups="g").fit().params,
    ][rng.integers(5)]()
    assert pd.DataFrame(pickle.loads(pickle.dumps(part, protocol))).equals(pd.DataFrame(part))


WAYS = [in_threads, after_fork, after_fork_amid_threads, in_pool, in_new_process, after_pickle]
SHARES = [0.4, 0.2, 0.1, 0.1, 0.02, 0.18]
