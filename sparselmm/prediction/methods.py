"""Methods of `LinearMixedModelResults`: predictions."""


class PredictionMethods:
    """Predictions."""
