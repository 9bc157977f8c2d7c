"""The conditioning held at the control's level along the unwanted directions."""

from __future__ import annotations

from dataclasses import dataclass

from clerestory.edits import Ablate
from clerestory.evaluation import Condition
from clerestory.suppression.method import MethodContext, SuppressionMethod, suppression_methods


@suppression_methods.register("projection")
@dataclass(frozen=True)
class Projection(SuppressionMethod):
    """Sets each unwanted direction to the control's mean."""

    order = 2

    def conditions(self, context: MethodContext) -> list[Condition]:
        """One condition for each basis.

        Args:
            context: Gives the directions and their bases.

        Returns:
            One condition a basis, with an edit for each of its axes.

        Raises:
            EvidenceError: The model has no conditioning site, or the prompt is too long.
        """
        directions = context.directions
        return [
            Condition(
                name,
                edits=tuple(
                    Ablate(directions.site, axis, float(axis @ directions.control_mean))
                    for axis in basis
                ),
            )
            for name, basis in context.bases.items()
        ]
