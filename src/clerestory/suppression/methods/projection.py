"""The conditioning held at the control's level along the unwanted directions."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from clerestory.edits import Ablate
from clerestory.evaluation import Condition
from clerestory.suppression.method import MethodContext, SuppressionMethod, suppression_methods


@suppression_methods.register("projection")
@dataclass(frozen=True)
class Projection(SuppressionMethod):
    """Sets each unwanted direction to the control's mean; one condition for each basis."""

    order = 2

    @override
    def conditions(self, context: MethodContext) -> list[Condition]:
        directions = context.directions
        return [
            Condition(
                name,
                edits=tuple(
                    # To the control's level, not to 0: a state without the
                    # concept is not at the origin.
                    Ablate(directions.site, axis, float(axis @ directions.control_mean))
                    for axis in basis
                ),
            )
            for name, basis in context.bases.items()
        ]
