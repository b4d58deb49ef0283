"""The lme4 model that a call of the classical class meant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..caller import listening
from ..model import LinearMixedModel
from ..terms import RandomTerm

if TYPE_CHECKING:
    from .base import GroupedModel
    from .params import MixedLMParams


def equivalent(model: GroupedModel, free: MixedLMParams | None = None) -> tuple[str, LinearMixedModel]:
    """Return the lme4 formula of a `MixedLM` and the same model; a mask may make its first term diagonal."""
    group, bars, terms = model._group_name, [], []
    if model.exog_re is not None and model.k_re:
        ones = (model.exog_re == 1.0).all(axis=0)
        names = ["1" if one else name for one, name in zip(ones, model.data.exog_re_names, strict=True)]
        apart = free is not None and model.k_re > 1 and not np.any(np.tril(free.cov_re, -1))
        columns = " + ".join(names if "1" in names else ["0", *names])
        bars.append(f"({columns} {'||' if apart else '|'} {group})")
        labels = pd.Categorical.from_codes(model._grouping.codes, categories=model._grouping.levels)
        structure = "diagonal" if apart else "unstructured"
        terms.append(RandomTerm(labels, model.exog_re, group, tuple(model.data.exog_re_names), structure))
    for component in model._components:
        columns, factor = component.bar or ("1", component.name)
        inside = model.n_groups > 1 and component.bar is not None
        name = ":".join([group] * inside + ([] if factor is None else [factor])) or group
        bars.append(f"({columns} | {name})")
        terms.append(component.term.renamed(name))
    fixed = model.formula or f"{model.endog_names} ~ {_fixed_side(model.exog_names)}"
    with listening():  # `model` has said so
        lmm = LinearMixedModel(
            model.endog, model.exog, terms, exog_names=model.exog_names, endog_name=model.endog_names
        )
    return " + ".join([fixed, *bars]), lmm


def _fixed_side(names: Sequence[str]) -> str:
    """Return the right side of a formula with the given columns."""
    others = [name for name in names if name not in ("Intercept", "const")]
    return " + ".join(["1" if len(others) < len(names) else "0", *others])
