"""The difference of prompt and control, as far as it is unwanted, subtracted."""

from __future__ import annotations

from dataclasses import dataclass

from clerestory.edits import Add
from clerestory.evaluation import Condition
from clerestory.suppression.method import MethodContext, SuppressionMethod, suppression_methods


@suppression_methods.register("negative direction")
@dataclass(frozen=True)
class NegativeDirection(SuppressionMethod):
    """Subtracts the difference of prompt and control, projected on the unwanted directions."""

    order = 1

    strengths: tuple[float, ...] = (0.75, 1.0, 1.5, 2.0, 3.0)

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
                edits=(Add(directions.site, -basis.T @ (basis @ directions.difference), strength),),
            )
            for name, basis in context.bases.items()
            for strength in self.strengths
        ]
