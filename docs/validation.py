"""Run the tests and write docs/validation.md: every comparison with a reference, by quantity.

python docs/validation.py
"""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

DOCS = Path(__file__).parent
HEADER = """# Validation

Made by `make docs` from the tests: each row is a comparison that `make test` asserts. The difference is the largest
over all models and numbers of the row; relative differences are in units of the reference, absolute ones in the units
of the quantity. A dense computation is an independent one on n × n matrices, in `tests/`.

| quantity | models | reference | numbers | largest difference | tolerance |
|---|---|---|---|---|---|
"""


def recorded():
    """Return the records of a run of the tests."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-n", "2", "-q", f"--validation-folder={folder}", "-k", "not golden"]
        subprocess.run(command, cwd=DOCS.parent, check=True)
        lines = [line for file in sorted(Path(folder).glob("*.jsonl")) for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def page(records) -> str:
    """Return the page: a row for each quantity, reference and kind of tolerance."""
    rows = defaultdict(list)
    for record in records:
        rows[record["quantity"], record["reference"], record["relative"]].append(record)
    lines = []
    for (quantity, reference, relative), group in sorted(rows.items()):
        models = sorted({record["model"] for record in group})
        shown = ", ".join(models[:6]) + (f" and {len(models) - 6} more" if len(models) > 6 else "")
        kind = "relative" if relative else "absolute"
        numbers = f"{sum(record['count'] for record in group):,}"
        largest, tolerance = (max(record[key] for record in group) for key in ("difference", "tolerance"))
        lines.append(f"| {quantity} | {shown} | {reference} | {numbers} | {largest:.1e} {kind} | {tolerance:.0e} |")
    return HEADER + "\n".join(lines) + "\n"


if __name__ == "__main__":
    (DOCS / "validation.md").write_text(page(recorded()))
