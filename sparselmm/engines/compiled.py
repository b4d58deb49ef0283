"""Compiled loops on all threads (numba), for processes that fork and callers that are threads themselves.

OpenMP kills a forked process that enters its threads after the parent did, and numba's own pool of threads takes one
caller at a time. TBB, numba's first choice where it is installed, keeps some memory of every call (numba issue 10225,
oneTBB issue 1403; measured: 1 MB a fit, and twice the time of OpenMP on small products), so it comes last but one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, wraps
from threading import Lock
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

from numba import config, njit

P = ParamSpec("P")
T = TypeVar("T")

OPTIONS: dict[str, Any] = {"cache": True, "fastmath": {"contract", "reassoc"}, "nogil": True}

if config.THREADING_LAYER == "default" and "NUMBA_THREADING_LAYER_PRIORITY" not in os.environ:
    config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]


class _Threads:
    """Whether numba's threads ran in this process or, before the fork, in its parent."""

    def __init__(self) -> None:
        self.lock, self.ran, self.forked = Lock(), False, False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._fork)

    def _fork(self) -> None:
        self.lock, self.forked = Lock(), self.ran


_threads = _Threads()


def compiled(**options: Any) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return numba's decorator with these options; it keeps the types of the function."""
    return njit(**options)


def on_all_threads(**options: Any) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator that compiles a function whose loops run on all threads, on one where the process was forked.

    Parameters
    ----------
    **options
        Of numba, besides OPTIONS.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        on_threads = njit(**OPTIONS, **options)(function)

        @wraps(function)
        def call(*arguments: P.args, **keywords: P.kwargs) -> T:
            if _threads.forked:
                return _on_one_thread(function)(*arguments, **keywords)
            with _threads.lock:
                _threads.ran = True
                return on_threads(*arguments, **keywords)

        return call

    return decorate


@cache
def _on_one_thread(function: FunctionType) -> Callable[..., Any]:
    """Return the function compiled without threads, and so what it calls."""
    names = {
        name: _on_one_thread(value.py_func)
        for name, value in function.__globals__.items()
        if name in function.__code__.co_names and getattr(value, "targetoptions", {}).get("parallel")
    }
    twin = FunctionType(function.__code__, function.__globals__ | names, function.__name__)
    twin.__qualname__ = f"{function.__qualname__}_on_one_thread"  # numba keeps compiled code under this name
    return njit(**OPTIONS)(twin)
