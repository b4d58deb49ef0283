"""Memory: how much there is, and amounts of it as users write and read them."""

from __future__ import annotations

import math
import os
import re
from functools import cached_property
from pathlib import Path

SHARE = 0.8  # of the free memory that a fit may take by default
TRIFLE = 1e8  # bytes that are there without looking
UNITS = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
GROUPS = (  # of a container: its limit, its use, and the files in that which can be dropped; cgroup 2, then 1
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def limit_of(memory_limit: float | str | None = None) -> float:
    """Return a limit in bytes: a number of them, text such as "8GB", or by default most of what is free.

    Raises
    ------
    ValueError
        If it is not a positive amount of memory.
    """
    if memory_limit is None:
        return SHARE * free_memory()
    found = re.fullmatch(r"([0-9.eE+]+|inf)\s*([A-Za-z]*)", str(memory_limit).strip())
    try:
        limit = float(found[1]) * UNITS[found[2].upper()] if found else math.nan
    except (ValueError, KeyError):
        limit = math.nan
    if not limit > 0:
        raise ValueError(f"memory_limit={memory_limit!r} is not an amount of memory: give bytes or text such as '8GB'.")
    return limit


def free_memory() -> float:
    """Return the memory in bytes that the process can still take, infinite where the system does not say."""
    return min(_machine(), *(_left(*group) for group in GROUPS))


def _machine() -> float:
    """Return what is free on the machine: MemAvailable of Linux, elsewhere all that it has."""
    available = _fields("/proc/meminfo").get("MemAvailable:")
    if available is not None:
        return 1024.0 * available
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def _left(folder: str, limit: str, use: str, droppable: str) -> float:
    """Return what a container may still take, infinite if it has no limit."""
    limit, use = (_text(f"{folder}/{name}").strip() for name in (limit, use))
    if not (limit.isdigit() and use.isdigit()):
        return math.inf
    return float(limit) - float(use) + _fields(f"{folder}/memory.stat").get(droppable, 0.0)


def _fields(path: str) -> dict[str, float]:
    """Return the lines "name number ..." of a file as a dictionary."""
    lines = (line.split() for line in _text(path).splitlines())
    return {line[0]: float(line[1]) for line in lines if len(line) > 1}


def _text(path: str) -> str:
    """Return the content of a file, nothing if it cannot be read."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def shown(size: float) -> str:
    """Return an amount of memory as text, two digits of it."""
    unit = "GB" if size >= 1e9 else "MB"
    return f"{float(f'{size / UNITS[unit]:.2g}'):,g} {unit}" if size >= 1e6 else "less than 1 MB"


class Limit:
    """The memory that a fit may take: as given (see `limit_of`), or what there is, looked up when it matters."""

    def __init__(self, memory_limit: float | str | None = None) -> None:
        self._given = None if memory_limit is None else limit_of(memory_limit)

    @cached_property
    def bytes(self) -> float:
        """The limit."""
        return limit_of() if self._given is None else self._given

    def admits(self, size: float) -> bool:
        """Return whether so many bytes are within the limit."""
        return (self._given is None and size < TRIFLE) or size <= self.bytes

    def __str__(self) -> str:
        return shown(self.bytes)
