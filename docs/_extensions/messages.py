"""The directive `messages`: every message of an exception or warning class, read from the source of the package."""

import ast
import re
from collections import defaultdict
from itertools import product
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

import sparselmm

PACKAGE = Path(sparselmm.__file__).parent
SENTENCES = {"message", "problem", "remedy"}
HELPERS = {"join", "items", "len", "sum", "str", "repr", "type", "near", "range", "size", "shape", "nunique", "first"}


class Source:
    """One module: the texts that its expressions can have, with ‹names› for what is known only at run time."""

    def __init__(self, path):
        self.path, self.tree = path, ast.parse(path.read_text())
        self.bodies = [self.tree, *(node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef))]
        self.functions = {body.name: body for body in self.bodies[1:]}

    def messages(self):
        """Yield (class, text) for every exception raised, every warning given and every end of an optimiser."""
        for body in self.bodies:
            for node in own_nodes(body):
                if isinstance(node, ast.Call):
                    for kind, message in what_is_said(node):
                        yield from ((kind, text) for text in self.texts(message, body))

    def texts(self, node, function, depth=0):
        """Return the texts that an expression inside a function can have."""
        if isinstance(node, ast.Constant):
            return [str(node.value)]
        if isinstance(node, ast.JoinedStr):
            parts = [self.part(part, function, depth) for part in node.values]
            return ["".join(chosen) for chosen in product(*parts)]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = (self.texts(side, function, depth) for side in (node.left, node.right))
            return [a + b for a in left for b in right]
        if isinstance(node, ast.IfExp):
            return self.texts(node.body, function, depth) + self.texts(node.orelse, function, depth)
        if isinstance(node, ast.Name) and depth < 3:
            found = [self.texts(value, function, depth + 1) for value in assigned(function, node.id)]
            found += [self.texts(value, body, depth + 1) for value, body in self.given(function, node.id)]
        elif isinstance(node, ast.Call) and name_of(node.func) in self.functions and depth < 3:
            called = self.functions[name_of(node.func)]
            found = [
                self.texts(item.value, called, depth + 1)
                for item in own_nodes(called)
                if isinstance(item, ast.Return) and item.value is not None
            ]
        else:
            found = []
        return [text for texts in found for text in texts] or [placeholder(node)]

    def part(self, node, function, depth):
        """Return the texts that a part of an f-string can have: a name, but for sentences that were put together."""
        if isinstance(node, ast.Constant):
            return [node.value]
        return self.texts(node.value, function, depth) if name_of(node.value) in SENTENCES else [placeholder(node)]

    def given(self, function, name):
        """Yield what calls in this module give a parameter of a function, and where they are."""
        names = [argument.arg for argument in function.args.args] if isinstance(function, ast.FunctionDef) else []
        for body in self.bodies if name in names else []:
            for node in own_nodes(body):
                if isinstance(node, ast.Call) and name_of(node.func) == function.name:
                    by_name = {keyword.arg: keyword.value for keyword in node.keywords}
                    values = dict(zip([one for one in names if one != "self"], node.args, strict=False)) | by_name
                    if name in values:
                        yield values[name], body


def what_is_said(call):
    """Yield the class and the message of a call that makes an exception, a warning or the record of a fit."""
    called = name_of(call.func)
    if called == "FitRecord":
        yield called, next(keyword.value for keyword in call.keywords if keyword.arg == "message")
    elif called.endswith("Error") and call.args:
        yield called, call.args[0]
    elif called == "warn" and len(call.args) == 2 and name_of(call.args[1]).endswith("Warning"):
        yield name_of(call.args[1]), call.args[0]


def own_nodes(function):
    """Yield the nodes of a function or module, without those of functions inside it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from own_nodes(child)


def assigned(function, name):
    """Yield the values that a function assigns to a name."""
    for node in own_nodes(function):
        if isinstance(node, ast.Assign) and any(name_of(target) == name for target in node.targets):
            yield node.value


def name_of(node) -> str:
    """Return the last part of a name, or an empty text."""
    return getattr(node, "attr", getattr(node, "id", ""))


def placeholder(node) -> str:
    """Return a name for a value, ‹...› if it has none."""
    names = [name_of(part) for part in ast.walk(node) if isinstance(part, (ast.Name, ast.Attribute))]
    names = [name.strip("_") for name in names if name not in HELPERS and name != "self"]
    return f"‹{names[0]}›" if names else "‹...›"


def collect() -> dict[str, dict[str, set[str]]]:
    """Return the messages by class; each with the modules that have it."""
    found = defaultdict(lambda: defaultdict(set))
    for path in sorted(PACKAGE.rglob("*.py")):
        source = Source(path)
        for kind, text in source.messages():
            if re.search(r"[a-z]{3}.*[a-z]{3}", re.sub("‹.*?›", "", text)):
                found[kind][text].add(path.relative_to(PACKAGE).as_posix())
    return found


class Messages(SphinxDirective):
    """A table of the messages of one class, sorted by where they come from."""

    required_arguments = 1

    def run(self):
        """Return the nodes of the table."""
        rows = sorted((sorted(places)[0], text) for text, places in collect()[self.arguments[0]].items())
        lines = ["| message | from |", "|---|---|"]
        lines += [f"| {cell(text)} | `{place}` |" for place, text in rows]
        return self.parse_text_to_nodes("\n".join(lines))


def cell(text) -> str:
    """Return a message as the cell of a Markdown table."""
    text = re.sub(r"\s+", " ", text.partition("\n    ")[0]).strip()  # without the formula and its mark
    return re.sub(r"([\\`*_<>|\[\]$])", r"\\\1", text)


def setup(app):
    """Register the directive."""
    app.add_directive("messages", Messages)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    for kind, texts in collect().items():
        print(f"{kind}: {len(texts)}")
        for text in texts:
            print("   ", text)
