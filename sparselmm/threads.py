"""How many threads BLAS uses: one, except in the few products that are large enough to gain.

A threaded BLAS waits for its threads by spinning. Where another process shares the cores, a product of 100 columns then
takes milliseconds instead of microseconds (measured: a fit of 0.9 s took 50 s), so small work stays on one thread.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache, wraps


@cache
def _controller():
    """Return the controller of the BLAS libraries in this process, and their thread counts at first use."""
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController().select(user_api="blas")
    return controller, {pool.prefix: pool.num_threads for pool in controller.lib_controllers}


def forget_libraries() -> None:
    """Look for BLAS libraries again: call after one was loaded."""
    _controller.cache_clear()


@contextmanager
def one_blas_thread():
    """Run the block with BLAS on one thread."""
    controller, _ = _controller()
    with controller.limit(limits=1):
        yield


@contextmanager
def all_blas_threads():
    """Run the block with as many BLAS threads as the process had at first."""
    controller, counts = _controller()
    with controller.limit(limits=counts):
        yield


def single_threaded(function):
    """Return the function wrapped to run with BLAS on one thread."""

    @wraps(function)
    def wrapper(*args, **kwargs):
        with one_blas_thread():
            return function(*args, **kwargs)

    return wrapper
