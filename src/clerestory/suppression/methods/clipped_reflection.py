"""The conditioning reflected where it exceeds the control's level in an unwanted direction."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from clerestory.edits import Reflect
from clerestory.models import Edit
from clerestory.suppression.directions import Directions
from clerestory.suppression.method import DirectionMethod, suppression_methods
from clerestory.types import Floats


@suppression_methods.register("clipped reflection")
@dataclass(frozen=True)
class ClippedReflection(DirectionMethod):
    """Reflects what exceeds the control's mean along each direction, and preserves the norm."""

    order = 3

    strengths: tuple[float, ...] = (1.0, 1.5, 2.0, 2.5)

    @override
    def edits(self, directions: Directions, basis: Floats, strength: float) -> tuple[Edit, ...]:
        # One after the other: the axes are orthogonal, so a reflection leaves the others' levels.
        return tuple(
            Reflect(directions.site, axis, float(axis @ directions.control_mean), strength)
            for axis in basis
        )
