"""Linear erasure of the unwanted labels' words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from clerestory.edits import Erase
from clerestory.evaluation import Condition
from clerestory.suppression.method import MethodContext, SuppressionMethod, suppression_methods


@suppression_methods.register("LEACE")
@dataclass(frozen=True)
class Leace(SuppressionMethod):
    """Erases whatever separates the unwanted labels' words from the control linearly.

    It has no settings: a single condition, whose name is "".

    Source: Belrose et al. 2023, by concept-erasure.
    """

    order = 5

    @override
    def conditions(self, context: MethodContext) -> list[Condition]:
        directions = context.directions
        states = np.concatenate([directions.control, *directions.worded])
        # Class 0 is the control, and each unwanted label is a class of its own.
        labels = np.repeat(np.arange(1 + len(directions.worded)), len(directions.control))
        return [Condition("", edits=(Erase.fit(directions.site, states, labels),))]
