"""Comparison of models: analysis of variance, likelihood ratios."""
