"""LinearMixedModel: where data frames and likelihoods meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .aliasing import Alias, warn_of_aliases
from .caller import caller_variables, warn
from .checks import (
    as_array,
    check_labels,
    check_model,
    check_residual,
    check_rows,
    check_sizes,
    default_names,
    effects_of,
)
from .crossproducts import CrossProducts, rounding
from .engines.choose import choose, choose_engine
from .errors import ConvergenceWarning, DataError, FitInterrupted
from .fixed_terms import FixedTerm, fixed_terms
from .habits import check_order, explains
from .likelihood import ProfiledLikelihood
from .optimize import MAX_EVALUATIONS, TOLERANCE
from .polish import Search
from .progress import Progress
from .rank import dropped_columns, full_rank_basis
from .results import LinearMixedModelResults
from .start import start_of
from .terms import RandomTerm, unique_names
from .threads import single_threaded

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import ArrayLike

    from .data import Table
    from .frame import Design
    from .start import Start
    from .streaming.design import StreamedDesign


class LinearMixedModel:
    """Linear mixed model y = Xβ + Zb + ε, b ~ N(0, σ²ΛΛ'), ε ~ N(0, σ²W⁻¹).

    Parameters
    ----------
    endog : array_like, shape (n,)
        Response y.
    exog : array_like, shape (n, p)
        Fixed-effects columns X, an intercept included if there is to be one. Linearly dependent columns are
        dropped with a `DataWarning` that names them.
    terms : sequence of RandomTerm
        At least one.
    weights, offset : array_like, shape (n,), optional
    exog_names : sequence of str, optional
        Default: the columns of a DataFrame, else const (for a column of ones) and x1, x2, ...
    endog_name : str, optional

    Attributes
    ----------
    endog, exog, exog_names, endog_name, terms, weights, offset : as above, X of full rank
    dropped : list of str
        Names of the fixed-effects columns that depend on the others; `kept` are the positions of those that do not.
    aliased : tuple of Alias
        Variances that no response could tell apart in this design; a `DataWarning` says each.
    formula : str or None

    Raises
    ------
    DataError
        Naming the column or term, what is wrong with it and the remedy.

    References
    ----------
    Bates, Mächler, Bolker & Walker (2015), Fitting linear mixed-effects models using lme4, J. Stat. Softw. 67(1).

    Examples
    --------
    >>> import sparselmm
    >>> data = sparselmm.datasets.load("Penicillin")
    >>> terms = [sparselmm.RandomTerm(data["plate"]), sparselmm.RandomTerm(data["sample"])]
    >>> X = [[1.0]] * len(data)
    >>> fit = sparselmm.LinearMixedModel(data["diameter"], X, terms, exog_names=["mean"]).fit()
    >>> fit.fe_params.round(3)
    mean    22.972
    dtype: float64
    """

    formula: str | None
    design: Design | StreamedDesign | None
    index: pd.Index | None

    def __init__(
        self,
        endog: ArrayLike,
        exog: ArrayLike,
        terms: RandomTerm | Sequence[RandomTerm],
        *,
        weights: ArrayLike | None = None,
        offset: ArrayLike | None = None,
        exog_names: Sequence[str] | None = None,
        endog_name: str | None = None,
    ) -> None:
        terms = [terms] if isinstance(terms, RandomTerm) else terms
        if not all(isinstance(term, RandomTerm) for term in terms):
            raise DataError("terms must be RandomTerms: wrap the labels of a grouping factor as RandomTerm(groups).")
        if exog_names is None and hasattr(exog, "columns"):
            exog_names = [str(name) for name in exog.columns]
        if endog_name is None:
            endog_name = getattr(endog, "name", None) or "y"
        labelled = {"exog": exog, "weights": weights, "offset": offset} | {t.name: t for t in terms}
        self.index = endog.index if isinstance(endog, (pd.Series, pd.DataFrame)) else None
        check_labels(self.index, labelled)
        endog, exog = as_array(endog, 1, "endog"), as_array(exog, 2, "exog")
        self._set_up(endog, exog, terms, weights, offset, exog_names, str(endog_name))
        self.formula = self.design = None
        self.aliased = warn_of_aliases(self.cross, self.terms, self.exog_names)

    @classmethod
    def from_formula(
        cls,
        formula: str,
        data: Any,
        *,
        weights: str | ArrayLike | None = None,
        offset: str | ArrayLike | None = None,
        missing: str = "drop",
        contrasts: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        progress: bool = False,
    ) -> LinearMixedModel:
        """Return the model of an lme4 formula; the parameters are those of `lmer`."""
        from .frame import build_design  # brings formulaic, which array models do without
        from .streaming.sources import is_source

        check_order(formula, data)
        context = caller_variables() if context is None else context
        options: dict[str, Any] = {
            "weights": weights,
            "offset": offset,
            "missing": missing,
            "contrasts": contrasts,
            "context": context,
        }
        if is_source(data):
            from .streaming.model import stream_model

            return stream_model(formula, data, progress=progress, **options)
        design = build_design(formula, data, **options)
        self = object.__new__(cls)
        self.index = design.index
        self._set_up(
            design.endog,
            design.exog,
            design.terms,
            design.weights,
            design.offset,
            design.exog_names,
            design.endog_name,
        )
        self.formula, self.design = design.formula, design
        self.aliased = warn_of_aliases(self.cross, self.terms, self.exog_names)
        return self

    @single_threaded
    def _set_up(
        self,
        endog: np.ndarray,
        exog: np.ndarray,
        terms: Sequence[RandomTerm],
        weights: ArrayLike | None,
        offset: ArrayLike | None,
        exog_names: Sequence[str] | None,
        endog_name: str,
    ) -> None:
        """Check the arrays, drop dependent columns of X and take the cross-products."""
        if exog_names is None:
            exog_names = default_names(exog)
        if len(exog_names) != exog.shape[1]:
            raise DataError(f"{len(exog_names)} exog_names for {exog.shape[1]} columns of exog.")
        n = endog.size
        weights = None if weights is None else as_array(weights, 1, "weights")
        offset = None if offset is None else as_array(offset, 1, "offset")
        names = unique_names([term.name for term in terms])
        terms = [term.renamed(name) for term, name in zip(terms, names, strict=True)]
        check_model(endog, exog, terms, weights, offset, endog_name)
        columns = *zip(exog_names, exog.T, strict=True), *effects_of(terms)
        check_sizes([(endog_name, endog), *columns, ("weights", weights), ("offset", offset)])

        kept, basis = full_rank_basis(exog, weights)
        self.kept = kept
        self.dropped = dropped_columns(exog_names, kept)
        if self.dropped:
            exog = exog[:, kept]
        check_rows(n, exog.shape[1])
        self.endog, self.exog, self.terms = endog, exog, tuple(terms)
        self.exog_names, self.endog_name = [exog_names[i] for i in kept], endog_name
        self.weights, self.offset = weights, offset
        response = endog if offset is None else endog - offset
        self.cross = CrossProducts.from_arrays(response, exog, terms, weights, basis)
        check_residual(endog_name, self.cross.yy, rounding(response, weights))

    @property
    def nobs(self) -> int:
        """Number of rows n."""
        return self.endog.size

    aliased: tuple[Alias, ...] = ()  # of variants, whose model has said so
    keeps_rows = True  #: whether the model holds its rows, which one of data read in chunks does not

    @property
    def marginals(self) -> dict[str, tuple[float, float, float]]:
        """Mean, smallest and largest of the response less the offset, and of the weights and the offset if any."""
        response = self.endog if self.offset is None else self.endog - self.offset
        arrays = {"response": response, "weights": self.weights, "offset": self.offset}
        return {name: (a.mean(), a.min(), a.max()) for name, a in arrays.items() if a is not None}

    @property
    def exog_gram(self) -> np.ndarray:
        """X'X without weights in the pilot basis of `cross`, (p, p)."""
        X = self.exog @ self.cross.basis
        return X.T @ X

    def fixed_rows(self) -> tuple[Table, np.ndarray, np.ndarray]:
        """Return the columns of the data, X in the pilot basis of `cross` (n, p), and a left inverse of it (p, n)."""
        assert self.design is not None, "a model from arrays has no columns of data"
        X = self.exog @ self.cross.basis
        return self.design.table, X, (X if self.weights is None else X * self.weights[:, None]).T

    @property
    def endog_names(self) -> str:
        """Name of the response, under the name that statsmodels gives it."""
        return self.endog_name

    @property
    def Z(self) -> sp.csr_array:
        """Random-effects design Z, sparse (n, q): term after term, level after level."""
        import scipy.sparse as sp

        return sp.hstack([term.Z for term in self.terms], format="csr")

    @property
    def groups(self) -> dict[str, int]:
        """Number of levels of every term."""
        return {term.name: term.n_levels for term in self.terms}

    @property
    def what(self) -> str:
        """The formula, or what stands for one."""
        return self.formula or f"{self.endog_name} from arrays"

    def __repr__(self) -> str:
        groups = ", ".join(f"{count:,} levels of {name}" for name, count in self.groups.items())
        return f"<{type(self).__name__}: {self.what}, {self.nobs:,} observations, {groups}>"

    @property
    def fixed_terms(self) -> tuple[FixedTerm, ...]:
        """The terms of the fixed effects and their columns."""
        return fixed_terms(self)

    def likelihood(
        self, reml: bool = True, engine: str = "auto", rng: int | np.random.Generator = 0
    ) -> ProfiledLikelihood:
        """Return the profiled likelihood, with an engine analysed for this design: the exact one unless named."""
        return ProfiledLikelihood(self.cross, reml, choose_engine(self.cross, engine, self.terms, self.weights, rng))

    @explains(method="engine=, or fit.allfit() for other optimisers", REML="reml=", maxiter="max_evaluations=")
    @single_threaded
    def fit(
        self,
        reml: bool = True,
        *,
        start: Start | None = None,
        tolerance: float = TOLERANCE,
        max_evaluations: int = MAX_EVALUATIONS,
        engine: str = "auto",
        memory_limit: float | str | None = None,
        progress: bool = False,
        rng: int | np.random.Generator = 0,
    ) -> LinearMixedModelResults:
        """Fit by REML or maximum likelihood.

        Parameters
        ----------
        reml : bool
        start : array_like, shape (m,), or fit, or FitRecord, optional
            Start value of θ (see `RelativeFactor`), or what to go on from: a fit, its record, the `FitInterrupted` that
            Ctrl-C raises. By default from moments.
        tolerance : float
            Decrease of the deviance that a further step must promise to be taken.
        max_evaluations : int
        engine : {"auto", "cholmod", "polish", "pcg", "dense"}
            Who does the linear algebra:

            - "cholmod": the exact sparse engine;
            - "pcg": conjugate gradients and random probes, in time and memory proportional to the rows, for designs
              whose factor does not fit (its Monte-Carlo errors are in `optimizer.monte_carlo`);
            - "polish": "pcg" to its optimum, then exact steps from there, usually two: the result is that of "cholmod";
            - "dense": the classical computation, group by group on the dense covariance of the rows, for comparison
              (see `compare_engines`);
            - "auto": what is predicted to be fast and to fit the memory: exact if that takes seconds, else "polish" if
              exact steps are affordable, else "pcg", with the exact deviance if one factorisation is. What was chosen
              and why is in `optimizer.choice`.
        memory_limit : float or str, optional
            Memory that the engine may take, in bytes or as text such as ``"8GB"``; by default 80 % of what is free.
        progress : bool
            Whether to show the steps; needs tqdm.
        rng : int or Generator
            Draws the probes of "pcg".

        Returns
        -------
        LinearMixedModelResults

        Raises
        ------
        EngineError
            If the model does not fit the memory: before the fit starts, with what each engine would need.
        FitInterrupted
            By Ctrl-C; `start` goes on from it.

        Warns
        -----
        ConvergenceWarning
            If the optimum could not be certified.

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("Dyestuff")
        >>> model = sparselmm.LinearMixedModel.from_formula("Yield ~ 1 + (1 | Batch)", data)
        >>> fit = model.fit(reml=False)
        >>> fit.converged, round(fit.deviance, 3)
        (True, 327.327)
        """
        if not isinstance(reml, (bool, np.bool_)):
            raise ValueError(f"reml must be True (REML) or False (maximum likelihood), not {reml!r}.")
        start = start_of(start, self.cross)
        choice = choose(self.cross, engine, memory_limit, self.terms, self.weights)
        with Progress(progress) as shown:
            search = Search(choice, self.cross, reml, rng, tolerance, max_evaluations, shown)
            try:
                likelihood, record, evaluation = search.run(start)
            except FitInterrupted as stop:
                stop.model = self
                raise
        if not record.converged:
            warn(record.message, ConvergenceWarning)
        elif self.aliased:
            message = "Converged, but some variances have no estimate of their own: see model.aliased."
            record = replace(record, message=message)
        return LinearMixedModelResults(self, likelihood, record, evaluation)
