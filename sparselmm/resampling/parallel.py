"""One function over many tasks: in this process or in several, in order, with progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from multiprocessing.pool import Pool

T = TypeVar("T")
R = TypeVar("R")


def run(
    function: Callable[[T], R], tasks: Iterable[T], total: int, n_jobs: int = 1, progress: bool = False
) -> Iterator[R]:
    """Yield function(task) of every task, in their order.

    With `n_jobs` > 1 the work is done in processes of their own, which import the package anew; function and tasks
    must be picklable. The answers do not depend on `n_jobs`.
    """
    if n_jobs < 1:
        raise ValueError(f"n_jobs={n_jobs}: give the number of processes, at least 1.")
    with _pool(n_jobs) as pool, Progress(total, progress) as ticks:
        for answer in map(function, tasks) if pool is None else pool.imap(function, tasks, chunksize=4):
            ticks.step()
            yield answer


def _pool(n_jobs: int) -> AbstractContextManager[Pool | None]:
    """Return a pool of processes, or nothing for one job."""
    if n_jobs == 1:
        return nullcontext()
    import multiprocessing

    return multiprocessing.get_context("spawn").Pool(n_jobs)  # a fork would copy the locks of BLAS' threads


class Progress:
    """A progress bar of tqdm, or lines on stderr where tqdm is not installed."""

    def __init__(self, total: int, shown: bool, what: str = "bootstrap") -> None:
        self.what, self.total, self.done, self.begin, self.said = what, total, 0, time.perf_counter(), 0.0
        self.shown, self.bar = shown, None

    def __enter__(self) -> Self:
        if self.shown:
            try:
                from tqdm import tqdm
            except ImportError:
                return self
            self.bar = tqdm(total=self.total, file=sys.stderr, desc=self.what)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def step(self, count: int = 1) -> None:
        """Count finished tasks; say so at most once a second."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
        elif self.shown and (self.done >= self.total or time.perf_counter() - self.begin - self.said > 1.0):
            self.said = time.perf_counter() - self.begin
            print(f"{self.what}: {self.done} of {self.total}, {self.said:.0f} s", file=sys.stderr)
