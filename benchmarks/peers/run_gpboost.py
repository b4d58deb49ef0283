"""Worker for gpboost's GPModel: maximum likelihood, independent random slopes; X is built before the clock starts."""

import formulaic
import gpboost
import numpy as np
import pandas as pd
from protocol import Fit, serve
from shapes import bars, fixed_part


def prepare(task: dict, data: pd.DataFrame) -> Fit:
    response, right = fixed_part(task["formula"]).split("~")
    y = data[response.strip()].to_numpy()
    X = formulaic.model_matrix(right.strip(), data, output="numpy")
    terms = bars(task["formula"])
    groups = np.column_stack([data[group].cat.codes.to_numpy() for _, group in terms])
    slopes = [(k + 1, name) for k, (columns, _) in enumerate(terms) for name in columns]
    method = task.get("method", "cholesky")
    model = {"group_data": groups, "likelihood": "gaussian", "matrix_inversion_method": method}
    if slopes:
        model["group_rand_coef_data"] = data[[name for _, name in slopes]].to_numpy()
        model["ind_effect_group_rand_coef"] = [k for k, _ in slopes]
    other = (["ML instead of REML"] if task["reml"] else []) + (["independent slopes"] if slopes else [])
    other += ["stochastic likelihood"] if method == "iterative" else []

    def fit():
        fitted = gpboost.GPModel(**model)
        fitted.fit(y=y, X=np.asarray(X))
        return fitted, fitted.get_coef(std_err=True)

    def describe(fitted) -> dict:
        deviance = 2 * float(fitted[0].get_current_neg_log_likelihood())
        iterations = int(fitted[0]._get_num_optim_iter())
        return {"deviance": deviance, "iterations": iterations, "other_model": ", ".join(other)}

    return fit, describe


serve(prepare, ("gpboost", "numpy"))
