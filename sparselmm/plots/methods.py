"""Methods of `LinearMixedModelResults`: plots."""


class PlotMethods:
    """Plots."""
