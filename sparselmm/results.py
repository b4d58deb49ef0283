"""LinearMixedModelResults: what a fitted model says, labelled, in natural units, computed when asked for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.linalg import solve_triangular

from . import tables
from .checkup.methods import CheckupMethods
from .comparison.methods import ComparisonMethods
from .covariance import cov_re
from .diagnostics.methods import DiagnosticMethods
from .fitted import FittedModel
from .habits import alpha_of, explains
from .inference.methods import InferenceMethods
from .inference.variance import at_boundary
from .labels import by_level, frozen, labelled, read_only
from .maketables import MaketablesMethods
from .marginal_means.methods import MarginalMeansMethods
from .prediction.methods import PredictionMethods
from .prediction.rows import rows_of_fit
from .profile.methods import ProfileMethods
from .resampling.methods import ResamplingMethods
from .table_methods import TableMethods
from .threads import single_threaded

if TYPE_CHECKING:
    from .covariance import RelativeFactor
    from .plots.accessor import Plots


class LinearMixedModelResults(
    FittedModel,
    InferenceMethods,
    ComparisonMethods,
    ProfileMethods,
    ResamplingMethods,
    MarginalMeansMethods,
    PredictionMethods,
    DiagnosticMethods,
    CheckupMethods,
    TableMethods,
    MaketablesMethods,
):
    """Results of a fitted linear mixed model; read-only.

    Nothing is computed before it is asked for, and then once. What belongs to a random-effects term is in a
    dictionary by the name of the term.

    Attributes
    ----------
    model : LinearMixedModel
    reml : bool
    optimizer : FitRecord
        What the optimiser did and how it knows that it is done; print it.
    evaluation : Evaluation
        The likelihood at the optimum: arrays, in the pilot basis of `CrossProducts`.

    References
    ----------
    Bates, Mächler, Bolker & Walker (2015), Fitting linear mixed-effects models using lme4, J. Stat. Softw. 67(1).
    """

    @cached_property
    def singular_terms(self) -> list[str]:
        """Names of the random-effects terms with a singular covariance."""
        held = at_boundary(self._map, self.theta, self.likelihood.theta_scale)
        return [name for name, part in zip(self.model.groups, self._map.theta_slices, strict=True) if held[part].any()]

    @property
    def nobs(self) -> int:
        """Number of rows n."""
        return self.model.nobs

    @property
    def df_resid(self) -> int:
        """n minus the rank of `exog` (statsmodels' convention; lme4's also subtracts the variance parameters)."""
        return self.nobs - len(self.model.exog_names)

    @property
    def n_parameters(self) -> int:
        """Number of parameters k = p + m + 1: fixed effects, entries of θ, residual variance."""
        return len(self.model.exog_names) + self.theta.size + 1

    @property
    def deviance(self) -> float:
        """-2 log-likelihood, or the REML criterion."""
        return self.evaluation.deviance

    @cached_property
    def beta(self) -> np.ndarray:
        """Fixed effects β, (p,), without labels."""
        return read_only(self.model.cross.to_params(self.evaluation.beta))

    @cached_property
    def modes(self) -> dict[str, np.ndarray]:
        """Conditional modes of the random effects, (l, c) for each term, without labels."""
        b = (self.evaluation.b[part] for part in self._map.effect_slices)
        return {
            term.name: read_only(effects.reshape(term.n_levels, term.n_columns))
            for term, effects in zip(self.model.terms, b, strict=True)
        }

    @labelled
    def fe_params(self) -> pd.Series:
        """Fixed effects β, (p,)."""
        return self._by_column(self.beta)

    @property
    def params(self) -> pd.Series:
        """Fixed effects β, (p,): the same as `fe_params`."""
        return self.fe_params

    @cached_property
    @single_threaded
    def _root(self) -> np.ndarray:
        """A with AA' = (X'V⁻¹X)⁻¹ in the columns of `exog`, (p, p); V in units of σ²."""
        return solve_triangular(self.evaluation.R, self.model.cross.basis.T, trans=1).T

    @explains(r_matrix="t_test(r_matrix) for linear combinations", robust="cov_params_robust()")
    def cov_params(self) -> pd.DataFrame:
        """Return the covariance of the fixed effects, σ²(X'V⁻¹X)⁻¹, (p, p)."""
        names = self.model.exog_names
        return pd.DataFrame(self.scale * self._root @ self._root.T, index=names, columns=names)

    @labelled
    def bse_fe(self) -> pd.Series:
        """Standard errors of the fixed effects, (p,)."""
        return self._by_column(self.sigma * np.sqrt(np.einsum("ij,ij->i", self._root, self._root)))

    @property
    def bse(self) -> pd.Series:
        """Standard errors of the fixed effects, (p,): the same as `bse_fe`."""
        return self.bse_fe

    @labelled
    def tvalues(self) -> pd.Series:
        """Fixed effects over their standard errors, (p,)."""
        return self._by_column(self.fe_params.to_numpy() / self.bse_fe.to_numpy())

    @labelled
    def pvalues(self) -> pd.Series:
        """Two-sided p-values of `tvalues`, (p,), with Satterthwaite's degrees of freedom (others: `inference`)."""
        return self.inference().pvalues

    def conf_int(
        self,
        alpha: float = 0.05,
        method: str = "wald",
        ddf: str = "satterthwaite",
        *,
        level: float | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """Return confidence intervals of level 1 - alpha: columns lower and upper.

        Parameters
        ----------
        alpha, level : float
            Either of them; `level` is 1 - alpha.
        method : {"wald", "profile", "bootstrap"}
            Wald intervals of the fixed effects, (p, 2), or intervals of all parameters from the profile likelihood
            (`profile`) or from a parametric bootstrap (`bootstrap`), whose further arguments go to these methods.
        ddf : {"satterthwaite", "kenward-roger", "residual", "z"}
            Degrees of freedom of Wald intervals.

        Examples
        --------
        >>> import sparselmm
        >>> data = sparselmm.datasets.load("sleepstudy")
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", data)
        >>> fit.conf_int().round(2)
                    lower   upper
        Intercept  237.01  265.80
        Days         7.21   13.73
        """
        if str(alpha) in ("wald", "profile", "bootstrap", "boot"):
            raise ValueError(f"The first argument is alpha, a number. Use method={alpha!r}.")
        alpha, method = alpha_of(alpha, level), str(method).lower()
        if method == "wald":
            return self.inference(ddf, **options).conf_int(alpha)
        if method == "profile":
            return self.profile(**{"level": max(0.99, 1.0 - alpha), **options}).conf_int(alpha)
        if method in ("bootstrap", "boot"):
            return self.bootstrap(**options).conf_int(alpha)
        raise ValueError(f"method must be 'wald', 'profile' or 'bootstrap', not {method!r}.")

    @property
    def scale(self) -> float:
        """Residual variance σ²."""
        return self.evaluation.scale

    @property
    def sigma(self) -> float:
        """Residual standard deviation σ."""
        return float(np.sqrt(self.scale))

    @property
    def theta(self) -> np.ndarray:
        """θ, (m,): the lower triangles of the relative Cholesky factors, column after column, term after term."""
        return read_only(self.optimizer.theta)

    @labelled
    def cov_re(self) -> dict[str, pd.DataFrame]:
        """Covariance of the random effects of one level, σ²λλ', (c, c) for each term."""
        factors = self._map.unpack(self.theta)
        return {
            term.name: pd.DataFrame(cov_re(factor, self.scale), index=term.columns, columns=term.columns)
            for term, factor in zip(self.model.terms, factors, strict=True)
        }

    @labelled
    def vcomp(self) -> pd.DataFrame:
        """Variances and standard deviations: columns group, name, variance and sd, the residual last."""
        rows = [(name, column, cov.loc[column, column]) for name, cov in self.cov_re.items() for column in cov]
        table = pd.DataFrame([*rows, ("Residual", "", self.scale)], columns=["group", "name", "variance"])
        return table.assign(sd=np.sqrt(table["variance"]))

    @labelled
    @single_threaded
    def variance_params(self) -> pd.DataFrame:
        """Variances, covariances, standard deviations and correlations with standard errors.

        Columns group, term (``var__x``, ``cov__x.z``, ``sd__x``, ``cor__x.z``), estimate, std.error (delta method
        on the observed information, NaN where there is none) and note (why there is none).
        """
        return tables.variance_params(self)

    @labelled
    def random_effects(self) -> dict[str, pd.DataFrame]:
        """Conditional modes of the random effects, (l, c) for each term: levels in rows."""
        return {term.name: by_level(term, self.modes[term.name]) for term in self.model.terms}

    @cached_property
    @single_threaded
    def random_effects_cov(self) -> dict[str, np.ndarray]:
        """Covariance of the random effects given the data, β and θ (lme4's condVar), (l, c, c) for each term.

        Levels and columns are those of `random_effects`.
        """
        engine, covariances = self.engine_at_optimum(), {}
        for k, factor in enumerate(self._map.unpack(self.evaluation.theta)):
            blocks = self.scale * (factor @ engine.inverse_blocks(k) @ factor.T)
            blocks.flags.writeable = False
            covariances[self.model.terms[k].name] = blocks
        return covariances

    @labelled
    def random_effects_sd(self) -> dict[str, pd.DataFrame]:
        """Standard deviations of the random effects given the data, β and θ, (l, c) for each term."""
        return {
            term.name: by_level(term, np.sqrt(np.einsum("jii->ji", self.random_effects_cov[term.name])))
            for term in self.model.terms
        }

    @labelled
    def coefficients(self) -> dict[str, pd.DataFrame]:
        """Fixed plus random effects of every level (lme4's coef), levels in rows, for each term.

        A column of the term that is no fixed effect has its random effects alone.
        """
        coefficients = {}
        for name, effects in self.random_effects.items():
            columns = self.fe_params.index.union(effects.columns, sort=False)
            fixed = self.fe_params.reindex(columns, fill_value=0.0)
            coefficients[name] = effects.reindex(columns=columns, fill_value=0.0) + fixed
        return coefficients

    @labelled
    def fittedvalues(self) -> pd.Series:
        """Xβ + Zb plus the offset, (n,)."""
        return self._by_row(rows_of_fit(self.model, range(len(self.model.terms))).linear_predictor(self))

    @labelled
    def resid(self) -> pd.Series:
        """Response minus `fittedvalues`, (n,)."""
        return self._by_row(self.model.endog - self.fittedvalues.to_numpy())

    @property
    def plot(self) -> Plots:
        """Plots of the fit, a method for each kind: ``fit.plot.caterpillar()``; ``fit.plot()`` draws the residuals.

        ``fit.plot.data("caterpillar")`` returns the table that a plot draws. Needs matplotlib:
        ``pip install 'sparselmm[plot]'``.
        """
        from .plots.accessor import Plots

        return Plots(self)

    def __repr__(self) -> str:
        state = "" if self.converged else ", not converged"
        return f"<{type(self).__name__}: {self.model.what}, {self.method}, {self.nobs} observations{state}>"

    def _repr_html_(self) -> str:
        return self.summary().as_html()

    @property
    def _map(self) -> RelativeFactor:
        """The map between θ and the λ_k."""
        return self.model.cross.relative_factor

    def _by_column(self, values: np.ndarray) -> pd.Series:
        """Return values (p,) labelled by the fixed-effects columns, read-only."""
        return frozen(pd.Series, values, self.model.exog_names)

    def _by_row(self, values: np.ndarray) -> pd.Series:
        """Return values (n,) labelled by the rows of the data, read-only."""
        return frozen(pd.Series, values, self.model.index)
