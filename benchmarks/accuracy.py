"""The stochastic engine against the exact one on 20 designs: `python benchmarks/accuracy.py --out docs/scale.json`.

For each design the largest difference of θ in standard errors and the difference of the deviance, beside the
Monte-Carlo errors that the fit itself gives. Designs are small, as the exact engine must fit them too, but not easy.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from large import Panel, Ratings

import sparselmm

GOAL_SE, GOAL_DEVIANCE = 0.02, 0.05
RATINGS = Ratings(60_000, 1_500, 1_100)
PANEL = Panel(6_000, 900, communities=12)


@dataclass(frozen=True)
class Design:
    """A model and its data; `changes(data, rng)` add to what the shape draws."""

    name: str
    shape: Ratings | Panel
    formula: str = ""
    changes: tuple[Callable, ...] = ()
    options: dict = field(default_factory=dict)
    reml: bool = True

    def data(self) -> pd.DataFrame:
        """Return all rows."""
        data, rng = pd.concat(map(pd.DataFrame, self.shape.chunks()), ignore_index=True), np.random.default_rng(17)
        for change in self.changes:
            data = change(data, rng)
        return data


def covariate(data, rng):
    """Add x, with an effect."""
    x = rng.standard_normal(len(data))
    return data.assign(x=x, y=data["y"] + 0.3 * x)


def slope(group, sd):
    """Return what gives x a random slope within a factor."""

    def change(data, rng):
        slopes = sd * rng.standard_normal(data[group].max() + 1)
        return data.assign(y=data["y"] + slopes[data[group]] * data["x"])

    return change


def crossed(name, levels, sd):
    """Return what adds a crossed factor of geometric frequencies."""

    def change(data, rng):
        code = np.minimum(rng.geometric(3.0 / levels, len(data)) - 1, levels - 1)
        return data.assign(**{name: code, "y": data["y"] + sd * rng.standard_normal(levels)[code]})

    return change


def weighted(data, rng):
    """Add weights from 1/4 to 4."""
    return data.assign(weight=4.0 ** rng.uniform(-1, 1, len(data)))


def pooled(group, name, size, sd):
    """Return what adds a coarser factor that nests a given one."""

    def change(data, rng):
        code = data[group] // size
        return data.assign(**{name: code, "y": data["y"] + sd * rng.standard_normal(code.max() + 1)[code]})

    return change


def several_fixed(data, rng):
    """Add a factor k of 12 levels, with effects."""
    k = rng.integers(0, 12, len(data))
    return data.assign(k=pd.Categorical(k), y=data["y"] + 0.1 * k)


XY, XP = "y ~ x + (1 | u) + (1 | i)", "y ~ x + z + (1 | w) + (1 | f)"
DESIGNS = [
    Design("ratings", RATINGS),
    Design("ratings, ML", RATINGS, reml=False),
    Design("ratings, 2 communities", Ratings(60_000, 1_500, 1_100, communities=2, seed=5)),
    Design("ratings, 40 communities", Ratings(40_000, 1_500, 1_400, communities=40, seed=6)),
    Design("ratings, a third of the users once", Ratings(40_000, 3_000, 1_100, rare=0.33, seed=7)),
    Design("ratings, more items than users", Ratings(50_000, 900, 2_500, seed=8)),
    Design("ratings, weights", RATINGS, changes=(weighted,), options={"weights": "weight"}),
    Design("ratings, a factor of 12 and x fixed", RATINGS, "y ~ x + k + (1 | u) + (1 | i)", (covariate, several_fixed)),
    Design("ratings, slopes of users", RATINGS, "y ~ x + (1 + x | u) + (1 | i)", (covariate, slope("u", 0.3))),
    Design("ratings, slopes of items", RATINGS, "y ~ x + (1 | u) + (1 + x | i)", (covariate, slope("i", 0.3))),
    Design(
        "ratings, independent slopes of both",
        RATINGS,
        "y ~ x + (1 + x || u) + (1 + x || i)",
        (covariate, slope("u", 0.2), slope("i", 0.3)),
    ),
    Design("ratings, three factors", RATINGS, "y ~ 1 + (1 | u) + (1 | i) + (1 | d)", (crossed("d", 300, 0.4),)),
    Design(
        "ratings, four factors",
        RATINGS,
        "y ~ 1 + (1 | u) + (1 | i) + (1 | d) + (1 | h)",
        (crossed("d", 300, 0.4), crossed("h", 24, 0.2)),
    ),
    Design("ratings, items in genres", RATINGS, "y ~ 1 + (1 | u) + (1 | i) + (1 | g)", (pooled("i", "g", 12, 0.3),)),
    Design("panel", PANEL),
    Design("panel, ML", PANEL, reml=False),
    Design("panel, 4 % move", Panel(6_000, 700, move=0.04, communities=8, seed=2)),
    Design("panel, 30 % move", Panel(6_000, 900, move=0.3, communities=12, seed=3)),
    Design("panel, 5 years", Panel(8_000, 900, years=5, communities=12, seed=4)),
    Design("panel, slopes of firms", PANEL, "y ~ x + z + (1 | w) + (1 + x | f)", (slope("f", 0.4),)),
]


def compare(design: Design) -> dict:
    """Return the differences of the two engines on one design."""
    formula = design.formula or design.shape.formula
    model = sparselmm.LinearMixedModel.from_formula(formula, design.data(), **design.options)
    exact = model.fit(reml=design.reml, engine="cholmod")
    begin = time.perf_counter()
    fit = model.fit(reml=design.reml, engine="pcg")
    seconds = time.perf_counter() - begin
    likelihood, chance = exact.likelihood, fit.optimizer.monte_carlo
    errors = likelihood.derivatives(likelihood.evaluate(exact.theta)).hessian
    errors = np.sqrt(2.0 * np.diag(np.linalg.inv(errors)))
    return {
        "design": design.name,
        "formula": formula,
        "rows": model.nobs,
        "levels": [term.n_levels for term in model.terms],
        "theta_in_se": float(np.max(np.abs(fit.theta - exact.theta) / errors)),
        "deviance_difference": float(-2.0 * (fit.llf - exact.llf)),
        "stated_theta": chance.relative,
        "stated_deviance": chance.deviance,
        "probes": chance.probes,
        "iterations": chance.iterations,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON record of scale.py; the rest of it is kept")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    found = []
    for design in DESIGNS:
        row = compare(design)
        found.append(row)
        print(
            f"{design.name:38} θ {row['theta_in_se']:.4f} SE (stated {row['stated_theta']:.4f})  deviance "
            f"{row['deviance_difference']:+.4f} (stated {row['stated_deviance']:.4f})  {row['probes']} probes, "
            f"{row['iterations']} iterations, {row['seconds']:.2f} s",
            flush=True,
        )
    met = sum(r["theta_in_se"] < GOAL_SE and abs(r["deviance_difference"]) < GOAL_DEVIANCE for r in found)
    print(f"{met} of {len(found)} within {GOAL_SE} of a standard error and {GOAL_DEVIANCE} of the deviance")
    if asked.out:
        record = json.loads(asked.out.read_text()) if asked.out.exists() else {}
        asked.out.write_text(json.dumps(record | {"accuracy": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
