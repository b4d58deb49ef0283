"""Examples of the documentation, run as they stand."""

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def examples(page, section):
    """Return the Python code blocks of a section of a page."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(code, **names):
    """Return the variables of code after it was run as a script with some variables."""
    names["__name__"] = "__main__"
    exec(compile(code, "example", "exec"), names)
    return names
