"""Worker for sparselmm."""

import pandas as pd
from protocol import Fit, serve

import sparselmm


def prepare(task: dict, data: pd.DataFrame) -> Fit:
    def fit():
        fitted = sparselmm.lmer(task["formula"], data, reml=task["reml"])
        return fitted, fitted.bse

    def describe(fitted) -> dict:
        return {"deviance": -2 * float(fitted[0].llf), "evaluations": int(fitted[0].optimizer.evaluations)}

    return fit, describe


serve(prepare, ("sparselmm", "scikit-sparse", "numpy", "scipy"))
