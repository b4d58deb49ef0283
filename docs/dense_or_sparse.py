"""The curve of docs/dense_or_sparse.md: one group of crossed effects, dense against sparse, as the rows grow.

Writes dense_or_sparse.png and the table between the markers of dense_or_sparse.md. One BLAS thread: set
OPENBLAS_NUM_THREADS=1.
"""

import time
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sparselmm import LinearMixedModel, RandomTerm
from sparselmm.engine_comparison import compare_engines

HERE = Path(__file__).parent
BOTH = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90)  # levels of each factor; the rows are their square
SPARSE_ONLY = (150, 250, 500, 1000)
RED, BLUE = "#c44e52", "#4c72b0"


def crossed(size):
    """Return the arrays of size² rows, each of a random pair of levels."""
    rng = np.random.default_rng(size)
    rows, columns = rng.integers(0, size, (2, size * size))
    y = rng.standard_normal(size)[rows] + 0.5 * rng.standard_normal(size)[columns] + rng.standard_normal(size * size)
    return y, np.ones((y.size, 1)), [RandomTerm(rows, name="row"), RandomTerm(columns, name="column")]


def build(arrays):
    """Return the model of the arrays and the seconds that it took to make."""
    begin = time.perf_counter()
    model = LinearMixedModel(*arrays)
    return model, time.perf_counter() - begin


def measure(size):
    """Return a row for each engine, `rows` and `setup` (seconds for the cross-products) included."""
    arrays = crossed(size)
    setup = median(build(arrays)[1] for _ in range(3))
    engines = ("cholmod", "dense") if size in BOTH else ("cholmod",)
    table = compare_engines(build(arrays)[0], engines=engines, repeats=1 if size > 40 else 5)
    return table.assign(rows=size * size, setup=setup).rename_axis("name").reset_index()


def slope(rows, values):
    """Return the exponent of a power law through the last three points."""
    return np.polyfit(np.log(rows[-3:]), np.log(values[-3:]), 1)[0]


def draw(results, file):
    """Plot time and memory against the rows, log-log."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    for ax, column, title in zip(
        figure.subplots(1, 2), ("total", "peak_mb"), ("Time of a fit, s", "Peak memory, MB"), strict=True
    ):
        dense, sparse = (results[results["name"] == name] for name in ("dense", "cholmod"))
        power = 3 if column == "total" else 2
        end = dense.iloc[-1]
        beyond = end["rows"] * np.array([1, 30])
        ax.loglog(dense["rows"], dense[column], "o-", color=RED, label="dense, group by group", ms=4)
        ax.loglog(
            beyond, end[column] * np.array([1, 30**power]), ":", color=RED, label=f"dense, continued as $n^{power}$"
        )
        ax.loglog(sparse["rows"], sparse[column], "o-", color=BLUE, label="sparse", ms=4)
        ax.set(xlabel="rows n = s², two crossed factors of s levels", title=title)
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
    figure.savefig(file, dpi=130)


def number(value):
    """Return a number with three digits as text, a dash for none."""
    if np.isnan(value):
        return "–"
    return f"{value:,.0f}" if value >= 1000 else f"{float(f'{value:.3g}'):g}"


def table(results):
    """Return the results as a Markdown table and a sentence on the growth."""
    wide = results.pivot(index="rows", columns="name", values=["total", "peak_mb", "deviance", "evaluations"])
    lines = [
        "| rows n | levels | evaluations | sparse, s | dense, s | ratio | sparse, MB | dense, MB | deviance gap |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for n, row in wide.iterrows():
        seconds, memory, deviance = row["total"], row["peak_mb"], row["deviance"]
        gap = abs(deviance["dense"] - deviance["cholmod"])
        values = seconds["cholmod"], seconds["dense"], seconds["dense"] / seconds["cholmod"]
        cells = [f"{n:,}", f"2 × {round(n**0.5):,}", f"{row['evaluations']['cholmod']:.0f}"]
        cells += [number(value) for value in (*values, memory["cholmod"], memory["dense"])]
        cells.append("–" if np.isnan(gap) else f"{gap:.0e}" if gap else "0")
        lines.append(f"| {' | '.join(cells)} |")
    dense = results[results["name"] == "dense"]
    n, memory = dense["rows"].to_numpy(), dense["peak_mb"].to_numpy()
    seconds = (dense["seconds"] / dense["evaluations"]).to_numpy()
    growth = f"an evaluation takes time ∝ n^{slope(n, seconds):.1f} and memory ∝ n^{slope(n, memory):.1f}"
    return "\n".join([*lines, "", f"Over the last three sizes of the dense computation, {growth}."])


def main():
    """Measure, draw and write."""
    measure(5)  # imports and compilation
    results = pd.concat([measure(size) for size in BOTH + SPARSE_ONLY], ignore_index=True)
    results["total"] = results["setup"] + results["seconds"]
    draw(results, HERE / "dense_or_sparse.png")
    page = HERE / "dense_or_sparse.md"
    head, rest = page.read_text().split("<!-- table -->\n")
    tail = rest.split("<!-- end of table -->\n")[1]
    page.write_text(f"{head}<!-- table -->\n{table(results)}\n<!-- end of table -->\n{tail}")
    print(table(results))


if __name__ == "__main__":
    main()
