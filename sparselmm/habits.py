"""What users of lme4 and statsmodels type by habit, and what it is called here: the remedy in the error."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from numbers import Real
from typing import Any, ParamSpec, TypeVar

from .errors import FormulaError

P = ParamSpec("P")
T = TypeVar("T")

RESULTS = {
    "ranef": "random_effects",
    "fixef": "params",
    "VarCorr": "vcomp, or cov_re for covariances",
    "varcorr": "vcomp, or cov_re for covariances",
    "confint": "conf_int()",
    "vcov": "cov_params()",
    "coef": "params for the fixed effects, coefficients for those of every level",
    "fitted": "fittedvalues",
    "logLik": "llf",
    "loglik": "llf",
    "loglike": "llf",
    "AIC": "aic",
    "BIC": "bic",
    "REMLcrit": "deviance",
    "nlevels": "model.groups",
    "ngrps": "model.groups",
    "formula": "model.formula",
    "isSingular": "singular",
    "getME": "theta, model.Z, model.exog, ...",
    "get_prediction": "predict(interval='mean') or predict(interval='prediction')",
    "prediction": "predict(interval='prediction')",
    "wald_test_terms": "anova()",
    "test": "t_test(), wald_test() or anova()",
    "lrtest": "sparselmm.compare(fit, other)",
    "compare_lr_test": "sparselmm.compare(fit, other)",
    "compare": "sparselmm.compare(fit, other)",
    "save": "pickle.dump(fit, file), or fit.model.save(path) after a fit of files",
    "plot_diagnostics": "plot()",
    "hatvalues": "leverage()",
    "rePCA": "re_pca()",
    "to_markdown": "summary().as_markdown()",
    "to_latex": "summary().as_latex()",
    "allFit": "allfit()",
    "check_model": "check()",
    "check_singularity": "check()",
    "check_convergence": "check()",
    "contrast": "t_test(), or emmeans(...).contrasts()",
    "df_residual": "df_resid",
    "powerSim": "power()",
    "powerCurve": "power(sizes={'subject': [20, 40]})",
    "fit": "model.fit() to fit once more: this is a fit, as lmer() has fitted",
    "bse_re": "variance_params, whose standard errors of variances serve few purposes, or profile()",
    "cov_type": "robust()",
    "get_robustcov_results": "robust()",
    "outlier_test": "residuals('studentized')",
    "rsquared": "r2()",
    "R2": "r2()",
    "mse_resid": "scale",
    "mse": "scale",
    "df_model": "n_parameters, or model.exog_names for those of the fixed effects",
    "k_fe": "model.exog_names, one for each",
    "t_test_pairwise": "emmeans(...).contrasts()",
    "info_criteria": "aic, bic or caic()",
    "step": "drop1()",
    "data": "augment(data), or model.design.table for the columns that the formula uses",
    "remove_data": "tidy() and glance() for what has no rows",
}
TABLES = {
    "to_markdown": "as_markdown()",
    "to_latex": "as_latex()",
    "to_html": "as_html()",
    "to_string": "as_text()",
    "show": "print()",
}
MEANS = TABLES | {
    "pairs": "contrasts()",
    "contrast": "contrasts()",
    "conf_int": "confint()",
    "summary": "print(), or frame",
}
PACKAGE = {
    "glmer": "a package for generalised models: the errors here are Gaussian",
    "anova": "fit.anova(), or compare(fit, other)",
    "emmeans": "fit.emmeans(...)",
    "ranef": "fit.random_effects",
    "fixef": "fit.params",
    "VarCorr": "fit.vcomp",
    "confint": "fit.conf_int()",
    "ranova": "fit.ranova()",
    "bootMer": "fit.bootstrap()",
    "simulate": "fit.simulate()",
    "powerSim": "power(fit, term)",
    "powerCurve": "power(fit, term, sizes={'subject': [20, 40]})",
    "extend": "power(fit, term, sizes={'subject': 40})",
    "simdat_crossed": "simulate_design(...)",
    "isSingular": "fit.singular",
    "load": "load_model(path) for streamed data; pickle.load(file) for a fit of your own, as a pickle can run code",
    "r2": "fit.r2()",
    "icc": "fit.icc()",
    "check_model": "fit.check()",
    "predict": "fit.predict(...)",
}


def alpha_of(alpha: float, level: float | None) -> float:
    """Return one minus the level of intervals, given either (statsmodels' word) or as the level itself.

    Raises
    ------
    ValueError
        If that is no number between 0 and 1.
    """
    given, name = (alpha, "alpha") if level is None else (level, "level")
    if not isinstance(given, Real) or not 0.0 < given < 1.0:
        raise ValueError(
            f"{name}={given!r} is no number between 0 and 1: alpha=0.05 or level=0.95 gives 95 % intervals."
        )
    if level is None and given > 0.5:
        raise ValueError(
            f"alpha={given:g} gives {100 * (1.0 - given):.3g} % intervals. Write level={given:g}, or "
            f"alpha={1.0 - given:.3g}."
        )
    return float(given if level is None else 1.0 - level)


def check_order(formula: object, data: object) -> None:
    """Raise a FormulaError for data in the place of a formula."""
    if isinstance(data, str) and "~" in data and not isinstance(formula, str):
        raise FormulaError(f"The formula comes first, then the data: ({data!r}, data).")


def near(name: str, available: Iterable[object], index: Iterable[object] = ()) -> str:
    """Return a sentence with the columns named like `name`, whatever the case, or that it is part of the index."""
    available = list(available)
    if name in index:
        return " It is the index: give data.reset_index()."
    if any(isinstance(column, tuple) and name in column for column in available):
        return " Names of columns are tuples: join their parts, data.columns = ['_'.join(c) for c in data.columns]."
    folded = {str(column).casefold(): str(column) for column in available}
    close = difflib.get_close_matches(name, [str(column) for column in available], n=3)
    close = close or [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=3)]
    return f" Did you mean {' or '.join(repr(column) for column in close)}?" if close else ""


def coefficients_of(name: str, names: Iterable[str]) -> list[str]:
    """Return the coefficients whose names begin with a categorical column, as ``name[T.b]``."""
    return [one for one in names if one.startswith((f"{name}[", f"`{name}`["))]


def no_attribute(owner: str, name: str, hints: Mapping[str, str], known: Iterable[str]) -> str:
    """Return the message of an AttributeError, with what the name is called here or names that are like it."""
    if name in hints:
        return f"{owner} has no attribute {name!r}. Use {hints[name]}."
    near = difflib.get_close_matches(name, [one for one in known if not one.startswith("_")], n=3)
    return f"{owner} has no attribute {name!r}." + (f" Did you mean {' or '.join(near)}?" if near else "")


def missing(instance: object, owner: str, name: str, hints: Mapping[str, str]) -> Any:
    """Raise the AttributeError of a name that an object does not have, or that of its property which failed."""
    if hasattr(type(instance), name):
        return object.__getattribute__(instance, name)
    raise AttributeError(no_attribute(owner, name, hints, dir(type(instance))))


def explains(**hints: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator: keyword arguments that the function does not take raise a TypeError with their remedy."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        parameters = inspect.signature(function).parameters
        known = [name for name in parameters if name != "self"]

        @wraps(function)
        def wrapper(*args: P.args, **options: P.kwargs) -> T:
            for name in options:
                if name not in parameters:
                    near = difflib.get_close_matches(name, known, n=1)
                    remedy = hints.get(name) or (f"{near[0]}=" if near else f"one of {', '.join(known)}")
                    raise TypeError(f"{function.__name__}() has no argument {name!r}. Use {remedy}.")
            return function(*args, **options)

        return wrapper

    return decorate
