"""Transformed responses: the way back from the scale of the model."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

BASES = {"log": np.e, "log10": 10.0, "log2": 2.0, "log1p": np.e}
KNOWN = (*BASES, "sqrt")


@dataclass(frozen=True)
class Transformation:
    """A function of the response that the model was fitted to.

    Attributes
    ----------
    name : str
        One of KNOWN.
    response : str
        What was transformed.
    """

    name: str
    response: str

    @property
    def is_log(self) -> bool:
        """Whether differences come back as ratios."""
        return self.name in ("log", "log10", "log2")

    def inverse(self, x: pd.Series) -> pd.Series:
        """Return the responses; a negative square root stands for zero."""
        if self.name == "sqrt":
            return np.square(np.maximum(x, 0.0))
        return np.power(BASES[self.name], x) - (self.name == "log1p")

    def slope(self, x: pd.Series) -> pd.Series:
        """Return the derivatives of the responses."""
        if self.name == "sqrt":
            return 2.0 * np.maximum(x, 0.0)
        return np.log(BASES[self.name]) * np.power(BASES[self.name], x)


def transformation(response: str) -> Transformation | None:
    """Return the transformation of a response written as ``log(y)`` or ``np.log(y)``, None if there is none."""
    try:
        call = ast.parse(response, mode="eval").body
    except SyntaxError:  # the name of a column
        return None
    if not isinstance(call, ast.Call) or len(call.args) != 1 or call.keywords:
        return None
    name = getattr(call.func, "attr", getattr(call.func, "id", None))
    return Transformation(name, ast.unparse(call.args[0])) if name in KNOWN else None
