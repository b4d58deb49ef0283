"""Write docs/reliability.md from docs/campaign.json and tests/campaign/found.toml.

python docs/reliability.py
"""

import json
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
HEADER = """# Reliability

Generated trials of what a user can do, of what goes wrong around a fit, and of what nobody should do. This page is made
from runs of them on two cores of x86-64 Linux with Python 3.11 (`docs/campaign.json`). The numerical half (`designs`,
`invariance`, `memory`, `shapes`, `values`) asks of every trial that the numbers are right; the hostile half (`files`,
`formulas`, `interrupts`, `processes`, `streams`) that nothing breaks but with an error that says what to do.

A shorter run of each is part of the tests. Each trial can be repeated alone: a failure records its seed and number.

```bash
cd tests
python -m campaign --seed 1 --long --workers 2 --out ../docs/campaign.json  # hours; "short run": fewer
python -m campaign --seed 2 --only designs --count 500
```

## What was tried
"""
KINDS = {
    "designs": """Designs have one to four terms, crossed, nested, unbalanced, with levels of one row, with one to three
columns, correlated, independent or a block of Z; up to five columns of X, near-collinear, dependent or with an empty
cell; weights, offsets, units from 10⁻⁶ to 10⁶, REML and maximum likelihood.

*Refused*: an error before the fit (no residual left, a factor of one level, as many effects as rows), checked to be
true of the data. What is said not to be told apart is compared with the rank of the n × n kernels, unless columns of a
term depend on each other so nearly that their cross-products do not know it (singular value below 10⁻³; in the run
recorded here below 3·10⁻³, weighted).
*Regular* and *singular* fits are certified optima. *Not certified*: the fit warns that it is not at a certified
optimum, and why. *Several optima*: another start ends lower. Likelihoods of few rows and many variances have more than
one optimum, and a fit finds one of them; [usual designs have one](checking.md#do-optimisers-agree).""",
}


SEVERAL = "A trial is in several rows: what was done in it, and how it ended."


def page(report: dict, found: list[dict]) -> str:
    """Return the page: a row for each module, what its trials were, and a row for each failure that was found."""
    modules = sorted(report.items())
    tried, failed = (sum(count(module) for _, module in modules) for count in (_tried, _failed))
    parts = [HEADER, f"\n{tried:,} trials; failures that are open: {failed}.\n"]
    parts.append("\n| module | trials | failures | seed | seconds | what is asked |\n|---|--:|--:|--:|--:|---|\n")
    for name, module in modules:
        short = "" if module["long"] else " (short run)"
        cells = f"`{name}`{short}", f"{_tried(module):,}", _failed(module), module["seed"]
        parts.append(_row(*cells, f"{module['seconds']:,.0f}", module["note"]))
    for name, module in modules:
        if module["counts"]:
            parts.append(f"\n### `{name}`\n\n")
            several = sum(module["counts"].values()) > module["tried"]
            parts.append(f"{KINDS.get(name, SEVERAL if several else '')}\n\n".lstrip("\n"))
            parts.append("| kind | trials |\n|---|--:|\n")
            parts.extend(_row(kind, f"{count:,}") for kind, count in sorted(module["counts"].items()))
    if failed:
        parts.append("\n## What is open\n\n| found by | seed | number | what came |\n|---|--:|--:|---|\n")
        parts.extend(_row(f"`{name}`", f["seed"], f["number"], f["came"]) for name, m in modules for f in m["failures"])
    parts.append(f"\n## What was found and fixed\n\n{len(found)} failures, each with its regression test.\n")
    parts.append("\n| found by | what | remedy | regression test |\n|---|---|---|---|\n")
    parts.extend(_row(f"`{e['module']}`", e["what"], e["remedy"], f"`{e['test']}`") for e in found)
    return "".join(parts)


def _tried(module: dict) -> int:
    return module["tried"]


def _failed(module: dict) -> int:
    return len(module["failures"])


def _row(*cells: object) -> str:
    """Return one row of a table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    found = tomllib.loads((DOCS.parent / "tests/campaign/found.toml").read_text()).get("found", [])
    (DOCS / "reliability.md").write_text(page(json.loads((DOCS / "campaign.json").read_text()), found))
