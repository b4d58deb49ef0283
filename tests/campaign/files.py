"""Files of cross-products, models and fits that are corrupted, cut or hostile: a DataError that names the file.

What still loads is used: it may be another model, and only errors of the package may come of it. No code of a file is
run, which a file that such code would write and Python's audit events tell, and no more memory is taken than the file
explains.
"""

from __future__ import annotations

import sys
import tempfile
import tracemalloc
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from sparselmm import DataError, EngineError

from ._changed_files import CANARY, CHANGES, archived, claimed
from ._saved_files import KINDS
from .outcome import Outcome, attempt

SHORT, LONG = 250, 20_000
NOTE = "cross-products, models of streams and fits of MixedLM; bytes, arrays, facts, formulas and column names changed"
BOUND = 64e6  # bytes that loading a file of a few kilobytes may take
WATCHED = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class", "socket.connect"}
EVENTS: list[str] = []


def run(count: int, seed: int) -> Outcome:
    """Return the Outcome of `count` files."""
    watch()
    CANARY.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hostile file.npz"
        return attempt("files", count, seed, lambda rng, number: trial(rng, path), NOTE)


@cache
def watch() -> None:
    """Collect the audit events that no file may cause."""
    sys.addaudithook(lambda event, arguments: EVENTS.append(event) if event in WATCHED else None)


def trial(rng: np.random.Generator, path: Path) -> list[str]:
    """Load and use one changed file, and return its kind, its change and how it ended."""
    kind = str(rng.choice(list(KINDS)))
    content, load, use = KINDS[kind]
    change = CHANGES[rng.integers(len(CHANGES))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path.write_bytes(change(rng, content()))
    EVENTS.clear()
    if change in (claimed, archived):  # it makes the rest slow
        tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = load(path)
    except DataError as error:
        assert str(path) in str(error), f"{error} does not name the file"
        end = "refused"
    else:
        end = "read"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < BOUND, f"{peak / 1e6:.0f} MB for a file of {path.stat().st_size} bytes"
    if end == "read":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            end = "used" if used(use, loaded) else "refused when used"
    assert not EVENTS and not CANARY.exists(), f"code of the file was run: {EVENTS}"
    return [kind, change.__name__, end]


def used(use: Callable, loaded: object) -> bool:
    """Return whether what was loaded can be used."""
    try:
        with np.errstate(all="ignore"):
            use(loaded)
    except (DataError, EngineError):
        return False
    return True
