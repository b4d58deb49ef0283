"""What the plots share: axes, the user's colours, marks that stay legible for many rows and levels, a smooth."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import takewhile
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ..threads import single_threaded

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from numpy.typing import ArrayLike

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito (2008), told apart by all
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
MANY = 2000  # marks from which they are counted in cells instead of drawn
LONGEST = 30  # characters of a label
LINE = 24  # and of a line of one that is wrapped
ROW, CHARACTER, SMALLEST = 0.22, 0.08, 6.0  # inches of a named level and of a character, points of the smallest text


def pyplot() -> ModuleType:
    """Return matplotlib.pyplot, or raise with the remedy."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install 'sparselmm[plot]'.") from error
    return pyplot


def axes_for(ax: Axes | None, figsize: tuple[float, float] = (6.0, 4.2)) -> Axes:
    """Return the axes given, or those of a new figure."""
    module = pyplot()
    return module.subplots(figsize=figsize, layout="constrained")[1] if ax is None else ax


def panel_for(
    axes: np.ndarray | Sequence[Axes] | None, count: int, columns: int, size: tuple[float, float] = (4.2, 3.4)
) -> np.ndarray:
    """Return the axes of a panel, (count,): the first of those given, or those of a new figure."""
    module = pyplot()
    if axes is None:
        columns = max(1, min(columns, count))
        rows = -(-count // columns)
        figsize = (size[0] * columns, size[1] * rows)
        grid = module.subplots(rows, columns, figsize=figsize, layout="constrained", squeeze=False)[1].ravel()
        for ax in grid[count:]:
            ax.remove()
        return grid[:count]
    axes = np.ravel(np.asarray(axes, dtype=object))
    if axes.size < count:
        raise ValueError(f"axes holds {axes.size} axes; this panel has {count}.")
    return axes[:count]


def choose(names: Iterable[str], name: str | None, what: str) -> str:
    """Return `name`, or the only one of `names`."""
    names = list(names)
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        problem = f"{what}={name!r} is not there" if name is not None else f"There are several; choose one with {what}="
        raise ValueError(f"{problem}. Available: {', '.join(map(repr, names))}.")
    return name


def color(number: int) -> str:
    """Return the colour of a series: the user's, or a colour-blind-safe one where the user has set none."""
    matplotlib = pyplot().matplotlib
    cycle, standard = matplotlib.rcParams["axes.prop_cycle"], matplotlib.rcParamsDefault["axes.prop_cycle"]
    colors = COLORS if cycle == standard else cycle.by_key().get("color", COLORS)
    return colors[number % len(colors)]


def ink(ax: Axes, strength: float = 1.0) -> tuple[float, ...]:
    """Return the colour of text, mixed with the background of the axes where the strength is below one."""
    return faded(ax, pyplot().rcParams["text.color"], strength)


def faded(ax: Axes, hue: str, strength: float = 0.4) -> tuple[float, ...]:
    """Return a colour, mixed with the background of the axes."""
    from matplotlib.colors import to_rgb

    return tuple(strength * np.array(to_rgb(hue)) + (1.0 - strength) * np.array(to_rgb(ax.get_facecolor())))


def points(
    ax: Axes, x: ArrayLike, y: ArrayLike, hue: str | tuple[float, ...] | None = None, size: float = 4.0
) -> Artist:
    """Draw points; beyond `MANY` the cells of a grid, darker the more points they hold."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    hue = ink(ax, 0.55) if hue is None else hue
    if x.size <= MANY:
        alpha = float(np.clip(40.0 / np.sqrt(max(x.size, 1)), 0.35, 0.9))
        return ax.plot(x, y, "o", color=hue, alpha=alpha, markersize=size, markeredgewidth=0.0, zorder=1.5)[0]
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("counts", [ink(ax, 0.1), ink(ax, 0.85)])
    box = ax.get_window_extent()
    across = int(np.clip(box.width / ax.figure.dpi * 15, 20, 90))
    down = max(8, round(across * box.height / box.width / np.sqrt(3.0)))
    limits = None if ax.get_autoscale_on() else (*ax.get_xlim(), *ax.get_ylim())
    style = {"bins": "log", "mincnt": 1, "cmap": shades, "linewidths": 0.1, "rasterized": True, "zorder": 1.5}
    cells = ax.hexbin(x, y, gridsize=(across, down), extent=limits, **style)
    ax.autoscale_view()
    return cells


def zero_line(ax: Axes, axis: str = "y", at: float = 0.0, label: str | None = None) -> None:
    """Draw the line that values are compared with."""
    draw = ax.axhline if axis == "y" else ax.axvline
    draw(at, color=ink(ax, 0.8), linewidth=0.8, linestyle="--", label=label, zorder=2)


def short(label: object) -> str:
    """Return a label as text of bounded length."""
    text = str(label)
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


def wrapped(label: str) -> str:
    """Return a label on lines of bounded length, cut after blanks and colons."""
    lines = [""]
    for part in re.findall(r"[^: ]*[: ]?", label):
        if lines[-1] and len(lines[-1] + part.rstrip()) > LINE:
            lines.append("")
        lines[-1] += part
    return "\n".join(short(line.rstrip()) for line in lines)


def shortened(labels: Iterable[object]) -> list[str]:
    """Return labels as texts of bounded length; words that begin or end all of them go first.

    None is cut if some would be equal.
    """
    texts = [str(label) for label in labels]
    if max(map(len, texts), default=0) > LONGEST and len(texts) > 1:
        words = [text.split() for text in texts]
        head, most = _shared(words), min(map(len, words))
        tail = min(_shared([part[::-1] for part in words]), most - head - 1)
        parts = [["…"] * (head > 0) + part[head : len(part) - tail] + ["…"] * (tail > 0) for part in words]
        texts = [" ".join(part) for part in parts]
    cut = [short(text) for text in texts]
    return cut if len(set(cut)) == len(set(texts)) else texts


def _shared(lists: Sequence[Sequence[str]]) -> int:
    """Return how many first items the lists share; the last of the shortest is not counted."""
    most = min(map(len, lists)) - 1
    return len(list(takewhile(lambda items: len(set(items)) == 1, list(zip(*lists, strict=False))[:most])))


def height_for(count: float, most: int = 60) -> float:
    """Return the height of a figure of `count` rows, which are named if they fit."""
    return 1.2 + ROW * max(count, 3) if count <= most else 6.0


def width_for(labels: Iterable[object]) -> float:
    """Return the width of a figure whose rows have these names."""
    return 6.0 + CHARACTER * max(0, max(map(len, shortened(labels)), default=0) - LONGEST)


def name_rows(ax: Axes, labels: Sequence[object], what: str, order: str = "sorted") -> bool:
    """Name the rows 0, 1, ... of the y-axis if there is room for the names, and return whether; else count them."""
    count = len(labels)
    room = 0.85 * 72.0 * ax.get_window_extent().height / ax.figure.dpi / max(count, 1)  # points of text
    ax.set_ylim(-0.7, count - 0.3)
    named = room >= SMALLEST
    if named:
        ax.set_yticks(np.arange(count), shortened(labels), fontsize=min(_text_size("ytick"), room))
    else:
        whole_numbers(ax.yaxis)
    ax.set_ylabel(what if named else f"{what}: {count:,} levels, {order}")
    return named


def name_columns(ax: Axes, labels: Sequence[object]) -> None:
    """Name the places 0, 1, ... of the x-axis, upright if they are wide; count them if there is no room."""
    texts, count = shortened(labels), len(labels)
    room = 72.0 * ax.get_window_extent().width / ax.figure.dpi / max(count, 1)
    usual = _text_size("xtick")
    ax.set_xlim(-0.6, count - 0.4)
    if 0.85 * room >= SMALLEST:
        flat = 0.6 * usual * max(map(len, texts), default=0) <= room
        size = usual if flat else min(usual, 0.85 * room)
        ax.set_xticks(np.arange(count), texts, rotation=0 if flat else 90, fontsize=size)
    else:
        whole_numbers(ax.xaxis)


def _text_size(ticks: str) -> float:
    """Return the size of tick labels in points."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    return FontProperties(size=rcParams[f"{ticks}.labelsize"]).get_size_in_points()


def whole_numbers(axis: Axis) -> None:
    """Put the ticks of an axis that counts at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def legend_above(ax: Axes, columns: int = 2) -> None:
    """Put the legend above the axes, where it covers no data, with marks that can be seen."""
    legend = ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, frameon=False, fontsize="small")
    for handle in legend.legend_handles:
        handle.set_alpha(1.0)
        handle.set_markersize(max(5.0, handle.get_markersize()))


@single_threaded
def smooth(x: np.ndarray, y: np.ndarray, span: float = 0.6, at: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Return a locally linear fit of y on x with tricube weights on the nearest part `span` of the rows.

    Returns
    -------
    grid, values : ndarray (k,), k <= at
        Quantiles of x, and the fit there (Cleveland 1979, J. Am. Stat. Assoc. 74:829, without robustness steps).
    """
    order = np.argsort(x, kind="stable")
    x, y = np.asarray(x, dtype=float)[order], np.asarray(y, dtype=float)[order]
    grid = np.unique(np.quantile(x, np.linspace(0.0, 1.0, at)))
    near = min(x.size, max(3, int(np.ceil(span * x.size))))
    values = np.empty(grid.size)
    for i, x0 in enumerate(grid):
        first = _nearest(x, x0, near)
        reach = max(x0 - x[first], x[first + near - 1] - x0) * (1.0 + 1e-12)
        window = slice(np.searchsorted(x, x0 - reach), np.searchsorted(x, x0 + reach, "right"))  # all ties
        dx, part = x[window] - x0, y[window]
        w = (1.0 - (np.abs(dx) / reach) ** 3).clip(1e-12) ** 3 if reach > 0 else np.ones(dx.size)
        w /= w.sum()
        mean_x, mean_y = w @ dx, w @ part
        variance = w @ (dx - mean_x) ** 2
        slope = w @ ((dx - mean_x) * part) / variance if variance > 1e-12 * reach**2 else 0.0
        values[i] = mean_y - slope * mean_x
    return grid, values


def _nearest(x: np.ndarray, x0: float, count: int) -> int:
    """Return where the `count` values of sorted x nearest to x0 begin."""
    low, high = max(0, int(np.searchsorted(x, x0)) - count), min(x.size - count, int(np.searchsorted(x, x0, "right")))
    while low < high:
        middle = (low + high) // 2
        if x0 - x[middle] > x[middle + count] - x0:
            low = middle + 1
        else:
            high = middle
    return low
