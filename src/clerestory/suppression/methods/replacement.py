"""The unwanted labels' directions replaced by those of what the control shows instead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from clerestory.edits import Add
from clerestory.errors import EvidenceError
from clerestory.evaluation import Condition, fill
from clerestory.suppression.method import MethodContext, SuppressionMethod, suppression_methods


@suppression_methods.register("replacement")
@dataclass(frozen=True)
class Replacement(SuppressionMethod):
    """Subtracts the unwanted labels' directions and adds those of the control's labels.

    Preserved pieces may get some of their own direction on top: `reinforcements` is how much all of
    them get, `single_reinforcements` how much one of several gets. Where the control shows no other
    label there is nothing to add, and the method does not apply.
    """

    order = 4

    strengths: tuple[float, ...] = (0.4, 0.5, 0.6, 0.75)
    reinforcements: tuple[float, ...] = (0.15, 0.3)
    single_reinforcements: tuple[float, ...] = (0.3, 0.45)

    @override
    def conditions(self, context: MethodContext) -> list[Condition]:
        if not context.alternatives:
            raise EvidenceError("The control shows no other label in place of the unwanted.")
        association, directions = context.association, context.directions
        swap = directions.alternatives.sum(0) - directions.unwanted.sum(0)
        templates = [association.template(target) for target in context.alternatives]
        # For the setting's name: what is said in place of the unwanted.
        words = " ".join(fill(template, "").strip(" ,") for template in templates)
        pieces = [piece.words for piece in association.prompt.pieces]
        weights = {"": np.zeros(len(pieces))}
        weights |= {f", preserved x{w:g}": np.full(len(pieces), w) for w in self.reinforcements}
        # With a single piece, one of several is the same as all of them.
        if len(pieces) > 1:
            weights |= {
                f", {piece} x{weight:g}": weight * np.eye(len(pieces))[index]
                for index, piece in enumerate(pieces)
                for weight in self.single_reinforcements
            }
        return [
            Condition(
                f"{words!r} x{strength:g}{name}",
                edits=(Add(directions.site, strength * swap + w @ directions.preserved, 1.0),),
            )
            for strength in self.strengths
            for name, w in weights.items()
        ]
