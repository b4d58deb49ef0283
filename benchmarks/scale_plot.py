"""The figures of docs/how_large.md: seconds and memory against rows, log-log, every curve labelled where it ends."""

from io import BytesIO
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from large import SHAPES
from matplotlib import rc_context, ticker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from PIL import Image

MIB = 1.048576e-3  # GB
BLUE, INK, PALE = "#0072B2", "#333333", "#8a8a8a"
# Okabe and Ito's colours, which the colour-blind tell apart, and markers besides; ours are heavy
STYLES = {
    "pcg": ("pcg", BLUE, "o", 2.6),
    "cholmod": ("cholmod (exact)", "#D55E00", "s", 2.6),
    "lme4": ("lme4", "#009E73", "^", 1.4),
    "mixedlm": ("mixedlm", "#CC79A7", "D", 1.4),
    "gpboost-iterative": ("gpboost, iterative", "#000000", "v", 1.4),
}
TITLES = {
    "ratings": "Crossed ratings, users × items in communities",
    "panel": "Panel of workers × firms, 12 % of the workers move each year",
}
LONE = {"ratings-100M": "480,000 × 17,770", "stream-1e8": "streamed, 1M × 10,000"}  # points that are on no curve
ROWS = (7e4, 5e8)
LIMITS = {"seconds": (0.03, 1_500.0), "memory": (0.1, 60.0)}
RADII, ANGLES = (9, 16, 26, 38, 52, 70), (0, 90, 45, -45, 135, -90, -135, 180)  # points, degrees: where labels may go


def measure(cell: dict, value: str) -> float:
    """Return the seconds or the GB of a cell."""
    return cell["seconds"] if value == "seconds" else cell["peak_mb"] * MIB


def curve(record: dict, kind: str, who: str, value: str) -> tuple[np.ndarray, np.ndarray, tuple[float, dict] | None]:
    """Return rows and values of a program on a family, and the rows and cell at which it stopped."""
    points, stop = [], None
    for name, shape in SHAPES.items():
        cell = record["cells"].get(f"{name} {who}")
        if cell is None or not name.startswith(kind) or "tiny" in name or name in LONE:
            continue
        if cell["status"] == "ok":
            points.append((shape.rows, measure(cell, value)))
        elif stop is None:
            stop = float(shape.rows), cell
    rows, values = np.array(points, dtype=float).reshape(-1, 2).T
    return rows, values, stop


def axes(ax, record: dict, kind: str, value: str) -> list[tuple]:
    """Draw one of the two values of one family; return the labels of the curves, at their ends."""
    ax.set(xscale="log", yscale="log", xlim=ROWS, ylim=LIMITS[value], xlabel="rows")
    ax.set_title("Seconds, model and fit" if value == "seconds" else "Peak memory with the data, GB", loc="left")
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x / 1e6:g}M" if x >= 1e6 else f"{x / 1e3:g}k"))
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f"{y:,g}"))
    ax.tick_params(which="both", length=0)
    ax.grid(which="major", color="#e4e4e4", lw=0.8)
    ax.spines[["top", "right", "left"]].set_visible(False)
    rows, values, _ = curve(record, kind, "auto", value)
    ax.plot(rows, values, color=BLUE, lw=10, alpha=0.17, solid_capstyle="round", zorder=1)
    labels = []
    for who, (label, color, marker, width) in STYLES.items():
        rows, values, stop = curve(record, kind, who, value)
        if not rows.size:
            continue
        heavy = width > 2
        ax.plot(rows, values, color=color, marker=marker, lw=width, ms=6, mec="w", mew=0.6, zorder=4)
        end = rows[-1], values[-1]
        if stop is not None:
            if value == "seconds" and stop[1]["status"] == "timeout":
                end = stop[0], float(stop[1]["reason"])
                ax.plot([rows[-1], end[0]], [values[-1], end[1]], ":", color=color, lw=width, zorder=3)
            ax.plot(*end, "x", color=color, ms=9, mew=2.4, zorder=6)
        labels.append((*end, label, {"color": color, "fontweight": "bold" if heavy else "normal"}))
    for name, label in LONE.items():
        cell = record["cells"].get(f"{name} pcg", {"status": ""})
        if kind == "ratings" and cell["status"] == "ok":
            end = SHAPES[name].rows, measure(cell, value)
            filled = BLUE if name.startswith("ratings") else "w"
            ax.plot(*end, "D", color=BLUE, mfc=filled, mew=1.6, ms=7, zorder=5)
            labels.append((*end, label, {"color": BLUE}))
    return labels + guides(ax, record, kind, value)


def place(ax, labels: list[tuple]) -> None:
    """Write every label (x, y, text, style) near its point, where it covers no curve and no other label."""
    renderer, point = ax.figure.canvas.get_renderer(), ax.figure.dpi / 72.0
    inside, curves, taken = ax.get_window_extent(renderer), np.concatenate([pixels(ax, line) for line in ax.lines]), []

    def box(anchor, size, radius, angle):
        towards = np.round([np.cos(np.radians(angle)), np.sin(np.radians(angle))], 1)
        corner = anchor + point * radius * towards + 0.5 * size * (np.sign(towards) - 1.0)
        return Bbox.from_bounds(*corner, *size)

    def cost(anchor, size, radius, angle):
        found = box(anchor, size, radius, angle)
        covered = ((curves > found.min) & (curves < found.max)).all(axis=1).sum()
        clashes = sum(found.overlaps(other) for other in taken)
        beyond = not (inside.contains(*found.min) and inside.contains(*found.max))
        return 5.0 * covered + 1e4 * (clashes + beyond) + radius

    for x, y, text, style in labels:
        anchor, halo = ax.transData.transform((x, y)), [withStroke(linewidth=3, foreground="w")]
        note = ax.annotate(text, (0, 0), xycoords="figure pixels", va="center", path_effects=halo, zorder=8, **style)
        note.set_in_layout(False)
        size = note.get_window_extent(renderer).size + 4.0 * point
        best = min(product(RADII, ANGLES), key=lambda at, anchor=anchor, size=size: cost(anchor, size, *at))
        taken.append(box(anchor, size, *best))
        note.xyann = taken[-1].x0 + 2.0 * point, 0.5 * (taken[-1].y0 + taken[-1].y1)


def pixels(ax, line) -> np.ndarray:
    """Return points of a line, a few pixels apart, (k, 2)."""
    corners = line.get_transform().transform(line.get_xydata())
    steps = [np.linspace(a, b, 2 + int(np.hypot(*(b - a)) / 3)) for a, b in pairwise(corners)]
    return np.concatenate([corners, *steps])


def guides(ax, record: dict, kind: str, value: str) -> list[tuple]:
    """Draw what the curves are to be compared with (proportion to the rows; data and machine); return the labels."""
    style = {"color": PALE}
    if value == "seconds":
        rows = np.array([1.5e5, 1.5e6])
        ax.plot(rows, 4e-7 * rows, color=PALE, lw=1.2, ls="--", zorder=1)
        return [(rows[1], 4e-7 * rows[1], "∝ rows", style)]
    total = record["machine"]["memory_gb"]
    ax.plot(ROWS, [total, total], color=PALE, lw=1.2, ls="--", zorder=1)
    labels = [(ROWS[0] * 2.4, total, f"{total} GB, all of the machine", style)]
    cells = [(SHAPES[name].rows, record["cells"].get(f"{name} auto")) for name in SHAPES if name.startswith(kind)]
    data = [(n, (c["loaded_mb"] - c["base_mb"]) * MIB) for n, c in cells if c and c["status"] == "ok" and n > 9e5]
    if len(data) > 1:
        rows, size = np.array(data).T
        ax.plot(rows, size, color=PALE, lw=1.2, ls=":", zorder=1)
        labels.append((rows[-1], size[-1], "the data alone", style))
    return labels


def draw(record: dict, kind: str, file: Path) -> None:
    """Write the figure of one family, as a PNG of few colours."""
    font = {"font.family": ["Liberation Sans", "DejaVu Sans"], "font.size": 11, "text.color": INK}
    colors = {"axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": "#bbbbbb"}
    with rc_context(font | colors):
        figure = Figure(figsize=(12.5, 5.6), dpi=120, layout="constrained")
        figure.suptitle(TITLES[kind], x=0.012, ha="left", fontsize=15, fontweight="bold", color=INK)
        FigureCanvasAgg(figure)
        labels = [(ax, axes(ax, record, kind, value)) for ax, value in zip(figure.subplots(1, 2), LIMITS, strict=True)]
        figure.supxlabel(
            "Pale band: engine='auto'.   ×: the curve ends, the next size takes too long or too much memory "
            "(dotted: stopped by the clock).",
            x=0.012,
            ha="left",
            fontsize=10.5,
            color=PALE,
        )
        figure.draw_without_rendering()  # settles the layout, in which labels are then placed
        for ax, texts in labels:
            place(ax, texts)
        buffer = BytesIO()
        figure.savefig(buffer)
    Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)
