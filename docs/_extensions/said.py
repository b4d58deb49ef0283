"""Every message of an exception, a warning or the end of a fit, read from the source of the package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path

PACKAGE = Path(find_spec("sparselmm").origin).parent
SENTENCES = {"message", "problem", "reason", "remedy"}
CALLS = {"join", "items", "len", "sum", "str", "repr", "type", "range", "size", "shape", "nunique", "first"}
DEPTH = 4  # names and functions that are followed from a message to its text
Place = tuple[int, int]  # line and column of a node


@dataclass(frozen=True)
class Text:
    """A text that an expression can have, ‹names› standing for what is known at run time, and the strings in it."""

    text: str
    strings: frozenset[tuple[str, Place]] = frozenset()

    def __add__(self, other: Text) -> Text:
        return Text(self.text + other.text, self.strings | other.strings)


@dataclass(frozen=True)
class Message:
    """A message: its class, its text, the module, and the places of the call and the strings that make it."""

    kind: str
    text: str
    module: str
    line: int
    places: frozenset[tuple[str, Place]]


class Source:
    """One module of the package, and all of them by `others`."""

    def __init__(self, path: Path, others: list[Source]):
        self.module, self.tree = path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())
        functions = [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)]
        self.bodies = [self.tree, *functions]
        self.functions = {function.name: function for function in functions}
        self.calls = [(node, body) for body in self.bodies for node in own_nodes(body) if isinstance(node, ast.Call)]
        imports = [node for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom) and node.level]
        self.imported = {alias.name for node in imports for alias in node.names}
        self.others = others

    def _owner(self, name: str) -> Source | None:
        """Return the module that has the function of a name in this one, None if there is none or more than one."""
        owners = [one for one in self.others if name in one.functions and name in self.imported]
        return self if name in self.functions else owners[0] if len(owners) == 1 else None

    def messages(self) -> Iterator[Message]:
        """Yield every message of the module."""
        for body in self.bodies:
            for call in (call for call, where in self.calls if where is body):
                for kind, argument in what_is_said(call):
                    for text in self.texts(argument, body):
                        if re.search(r"[a-z]{3}.*[a-z]{3}", re.sub("‹.*?›", "", text.text)):
                            places = text.strings | {(self.module, place(call))}
                            yield Message(kind, text.text, self.module, call.lineno, places)

    def texts(self, node: ast.expr, body: ast.AST, depth: int = 0) -> list[Text]:
        """Return the texts that an expression inside a function can have."""
        if isinstance(node, ast.Constant):
            places = {(self.module, place(node))} if isinstance(node.value, str) else set()
            return [Text(str(node.value), frozenset(places))]
        if isinstance(node, ast.JoinedStr):
            whole = Text("", frozenset({(self.module, place(node))}))
            return [sum(chosen, whole) for chosen in product(*(self._part(part, body, depth) for part in node.values))]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return [a + b for a, b in product(*(self.texts(side, body, depth) for side in (node.left, node.right)))]
        if isinstance(node, ast.IfExp):
            return self.texts(node.body, body, depth) + self.texts(node.orelse, body, depth)
        found: list[Text] = []
        if isinstance(node, ast.Name) and depth < DEPTH:
            where = self.tree if node.id.isupper() else body
            values = [(self, value, where) for value in assigned(where, node.id)] + list(self._given(body, node.id))
            found = [text for one, value, where in values for text in one.texts(value, where, depth + 1)]
        elif isinstance(node, ast.Subscript) and name_of(node.value).isupper():
            tables = [table for table in assigned(self.tree, name_of(node.value)) if isinstance(table, ast.Dict)]
            found = [text for table in tables for value in table.values for text in self.texts(value, self.tree)]
        elif isinstance(node, ast.Call) and depth < DEPTH and (owner := self._owner(name_of(node.func))):
            called = owner.functions[name_of(node.func)]
            ends = [part.value for part in own_nodes(called) if isinstance(part, ast.Return) and part.value is not None]
            found = [text for value in ends for text in owner.texts(value, called, depth + 1)]
        return found or [Text(placeholder(node))]

    def _part(self, node: ast.expr, body: ast.AST, depth: int) -> list[Text]:
        """Return the texts of a part of an f-string: a name, but for sentences that were put together."""
        if isinstance(node, ast.Constant):
            return [Text(node.value)]
        name = name_of(node.value)
        texts = self.texts(node.value, body, depth) if name in SENTENCES or name.isupper() else []
        known = texts and all(text.strings or text.text.isdecimal() for text in texts)
        return texts if known else [Text(placeholder(node.value))]

    def _given(self, function: ast.AST, name: str) -> Iterator[tuple[Source, ast.expr, ast.AST]]:
        """Yield what calls give a parameter of a function, and the module and function they are in."""
        names = [argument.arg for argument in function.args.args] if isinstance(function, ast.FunctionDef) else []
        for one in self.others if name in names else []:
            for call, body in one.calls:
                if name_of(call.func) == function.name and one._owner(function.name) is self:
                    values = dict(zip([each for each in names if each not in ("self", "cls")], call.args, strict=False))
                    values |= {keyword.arg: keyword.value for keyword in call.keywords}
                    if name in values:
                        yield one, values[name], body


def what_is_said(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield the class and the message of a call that makes an exception, a warning or the record of a fit."""
    called = name_of(node.func) if isinstance(node, ast.Call) else ""
    if called == "FitRecord":
        yield called, next(keyword.value for keyword in node.keywords if keyword.arg == "message")
    elif called.endswith("Error") and node.args:
        yield called, node.args[0]
    elif called == "warn" and len(node.args) == 2:
        kind = name_of(node.args[1].args[0] if isinstance(node.args[1], ast.Call) else node.args[1])
        if kind.endswith("Warning"):
            yield kind, node.args[0]


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function or module, without those of functions inside it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from own_nodes(child)


def assigned(function: ast.AST, name: str) -> Iterator[ast.expr]:
    """Yield the values that a function assigns to a name."""
    for node in own_nodes(function):
        if isinstance(node, ast.Assign) and any(name_of(target) == name for target in node.targets):
            yield node.value


def name_of(node: ast.AST) -> str:
    """Return the last part of a name, or an empty text."""
    return getattr(node, "attr", getattr(node, "id", ""))


def place(node: ast.AST) -> Place:
    """Return where a node starts."""
    return node.lineno, node.col_offset


def placeholder(node: ast.AST) -> str:
    """Return a name for a value, ‹...› if it has none; what names that are near are made into."""
    if isinstance(node, ast.Call) and name_of(node.func) == "near":
        return " Did you mean ‹another name›?"
    names = [name_of(part) for part in ast.walk(node) if isinstance(part, (ast.Name, ast.Attribute))]
    names = [name.strip("_") for name in names if name not in CALLS and name != "self"]
    return f"‹{names[0]}›" if names else "‹...›"


def messages() -> list[Message]:
    """Return every message of the package."""
    sources: list[Source] = []
    sources += [Source(path, sources) for path in sorted(PACKAGE.rglob("*.py"))]
    return [message for source in sources for message in source.messages()]


if __name__ == "__main__":
    for message in messages():
        print(f"{message.module}:{message.line} {message.kind}: {message.text}")
