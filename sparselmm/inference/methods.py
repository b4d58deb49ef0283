"""Methods of `LinearMixedModelResults`: tests of the fixed effects with their degrees of freedom."""


class InferenceMethods:
    """Tests of the fixed effects."""
