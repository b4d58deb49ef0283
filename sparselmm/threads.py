"""What threads have in common: how many of them BLAS uses, and changes of the process that end with a block.

BLAS uses one thread, except in the few products that are large enough to gain.

A threaded BLAS waits for its threads by spinning. Where another process shares the cores, a product of 100 columns then
takes milliseconds instead of microseconds (measured: a fit of 0.9 s took 50 s), so small work stays on one thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, wraps
from threading import RLock, get_ident
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

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


class Shared:
    """A change of the whole process during blocks: the first of those that overlap makes it, the last undoes it.

    A block is known by a token of its own. Ctrl-C at any place leaves either no token or one that dies with its block,
    and what to go back to is known before the change is made; so the end of the next block repairs what an interrupted
    one left.

    Parameters
    ----------
    look : callable
        Returns what `undo` needs, without a change.
    change : callable
    undo : callable
        Takes what `look` returned.
    """

    def __init__(self, look: Callable[[], Any], change: Callable[[], object], undo: Callable[[Any], object]):
        self._look, self._change, self._undo = look, change, undo
        self._lock, self._before = RLock(), None
        self._tokens: WeakKeyDictionary[_Token, int] = WeakKeyDictionary()  # to the threads of their blocks
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    @contextmanager
    def block(self) -> Iterator[None]:
        """Run the block with the change."""
        token = _Token()
        try:
            with self._lock:
                self._enter(token)
            yield
        finally:
            with self._lock:
                self._leave(token)

    def _enter(self, token: _Token) -> None:
        first = not self._tokens
        self._tokens[token] = get_ident()
        if self._before is None:
            self._before = self._look()
        if first:
            self._change()

    def _leave(self, token: _Token) -> None:
        self._tokens.pop(token, None)
        before = self._before
        if self._tokens or before is None:
            return
        try:
            self._before = None
            self._undo(before)
        except BaseException:
            self._before = before  # the next block undoes it
            raise

    def _after_fork(self) -> None:
        """Forget the blocks of threads that a child process does not have, and the lock they may have held."""
        self._lock = RLock()
        for token, thread in list(self._tokens.items()):
            if thread != get_ident():
                self._leave(token)


class _Token:
    """What a block is known by."""


def _counts_now() -> list[tuple[Any, int]]:
    """Return every BLAS with the number of its threads."""
    return [(pool, pool.num_threads) for pool in _controller().lib_controllers]


def _set_counts(counts: list[tuple[Any, int]]) -> None:
    """Give every BLAS a number of threads."""
    for pool, count in counts:
        pool.set_num_threads(count)


_one_thread = Shared(_counts_now, lambda: _set_counts([(pool, 1) for pool, _ in _counts_now()]), _set_counts)


def one_blas_thread() -> AbstractContextManager[None]:
    """Run the block with BLAS on one thread."""
    return _one_thread.block()


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
