"""The next chunk is read while this one is summed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
END: Any = object()


def prefetched(chunks: Iterator[T]) -> Iterator[T]:
    """Yield what an iterator yields, the next one fetched by another thread in the meantime."""
    chunks = iter(chunks)
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, chunks, END)
        try:
            while (chunk := following.result()) is not END:
                following = reader.submit(next, chunks, END)
                yield chunk
        finally:
            following.cancel()
