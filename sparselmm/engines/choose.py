"""Choice of the engine, and of the route of a fit, from predicted times and memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import scipy.sparse as sp

from ..errors import DataError, EngineError
from .cost import classical_memory, pcg_cost, seconds
from .exact import ExactPlan, is_nested, largest_term
from .memory import Limit, shown

if TYPE_CHECKING:
    import numpy as np

    from ..crossproducts import CrossProducts
    from ..terms import RandomTerm
    from .cost import Cost
    from .protocol import Engine, StochasticEngine
    from .schur import SchurEngine

ENGINES = ("auto", "cholmod", "pcg", "dense", "polish")
QUICK = 0.5  # seconds of an exact fit that is not worth avoiding
PATIENCE = 5.0  # seconds that exact numbers may cost besides; or as much as the fit by conjugate gradients itself
UNNOTICED = 0.3  # seconds that an exact deviance which nobody asked for may cost after engine="pcg"
BESIDES = 0.25  # or this share of the time by conjugate gradients
LITTLE = 2e8  # bytes that it may take, or as much as conjugate gradients
WORTH = 0.2  # share of that which a symbolic analysis may take


@dataclass(frozen=True, eq=False)
class Choice:
    """How a fit is done.

    Attributes
    ----------
    route : {"exact", "polish", "deviance", "pcg"}
        All steps by the exact engine; the last ones, after conjugate gradients; conjugate gradients, and the exact
        deviance at their optimum; conjugate gradients alone.
    reason : str
        A sentence with what was predicted; empty where there was nothing to choose.
    exact : callable or None
        Makes the exact engine; None if it has no part in the fit.
    stochastic : callable or None
        Makes the one of conjugate gradients, given `rng`; None if the exact one is dense.
    """

    route: str
    reason: str
    exact: Callable[[], Engine] | None
    stochastic: Callable[[int | np.random.Generator], StochasticEngine] | None


def choose_engine(
    cross: CrossProducts,
    name: str = "auto",
    terms: Sequence[RandomTerm] = (),
    weights: np.ndarray | None = None,
    rng: int | np.random.Generator = 0,
) -> Engine:
    """Return one engine for the cross-products, analysed: of that name, "auto" and "polish" being the exact one.

    "pcg" is for crossed terms, one of them with a grouping factor; for other models it is the exact one too. Only
    "dense" looks at the `terms` and `weights` of the rows, only "pcg" draws from `rng`.
    """
    check_name(name)
    if name == "pcg" and not nothing_to_iterate(cross):
        return _pcg_engine(cross, rng)
    return _dense_engine(cross, terms, weights, Limit()) if name == "dense" else schur_engine(cross)


def check_name(name: str) -> None:
    """Raise a ValueError if there is no engine of that name."""
    if name not in ENGINES:
        raise ValueError(f"engine={name!r} is not one of {', '.join(ENGINES)}.")


def schur_engine(cross: CrossProducts) -> SchurEngine:
    """Return the exact sparse engine; an EngineError if it does not fit the memory."""
    plan = ExactPlan(cross, Limit())
    if not plan.trivial:
        _check_memory(plan, None, "cholmod")
    return plan.engine()


def _pcg_engine(cross: CrossProducts, rng: int | np.random.Generator) -> StochasticEngine:
    from .pcg import PcgEngine

    eliminated = largest_term(cross)
    assert eliminated is not None, "see _nothing_to_iterate"
    return PcgEngine(cross, eliminated, rng=rng)


def _dense_engine(
    cross: CrossProducts, terms: Sequence[RandomTerm], weights: np.ndarray | None, limit: Limit
) -> Engine:
    from .dense import DenseGroupEngine

    try:
        Z = sp.hstack([term.Z for term in terms], format="csr")
    except DataError as error:
        raise EngineError(
            "engine='dense' needs the rows of the data, which were not kept. Take engine='auto', or fit a data frame "
            "that is in memory."
        ) from error
    if not limit.admits(memory := classical_memory(Z)):
        raise EngineError(
            f"engine='dense' needs {shown(memory)} for the covariance of the rows; the memory limit is {limit}. "
            "engine='auto' needs no such matrix."
        )
    return DenseGroupEngine(cross, Z, weights)


def choose(
    cross: CrossProducts,
    name: str = "auto",
    memory_limit: float | str | None = None,
    terms: Sequence[RandomTerm] = (),
    weights: np.ndarray | None = None,
) -> Choice:
    """Return how to fit: by the engine of that name, or as predicted times and memory say.

    Raises
    ------
    EngineError
        If that does not fit the memory, before anything is done.
    """
    check_name(name)
    limit = Limit(memory_limit)
    plan = ExactPlan(cross, limit)

    def choice(route: str, reason: str = "") -> Choice:
        return Choice(route, reason, None if route == "pcg" else plan.engine, lambda rng: _pcg_engine(cross, rng))

    if name == "dense":
        return Choice("exact", "", lambda: _dense_engine(cross, terms, weights, limit), None)
    if name == "auto" and plan.trivial and memory_limit is None:
        return choice("exact")
    nothing = nothing_to_iterate(cross)
    pcg = None if nothing else pcg_cost(plan.sizes)
    if name == "auto" and pcg is not None:
        return choice(*_automatic(plan, pcg))
    _check_memory(plan, pcg, name)
    if name in ("auto", "cholmod"):
        return choice("exact")
    if pcg is None:
        return choice("exact", f"Exact instead of engine={name!r}: {nothing}.")
    return choice(*_as_asked(plan, pcg)) if name == "pcg" else choice(name)


def nothing_to_iterate(cross: CrossProducts) -> str:
    """Return why conjugate gradients have nothing to do, empty if they have."""
    if len(cross.shapes) == 1:
        return "a single term leaves no system to iterate on"
    if largest_term(cross) is None:
        return "no term has a grouping factor"
    return "the terms are nested, so that the factor does not fill in" if is_nested(cross) else ""


def _automatic(plan: ExactPlan, pcg: Cost) -> tuple[str, str]:
    """Return the route and the sentence that says why."""
    limit, by_pcg = plan.limit, f"Conjugate gradients, {pcg} predicted"
    if not limit.admits(pcg.memory):
        _check_memory(plan, pcg, "auto")
        return "exact", f"Exact, {plan.cost} predicted; conjugate gradients need {shown(pcg.memory)} of {limit}."
    most = max(PATIENCE, pcg.seconds)
    against = _objection(plan, plan.floor, most, "at least ") or _objection(plan, plan.cost, most)
    if against:
        return "pcg", f"{by_pcg}; the exact engine {against}."
    cost = plan.cost
    if cost.seconds <= max(QUICK, pcg.seconds):
        gain = "" if cost.seconds <= pcg.seconds else ", which is no gain to give up exact numbers for"
        return "exact", f"Exact, {cost} predicted; conjugate gradients would take {pcg}{gain}."
    alone = f"exact alone would take {seconds(cost.seconds)}"
    if 2.0 * cost.evaluation <= most:
        step = f"two exact steps, {seconds(cost.evaluation)} each and {shown(cost.memory)}"
        return "polish", f"{by_pcg}, then {step}; {alone}."
    if not limit.admits(cost.memory + pcg.memory):
        return "pcg", f"{by_pcg}; the exact engine needs {shown(cost.memory)} besides, of {limit}."
    once = f"one factorisation, {seconds(cost.factor)} and {shown(cost.memory)}, for the deviance if its error is large"
    return "deviance", f"{by_pcg}, then {once}; {alone}."


def _as_asked(plan: ExactPlan, pcg: Cost) -> tuple[str, str]:
    """Return the route of engine="pcg" and a sentence: with the exact deviance where that costs little besides."""
    most = max(UNNOTICED, BESIDES * pcg.seconds)
    against = _objection(plan, plan.floor, most) or _objection(plan, plan.cost, most)
    if against or plan.cost.memory > max(LITTLE, pcg.memory) or not plan.limit.admits(plan.cost.memory + pcg.memory):
        return "pcg", f"Conjugate gradients as asked for, {pcg} predicted."
    once = f"one factorisation, {seconds(plan.cost.factor)}, for the deviance if its error is large"
    return "deviance", f"Conjugate gradients as asked for, {pcg} predicted, then {once}."


def _objection(plan: ExactPlan, cost: Cost, most: float, least: str = "") -> str:
    """Return why the exact engine is out of the question, empty if it is not: its memory, or its time for one θ."""
    if not plan.limit.admits(cost.memory):
        return f"needs {least}{shown(cost.memory)} of {plan.limit}"
    if cost.factor > most:
        return f"would take {least}{cost}"
    if plan.analysis_seconds > WORTH * most:
        return f"would take {seconds(plan.analysis_seconds)} to analyse alone"
    return ""


def _check_memory(plan: ExactPlan, pcg: Cost | None, name: str) -> None:
    """Raise an EngineError if an engine with a part in the fit does not fit the memory, and name one that does."""
    limit = plan.limit
    parts = {"polish": ("cholmod", "pcg"), "pcg": ("pcg",)}.get(name) if pcg else None
    parts, needs = parts or ("cholmod",), {"pcg": pcg.memory} if pcg else {}
    if pcg is None or "cholmod" in parts or not limit.admits(pcg.memory):
        needs["cholmod"] = plan.memory
    lacking = [engine for engine in parts if not limit.admits(needs[engine])]
    if not lacking:
        return
    purpose = {"cholmod": plan.described, "pcg": "conjugate gradients"}
    texts = {engine: f"{shown(size)} for {purpose[engine]}" for engine, size in needs.items()}
    for engine, size in needs.items():
        if limit.admits(size):
            raise EngineError(
                f"engine={name!r} needs {texts[lacking[0]]}; the memory limit is {limit}. engine={engine!r} needs "
                f"{shown(size)}: take that or engine='auto', or raise memory_limit=."
            )
    raise EngineError(
        f"This model does not fit the memory: it needs {' or '.join(texts.values())}, and the limit is {limit}. Raise "
        "memory_limit=, take a machine with more memory, or leave out a term or some of its columns."
    )
