"""Methods of `LinearMixedModelResults`: residuals, influence and measures of fit."""


class DiagnosticMethods:
    """Residuals, influence and measures of fit."""
