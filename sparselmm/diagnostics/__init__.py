"""Residuals, influence and measures of fit."""
