"""How many threads BLAS uses: one, except in the few products that are large enough to gain.

A threaded BLAS waits for its threads by spinning. Where another process shares the cores, a product of 100 columns then
takes milliseconds instead of microseconds (measured: a fit of 0.9 s took 50 s), so small work stays on one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
T = TypeVar("T")

_counts: dict[str, int] = {}  # threads of every BLAS when it was first seen, by the prefix of its name


@cache
def _controller() -> ThreadpoolController:
    """Return the controller of the BLAS libraries in this process."""
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController().select(user_api="blas")
    for pool in controller.lib_controllers:
        _counts.setdefault(pool.prefix, pool.num_threads)
    return controller


def forget_libraries() -> None:
    """Look for BLAS libraries again: call after one was loaded."""
    _controller.cache_clear()


class _OneThread:
    """The limit of one BLAS thread: the first of the blocks that overlap sets it, the last one lifts it."""

    def __init__(self) -> None:
        self._lock, self._blocks = Lock(), 0
        self._limit: Any = None

    def enter(self) -> None:
        with self._lock:
            if not self._blocks:
                self._limit = _controller().limit(limits=1)
            self._blocks += 1

    def leave(self) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._limit.restore_original_limits()


_one_thread = _OneThread()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run the block with BLAS on one thread."""
    _one_thread.enter()
    try:
        yield
    finally:
        _one_thread.leave()


@contextmanager
def all_blas_threads() -> Iterator[None]:
    """Run the block with as many BLAS threads as the process had at first."""
    with _controller().limit(limits=_counts):
        yield


def single_threaded(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function wrapped to run with BLAS on one thread."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with one_blas_thread():
            return function(*args, **kwargs)

    return wrapper
