"""The code that called into the package: where warnings point, and whose variables formulas may use."""

from __future__ import annotations

import sys
import warnings
from collections import ChainMap
from types import FrameType
from typing import Any


def _frames_inside() -> tuple[FrameType, int]:
    """Return the first frame outside the package, and how many frames of the package lie above it."""
    frame, depth = sys._getframe(1), 0
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == __package__:
        frame, depth = frame.f_back, depth + 1
    return frame, depth


def caller_variables() -> ChainMap[str, Any]:
    """Return the variables of the code that called into the package."""
    frame, _ = _frames_inside()
    return ChainMap(frame.f_locals, frame.f_globals)


def warn(message: str, category: type[Warning]) -> None:
    """Warn in the name of the code that called into the package."""
    warnings.warn(message, category, stacklevel=_frames_inside()[1] + 1)
