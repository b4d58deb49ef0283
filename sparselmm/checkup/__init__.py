"""Checks of a fit: what a reviewer would look at, and whether other optimisers agree."""
