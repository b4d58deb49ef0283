"""Linear mixed-effects models with grouped and crossed random effects on one sparse Cholesky factor."""

from __future__ import annotations

from types import ModuleType

from . import datasets
from .comparison.likelihood_ratio import compare
from .crossproducts import CrossProducts
from .engine_comparison import compare_engines
from .errors import ConvergenceWarning, DataError, DataWarning, EngineError, FitInterrupted, FormulaError
from .mixedlm import MixedLM, MixedLMParams, MixedLMResults, VCSpec
from .model import LinearMixedModel
from .planning.design import simulate_design
from .planning.public import power
from .public import lmer
from .results import LinearMixedModelResults
from .streaming.public import load_model, update
from .terms import RandomTerm
from .versions import show_versions

__version__ = "0.1.0"

__all__ = [
    "ConvergenceWarning",
    "CrossProducts",
    "DataError",
    "DataWarning",
    "EngineError",
    "FitInterrupted",
    "FormulaError",
    "LinearMixedModel",
    "LinearMixedModelResults",
    "MixedLM",
    "MixedLMParams",
    "MixedLMResults",
    "RandomTerm",
    "VCSpec",
    "compare",
    "compare_engines",
    "datasets",
    "lmer",
    "load_model",
    "power",
    "show_versions",
    "simulate_design",
    "update",
]


def __getattr__(name: str) -> ModuleType:
    """Return a room that is opened when it is asked for: `sparselmm.plots`."""
    if name == "plots":
        from importlib import import_module

        return import_module(".plots", __name__)
    from .habits import PACKAGE, no_attribute

    raise AttributeError(no_attribute(__name__, name, PACKAGE, __all__))
