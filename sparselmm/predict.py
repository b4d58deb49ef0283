"""Linear predictors Xβ + Zb + offset, of the rows of the fit and of new data."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .errors import DataError

SHOWN = 5  # labels named in an error


def linear_predictor(fit, terms) -> np.ndarray:
    """Return Xβ plus the offset plus the random effects of the given terms, (n,), for the rows of the fit."""
    model = fit.model
    values = model.exog @ fit.beta
    if model.offset is not None:
        values += model.offset
    for term in terms:
        effects = fit.modes[term.name]
        if term.matrix is None:
            values += _random_part(term.codes, term.values, effects)
        else:
            values += term.matrix @ effects[:, 0]
    return values


def predict(fit, new=None, random=True, new_levels="raise", offset=None) -> pd.Series:
    """Return predictions, (n,) or (n_new,); see `LinearMixedModelResults.predict`."""
    model, chosen = fit.model, _chosen(fit.model, random)
    if new_levels not in ("raise", "zero"):
        raise ValueError(f"new_levels must be 'raise' or 'zero', not {new_levels!r}.")
    if new is None:
        return pd.Series(linear_predictor(fit, [model.terms[k] for k in chosen]), index=model.index)
    if model.design is None:
        raise DataError(
            "A model built from arrays cannot tell the columns of new data. Build it from a formula to predict, or "
            "compute exog @ fit.params plus the rows of fit.random_effects."
        )
    spec = model.design.spec
    exog, parts, index, offset = spec.build(new, terms=chosen, offset=offset)
    values = exog[:, model.kept] @ fit.beta
    if offset is not None:
        values += offset
    for k, (codes, columns) in zip(chosen, parts, strict=True):
        term = model.terms[k]
        values += _random_part(codes, columns, fit.modes[term.name])
        unknown = codes < 0
        if unknown.any():
            labels = spec.random[k][1].labels(new)
            missing = pd.isna(labels)
            values[missing] = np.nan
            unseen = pd.unique(labels[unknown & ~missing])
            if unseen.size and new_levels == "raise":
                raise DataError(_unseen_message(term.name, unseen))
    return pd.Series(values, index=index)


def _chosen(model, random):
    """Return the positions of the terms whose random effects are included."""
    names = [term.name for term in model.terms]
    if random is None or isinstance(random, (bool, np.bool_)):
        return list(range(len(names))) if random else []
    wanted = [random] if isinstance(random, str) else list(random)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(f"random names {unknown}; the random-effects terms of this model are {names}.")
    return [k for k, name in enumerate(names) if name in wanted]


def _random_part(codes, values, effects):
    """Return Σ_a values[i, a] effects[codes[i], a], (n,); zero, or NaN if a value is, where the code is -1."""
    return np.einsum("ia,ia->i", values, np.where(codes[:, None] < 0, 0.0, effects[codes]))


def _unseen_message(name, labels):
    """Return the sentence that names the first labels without random effects."""
    more = f" and {labels.size - SHOWN} more" if labels.size > SHOWN else ""
    return (
        f"Factor {name!r} has levels that the fit has not seen: {', '.join(labels[:SHOWN])}{more}. Use "
        "new_levels='zero' to predict them at the population mean, or leave those rows out."
    )
