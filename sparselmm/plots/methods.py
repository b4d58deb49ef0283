"""Methods of `LinearMixedModelResults`: plots."""

from __future__ import annotations


class PlotMethods:
    """Plots."""

    @property
    def plot(self):
        """Plots of the fit, a method for each kind: ``fit.plot.caterpillar()``; ``fit.plot()`` draws the residuals.

        ``fit.plot.data("caterpillar")`` returns the table that a plot draws. Needs matplotlib:
        ``pip install 'sparselmm[plot]'``.
        """
        from .accessor import Plots

        return Plots(self)
