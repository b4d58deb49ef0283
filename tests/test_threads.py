"""Changes of the whole process, BLAS threads and filters of warnings: undone, and not inherited by a fork."""

import linecache
import os
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

import sparselmm
from sparselmm import ConvergenceWarning, DataWarning, lmer, threads
from sparselmm.caller import listening, warn


@pytest.fixture
def two_threads():
    """Return the function that tells the threads of every BLAS, which are two each."""
    lmer("Yield ~ 1 + (1 | Batch)", sparselmm.datasets.load("Dyestuff"))  # brings CHOLMOD's
    controller = ThreadpoolController().select(user_api="blas")
    with controller.limit(limits=2):
        threads.forget_libraries()
        yield lambda: {pool.num_threads for pool in controller.lib_controllers}


def interrupted_at(place, block=threads.one_blas_thread):
    """Return whether a block was interrupted at its line number `place`, its ends included."""
    left = place

    def line(frame, event, argument):
        nonlocal left
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not text.lstrip().startswith("with "):  # Python lets none in before a block's exit
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return line

    sys.settrace(lambda frame, *_: line if frame.f_code.co_filename == threads.__file__ else None)
    try:
        with block():
            pass
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def test_an_interrupt_at_any_line_leaves_no_limit(two_threads):
    place = 1
    while interrupted_at(place):
        with threads.one_blas_thread():
            assert two_threads() == {1}
        assert two_threads() == {2}, f"line {place}"
        place += 1
    assert place > 10


def test_an_interrupt_at_any_line_leaves_no_filter():
    from sparselmm.columns import unknown_labels_are_errors

    place, before = 1, list(warnings.filters)
    while interrupted_at(place, unknown_labels_are_errors):
        with unknown_labels_are_errors():
            assert len(warnings.filters) > len(before)
        assert warnings.filters == before, f"line {place}"
        place += 1
    assert place > 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks in a process with threads
def test_a_fork_inherits_neither_the_lock_nor_the_blocks_of_other_threads(two_threads):
    entered, done = threading.Event(), threading.Event()

    def other():
        with threads.one_blas_thread(), threads._one_thread._lock:
            entered.set()
            done.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait(60)
    child = os.fork()
    if child == 0:
        try:
            with threads.one_blas_thread():
                inside = two_threads()
            os._exit(0 if inside == {1} and two_threads() == {2} else 1)
        finally:
            os._exit(2)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert two_threads() == {2}


def test_filters_of_warnings_stay_in_threads():
    data = sparselmm.datasets.load("sleepstudy").assign(f=lambda d: d["Days"] % 3, copy=lambda d: d["Days"])
    fit = lmer("Reaction ~ C(f) + (1 | Subject)", data)

    def builds():
        for _ in range(5):
            lmer("Reaction ~ C(f) + (1 | Subject)", data)

    def resamples():
        fit.bootstrap(5, rng=1)
        fit.influence("Subject")

    def warns():
        for _ in range(5):
            with pytest.raises(DataWarning):
                lmer("Reaction ~ Days + copy + (1 | Subject)", data)

    resamples()  # imports modules that have filters of their own
    before = list(warnings.filters)
    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(work) for work in (builds, resamples, warns, builds)]:
            future.result()
    assert warnings.filters == before


def test_listening_is_for_the_warnings_of_a_block():
    with listening() as heard:
        warn("one", DataWarning)
        with listening() as inner:
            warn("two", ConvergenceWarning)
    assert heard == [("one", DataWarning)] and inner == [("two", ConvergenceWarning)]
    with pytest.warns(DataWarning, match="three"):
        warn("three", DataWarning)


def test_labels_outside_given_levels_are_an_error():
    data = sparselmm.datasets.load("sleepstudy").assign(f=lambda d: np.where(d["Days"] > 4, "late", "early"))
    with pytest.raises(sparselmm.DataError, match="DataMismatchWarning"):
        lmer("Reaction ~ C(f, levels=['early']) + (1 | Subject)", data)
