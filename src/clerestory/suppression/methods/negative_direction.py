"""The difference of prompt and control, as far as it is unwanted, subtracted."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from clerestory.edits import Add
from clerestory.models import Edit
from clerestory.suppression.directions import Directions
from clerestory.suppression.method import DirectionMethod, suppression_methods
from clerestory.types import Floats


@suppression_methods.register("negative direction")
@dataclass(frozen=True)
class NegativeDirection(DirectionMethod):
    """Subtracts the difference of prompt and control, projected on the unwanted directions."""

    order = 1

    strengths: tuple[float, ...] = (0.75, 1.0, 1.5, 2.0, 3.0)

    @override
    def edits(self, directions: Directions, basis: Floats, strength: float) -> tuple[Edit, ...]:
        # Only the unwanted part of what the prompt adds: the rest is what it is about.
        projected = basis.T @ (basis @ directions.difference)
        return (Add(directions.site, -projected, strength),)
