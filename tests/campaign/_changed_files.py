"""Files changed by accident or on purpose: their bytes, their arrays, their facts, and code in their texts."""

from __future__ import annotations

import io
import json
import os
import pickle
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ._saved_files import KINDS

CANARY = Path(tempfile.gettempdir()) / f"sparselmm-canary-{os.getpid()}"


class Bomb:
    """Unpickling it writes the canary."""

    def __reduce__(self) -> tuple:
        return open, (str(CANARY), "w")


def flipped(rng: np.random.Generator, content: bytes) -> bytes:
    """Return bytes of which a few are others."""
    changed = np.frombuffer(content, dtype=np.uint8).copy()
    places = rng.integers(changed.size, size=rng.integers(1, 20))
    changed[places] = rng.integers(256, size=places.size)
    return changed.tobytes()


def cut(rng: np.random.Generator, content: bytes) -> bytes:
    """Return the first bytes."""
    return content[: rng.integers(len(content))]


def spliced(rng: np.random.Generator, content: bytes) -> bytes:
    """Return bytes with a part taken out, repeated or overwritten by another."""
    a, b, c = sorted(rng.integers(len(content), size=3))
    return [content[:a] + content[b:], content[:b] + content[a:], content[:a] + content[b:c] + content[a + c - b :]][
        rng.integers(3)
    ]


def unrelated(rng: np.random.Generator, content: bytes) -> bytes:
    """Return what is no such file at all."""
    other = list(KINDS.values())[rng.integers(len(KINDS))][0]()
    return [b"", b"PK\x05\x06" + bytes(18), rng.bytes(500), pickle.dumps(Bomb()), b'{"format": 1}', other][
        rng.integers(6)
    ]


def arrays_changed(rng: np.random.Generator, content: bytes) -> bytes:
    """Return a file of which one array is another."""
    return _rewritten(rng, content, ".npy", _other_array)


def claimed(rng: np.random.Generator, content: bytes) -> bytes:
    """Return a file of which one array claims to be large."""

    def large(rng: np.random.Generator, content: bytes) -> bytes:
        header = io.BytesIO()
        shape = [(10**9,), (2**40, 2**40), (10**5, 10**5), (-1,), (2**63,), (0, 2**62)][rng.integers(6)]
        descr = str(rng.choice(["<f8", "<U1000000", "|b1", "<i4"]))
        np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
        return header.getvalue() + bytes(64)

    return _rewritten(rng, content, ".npy", large)


def pickled(rng: np.random.Generator, content: bytes) -> bytes:
    """Return a file of which one array is a pickle."""

    def bomb(rng: np.random.Generator, content: bytes) -> bytes:
        file = io.BytesIO()
        np.lib.format.write_array(file, np.array([Bomb()], dtype=object), allow_pickle=True)
        return [file.getvalue(), pickle.dumps(Bomb())][rng.integers(2)]

    return _rewritten(rng, content, "", bomb)


def archived(rng: np.random.Generator, content: bytes) -> bytes:
    """Return an archive whose members are missing, doubled, renamed, compressed or swapped."""
    members = _members(content)
    names = list(members)
    a, b = (names[i] for i in rng.integers(len(names), size=2))
    how = rng.integers(6)
    if how == 0:
        del members[a]
    elif how == 1:
        members[a], members[b] = members[b], members[a]
    elif how == 2:
        members[str(rng.choice(["../../" + a, "/tmp/" + a, a + "\0", "é" * 300, a.upper()]))] = members.pop(a)
    elif how == 3:
        members[a] = bytes(200_000_000)
    return _archive(members, zipfile.ZIP_DEFLATED if how in (3, 4) else zipfile.ZIP_STORED, a if how == 5 else None)


def facts_changed(rng: np.random.Generator, content: bytes) -> bytes:
    """Return a file of which one of the facts is another."""
    return _with_facts(content, lambda facts: _other_fact(rng, facts))


def formulas(rng: np.random.Generator, content: bytes) -> bytes:
    """Return a file whose formula, weights, offset, contrasts or columns would run code if they were evaluated."""
    call = f"open({str(CANARY)!r}, 'w')"
    evil = [text.replace("CALL", call).replace("TEXT", repr(call)) for text in EVIL]
    names = [text.replace("CALL", call).replace("TEXT", repr(call)) for text in EVIL_NAMES]

    def change(facts: dict) -> dict:
        if "columns" not in facts:
            return facts | {"formula": str(rng.choice(evil)), "exog_names": names[:2]}
        name = str(rng.choice(names))
        how = rng.integers(4)
        if how == 0:
            facts["formula"] = f"y ~ {rng.choice(evil)} + (1 | g)"
        elif how == 1:  # a name among those that '.' stands for
            facts["formula"], facts["columns"] = "y ~ . + (1 | g)", _renamed(facts["columns"], "my column", name)
        elif how == 2:
            part = str(rng.choice(["weights", "offset"]))
            facts[part], facts["columns"] = name, _renamed(facts["columns"], "my column", name)
        else:
            column = str(rng.choice(["f", name]))
            facts["contrasts"] = {column: str(rng.choice(["__class__", "register", "mro", "__init_subclass__", *evil]))}
            facts["columns"] = _renamed(facts["columns"], "f", column)
        return facts

    return _with_facts(content, change)


CHANGES = [flipped, cut, spliced, unrelated, arrays_changed, claimed, pickled, archived, facts_changed, formulas]
EVIL = (
    "CALL",
    "{CALL}",
    "eval(TEXT)",
    "I(eval(TEXT))",
    "exec(TEXT)",
    "__import__('pathlib').Path('x').touch()",
    "x.__class__.__mro__[1].__subclasses__()",
    "np.abs.__class__(x)",
    "np.lib.npyio.np.load('x')",
    "np.exp(x, out=CALL)",
    "(lambda: CALL)()",
    "[CALL for z in x][0]",
    "{[v for v in [CALL]]}",
    "f'{CALL}'",
    "C(f, CALL)",
    "C(f, contr.poly(CALL))",
    "contr.__class__(x)",
    "bs(x, df=CALL)",
    "(z := CALL)",
    "x if CALL else x",
    "{x}[CALL]",
    "hashed(f, levels=CALL)",
    "getattr(x, 'to_csv')('/tmp/x')",
    "x.to_csv('/tmp/x')",
    "x.pipe(eval, TEXT)",
    "stateful_transform(eval)(TEXT)",
    "center(x, '\" and CALL] #')",
    "center('\"] or CALL or [\"')",
    "I(`x` + CALL)",
    "{`x` + CALL}",
    "`x`.pipe(eval, TEXT)",
    "poly(x, 2)[CALL]",
    "I(x)^CALL",
    "y.eval(TEXT)",
    "pd.eval(TEXT)",
    "np.frompyfunc(eval, 1, 1)(TEXT)",
    "log(x)(CALL)",
    "x %in% CALL",
    "(CALL | g)",
    "(1 | {CALL})",
    "offset(CALL)",
)
EVIL_NAMES = (
    "x` + {0 * x if CALL else x} + `f",
    "CALL + `x` + 0*x",
    "x`+CALL+`x",
    "{CALL}",
    "CALL",
    "x\\",
    "`",
    "``",
    "eval(TEXT)",
    "x\n+ CALL",
    "x\0",
    "__class__",
    "x') + CALL + ('",
    "_`x`CALL`x`_",
)
HOSTILE = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**30, -0.5, 1e308, float("nan"), float("inf"), "", "x", "\0", "é" * 100),
    *(
        [],
        {},
        [[]],
        [None],
        {"": 0},
        ["x"] * 1000,
        [1, 2, 3],
        {"kind": "Facts", "of": {}},
        {"kind": "array", "of": [1]},
    ),
    *({"kind": "evil", "of": 1}, {"kind": "time", "of": "x"}, {"kind": "tuple", "of": 5}, {"kind": "dict", "of": [1]}),
)


def _renamed(columns: dict, old: str, new: str) -> dict:
    """Return columns of which one has another name."""
    return {new if name == old else name: kind for name, kind in columns.items()}


def _members(content: bytes) -> dict[str, bytes]:
    """Return the members of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED, twice: str | None = None) -> bytes:
    """Return an archive."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, content in members.items():
            archive.writestr(name, content)
        if twice is not None:
            archive.writestr(twice, members[twice])
    return file.getvalue()


def _rewritten(rng: np.random.Generator, content: bytes, ending: str, change: Callable) -> bytes:
    """Return an archive of which one member, or one of an archive in it, is changed."""
    members = _members(content)
    name = str(rng.choice([name for name in members if name.endswith((ending, ".npz"))]))
    inner = name.endswith(".npz") and rng.integers(10) > 0
    members[name] = _rewritten(rng, members[name], ending, change) if inner else change(rng, members[name])
    return _archive(members)


def _other_array(rng: np.random.Generator, content: bytes) -> bytes:
    """Return the file of another array."""
    try:
        array = np.lib.format.read_array(io.BytesIO(content))
        flat = array.ravel()
        spoiled = flat.copy()
        if flat.size and flat.dtype.kind in "iuf":
            value = [0, 1, -1, 2**31 - 1, 1e308, np.nan, np.inf, -np.inf][
                rng.integers(8 if flat.dtype.kind == "f" else 3)
            ]
            spoiled[rng.integers(flat.size)] = spoiled.dtype.type(value) if flat.dtype.kind == "f" else abs(value)
        others = [
            *(spoiled.reshape(array.shape), flat[:-1], np.concatenate([flat, flat]), flat[None], array.astype(str)),
            *(flat[::-1], np.zeros_like(array), array.astype(">f4"), array.astype(complex), array[..., None], flat[:0]),
            *(np.zeros(array.shape, "M8[s]"), np.zeros(array.shape, "m8[D]"), np.ones(array.shape, bool)),
            *(
                rng.permutation(flat).reshape(array.shape),
                np.zeros(array.shape, [("a", "i4")]),
                np.asfortranarray(array),
            ),
        ]
    except ValueError:
        others = [np.zeros(3), np.array("text")]
    file = io.BytesIO()
    np.save(file, others[rng.integers(len(others))])
    return file.getvalue()


def _with_facts(content: bytes, change: Callable[[dict], object]) -> bytes:
    """Return an archive whose JSON is changed."""
    members = _members(content)
    if "model.json" in members:
        members["model.json"] = json.dumps(change(json.loads(members["model.json"]))).encode()
        return _archive(members)
    array = np.load(io.BytesIO(members["facts.npy"]))
    as_text = array.dtype.kind == "U"
    text = json.dumps(change(json.loads(str(array) if as_text else array.tobytes())))
    file = io.BytesIO()
    np.save(file, np.array(text) if as_text else np.frombuffer(text.encode(), dtype=np.uint8))
    return _archive(members | {"facts.npy": file.getvalue()})


def _other_fact(rng: np.random.Generator, facts: object) -> object:
    """Return facts of which one, anywhere within, is missing or hostile."""
    if isinstance(facts, str) and facts[:1] == "{":  # JSON within JSON
        return json.dumps(_other_fact(rng, json.loads(facts)))
    if not isinstance(facts, (dict, list)) or not facts or rng.integers(20) == 0:
        return HOSTILE[rng.integers(len(HOSTILE))]
    changed = facts.copy()
    keys = list(facts) if isinstance(facts, dict) else range(len(facts))
    key = keys[rng.integers(len(keys))]
    if rng.integers(6) == 0:
        del changed[key]
    else:
        changed[key] = _other_fact(rng, facts[key])
    return changed
