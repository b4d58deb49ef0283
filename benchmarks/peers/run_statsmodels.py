"""Worker for statsmodels' MixedLM: one grouping factor only, since crossed factors are one dense group there."""

import pandas as pd
import statsmodels.formula.api as smf
from protocol import Fit, UnsupportedError, serve
from shapes import bars, fixed_part


def prepare(task: dict, data: pd.DataFrame) -> Fit:
    terms = bars(task["formula"])
    if len(terms) > 1:
        raise UnsupportedError("crossed factors are one dense group, work grows with the cube of the rows")
    columns, group = terms[0]

    def fit():
        slopes = "~ " + " + ".join(["1", *columns])
        model = smf.mixedlm(fixed_part(task["formula"]), data, groups=group, re_formula=slopes)
        calls, loglike = [], model.loglike
        model.loglike = lambda *args, **kwargs: calls.append(1) or loglike(*args, **kwargs)
        fitted = model.fit(reml=task["reml"])
        return fitted, fitted.bse_fe, len(calls)

    def describe(fitted) -> dict:
        note = "" if fitted[0].converged else "not converged"
        return {"deviance": -2 * float(fitted[0].llf), "evaluations": fitted[2], "note": note}

    return fit, describe


serve(prepare, ("statsmodels", "numpy", "scipy"))
