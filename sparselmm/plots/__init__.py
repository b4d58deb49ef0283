"""Plots of a fitted model, each with the table it draws. matplotlib is imported when one is drawn."""

from .caterpillar import caterpillar, caterpillar_data

__all__ = ["caterpillar", "caterpillar_data"]
