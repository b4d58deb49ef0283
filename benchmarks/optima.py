"""Count how often the fit of a usual design is not the lowest optimum that other starts find.

    OPENBLAS_NUM_THREADS=1 python benchmarks/optima.py [--share 1.0] [--seed 1]

Starts are λ = I, as lme4's, and four random ones. Prints a row a design: fits, singular ones, the fits that a start
beats by more than 1e-4 of the deviance, and those that lme4's start leaves above ours.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from sparselmm import ConvergenceWarning, DataWarning, LinearMixedModel

BETTER = 1e-4
RANDOM_STARTS = 4
Sample = tuple[str, dict[str, np.ndarray]]


def few_rows(rng: np.random.Generator) -> Sample:
    """Return 12 rows of five levels."""
    return "y ~ x + (1 | g)", _levels(rng, rng.integers(0, 5, 12), 5)


def unbalanced(rng: np.random.Generator) -> Sample:
    """Return six levels of 3 to 11 rows."""
    return "y ~ x + (1 | g)", _levels(rng, np.repeat(np.arange(6), rng.integers(3, 12, 6)), 6)


def growth(rng: np.random.Generator) -> Sample:
    """Return ten subjects at six times with slopes."""
    g, x = np.repeat(np.arange(10), 6), np.tile(np.arange(6.0), 10)
    b = rng.standard_normal((10, 2)) * [0.5, 0.1]
    return "y ~ x + (x | g)", {"g": g, "x": x, "y": x + b[g, 0] + b[g, 1] * x + rng.standard_normal(g.size)}


def crossed(rng: np.random.Generator) -> Sample:
    """Return 20 subjects by 12 items, with slopes of both."""
    return "y ~ a + (a | s) + (a | i)", _crossed(rng, 20, 12, [0.5, 0.2, 0.0, 0.0])


def maximal(rng: np.random.Generator) -> Sample:
    """Return 24 subjects by 16 items of a 2 x 2 design, maximal: 20 parameters."""
    return "y ~ a * b + (a * b | s) + (a * b | i)", _crossed(rng, 24, 16, [0.5, 0.2, 0.1, 0.0])


DESIGNS: dict[Callable[[np.random.Generator], Sample], int] = {
    few_rows: 2000,
    unbalanced: 1000,
    growth: 1000,
    crossed: 500,
    maximal: 200,
}


def _levels(rng: np.random.Generator, g: np.ndarray, count: int) -> dict[str, np.ndarray]:
    x, sd = rng.standard_normal(g.size), rng.choice([0.1, 0.5])
    return {"g": g, "x": x, "y": x + sd * rng.standard_normal(count)[g] + rng.standard_normal(g.size)}


def _crossed(rng: np.random.Generator, subjects: int, items: int, sd: list[float]) -> dict[str, np.ndarray]:
    s, i = np.repeat(np.arange(subjects), items), np.tile(np.arange(items), subjects)
    a, b = (s + i) % 2 - 0.5, (s + i) // 2 % 2 - 0.5
    effects = rng.standard_normal((subjects, 4))[s] * sd + rng.standard_normal((items, 4))[i] * np.divide(sd, 2.0)
    y = np.sum(np.stack([np.ones(s.size), a, b, a * b], axis=1) * effects, axis=1) + rng.standard_normal(s.size)
    return {"s": s, "i": i, "a": a, "b": b, "y": y}


def starts(fit, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield λ = I and random θ."""
    entries = [shape.entries for shape in fit.likelihood.map.shapes]
    diagonal = np.concatenate([np.equal(i, j) for i, j in entries])
    yield diagonal.astype(float)
    for _ in range(RANDOM_STARTS):
        theta = fit.likelihood.theta_scale * rng.uniform(0.1, 2.0, diagonal.size)
        yield np.where(diagonal, theta, theta * rng.choice([-1.0, 1.0], diagonal.size))


def counted(design: Callable[[np.random.Generator], Sample], count: int, rng: np.random.Generator) -> dict[str, object]:
    """Return the row of a design."""
    singular, gains = 0, []
    for _ in range(count):
        formula, data = design(rng)
        model = LinearMixedModel.from_formula(formula, pd.DataFrame(data))
        fit = model.fit()
        singular += fit.singular
        gains.append([fit.deviance - model.fit(start=start).deviance for start in starts(fit, rng)])
    best = np.max(gains, axis=1)
    return {
        "design": design.__doc__[7:-1],
        "fits": count,
        "singular": singular,
        "beaten": int(np.sum(best > BETTER)),
        "by at most": round(float(best.max(initial=0.0)), 2),
        "lme4's start beaten": int(np.sum(np.array(gains)[:, 0] < -BETTER)),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of samples")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.simplefilter("ignore", DataWarning)
    rng = np.random.default_rng(options.seed)
    rows = [counted(design, int(count * options.share), rng) for design, count in DESIGNS.items()]
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
