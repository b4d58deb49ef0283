"""The code that called into the package: where warnings point, and whose variables formulas may use."""

from __future__ import annotations

import sys
import warnings
from collections import ChainMap
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

_heard: ContextVar[list[tuple[str, type[Warning]]] | None] = ContextVar("heard", default=None)

WRAPPERS = {"wrapper", "method", "no_rows"}  # of the functions that users call


def _frames_inside() -> tuple[FrameType, int]:
    """Return the first frame outside the package, and how many frames of the package lie above it."""
    frame, depth = sys._getframe(1), 0
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == __package__:
        frame, depth = frame.f_back, depth + 1
    return frame, depth


def entrance() -> str:
    """Return the name of the public function or property of the package that was called first, "" if there is none."""
    frame: FrameType | None = sys._getframe(1)
    names = []
    while frame is not None:
        if frame.f_globals.get("__name__", "").split(".")[0] == __package__:
            names.append(frame.f_code.co_name)
        frame = frame.f_back
    return next((name for name in reversed(names) if not name.startswith("_") and name not in WRAPPERS), "")


def caller_variables() -> ChainMap[str, Any]:
    """Return the variables of the code that called into the package."""
    frame, _ = _frames_inside()
    return ChainMap(frame.f_locals, frame.f_globals)


@contextmanager
def listening() -> Iterator[list[tuple[str, type[Warning]]]]:
    """Yield a list that takes texts and categories of the package's warnings in the block, which are not shown.

    Unlike the filters of warnings, which all threads have in common, it concerns this thread only.
    """
    before = _heard.get()
    heard: list[tuple[str, type[Warning]]] = []
    try:
        _heard.set(heard)
        yield heard
    finally:
        _heard.set(before)


def warn(message: str, category: type[Warning]) -> None:
    """Warn in the name of the code that called into the package."""
    heard = _heard.get()
    if heard is not None:
        heard.append((str(message), category))
        return
    warnings.warn(message, category, stacklevel=_frames_inside()[1] + 1)
