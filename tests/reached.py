"""Every message of the package is reached by a test: a run of all tests fails if one is not.

The modules of the package are compiled with marks around the exceptions and warnings they make, and around the strings
in these (docs/_extensions/said.py finds both). A process adds a mark to the file that all processes share when it comes
there first; the run ends with the messages that lack one.
"""

import ast
import os
import sys
import tempfile
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

sys.path.append(str(Path(__file__).parent.parent / "docs" / "_extensions"))
from said import PACKAGE, messages, place

FILE = "SPARSELMM_REACHED"  # environment variable: the file of the marks
SELECTIONS = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise", "collectonly")
MARK = "__reached__"
OPTIONAL = {"marginal_means/marginaleffects.py": "marginaleffects", "streaming/on_spark.py": "pyspark"}


def key(module, place):
    """Return the text of a mark."""
    return f"{module}:{place[0]}:{place[1]}"


class Marking(ast.NodeTransformer):
    """Puts marks around the strings and calls of a module that are at some places."""

    def __init__(self, module, keys):
        self.module, self.keys = module, keys

    def _marked(self, node):
        text = key(self.module, place(node))
        if text not in self.keys:
            return node
        name, argument = ast.Name(MARK, ast.Load()), ast.Constant(text)
        return ast.fix_missing_locations(ast.copy_location(ast.Call(name, [argument, node], []), node))

    def visit_Constant(self, node):
        """Return a string in its mark."""
        return self._marked(node) if isinstance(node.value, str) else node

    def visit_Call(self, node):
        """Return a call in its mark."""
        return self._marked(self.generic_visit(node))

    def visit_JoinedStr(self, node):
        """Return an f-string in its mark; the strings between its values have none."""
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                part.value = self.visit(part.value)
        return self._marked(node)


class Loader(SourceFileLoader):
    """Loads a module of the package with marks, never from compiled files and never into them."""

    def get_code(self, name):
        """Return the code of the module."""
        path = self.get_filename(name)
        tree = Marking(Path(path).relative_to(PACKAGE).as_posix(), Finder.keys).visit(ast.parse(self.get_data(path)))
        return compile(tree, path, "exec", dont_inherit=True)

    def exec_module(self, module):
        """Run the module."""
        setattr(module, MARK, Mark())
        super().exec_module(module)


class Mark:
    """Writes a mark down and returns the value in it; in other processes, where it is pickled to, no more than that."""

    def __call__(self, text, value):
        if text not in Finder.reached:
            Finder.reached.add(text)
            with open(os.environ[FILE], "a") as file:
                file.write(text + "\n")
        return value

    def __reduce__(self):
        return eval, ("lambda text, value: value",)


class Finder(MetaPathFinder):
    """Finds the modules of the package for `Loader`."""

    messages: ClassVar[list] = []
    keys = frozenset()
    reached: ClassVar[set] = set()
    judges = False  # whether this process judges the run: not one of its workers

    def find_spec(self, name, path=None, target=None):
        """Return the spec that the other finders have, with another loader."""
        if name.partition(".")[0] != "sparselmm":
            return None
        specs = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = Loader(name, spec.origin)
        return spec


def watch():
    """Load the package with marks from now on."""
    if "sparselmm" in sys.modules:
        raise RuntimeError("The package was imported before its messages are watched.")
    Finder.messages = messages()
    Finder.keys = frozenset(key(*where) for message in Finder.messages for where in message.places)
    Finder.judges = FILE not in os.environ
    if Finder.judges:
        handle, os.environ[FILE] = tempfile.mkstemp(prefix="messages", suffix=".txt")
        os.close(handle)
    sys.meta_path.insert(0, Finder())


def unreached():
    """Return the messages that lack a mark: their places and texts."""
    reached = set(Path(os.environ[FILE]).read_text().split())
    absent = {module for module, package in OPTIONAL.items() if find_spec(package) is None}
    there = [message for message in Finder.messages if message.module not in absent]
    lacking = [m for m in there if not {key(*where) for where in m.places} <= reached]
    return sorted({f"{m.module}:{m.line}  {m.kind}: {m.text.partition(chr(10))[0]}" for m in lacking})


def pytest_sessionfinish(session, exitstatus):
    """Fail a complete run that leaves a message out."""
    config = session.config
    if Finder.judges:
        complete = config.args_source.name == "TESTPATHS" and not any(getattr(config.option, s, 0) for s in SELECTIONS)
        config.unreached = unreached() if complete and exitstatus == 0 else []
        os.remove(os.environ[FILE])
        if config.unreached:
            session.exitstatus = 1


def pytest_terminal_summary(terminalreporter, config):
    """List the messages that no test reaches."""
    if getattr(config, "unreached", []):
        terminalreporter.section("messages of the package that no test reaches")
        for line in config.unreached:
            terminalreporter.line(line)
