"""Plots of a fitted model, each with the table it draws. matplotlib is imported when one is drawn."""

from .caterpillar import caterpillar, caterpillar_data
from .coefficients import coefficients, coefficients_data
from .influence import influence, influence_data
from .level_lines import level_lines, level_lines_data
from .predictions import predictions, predictions_data
from .profile_pairs import profile_pairs, profile_pairs_data
from .profiles import profile, profile_data, profile_density, profile_density_data
from .quantiles import qq, qq_data
from .residuals import (
    residual_panel,
    residual_panel_data,
    residuals,
    residuals_by_group,
    residuals_by_group_data,
    residuals_data,
    scale_location,
    scale_location_data,
)
from .shrinkage import shrinkage, shrinkage_data
from .trace import trace, trace_data

__all__ = [
    "caterpillar",
    "caterpillar_data",
    "coefficients",
    "coefficients_data",
    "influence",
    "influence_data",
    "level_lines",
    "level_lines_data",
    "predictions",
    "predictions_data",
    "profile",
    "profile_data",
    "profile_density",
    "profile_density_data",
    "profile_pairs",
    "profile_pairs_data",
    "qq",
    "qq_data",
    "residual_panel",
    "residual_panel_data",
    "residuals",
    "residuals_by_group",
    "residuals_by_group_data",
    "residuals_data",
    "scale_location",
    "scale_location_data",
    "shrinkage",
    "shrinkage_data",
    "trace",
    "trace_data",
]
