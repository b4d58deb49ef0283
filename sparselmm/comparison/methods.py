"""Methods of `LinearMixedModelResults`: comparison with other models."""


class ComparisonMethods:
    """Comparison with smaller models."""
