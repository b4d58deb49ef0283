"""The pictures of docs/inference/plots.md, small PNG files: run it to draw them again."""

from io import BytesIO
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from PIL import Image

import sparselmm

FOLDER = Path(__file__).parent / "inference" / "plots"
COLORS, DPI = 64, 100


def save(name):
    """Write the current figure with a palette of few colours."""
    buffer = BytesIO()
    plt.gcf().savefig(buffer, dpi=DPI)
    plt.close("all")
    picture = Image.open(buffer).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    picture.save(FOLDER / f"{name}.png", optimize=True)
    print(f"{name}.png  {(FOLDER / f'{name}.png').stat().st_size / 1024:.0f} KB")


def side_by_side(*draw, size=(10.0, 4.0)):
    """Draw every function on one of the axes of a figure."""
    _, axes = plt.subplots(1, len(draw), figsize=size, layout="constrained")
    for ax, function in zip(axes, draw, strict=True):
        function(ax)


def main():
    """Fit and draw."""
    load, lmer = sparselmm.datasets.load, sparselmm.lmer
    FOLDER.mkdir(parents=True, exist_ok=True)
    sleep = lmer("Reaction ~ Days + (Days | Subject)", load("sleepstudy"))
    ratings = lmer("y ~ service + (1 | s) + (1 | d) + (1 | dept)", load("InstEval"), reml=False)
    cake = lmer("angle ~ recipe * temp + (1 | replicate:recipe)", load("cake"))
    machines = lmer("score ~ Machine + (Machine | Worker)", load("Machines"))

    side_by_side(
        lambda ax: sleep.plot.caterpillar(column="Days", ax=ax), lambda ax: ratings.plot.caterpillar("s", ax=ax)
    )
    save("caterpillar")
    side_by_side(lambda ax: sleep.plot.shrinkage(ax=ax), lambda ax: ratings.plot.shrinkage("s", ax=ax))
    save("shrinkage")
    sleep.plot()
    save("residuals")
    side_by_side(
        lambda ax: sleep.plot.qq("Subject", "Days", ax=ax),
        lambda ax: ratings.plot.qq("s", ax=ax),
        lambda ax: ratings.plot.qq(ax=ax),
        size=(10.5, 3.6),
    )
    save("qq")
    side_by_side(
        lambda ax: sleep.plot.predictions(ax=sleep.plot.level_lines(ax=ax), data=False),
        lambda ax: cake.plot.predictions("temp", "recipe", ax=ax),
    )
    save("predictions")
    coefficients = {"random intercepts": lmer("score ~ Machine + (1 | Worker)", load("Machines"))}
    machines.plot.coefficients(coefficients, name="random slopes")
    save("coefficients")
    sleep.plot.profile()
    save("profile")
    sleep.plot.profile_density()
    save("profile_density")
    sleep.plot.profile_pairs(which="random")
    save("profile_pairs")
    side_by_side(lambda ax: sleep.plot.influence(ax=ax), lambda ax: ratings.plot.influence("dept", ax=ax))
    save("influence")
    machines.plot.trace()
    save("trace")


if __name__ == "__main__":
    main()
