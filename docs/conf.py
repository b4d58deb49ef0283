"""The documentation site: `make site` builds it, warnings are errors, every notebook page is executed."""

import os
import sys
from importlib.metadata import files
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_extensions"))

from numpydoc.xref import DEFAULT_LINKS  # noqa: E402
from reference import links  # noqa: E402

import sparselmm  # noqa: E402

project = "sparselmm"
author = "the sparselmm authors"
copyright = author
version = release = sparselmm.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
    "messages",
    "reference",
]
exclude_patterns = ["_build"]

# Markdown: the same files read well on a code host
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# Notebooks: what a page prints is what the package prints today
nb_execution_mode = "force"  # `-D nb_execution_mode=cache` while writing
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_output_stderr = "error"
nb_merge_streams = True
os.environ["MATPLOTLIBRC"] = str(DOCS / "_static" / "matplotlibrc")
os.environ["PYTHONPATH"] = os.pathsep.join([str(DOCS / "_extensions"), os.environ.get("PYTHONPATH", "")])

# Reference
autodoc_typehints = "none"
autosummary_generate = False
default_role = "py:obj"  # `name` in a docstring is a link where there is such an object, and code where there is none
nitpick_ignore_regex = [("py:obj", ".*")]
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = links()
DEFAULT_LINKS.clear()  # of numpydoc, to sites that cannot be reached without a network

# Mathematics without a network: MathJax from a Python package, one file with its fonts inside
MATHJAX = next(path.locate() for path in files("django-static-mathjax") if path.match("mathjax/es5/tex-svg.js"))
mathjax_path = MATHJAX.name

html_theme = "furo"
html_title = "sparselmm"
html_static_path = ["_static", str(MATHJAX)]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
