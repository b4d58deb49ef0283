"""What goes to other processes and files and comes back: plans that can be pickled, and sums without pickle."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd

from ..crossproducts import CrossProducts
from ..errors import DataError
from .facts import Facts, Numbers
from .plan import Plan, Sums

READERS = {  # of the kinds of objects that JSON has not
    "Facts": lambda fields: Facts(**fields),
    "Numbers": lambda fields: Numbers(**fields),
    "dict": dict,
    "tuple": tuple,
    "array": np.array,
    "time": pd.Timestamp,
    "date": date.fromisoformat,
}


def check_portable(plan: Plan, dumps: Callable[[object], bytes]) -> None:
    """Raise a DataError that names what a formula uses and a pickler does not send to other processes."""
    for name, value in plan.roles.scope.namespace.items():
        try:
            dumps(value)
        except Exception as error:  # user code
            reason = f"{type(error).__name__}: {error}"
            raise DataError(
                f"{name!r}, which the formula uses, cannot be sent to other processes ({reason}). Use a function that "
                "pickles, or compute the column in the source."
            ) from error


def written(sums: Sums) -> tuple[bytes | None, str]:
    """Return the cross-products as `CrossProducts.save` writes them, None if there are none, and the facts as JSON."""
    file = io.BytesIO()
    if sums.cross is not None:
        sums.cross.save(file)
    return file.getvalue() or None, json.dumps(as_json(sums.facts))


def read(cross: bytes | None, facts: str) -> Sums:
    """Return the sums that were `written`."""
    products = None if cross is None else CrossProducts.load(io.BytesIO(cross))
    return Sums(products, from_json(json.loads(facts)))


def as_json(value: Any) -> Any:
    """Return facts, or a part of them, as JSON holds it; labels of other types than `READERS` become texts."""
    if isinstance(value, np.generic):
        return as_json(value.item())
    if isinstance(value, (Facts, Numbers)):
        return _kind(type(value).__name__, {name: as_json(part) for name, part in vars(value).items()})
    if isinstance(value, Mapping):
        return _kind("dict", [[as_json(key), as_json(part)] for key, part in value.items()])
    if isinstance(value, tuple):
        return _kind("tuple", [as_json(part) for part in value])
    if isinstance(value, list):
        return [as_json(part) for part in value]
    if isinstance(value, np.ndarray):
        return _kind("array", value.tolist())
    if isinstance(value, date):
        return _kind("time" if isinstance(value, datetime) else "date", value.isoformat())
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def from_json(held: Any) -> Any:
    """Return the facts, or the part of them, that JSON holds."""
    if isinstance(held, list):
        return [from_json(part) for part in held]
    if not isinstance(held, dict):
        return held
    if held.keys() == {"kind", "of"}:
        return READERS[held["kind"]](from_json(held["of"]))
    return {name: from_json(part) for name, part in held.items()}


def _kind(name: str, content: Any) -> dict[str, Any]:
    """Return the JSON object of one of `READERS`."""
    return {"kind": name, "of": content}
