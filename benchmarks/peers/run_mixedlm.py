"""Worker for mixedlm, the Rust-backed port of lme4, with its default optimiser (L-BFGS-B, exact gradients)."""

import mixedlm
import numpy as np
import pandas as pd
from protocol import Fit, serve


def prepare(task: dict, data: pd.DataFrame) -> Fit:
    def fit():
        fitted = mixedlm.lmer(task["formula"], data, REML=task["reml"])
        return fitted, np.sqrt(np.diag(fitted.vcov()))

    def describe(fitted) -> dict:
        result = fitted[0]
        note = "" if result.converged else f"not converged: {result.message}"
        deviance = -2 * float(result.logLik().value)
        return {"deviance": deviance, "evaluations": int(result.function_evals), "note": note}

    return fit, describe


serve(prepare, ("mixedlm", "numpy", "scipy"))
