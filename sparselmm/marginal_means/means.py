"""MarginalMeans: means, contrasts or slopes with tests and intervals, adjusted family by family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..habits import MEANS, explains, missing
from ..inference.ddf import Inference
from ..labels import labelled
from ..printout import Printed, Printout
from ..threads import single_threaded
from . import adjust as multiplicity
from .contrasts import matrix, products, row_labels
from .forms import LinearForms, joint_test
from .printing import family_blocks
from .transforms import Transformation

if TYPE_CHECKING:
    from types import EllipsisType

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from .contrasts import Method

ESTIMATES = ["estimate", "std.error", "df", "statistic", "p.value", "conf.low", "conf.high"]


@dataclass(frozen=True, eq=False, repr=False)
class MarginalMeans(Printed):
    """Estimated marginal means, or contrasts or slopes of them; prints itself.

    Attributes
    ----------
    inference : Inference
    forms : LinearForms
        The estimates as functions of the fixed effects.
    keys : DataFrame (r, ...)
        What each row is.
    by : tuple of str
        Columns of `keys` that tell the families of the rows apart.
    kind : {"means", "contrasts", "slopes"}
    adjust : str
        How the rows of a family are adjusted for their number.
    n_means : int
        Number of means that the rows of a family compare pair by pair; 0 for other rows.
    level : float
        Of the intervals.
    facts : tuple of str
        Sentences on how the means were made.
    scale : Transformation or None
        Of the response.
    back : bool
        Whether the estimates are taken back to the scale of the response.
    """

    inference: Inference
    forms: LinearForms
    keys: pd.DataFrame
    by: tuple[str, ...]
    kind: str
    adjust: str = "none"
    n_means: int = 0
    level: float = 0.95
    facts: tuple[str, ...] = ()
    scale: Transformation | None = None
    back: bool = False

    def __len__(self) -> int:
        return len(self.forms)

    @property
    def L(self) -> np.ndarray:
        """The rows as linear combinations of the fixed effects, (r, p); NaN for one that cannot be estimated."""
        return np.where(self.forms.estimable[:, None], self.forms.L, np.nan)

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the estimates on the scale of the model, (r, r); NaN where they cannot be estimated."""
        L = self.L
        return L @ self.inference.covariance @ L.T

    @labelled
    def frame(self) -> pd.DataFrame:
        """The rows with estimate, std.error, df, conf.low and conf.high; contrasts also with statistic and p.value."""
        table = self._table(self.level, self.adjust)
        return table if self.kind == "contrasts" else table.drop(columns=["statistic", "p.value"])

    def to_frame(self) -> pd.DataFrame:
        """Return `frame`, a copy."""
        return self.frame.copy()

    def confint(self, level: float | None = None, adjust: str | None = None) -> pd.DataFrame:
        """Return estimates and intervals; level and adjustment are by default those of the object."""
        table = self._table(self.level if level is None else level, self._method(adjust))
        return table.drop(columns=["statistic", "p.value"])

    def test(self, null: ArrayLike = 0.0, joint: bool = False, adjust: str | None = None) -> pd.DataFrame:
        """Return t tests of every row, or an F test of all rows of a family.

        Parameters
        ----------
        null : float or array_like, shape (r,)
            Hypothesis, on the scale of the model.
        joint : bool
            Whether all rows of a family are tested at once: columns NumDF, DenDF, statistic (F) and p.value.
        adjust : str, optional
            Of the p-values; by default that of the object.
        """
        null = np.broadcast_to(np.asarray(null, dtype=float), len(self))
        if not joint:
            return self._table(self.level, self._method(adjust), null).drop(columns=["conf.low", "conf.high"])
        forms = replace(self.forms, offset=self.forms.offset - null)
        return pd.DataFrame(
            [self._group(rows) | joint_test(self.inference, forms.take(rows)) for rows in self._families()]
        )

    @explains(level="confint(level=0.9) of the contrasts", alpha="confint(level=0.9) of the contrasts")
    @single_threaded
    def contrasts(
        self,
        method: Method = "pairwise",
        adjust: str | None = None,
        *,
        by: str | Sequence[str] | EllipsisType | None = ...,
        ref: int | str | Sequence[int | str] = 0,
        reverse: bool = False,
        interaction: str | Sequence[Method] | None = None,
    ) -> MarginalMeans:
        """Return contrasts among the rows of every family.

        Parameters
        ----------
        method : str, dict, DataFrame or array_like
            ``"pairwise"``, ``"revpairwise"``, ``"trt.vs.ctrl"`` (against `ref`), ``"trt.vs.ctrlk"`` (against the
            last), ``"consec"`` (next minus previous), ``"mean_chg"`` (mean of those after minus mean of those before),
            ``"eff"`` (minus the mean of all), ``"del.eff"`` (minus the mean of the others), ``"poly"`` (orthogonal
            polynomials), ``"identity"``; or weights: a dict or DataFrame of columns, or the rows of an array.
        adjust : str, optional
            ``"none"``, ``"tukey"``, ``"dunnettx"``, ``"mvt"``, ``"sidak"``, ``"bonferroni"``, ``"scheffe"``, or for
            p-values alone ``"holm"``, ``"hochberg"``, ``"hommel"``, ``"fdr"`` (``"BH"``), ``"BY"``, whose intervals
            are Bonferroni's. Default: tukey for pairs, dunnettx for controls, mvt for consec and mean_chg, fdr for
            effects, none else.
        by : str or list of str, optional
            Columns whose combinations are families of their own; None for none. Default: those of the means.
        ref : int, str or list
            Position or label of the control.
        reverse : bool
            Turn the differences round.
        interaction : str or list of str, optional
            A method for all factors, or one for each: products of their contrasts, instead of `method`.

        Returns
        -------
        MarginalMeans

        Raises
        ------
        ValueError
            If a name is unknown or the weights do not fit.
        """
        means = self if by is ... else self._by(by)
        names = [name for name in self.keys if name not in means.by]
        parts, keys, n_means, usual = [], [], 0, "none"
        titles: Mapping[str, Sequence[str] | np.ndarray]
        for rows in means._families():
            if interaction is None:
                labels = row_labels(self.keys[names], rows, named=self.kind != "contrasts")
                K, texts, usual = matrix(method, labels, ref, reverse)
                n_means = len(labels) if isinstance(method, str) and method.endswith("pairwise") else 0
                titles = {"contrast": texts}
            else:
                K, titles = products(interaction, self.keys[names].iloc[rows], ref, reverse)
            part = np.zeros((len(K), len(self)))
            part[:, rows] = K
            parts.append(part)
            keys.append(pd.DataFrame(titles).assign(**means._group(rows)))
        way, facts = self._way_back, self.facts
        ratios = way is not None and way.is_log
        if way is not None and not ratios:
            facts = (*facts, f"Contrasts are on the {way.name} scale.")
        return replace(
            means,
            forms=self.forms.combined(np.vstack(parts)),
            keys=_like(pd.concat(keys, ignore_index=True), self.keys),
            kind="contrasts",
            n_means=n_means,
            adjust=multiplicity.method_name(usual if adjust is None else adjust),
            facts=facts,
            back=ratios,
        )

    def response(self) -> MarginalMeans:
        """Return the same on the scale of the response, which the model has as log, log10, log2, log1p or sqrt.

        Standard errors by the delta method, limits of intervals transformed, tests as they were. Differences of
        logarithms come back as ratios; contrasts on other scales stay where they are.

        Raises
        ------
        ValueError
            If the response of the model is not one of these functions, or for slopes.
        """
        if self.scale is None or self.kind == "slopes":
            what = "Slopes" if self.kind == "slopes" else "Responses other than log(y), log10, log2, log1p and sqrt"
            raise ValueError(f"{what} cannot be taken back to the scale of the response. Use them as they are.")
        if self.kind == "contrasts" and not self.scale.is_log:
            raise ValueError(f"Contrasts on the {self.scale.name} scale do not come back as contrasts of responses.")
        return replace(self, back=True)

    @single_threaded
    def _table(self, level: float, adjust: str, null: float | np.ndarray = 0.0) -> pd.DataFrame:
        """Return keys and all columns of ESTIMATES."""
        if not 0.0 < level < 1.0:
            raise ValueError(f"level={level} is not between 0 and 1; level=0.95 gives 95 % intervals.")
        there = self.forms.estimable
        table = pd.DataFrame(np.nan, index=range(len(self)), columns=ESTIMATES)
        if there.any():
            found = self.inference.estimates(self.forms.L[there])[["estimate", "std.error", "df"]]
            table.loc[there, ["estimate", "std.error", "df"]] = found.to_numpy()
        table["estimate"] += self.forms.offset
        with np.errstate(divide="ignore", invalid="ignore"):
            table["statistic"] = np.where(
                table["std.error"] > 0, (table["estimate"] - null) / table["std.error"], np.nan
            )
        t, df, critical = table["statistic"].to_numpy(), table["df"].to_numpy(), np.empty(len(self))
        p, method = np.empty(len(self)), self._suited(adjust)
        for rows in self._families():
            family = self._family(rows)
            p[rows] = multiplicity.p_values(method, t[rows], df[rows], family)
            critical[rows] = multiplicity.critical_values(method, level, df[rows], family)
        margin = critical * table["std.error"]
        table["p.value"], table["conf.low"] = p, table["estimate"] - margin
        table["conf.high"] = table["estimate"] + margin
        way = self._way_back
        if way is not None:
            table["std.error"] *= np.abs(way.slope(table["estimate"]))
            for name in ("estimate", "conf.low", "conf.high"):
                table[name] = way.inverse(table[name])
        return pd.concat([self._shown_keys(), table], axis=1)

    @property
    def _way_back(self) -> Transformation | None:
        """The transformation that is undone, None if the estimates are on the scale of the model."""
        return self.scale if self.back else None

    def _shown_keys(self) -> pd.DataFrame:
        """Return the keys, differences written as ratios where that is what they are."""
        if not (self.back and self.kind == "contrasts" and "contrast" in self.keys):
            return self.keys
        return self.keys.assign(contrast=[str(text).replace(" - ", " / ") for text in self.keys["contrast"]])

    def _method(self, adjust: str | None) -> str:
        """Return the name of an adjustment, by default that of the object."""
        return self.adjust if adjust is None else multiplicity.method_name(adjust)

    def _suited(self, adjust: str) -> str:
        """Return Šidák's adjustment instead of Tukey's if the rows are not all pairs of a set of means."""
        return "sidak" if adjust == "tukey" and not self.n_means else adjust

    def _families(self) -> list[np.ndarray]:
        """Return the positions of the rows of every family."""
        if not self.by:
            return [np.arange(len(self))]
        numbers = self.keys.groupby(list(self.by), sort=False, observed=True).ngroup().to_numpy()
        return [np.flatnonzero(numbers == i) for i in range(numbers.max() + 1)]

    def _group(self, rows: np.ndarray) -> dict[str, Any]:
        """Return the values of `by` that the rows share."""
        return {name: self.keys[name].iloc[rows[0]] for name in self.by}

    def _family(self, rows: np.ndarray) -> multiplicity.Family:
        """Return the Family of some rows."""
        L = self.forms.L[rows][self.forms.estimable[rows]]
        return multiplicity.Family(rows.size, self.n_means, L @ self.inference.covariance @ L.T)

    def _by(self, by: str | Sequence[str] | None) -> MarginalMeans:
        """Return the same rows in other families."""
        by = [] if by is None else [by] if isinstance(by, str) else list(by)
        for name in by:
            if name not in self.keys:
                raise ValueError(f"by names {name!r}; the rows are told apart by {', '.join(self.keys)}.")
        return replace(self, by=tuple(by))

    def _notes(self) -> list[str]:
        """Return the sentences below the table."""
        notes, way = [*self.facts], self._way_back
        if way is not None:
            notes.append(f"Estimates are taken back from the {way.name} scale to {way.response}.")
        elif self.scale is not None:
            notes.append(f"Estimates are on the {self.scale.name} scale.")
        notes.append(f"Degrees of freedom: {self.inference.ddf}. Confidence level: {self.level:g}.")
        notes.extend(self.inference.notes)
        method, n = self._suited(self.adjust), max(rows.size for rows in self._families())
        if method != "none" and n > 1:
            interval = method if method in multiplicity.ONE_STEP else "bonferroni"
            family = f"{self.n_means} means" if method == "tukey" else f"{n} {self.kind}"
            which = "P values and intervals" if interval == method else f"P values (intervals: {interval})"
            notes.append(f"{which} adjusted by {method} for families of {family}.")
            if method != self.adjust:
                notes.append("Tukey's adjustment is for all pairs of a set of means; Sidak's was used instead.")
        if not self.forms.estimable.all():
            notes.append("nonEst: cannot be estimated, as fixed-effects columns were dropped or cells are empty.")
        return notes

    @property
    def printout(self) -> Printout:
        """The table of every family, and what was done."""
        return Printout("", family_blocks(self.frame, self.by), self._notes())

    def plot(self, ax: Axes | Sequence[Axes] | np.ndarray | None = None) -> Axes | np.ndarray:
        """Draw the estimates with their intervals, a panel for every family.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, or an array of them, optional

        Returns
        -------
        matplotlib.axes.Axes, or an array of them if there are several families
        """
        from ..plots.means import means

        return means(self, ax)

    def __getattr__(self, name: str) -> Any:
        return missing(self, type(self).__name__, name, MEANS)


def _like(keys: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return keys with the types of the columns they share with others."""
    return keys.astype({name: other[name].dtype for name in keys if name in other and name != "contrast"})
