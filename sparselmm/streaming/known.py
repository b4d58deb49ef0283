"""What is known of the rows of any model from a formula: the Plan that sums further rows, and the Sums of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..crossproducts import CrossProducts
from ..errors import DataError
from ..frame import OFFSET, WEIGHTS, Design, DesignSpec
from ..prediction.rowwise import spanning_columns
from .facts import Facts
from .model import StreamedModel
from .pilot import representatives, widened, without_levels
from .plan import Plan, Sums

if TYPE_CHECKING:
    from ..model import LinearMixedModel


def plan_and_sums(model: LinearMixedModel) -> tuple[Plan, Sums]:
    """Return the Plan of a model from a formula and the Sums of its rows."""
    if isinstance(model, StreamedModel):
        return model.design.plan, model.sums
    design = model.design
    if not isinstance(design, Design):
        raise DataError("A model built from arrays cannot tell the columns of further rows. Build it from a formula.")
    given = [name.split()[1] for name in (WEIGHTS, OFFSET) if name in design.table.columns]
    if given:
        raise DataError(
            f"The model was fitted with an array as {' and '.join(given)}, which further rows do not have. Fit with a "
            f"column of the data: {given[0]}='column'."
        )
    spanning = spanning_columns(design)
    if spanning:
        raise DataError(
            f"{', '.join(spanning)}: the value of a row depends on the other rows, so further rows would change it. "
            "Compute the column before, or use a function that remembers the fit, such as center(x) or scale(x)."
        )
    spec = DesignSpec(design.spec.fixed, without_levels(design.spec.random), design.spec.offsets)
    response = design.endog if design.offset is None else design.endog - design.offset
    cross, basis, center = model.cross, model.cross.basis, model.cross.center
    if model.dropped:
        basis, center = widened(model.kept, basis, center, design.exog)
        arrays = response, design.exog, model.terms, design.weights
        cross = CrossProducts.from_chunk(*arrays, basis, center)
    plan = Plan(design.roles, spec, representatives(spec, design.table), basis, center)
    facts = Facts(len(response) + design.n_missing, design.n_missing, design.missing)
    facts = plan.facts_of(facts, design.table, design.exog, response, design.weights, design.offset)
    return plan, Sums(cross, facts)
