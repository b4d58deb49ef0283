"""Goals, tables and the page docs/how_large.md from the record of scale.py: `python benchmarks/scale_report.py`.

The page's prose stands in the page; what is between a pair of its markers is written here.
"""

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from large import SHAPES
from report import number, table
from scale import PEERS, family

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
MIB = 1.048576e-3  # GB
BUDGETS = (8, 24, 64)  # GB
TOLD = ("ratings-300k", "ratings-1M", "ratings-3M", "ratings-25M", "panel-10M")  # whose choice of engine is shown
INTRODUCTION = """\
Written by `benchmarks/scale_report.py` from the record of `benchmarks/scale.py`; the curves, and what follows from
them, are in [how_large.md](how_large.md). Each cell is a process of its own. Time is that of model and fit, from a data
frame in memory (from the file, where streamed) to the standard errors; memory is the peak of resident memory of the
process, interpreter and data included. Median of three where that takes less than 20 s."""


def gigabytes(cell: dict) -> float:
    """Return the peak of resident memory of a cell, data included."""
    return cell["peak_mb"] * MIB


def rows_per_second(cell: dict) -> float:
    """Return millions of rows in a second of one processor, over the pass that takes the cross-products."""
    return SHAPES["stream-1e8"].rows / cell["model_cpu_seconds"] / 1e6


@dataclass(frozen=True)
class Goal:
    """A promise about one cell: `value(cell)` may not exceed `limit`, or fall short of it for `at_least`."""

    work: str
    shape: str
    who: str
    limit: float
    unit: str
    value: Callable[[dict], float]
    at_least: bool = False

    @property
    def text(self) -> str:
        """The goal in words."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}"

    def met(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


def seconds(cell: dict) -> float:
    return cell["seconds"]


GOALS = [
    Goal("1M ratings, `pcg`", "ratings-1M", "pcg", 0.6, "s", seconds),
    Goal("1M ratings, exact (`polish`)", "ratings-1M", "polish", 4, "s", seconds),
    Goal("25M ratings, `pcg`", "ratings-25M", "pcg", 25, "s", seconds),
    Goal("25M ratings, `pcg`", "ratings-25M", "pcg", 3, "GB", gigabytes),
    Goal("100M ratings, `pcg`", "ratings-100M", "pcg", 240, "s", seconds),
    Goal("100M ratings, `pcg`", "ratings-100M", "pcg", 12, "GB", gigabytes),
    Goal("2M rows of a panel, `pcg`", "panel-2M", "pcg", 3, "s", seconds),
    Goal("10M rows of a panel, `pcg`", "panel-10M", "pcg", 30, "s", seconds),
    Goal("10M rows of a panel, `pcg`", "panel-10M", "pcg", 6, "GB", gigabytes),
    Goal("1e8 rows streamed from Parquet, `pcg`", "stream-1e8", "pcg", 4, "GB", gigabytes),
    Goal("1e8 rows streamed from Parquet, `pcg`", "stream-1e8", "pcg", 1, "M rows/s per core", rows_per_second, True),
]


def by_default(record: dict, name: str) -> dict | None:
    """Return the cell of "auto" on a shape, that of "pcg" where only this was run, None if there is neither."""
    return record["cells"].get(f"{name} auto") or record["cells"].get(f"{name} pcg")


def outcome(cell: dict | None) -> str:
    """Return seconds and memory of a cell, or why there are none."""
    if cell is None or cell["status"] in ("skipped", "unsupported"):
        return "–"
    if cell["status"] == "ok":
        return f"{number(cell['seconds'])} s, {number(gigabytes(cell), 2)} GB"
    if cell["status"] == "timeout":
        return f"> {cell['reason']:g} s"
    return "out of memory" if cell["status"] in ("memory", "refused") else cell["status"]


def goals_table(record: dict) -> list[str]:
    """Return issue 5's table: goal, measurement with memory, peers of the same run, met or missed."""
    rows, cells = [], record["cells"]
    for goal in GOALS:
        cell = cells.get(f"{goal.shape} {goal.who}")
        if cell is None or cell["status"] != "ok":
            measured, verdict = outcome(cell), "not measured" if cell is None else "**missed**"
        else:
            value = goal.value(cell)
            measured = f"{number(value)} {goal.unit}"
            verdict = "met" if goal.met(value) else "**missed**"
        peers = [(p, outcome(cells.get(f"{goal.shape} {p}"))) for p in PEERS]
        told = "; ".join(f"{p} {text}" for p, text in peers if text != "–") if goal.unit == "s" else ""
        rows.append([goal.work, goal.text, measured, "–" if cell is None else outcome(cell), told, verdict])
    if accuracy := record.get("accuracy"):
        theta = max(row["theta_in_se"] for row in accuracy)
        deviance = max(abs(row["deviance_difference"]) for row in accuracy)
        met = "met" if theta <= 0.02 and deviance <= 0.05 else "**missed**"
        work = f"`pcg` against exact, {len(accuracy)} designs"
        rows.append([work, "θ ≤ 0.02 SE, −2llf ≤ 0.05", f"{theta:.2g} SE, {deviance:.2g}", "–", "", met])
    return table(["work", "goal", "measured", "fit", "peers in the same run", "verdict"], rows)


def accuracy_table(record: dict) -> list[str]:
    """Return a line for each design on which both engines were run."""
    rows = [
        [
            row["design"],
            f"{row['rows']:,}",
            " × ".join(f"{levels:,}" for levels in row["levels"]),
            f"{row['theta_in_se']:.1e}",
            f"{row['stated_theta']:.1e}",
            f"{row['deviance_difference']:+.1e}",
            f"{row['stated_deviance']:.1e}",
            f"{row['probes']}",
            f"{row['iterations']}",
        ]
        for row in record.get("accuracy", [])
    ]
    head = ["design", "rows", "levels", "θ, SEs", "stated", "deviance", "stated", "probes", "iterations"]
    return table(head, rows)


def measured_table(record: dict, kind: str) -> list[str]:
    """Return the curve of one family as a table."""
    rows = []
    for name, shape in SHAPES.items():
        auto = by_default(record, name)
        if family(name) != kind or "tiny" in name or auto is None:
            continue
        levels = " × ".join(f"{count:,}" for count in shape.levels.values())
        others = [outcome(record["cells"].get(f"{name} {who}")) for who in ("cholmod", "lme4", "mixedlm", PEERS[2])]
        if auto["status"] != "ok":
            rows.append([f"{shape.rows:,}", levels, outcome(auto), "", "", "", "", *others])
            continue
        chance = "none, exact" if "probes" not in auto else f"{100 * auto['error_in_se']:.1g} % of an SE"
        iterations = f"{auto['iterations']}" if "iterations" in auto else "–"
        times = [number(auto[part]) for part in ("model_seconds", "fit_seconds")]
        memory = f"{number(gigabytes(auto), 2)} ({number((auto['loaded_mb'] - auto['base_mb']) * MIB, 2)})"
        rows.append([f"{shape.rows:,}", levels, *times, memory, iterations, chance, *others])
    head = ["rows", "levels", "model, s", "fit, s", "peak GB (data)", "iterations", "Monte-Carlo error", "`cholmod`"]
    return table([*head, "lme4", "mixedlm", "gpboost"], rows)


def per_row(record: dict, kind: str) -> float | None:
    """Return bytes of a row at the peak, from the largest cell of a family that conjugate gradients fitted."""
    found = [
        1e9 * (gigabytes(cell) - cell["base_mb"] * MIB) / SHAPES[name.split()[0]].rows
        for name, cell in record["cells"].items()
        if family(name) == kind and cell["status"] == "ok" and "probes" in cell
    ]
    return found[-1] if found else None


def fits_table(record: dict) -> list[str]:
    """Return what fits in a given memory: rows as measured for `pcg`, columns as predicted for the exact engine."""
    from sparselmm.engines.cost import Sizes, dense_cost, seconds

    kinds = (("ratings", "ratings in memory"), ("panel", "panel rows in memory"), ("stream", "ratings streamed"))
    rows = []
    for kind, label in kinds:
        if size := per_row(record, kind):
            count = [f"{number((budget - 0.3) * 1e3 / size, 2)} million" for budget in BUDGETS]
            rows.append([f"`pcg`, {label} ({number(size)} bytes a row)", *count])
    columns, times = [], []
    for budget in BUDGETS:
        core = int((0.8e9 * budget / 16) ** 0.5 / 100) * 100
        cost = dense_cost(Sizes(first=5 * core, core=core, entries=0, pairs=0.0, gram=0, columns=1, n_theta=2))
        columns.append(f"{core:,} columns")
        times.append(seconds(cost.evaluation))
    rows.append(["exact, dense remainder (16 bytes for each pair of columns)", *columns])
    rows.append(["… and an evaluation of its likelihood, of which a fit takes 2 to 5", *times])
    return table(["memory", *(f"{budget} GB" for budget in BUDGETS)], rows)


def answer(record: dict) -> str:
    """Return the largest fits in a sentence."""
    told, kinds = [], {"ratings": "ratings", "panel": "rows of a worker-firm panel", "stream": "ratings streamed"}
    for kind, what in kinds.items():
        cells = {shape.rows: (shape, by_default(record, n)) for n, shape in SHAPES.items() if family(n) == kind}
        done = {rows: found for rows, found in cells.items() if found[1] and found[1]["status"] == "ok"}
        if done:
            shape, cell = done[max(done)]
            levels = " × ".join(f"{count:,}" for count in shape.levels.values())
            told.append(f"{shape.rows / 1e6:,g} million {what}, {levels} levels: {outcome(cell)}")
    return "The largest fits here, on one machine: " + "; ".join(told) + "."


def choices(record: dict) -> str:
    """Return what `auto` said before some of the fits."""
    said = ((name, record["cells"].get(f"{name} auto", {})) for name in TOLD)
    return "\n".join(
        f"* {name} (took {number(cell['fit_seconds'])} s): {cell['choice']}"
        for name, cell in said
        if cell.get("choice")
    )


def costs_table() -> list[str]:
    """Return the formulas by which `auto` predicts memory and time."""
    from sparselmm.engines import cost

    def short(value):
        return re.sub(r"e([+-])0?", lambda found: f"e{found[1].strip('+')}", f"{value:.2g}")

    pairs = f"2 Σ d_j² / {short(cost.PAIR_RATE)}"
    entry = cost.FACTOR_ENTRY + cost.INVERSE_ENTRY
    rows = [
        [
            "exact, dense remainder",
            f"{2 * cost.BYTES} q₂² + {cost.COUPLING_BYTES} e",
            f"q₂³ / {short(cost.DENSE_RATE)} + {pairs}",
        ],
        [
            "exact, sparse remainder",
            f"{cost.FACTOR_BYTES} nnz(L) + {cost.COUPLING_BYTES} e",
            f"Σ c_i² / {short(1 / (1 / cost.FACTOR_RATE + 1 / cost.INVERSE_RATE))} + {short(entry)} nnz(L) + {pairs}",
        ],
        [
            "`pcg`",
            f"{cost.PCG_BYTES} e + vectors",
            f"(2 e + {cost.PCG_CORE} q₂) × columns × iterations / {short(cost.PCG_RATE)}",
        ],
    ]
    return table(["", "memory, bytes", "an evaluation, seconds on two cores"], rows)


def where(record: dict) -> str:
    """Return the machine and the versions in a sentence."""
    here = record["machine"]
    settings = "".join(f", {name}={value}" for name, value in here["settings"].items())
    busy = max((cell.get("others", 0.0) for cell in record["cells"].values()), default=0.0)
    said = {name.split()[1].split("-")[0]: cell.get("versions", {}) for name, cell in record["cells"].items()}
    versions = ", ".join(f"{name} {found[name]}" for name, found in said.items() if name in found)
    machine = f"{here['cores']} cores, {here['cpu']}, {here['memory_gb']} GB, {here['system']}{settings}"
    return f"Measured on {machine}; {versions}. Most other work on the machine during a cell: {busy:.2f} cores."


def scale_section(record: dict) -> list[str]:
    """Return the section of docs/benchmarks.md."""
    drawn = {name: data for name, data in record["data"].items() if name in ("stream-1e8", "ratings-25M")}
    told = [f"* {n}: drawn in {d['seconds']:.0f} s with {d['peak_mb'] * MIB:.1f} GB" for n, d in drawn.items()]
    return [
        "## Scale",
        "",
        INTRODUCTION,
        "",
        where(record),
        "",
        *goals_table(record),
        "",
        *told,
        *([""] if told else []),
        "### The stochastic engine against the exact one",
        "",
        "Differences of θ, in standard errors, and of the deviance; beside each the error that the fit states.",
        "",
        *accuracy_table(record),
        "",
    ]


def filled(page: str, blocks: dict[str, str]) -> str:
    """Return the page with what is between the markers of every block replaced."""
    for name, text in blocks.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not pattern.search(page):
            raise SystemExit(f"the page has no markers <!-- {name} --> and <!-- end of {name} -->")
        page = pattern.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)
    return page


def main() -> None:
    from scale_plot import draw

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path, nargs="?", default=DOCS / "scale.json")
    parser.add_argument("--page", type=Path, default=DOCS / "how_large.md", help="the figures go beside it")
    asked = parser.parse_args()
    record = json.loads(asked.record.read_text())
    tables = {kind: measured_table(record, kind) for kind in ("ratings", "panel")}
    tables |= {"costs": costs_table(), "fits": fits_table(record)}
    blocks = {name: "\n".join(lines) for name, lines in tables.items()}
    blocks |= {"answer": answer(record), "choices": choices(record), "machine": where(record)}
    asked.page.write_text(filled(asked.page.read_text(), blocks))
    for kind in ("ratings", "panel"):
        draw(record, kind, asked.page.with_name(f"how_large_{kind}.png"))


if __name__ == "__main__":
    main()
