"""GroupedModel: data and formulas of the classical interface as arrays, groups, terms and names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
import pandas as pd

from ..aliasing import Alias, warn_of_aliases
from ..caller import caller_variables, warn
from ..checks import as_array, check_labels, check_residual, check_rows, check_sizes, effects_of
from ..crossproducts import CrossProducts, rounding
from ..errors import DataError
from ..habits import check_order
from ..rank import full_rank_basis
from ..terms import RandomTerm
from ..threads import single_threaded
from .arrays import check_missing, complete_rows, default_names, names_of, predicted
from .design import Grouping, VCSpec, components_of, spec_of
from .likelihood import CovarianceLikelihood
from .params import tril_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .design import Component
    from .frame import Ordered
    from .penalized import CovariancePenalty, Penalty

ALLOWED = ("missing_idx", "model_spec", "formula")


class GroupedModel:
    """The data of a model with disjoint groups; see `MixedLM`."""

    endog: np.ndarray
    exog: np.ndarray
    exog_re: np.ndarray | None
    exog_names: list[str]
    endog_names: str
    fe_pen: Penalty | None
    cov_pen: CovariancePenalty | None
    formula: str | None
    data: SimpleNamespace
    aliased: tuple[Alias, ...] = ()  # of a model that was saved, which has said so
    _group_name = "Group"
    _columns: Ordered | None
    _index: pd.Index | None
    _current: CovarianceLikelihood | None

    def __init__(
        self,
        endog: ArrayLike,
        exog: ArrayLike,
        groups: ArrayLike,
        exog_re: ArrayLike | None = None,
        exog_vc: VCSpec | dict[str, dict[Any, Any]] | None = None,
        use_sqrt: bool = True,
        missing: str = "none",
        **kwargs: Any,
    ) -> None:
        _check_keywords(kwargs)
        if isinstance(endog, str):
            raise DataError(f"endog is a text. For a formula: MixedLM.from_formula({endog!r}, data, groups='g').")
        if isinstance(exog_vc, dict):
            message = "Using deprecated variance components format: give a VCSpec."
            warn(message, FutureWarning)
            exog_vc = VCSpec.from_dict(exog_vc)
        frames = [part for part in (endog, exog) if isinstance(part, (pd.Series, pd.DataFrame))]
        check_labels(getattr(endog, "index", None), {"exog": exog, "exog_re": exog_re})
        endog_name, exog_names, re_names = (names_of(part) for part in (endog, exog, exog_re))
        arrays = {"endog": as_array(endog, 1, "endog"), "exog": as_array(exog, 2, "exog")}
        arrays["groups"] = np.asarray(groups)
        if exog_re is not None:
            arrays["exog_re"] = as_array(exog_re, 2, "exog_re")
        kept = complete_rows(arrays, missing)
        if exog_vc is not None and not kept.all():
            raise DataError("Rows with missing values cannot be dropped from exog_vc. Drop them before.")
        arrays = {name: values[kept] for name, values in arrays.items()}
        components = [] if exog_vc is None else components_of(exog_vc, Grouping(arrays["groups"]))
        default = exog_re is None and not components
        if default:
            arrays["exog_re"], re_names = np.ones((kept.sum(), 1)), ["Group Var"]
        k_re = arrays["exog_re"].shape[1] if "exog_re" in arrays else 0
        re_names = re_names or [f"x_re{i + 1}" for i in range(k_re)]
        self.endog_names, self.exog_names = (endog_name or ["y"])[0], exog_names or default_names(arrays["exog"])
        data = arrays["endog"], arrays["exog"], arrays["groups"], arrays.get("exog_re")
        self._set_up(*data, re_names, components, use_sqrt)
        full = ["Group Var"] if default else None  # the classical name, of the effect and of its variance
        self._set_names(re_names, frames[0].index[kept] if frames else None, full)
        self.aliased = warn_of_aliases(self._cross, self._terms, self.exog_names)

    @classmethod
    def from_formula(
        cls,
        formula: str,
        data: Any,
        re_formula: str | None = None,
        vc_formula: Mapping[str, str] | None = None,
        subset: ArrayLike | None = None,
        use_sparse: bool = False,
        missing: str = "none",
        *args: Any,
        **kwargs: Any,
    ) -> Self:
        """Return the model of formulas on a data frame.

        Parameters
        ----------
        formula : str
            Response and fixed effects.
        data : DataFrame
            pandas, polars, Arrow, or a dictionary of columns.
        re_formula : str, optional
            Columns with correlated random effects. Default: a random intercept, if there is no `vc_formula`.
        vc_formula : dict of str to str, optional
            Name to formula of each variance component: its columns within every group have independent coefficients
            with a common variance.
        subset : array_like, optional
            Mask or index labels of the rows to use.
        use_sparse : bool
            Whether `exog_vc` shows sparse designs. The computation always is.
        missing : {"none", "drop"}
            What to do with rows that have missing values: an error, or leave them out.
        groups : str or array_like
            Column or labels of the groups; required.
        eval_env : int or mapping, optional
            Variables that formulas may use: the caller's (0, default), none (-1), or a mapping.

        Raises
        ------
        DataError, FormulaError

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("Pastes")
        >>> cask = {"cask": "0 + C(cask)"}
        >>> model = sparselmm.MixedLM.from_formula("strength ~ 1", data, groups="batch", vc_formula=cask)
        >>> model.fit().vcomp.round(2)
        array([9.98])
        """
        check_order(formula, data)
        if "groups" not in kwargs:
            raise AttributeError("'groups' is a required keyword argument in MixedLM.from_formula")
        groups, environment = kwargs.pop("groups"), kwargs.pop("eval_env", None)
        use_sqrt = kwargs.pop("use_sqrt", True)
        _check_keywords(kwargs)
        context = _context(environment)
        from .frame import build_design  # brings formulaic, which array models do without

        check_missing(missing)
        design = build_design(formula, data, groups, re_formula, vc_formula, subset, missing, context)
        exog_re, group_name = design.exog_re, groups if isinstance(groups, str) else "Group"
        if exog_re is None and not design.components:
            exog_re = pd.DataFrame({group_name: np.ones(len(design.endog))})
        self = object.__new__(cls)
        self.endog_names, self.exog_names = design.endog.name, list(design.exog.columns)
        self._group_name = group_name
        re_values, re_names = (None, []) if exog_re is None else (exog_re.to_numpy(), list(exog_re.columns))
        arrays = design.endog.to_numpy(), design.exog.to_numpy(), design.groups, re_values
        self._set_up(*arrays, re_names, design.components, use_sqrt)
        self._set_names(re_names, design.endog.index)
        self.formula, self._columns, self._sparse_spec = formula, design.columns, use_sparse
        self.data.frame = data
        self.aliased = warn_of_aliases(self._cross, self._terms, self.exog_names)
        return self

    @single_threaded
    def _set_up(
        self,
        endog: np.ndarray,
        exog: np.ndarray,
        groups: np.ndarray,
        exog_re: np.ndarray | None,
        re_names: Sequence[str],
        components: Sequence[Component],
        use_sqrt: bool,
    ) -> None:
        """Take the arrays of the columns `endog_names`, `exog_names` and `re_names`, and their cross-products."""
        self.endog, self.exog, self.groups, self.exog_re = endog, exog, groups, exog_re
        self.use_sqrt, self.reml, self.fe_pen, self.cov_pen = use_sqrt, True, None, None
        self.formula, self._columns, self._sparse_spec = None, None, False
        self._grouping, self._components = Grouping(groups), list(components)
        self.nobs = self.n_totobs = endog.size
        self.k_fe, self.k_re = exog.shape[1], 0 if exog_re is None else exog_re.shape[1]
        self.k_re2, self.k_vc = self.k_re * (self.k_re + 1) // 2, len(components)
        self.k_params = self.k_fe + self.k_re2
        self.n_groups = len(self._grouping)
        terms, owner = [], []
        if exog_re is not None and self.k_re:
            columns = ["Intercept" if (x == 1.0).all() else name for name, x in zip(re_names, exog_re.T, strict=True)]
            terms.append(RandomTerm(self._grouping.codes, exog_re, self._group_name, columns))
            owner.append(np.repeat(np.arange(self.n_groups), self.k_re))
        self._terms = terms + [component.term for component in components]
        self._owner = np.concatenate([*owner, *(component.owner for component in components)])  # group of a column of Z
        check_sizes([(self.endog_names, endog), *zip(self.exog_names, exog.T, strict=True), *effects_of(self._terms)])
        check_rows(self.nobs, self.k_fe)
        kept, basis = full_rank_basis(exog)
        if len(kept) < self.k_fe:
            names = ", ".join(name for i, name in enumerate(self.exog_names) if i not in kept)
            raise DataError(f"The fixed-effects columns {names} depend linearly on the others. Leave them out.")
        self._cross = CrossProducts.from_arrays(endog, exog, self._terms, basis=basis)
        check_residual(self.endog_names, self._cross.yy, rounding(endog))
        self._current, self._engine = None, "auto"

    def _set_names(self, re_names: list[str], index: pd.Index | None, full: list[str] | None = None) -> None:
        """Take the row labels (None: results are arrays), and name the parameters."""
        self._index = index
        if full is None:
            pairs = tril_of(self.k_re)
            names = [(re_names[j], re_names[i]) for i, j in pairs]
            full = [f"{a} Var" if i == j else f"{a} x {b} Cov" for (i, j), (a, b) in zip(pairs, names, strict=True)]
        vc_names = [component.name for component in self._components]
        self.data = SimpleNamespace(
            param_names=[*self.exog_names, *full, *(f"{name} Var" for name in vc_names)],
            exog_re_names=list(re_names),
            exog_re_names_full=full,
            vcomp_names=vc_names,
            xnames=self.exog_names,
            ynames=self.endog_names,
            frame=None,
        )

    def _reordered(self, order: np.ndarray) -> Self:
        """Return the model with its random effects in another order, packed by square roots."""
        other = copy(self)
        exog_re = None if self.exog_re is None else self.exog_re[:, order]
        names = [self.data.exog_re_names[i] for i in order]
        other._set_up(self.endog, self.exog, self.groups, exog_re, names, self._components, True)
        return other

    def _with_response(self, endog: np.ndarray) -> Self:
        """Return the model with another response; the new one takes the engine over from this one."""
        other = copy(self)
        other.endog = endog
        other._cross = self._cross.with_response(endog, self.exog, self._terms)
        if self._current is not None:
            current = self._current
            other._current = CovarianceLikelihood(other._cross, self._owner, current.reml, current.profiled.engine)
        self._current = None
        return other

    def _predict(self, beta: np.ndarray, exog: Any, transform: bool) -> np.ndarray | pd.Series:
        """Return Xβ for the data of the model or new ones, through the formula if there is one."""
        if exog is None:
            return np.dot(self.exog, beta)
        return predicted(self._columns if transform else None, beta, exog)

    @cached_property
    def _effect_names(self) -> np.ndarray:
        """Names of the random columns within their group, (q,)."""
        names = [np.tile(np.array(self.data.exog_re_names, dtype=object), self.n_groups)] if self.k_re else []
        for component in self._components:
            names.append(np.array([f"{component.name}[{label}]" for label in component.labels], dtype=object))
        return np.concatenate(names)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: no factor of M(θ), which `likelihood` computes again."""
        return vars(self) | {"_current": None}

    @cached_property
    def group_labels(self) -> list[Any]:
        """Labels of the groups, sorted."""
        return self._grouping.levels.tolist()

    @cached_property
    def row_indices(self) -> dict[Any, np.ndarray]:
        """Positions of the rows of every group."""
        return dict(zip(self.group_labels, self._grouping.rows, strict=True))

    @cached_property
    def exog_vc(self) -> VCSpec:
        """The variance components, group by group."""
        return spec_of(self._components, self._grouping, self._sparse_spec)

    @cached_property
    def endog_li(self) -> list[np.ndarray]:
        """Response by group."""
        return self.group_list(self.endog)

    @cached_property
    def exog_li(self) -> list[np.ndarray]:
        """Fixed-effects columns by group."""
        return self.group_list(self.exog)

    @cached_property
    def exog_re_li(self) -> list[np.ndarray] | None:
        """Random-effects columns by group."""
        return self.group_list(self.exog_re)

    @cached_property
    def exog_re2_li(self) -> list[np.ndarray] | None:
        """Cross-products of the random-effects columns by group."""
        return None if self.exog_re_li is None else [block.T @ block for block in self.exog_re_li]

    @overload
    def group_list(self, array: np.ndarray) -> list[np.ndarray]: ...

    @overload
    def group_list(self, array: None) -> None: ...

    def group_list(self, array: np.ndarray | None) -> list[np.ndarray] | None:
        """Return an array (n, ...) split by group, None for None."""
        return None if array is None else [np.asarray(array)[rows] for rows in self._grouping.rows]


def _check_keywords(keywords: Iterable[str]) -> None:
    """Raise for a keyword that no model takes."""
    for name in keywords:
        if name not in ALLOWED:
            raise ValueError(f"argument {name} not permitted for MixedLM initialization")


def _context(environment: Any) -> Mapping[str, Any]:
    """Return the variables that formulas may use: the caller's, none, or those given."""
    if environment is None or isinstance(environment, int):
        return {} if environment == -1 else caller_variables()
    return getattr(environment, "namespace", environment)
