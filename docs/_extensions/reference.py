"""The directive `reference`, and a check that every public name has a place in the reference."""

import inspect
import re
from functools import cached_property
from pathlib import Path

from docutils.parsers.rst import directives
from sphinx.ext.autosummary import import_by_name
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import sparselmm

RETURNED = Path(__file__).parents[1] / "api" / "returned.md"
COMPLETE = ("LinearMixedModelResults", "LinearMixedModel", "RandomTerm", "MixedLM", "MixedLMResults")


class Reference(SphinxDirective):
    """A table of objects with a line each, and below it each in full.

    The argument is where the objects live, ``sparselmm.LinearMixedModelResults``; the content are their names, one a
    line. ``:members:`` documents the public members of classes as well.
    """

    required_arguments = 1
    has_content = True
    option_spec = {"members": directives.flag}  # noqa: RUF012 - docutils' way

    def run(self):
        """Return the nodes of the table and of the objects."""
        names = [f"{self.arguments[0]}.{name}" for name in self.content if name]
        lines = [".. autosummary::", "   :nosignatures:", "", *(f"   ~{name}" for name in names), ""]
        for name in names:
            lines += [f".. {self._directive(name)}:: {name}", *(["   :members:"] if "members" in self.options else [])]
            lines += [""]
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", *lines, "```"]))

    def _directive(self, name):
        """Return the directive of autodoc that documents an object."""
        _, thing, parent, _ = import_by_name(name)
        if inspect.isclass(parent):
            member_name = name.rpartition(".")[2]
            member = inspect.getattr_static(parent, member_name)
            if isinstance(member, (property, cached_property)):
                return "autoproperty"
            return "automethod" if callable(getattr(parent, member_name)) else "autoattribute"
        return "autoclass" if inspect.isclass(thing) else "autofunction"


def links() -> dict[str, str]:
    """Return the full names of the classes that methods return or take, by the names that docstrings give them."""
    returned = re.findall(r"^[a-z_.]+\.[A-Z]\w+$", RETURNED.read_text(), re.MULTILINE)
    classes = [name for name in sparselmm.__all__ if inspect.isclass(getattr(sparselmm, name))]
    return {name.rpartition(".")[2]: f"sparselmm.{name}" for name in [*classes, *returned]}


def check(app, env):
    """Warn of public names that no page documents; the fields of a dataclass stand in its docstring."""
    documented = env.domains["py"].data["objects"]
    public = [f"sparselmm.{name}" for name in sparselmm.__all__ if not inspect.ismodule(getattr(sparselmm, name))]
    for owner in COMPLETE:
        kind = getattr(sparselmm, owner)
        names = [name for name in dir(kind) if name[0] != "_" and name not in getattr(kind, "__dataclass_fields__", ())]
        public += [f"sparselmm.{owner}.{name}" for name in names]
    for name in public:
        if name not in documented:
            logging.getLogger(__name__).warning("%s is public and in no page of docs/api", name)


def setup(app):
    """Register the directive and the check."""
    app.add_directive("reference", Reference)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True}
