"""Methods of `LinearMixedModelResults`: estimated marginal means."""


class MarginalMeansMethods:
    """Estimated marginal means and trends."""
