"""The demo of `make demo`: who rates whom? 73,421 ratings of 1,128 lecturers by 2,972 students at ETH Zürich."""

import time

import sparselmm

FORMULA = "y ~ service + (1 | s) + (1 | d) + (1 | dept)"

data = sparselmm.datasets.load("InstEval")
sparselmm.lmer(FORMULA, data, reml=False)  # the first call compiles
begin = time.perf_counter()
fit = sparselmm.lmer(FORMULA, data, reml=False)
print(fit.summary())
print()
print(fit.optimizer)
print(f"\nFitted in {time.perf_counter() - begin:.2f} s from the data frame, standard errors included (second call).\n")
sparselmm.show_versions()

import matplotlib  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from sparselmm.plots import caterpillar  # noqa: E402

figure, axes = plt.subplots(1, 3, figsize=(12, 5), layout="constrained")
for ax, term in zip(axes, fit.random_effects, strict=True):
    caterpillar(fit, term, ax=ax)
figure.savefig("demo.png", dpi=150)
print("\nThe caterpillar plots of students, lecturers and departments are in demo.png.")
