"""Methods of `LinearMixedModelResults`: tests of the fixed effects with their degrees of freedom."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from ..habits import explains
from ..threads import single_threaded

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ..results import LinearMixedModelResults
    from .contrasts import Hypotheses
    from .ddf import Inference, JointTest


class InferenceMethods:
    """Tests of the fixed effects."""

    @explains(parm=".loc[[...]] of the table", cols=".loc[[...]] of the table", which="method='profile' with which=")
    @single_threaded
    def inference(
        self: LinearMixedModelResults, ddf: str = "satterthwaite", rng: int | np.random.Generator | None = None
    ) -> Inference:
        """Return tests and intervals of the fixed effects, which print themselves; kept once computed.

        Parameters
        ----------
        ddf : {"satterthwaite", "kenward-roger", "residual", "z"}
            Degrees of freedom of t and F tests: Satterthwaite's; Kenward and Roger's, with their covariance, of the
            REML refit if this fit is by maximum likelihood; rows minus columns; or infinite. In any case;
            ``"kr"`` and ``"satt"`` for short.
        rng : int or numpy.random.Generator, optional
            For large crossed factors Kenward and Roger's traces are estimated with random probes, as many as bring the
            relative standard error of the degrees of freedom below 1 % (``monte_carlo_error`` says how far). They
            are the same in every call; with `rng` they are drawn from it, and the result is not kept.

        Returns
        -------
        Inference
            With ``params``, ``covariance``, ``bse``, ``df``, ``tvalues``, ``pvalues``, ``conf_int()``, and for any
            contrasts L (r, p) ``degrees(L)``, ``estimates(L)`` and ``test(L)``.

        Raises
        ------
        ValueError
            If there is no method of that name.

        References
        ----------
        Fai & Cornelius (1996), J. Stat. Comput. Simul. 54, 363-378. Kenward & Roger (1997), Biometrics 53, 983-997.
        Halekoh & Højsgaard (2014), J. Stat. Softw. 59(9). Kuznetsova, Brockhoff & Christensen (2017), J. Stat. Softw.
        82(13).

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("Reaction ~ Days + (Days | Subject)", sparselmm.datasets.load("sleepstudy"))
        >>> fit.inference("kenward-roger").df.round(1).to_dict()
        {'Intercept': 17.0, 'Days': 17.0}
        """
        from .ddf import infer, method_name

        name = method_name(ddf)
        if rng is not None:
            return infer(self, name, rng)
        if name not in self._inferences:
            self._inferences[name] = infer(self, name)
        return self._inferences[name]

    @cached_property
    def _inferences(self: LinearMixedModelResults) -> dict[str, Inference]:
        """The Inference of every method asked for."""
        return {}

    @explains(use_t="ddf='z' for normal tests", alpha="level=0.9 for 90 % intervals", cov_p="robust()")
    def t_test(
        self: LinearMixedModelResults, hypotheses: Hypotheses, ddf: str = "satterthwaite", level: float = 0.95
    ) -> pd.DataFrame:
        """Return a t test for every linear hypothesis on the fixed effects.

        Parameters
        ----------
        hypotheses : str, dict, array_like, tuple or list
            ``"x"``, ``"x = 0"``, ``"a = b, c = 2"`` or ``"2 * a - (b + c) / 2 = 1"`` with the names of `params`, as
            they are or in backticks; a dictionary of weights by name; L (r, p) or (p,); a tuple (L, values); or a list
            of strings and dictionaries.
        ddf : str
            See `inference`.
        level : float
            Of the intervals.

        Returns
        -------
        DataFrame
            A row each, labelled by the hypothesis: estimate (of the parameters' side), std.error, df, statistic,
            p.value, conf.low and conf.high.

        Examples
        --------
        >>> import sparselmm
        >>> fit = sparselmm.lmer("angle ~ recipe + temp + (1 | recipe:replicate)", sparselmm.datasets.load("cake"))
        >>> round(fit.t_test("recipe[T.B] = recipe[T.C]")["df"], 3).item()
        42.0
        """
        return self.inference(ddf).t_test(hypotheses, level)

    @explains(use_f="ddf='z' for chi-squared tests", scalar="nothing: the result is scalar", cov_p="robust()")
    def wald_test(self: LinearMixedModelResults, hypotheses: Hypotheses, ddf: str = "satterthwaite") -> JointTest:
        """Return the F test of all hypotheses at once (see `t_test`), which prints as F, degrees of freedom and p.

        Hypotheses that follow from the others do not count. With ``ddf="z"`` the test is chi-squared.

        Returns
        -------
        JointTest
            statistic, df_num, df_denom and pvalue.

        Raises
        ------
        ValueError
            If a name is unknown, a hypothesis is not linear or they contradict each other.
        """
        return self.inference(ddf).wald_test(hypotheses)

    def f_test(self: LinearMixedModelResults, hypotheses: Hypotheses, ddf: str = "satterthwaite") -> JointTest:
        """Return the F test of all hypotheses at once: the same as `wald_test`."""
        return self.wald_test(hypotheses, ddf)
