"""statsmodels' MixedLM on the sparse engine: the classical group-based interface."""

from .design import VCSpec
from .model import MixedLM
from .params import MixedLMParams
from .results import MixedLMResults

__all__ = ["MixedLM", "MixedLMParams", "MixedLMResults", "VCSpec"]
