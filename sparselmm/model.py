"""LinearMixedModel and lmer: where data frames and likelihoods meet."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .caller import caller_variables, warn
from .crossproducts import CrossProducts, full_rank_basis, rounding
from .engines.choose import choose_engine
from .errors import ConvergenceWarning, DataError, DataWarning
from .fixed_terms import FixedTerm, fixed_terms
from .habits import explains
from .likelihood import ProfiledLikelihood
from .montecarlo import minimize_with_probes
from .optimize import MAX_EVALUATIONS, TOLERANCE, minimize
from .results import LinearMixedModelResults
from .start import moment_start
from .terms import RandomTerm, unique_names
from .threads import single_threaded


@explains(
    REML="reml=",
    method="reml=True (REML) or reml=False (maximum likelihood)",
    subset="data[rows]",
    control="LinearMixedModel.from_formula(...).fit(tolerance=..., max_evaluations=...)",
    na_action="missing='drop' or 'raise'",
    family="a package for generalised models: the errors here are Gaussian",
    groups="a bar in the formula, (1 | g), or MixedLM for statsmodels' interface",
    re_formula="a bar in the formula, (x | g), or MixedLM for statsmodels' interface",
)
def lmer(
    formula,
    data,
    reml=True,
    *,
    weights=None,
    offset=None,
    missing="drop",
    start=None,
    contrasts=None,
    engine="auto",
    context=None,
):
    """Fit a linear mixed model given as an lme4 formula.

    Parameters
    ----------
    formula : str
        Such as ``"y ~ x + (1 + x | subject) + (1 | item)"``.
    data : DataFrame
        pandas, polars, Arrow, or a dictionary of columns.
    reml : bool
        Restricted maximum likelihood (default) or maximum likelihood.
    weights, offset : str or array_like, optional
        Column name or values, one for each row of the data; the residual variance is σ²/weight.
    missing : {"drop", "raise"}
        What to do with rows that have missing values in a used column.
    start : array_like, optional
        Start value of θ.
    contrasts : dict, optional
        Column name to formulaic contrast.
    engine : {"auto", "cholmod", "pcg", "dense"}
        See `LinearMixedModel.fit`.
    context : mapping, optional
        Names that the formula may use besides the columns; default: the caller's variables.

    Returns
    -------
    LinearMixedModelResults

    Raises
    ------
    FormulaError, DataError

    Examples
    --------
    >>> import sparselmm
    >>> data = sparselmm.datasets.load("sleepstudy")
    >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
    >>> round(fit.params["Days"], 3)
    10.467
    """
    model = LinearMixedModel.from_formula(
        formula,
        data,
        weights=weights,
        offset=offset,
        missing=missing,
        contrasts=contrasts,
        context=caller_variables() if context is None else context,
    )
    return model.fit(reml=reml, start=start, engine=engine)


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
    formula : str or None

    Raises
    ------
    DataError
        Naming the column or term, what is wrong with it and the remedy.

    References
    ----------
    Bates, Mächler, Bolker & Walker (2015), Fitting linear mixed-effects models using lme4, J. Stat. Softw. 67(1).
    """

    def __init__(self, endog, exog, terms, *, weights=None, offset=None, exog_names=None, endog_name=None):
        terms = [terms] if isinstance(terms, RandomTerm) else terms
        if not all(isinstance(term, RandomTerm) for term in terms):
            raise DataError("terms must be RandomTerms: wrap the labels of a grouping factor as RandomTerm(groups).")
        if exog_names is None and hasattr(exog, "columns"):
            exog_names = [str(name) for name in exog.columns]
        if endog_name is None:
            endog_name = getattr(endog, "name", None) or "y"
        labelled = {"exog": exog, "weights": weights, "offset": offset} | {t.name: t for t in terms}
        self.index = endog.index if isinstance(endog, (pd.Series, pd.DataFrame)) else None
        _check_labels(self.index, labelled)
        endog, exog = _array(endog, 1, "endog"), _array(exog, 2, "exog")
        self._set_up(endog, exog, terms, weights, offset, exog_names, str(endog_name))
        self.formula = self.design = None

    @classmethod
    def from_formula(
        cls, formula, data, *, weights=None, offset=None, missing="drop", contrasts=None, context=None
    ) -> LinearMixedModel:
        """Return the model of an lme4 formula; the parameters are those of `lmer`."""
        from .frame import build_design  # brings formulaic, which array models do without

        context = caller_variables() if context is None else context
        design = build_design(
            formula, data, weights=weights, offset=offset, missing=missing, contrasts=contrasts, context=context
        )
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
        return self

    @single_threaded
    def _set_up(self, endog, exog, terms, weights, offset, exog_names, endog_name):
        """Check the arrays, drop dependent columns of X and take the cross-products."""
        if exog_names is None:
            exog_names = _default_names(exog)
        if len(exog_names) != exog.shape[1]:
            raise DataError(f"{len(exog_names)} exog_names for {exog.shape[1]} columns of exog.")
        n = endog.size
        weights = None if weights is None else _array(weights, 1, "weights")
        offset = None if offset is None else _array(offset, 1, "offset")
        names = unique_names([term.name for term in terms])
        terms = [term.renamed(name) for term, name in zip(terms, names, strict=True)]
        _check(endog, exog, terms, weights, offset, endog_name)

        kept, basis = full_rank_basis(exog, weights)
        self.kept = kept
        self.dropped = [name for i, name in enumerate(exog_names) if i not in set(kept)]
        if self.dropped:
            warn(
                f"The fixed-effects columns {', '.join(self.dropped)} depend linearly on the others and were dropped.",
                DataWarning,
            )
            exog = exog[:, kept]
        if exog.shape[1] >= n:
            raise DataError(
                f"There are {n} rows for {exog.shape[1]} independent fixed effects: no residual is left. "
                "Use fewer fixed effects or more data."
            )
        self.endog, self.exog, self.terms = endog, exog, tuple(terms)
        self.exog_names, self.endog_name = [exog_names[i] for i in kept], endog_name
        self.weights, self.offset = weights, offset
        response = endog if offset is None else endog - offset
        self.cross = CrossProducts.from_arrays(response, exog, terms, weights, basis)
        if self.cross.yy <= rounding(response, weights):
            raise DataError(
                f"The response {endog_name!r} is constant or an exact linear function of the fixed effects: "
                "there is no residual variance to estimate."
            )

    @property
    def nobs(self) -> int:
        """Number of rows n."""
        return self.endog.size

    @property
    def endog_names(self) -> str:
        """Name of the response, under the name that statsmodels gives it."""
        return self.endog_name

    @property
    def Z(self):
        """Random-effects design Z, sparse (n, q): term after term, level after level."""
        import scipy.sparse as sp

        return sp.hstack([term.Z for term in self.terms], format="csr")

    @property
    def groups(self) -> dict[str, int]:
        """Number of levels of every term."""
        return {term.name: term.n_levels for term in self.terms}

    @property
    def fixed_terms(self) -> tuple[FixedTerm, ...]:
        """The terms of the fixed effects and their columns."""
        return fixed_terms(self)

    def likelihood(self, reml=True, engine="auto", rng=0) -> ProfiledLikelihood:
        """Return the profiled likelihood, with an engine (see `fit`) analysed for this design."""
        return ProfiledLikelihood(self.cross, reml, choose_engine(self.cross, engine, self.terms, self.weights, rng))

    @single_threaded
    def fit(
        self, reml=True, *, start=None, tolerance=TOLERANCE, max_evaluations=MAX_EVALUATIONS, engine="auto", rng=0
    ) -> LinearMixedModelResults:
        """Fit by REML or maximum likelihood.

        Parameters
        ----------
        reml : bool
        start : array_like, shape (m,), optional
            Start value of θ (see `RelativeFactor`); by default from moments.
        tolerance : float
            Decrease of the deviance that a further step must promise to be taken.
        max_evaluations : int
        engine : {"auto", "cholmod", "pcg", "dense"}
            Who does the linear algebra: "cholmod" the exact sparse engine, which "auto" chooses; "pcg" conjugate
            gradients and random probes, in time and memory proportional to the rows, for designs whose factor does
            not fit (its Monte-Carlo errors are in `optimizer.monte_carlo`); "dense" the classical one, group by group
            on the dense covariance of the rows, for comparison (see `compare_engines`).
        rng : int or Generator
            Draws the probes of "pcg".

        Returns
        -------
        LinearMixedModelResults

        Warns
        -----
        ConvergenceWarning
            If the optimum could not be certified.
        """
        if not isinstance(reml, (bool, np.bool_)):
            raise ValueError(f"reml must be True (REML) or False (maximum likelihood), not {reml!r}.")
        likelihood = self.likelihood(reml, engine, rng)
        scale = likelihood.theta_scale
        if start is None:
            start = moment_start(self.cross)
        start = np.asarray(start, dtype=float)
        if start.shape != scale.shape:
            raise ValueError(f"start has shape {start.shape}; this model has {scale.size} entries of theta.")
        if not np.isfinite(start).all():
            raise ValueError("start holds missing or infinite values.")
        search = minimize_with_probes if likelihood.engine.slack else minimize
        record, evaluation = search(likelihood, start, scale, tolerance, max_evaluations)
        if not record.converged:
            warn(record.message, ConvergenceWarning)
        return LinearMixedModelResults(self, likelihood, record, evaluation)


def _check_labels(index, labelled):
    """Raise a DataError if a pandas object is labelled otherwise than the response: nothing is aligned here."""
    for name, values in labelled.items():
        other = getattr(values, "index", None)
        both = isinstance(index, pd.Index) and isinstance(other, pd.Index)
        if both and len(other) == len(index) and not other.equals(index):
            raise DataError(
                f"{name} has another index than the response. Rows are matched by position: put them in the same "
                "order and give both the same index, or pass arrays."
            )


def _array(values, ndim, name):
    """Return values as a float array of the given number of dimensions."""
    try:
        values = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is not numeric: {error}.") from None
    if values.ndim == 2 and ndim == 1 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 1 and ndim == 2:
        values = values[:, None]
    if values.ndim != ndim:
        raise DataError(f"{name} has {values.ndim} dimensions; it needs {ndim}.")
    return values


def _default_names(exog):
    """Return const for a column of ones and x1, x2, ... for the others."""
    names, number = [], 0
    for column in exog.T:
        if "const" not in names and column.size and np.ptp(column) == 0 and column[0] == 1:
            names.append("const")
        else:
            number += 1
            names.append(f"x{number}")
    return names


def _check(endog, exog, terms, weights, offset, endog_name):
    """Raise a DataError for arrays that cannot be a mixed model."""
    n = endog.size
    if n == 0:
        raise DataError("The data have no rows.")
    if not terms:
        raise DataError("A mixed model needs at least one random-effects term.")
    for name, values in (("exog", exog), ("weights", weights), ("offset", offset)):
        if values is not None and values.shape[0] != n:
            raise DataError(f"{name} has {values.shape[0]} rows, the response has {n}.")
    for name, values in ((endog_name, endog), ("exog", exog), ("weights", weights), ("offset", offset)):
        if values is not None and not np.isfinite(values).all():
            raise DataError(f"{name} holds missing or infinite values. Drop those rows first.")
    if weights is not None and not (weights > 0).all():
        raise DataError(f"{(weights <= 0).sum()} weights are zero or negative. Drop those rows or correct the weights.")
    equal_weights = weights is None or np.ptp(weights) == 0
    for term in terms:
        if term.nobs != n:
            raise DataError(f"Term {term.name!r} has {term.nobs} rows, the response has {n}.")
        if term.matrix is not None:
            continue
        if term.n_levels == 1:
            raise DataError(
                f"Grouping factor {term.name!r} has a single level, so its variance cannot be estimated. "
                "Remove the term, or use a factor with more levels."
            )
        if term.n_effects >= n and equal_weights:
            raise DataError(
                f"Term {term.name!r} has {term.n_effects} random effects for {n} rows: they cannot be told "
                "from the residuals. Remove columns of the term, or use a coarser grouping factor."
            )
