"""Run the calls of a page's tables: what stands in code in the column "sparselmm"."""

import re
from pathlib import Path

COLUMN = "sparselmm"


def table_rows(text):
    """Return the rows of the tables that have a column "sparselmm", as dictionaries of cells by header."""
    rows, header = [], None
    for line in text.splitlines():
        cells = [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            header = None
        elif header is None:
            header = cells
        elif COLUMN in header and set("".join(cells)) - set("-: "):
            rows.append(dict(zip(header, cells, strict=True)))
    return rows


def run(page, namespace) -> int:
    """Execute the calls in the namespace, one after the other, and return how many there are."""
    from matplotlib import pyplot as plt

    calls = [call for row in table_rows(Path(page).read_text()) for call in re.findall(r"`([^`]+)`", row[COLUMN])]
    for call in calls:
        try:
            exec(call, namespace)
        except Exception as error:
            raise RuntimeError(f"{page}: {call}") from error
    plt.close("all")
    return len(calls)
