"""Run the tests and write docs/validation.md: every comparison with a reference, by quantity.

python docs/validation.py
"""

import ast
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

DOCS = Path(__file__).parent
SHOWN = 4  # models named in a row
HEADER = """# Validation

Made by `make docs` from the tests: each row is a comparison that `make test` asserts. The difference is the largest
over all models and numbers of the row; relative differences are in units of the reference, absolute ones in the units
of the quantity. A dense computation is an independent one on n × n matrices, in `tests/`. Where R and this package
differ, the tests and the pages of [inference](inference/README.md) say who is right and why.
"""
COLUMNS = """
| quantity | reference | numbers | largest difference | tolerance | models |
|---|---|--:|---|---|---|
"""


def recorded():
    """Return the records of a run of the tests."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-n", "2", "-q", f"--validation-folder={folder}", "-k", "not golden"]
        subprocess.run(command, cwd=DOCS.parent, check=True)
        lines = [line for file in sorted(Path(folder).glob("*.jsonl")) for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def page(records) -> str:
    """Return the page: a section for each file of tests, a row for each quantity, reference and kind of tolerance."""
    sections = defaultdict(lambda: defaultdict(list))
    for record in records:
        sections[record["file"]][record["quantity"], record["reference"], record["relative"]].append(record)
    parts = [HEADER]
    for file, rows in sorted(sections.items()):
        title = ast.get_docstring(ast.parse((DOCS.parent / file).read_text())).split("\n")[0]
        parts.append(f"\n## {title.rstrip('.')}\n\n`{file}`\n{COLUMNS}")
        parts.extend(_row(*key, group) for key, group in sorted(rows.items()))
    return "".join(parts)


def _row(quantity, reference, relative, group) -> str:
    """Return one row of a table."""
    models = sorted({record["model"] for record in group})
    shown = "; ".join(models[:SHOWN]) + (f"; {len(models) - SHOWN} more" if len(models) > SHOWN else "")
    kind = "relative" if relative else "absolute"
    largest, tolerance = (max(record[key] for record in group) for key in ("difference", "tolerance"))
    numbers = sum(record["count"] for record in group)
    cells = quantity, reference, f"{numbers:,}", f"{largest:.1e} {kind}", f"{tolerance:.0e}", shown
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    (DOCS / "validation.md").write_text(page(recorded()))
