"""The conditioning reflected where it exceeds the control's level in an unwanted direction."""

from __future__ import annotations

from dataclasses import dataclass

from clerestory.edits import Reflect
from clerestory.evaluation import Condition
from clerestory.suppression.method import MethodContext, SuppressionMethod, suppression_methods


@suppression_methods.register("clipped reflection")
@dataclass(frozen=True)
class ClippedReflection(SuppressionMethod):
    """Reflects what lies beyond the control's mean back, and preserves the norm."""

    order = 3

    strengths: tuple[float, ...] = (1.0, 1.5, 2.0, 2.5)

    def conditions(self, context: MethodContext) -> list[Condition]:
        """One condition for each basis and strength.

        Args:
            context: Gives the directions and their bases.

        Returns:
            `len(strengths)` conditions a basis.

        Raises:
            EvidenceError: The model has no conditioning site, or the prompt is too long.
        """
        directions = context.directions
        return [
            Condition(
                f"x{strength:g}, {name}",
                edits=tuple(
                    Reflect(directions.site, axis, float(axis @ directions.control_mean), strength)
                    for axis in basis
                ),
            )
            for name, basis in context.bases.items()
            for strength in self.strengths
        ]
