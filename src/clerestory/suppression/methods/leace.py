"""Linear erasure of the unwanted labels' words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clerestory.edits import Erase
from clerestory.evaluation import Condition
from clerestory.suppression.method import MethodContext, SuppressionMethod, suppression_methods


@suppression_methods.register("LEACE")
@dataclass(frozen=True)
class Leace(SuppressionMethod):
    """Erases whatever tells the unwanted labels' words from the control linearly.

    Source: Belrose et al. 2023, by concept-erasure.
    """

    order = 5

    def conditions(self, context: MethodContext) -> list[Condition]:
        """A single condition, which has no settings.

        Args:
            context: Gives the states of the control and of the control with the labels' words.

        Returns:
            The condition; its name is "".

        Raises:
            EvidenceError: The model has no conditioning site, or the prompt is too long.
        """
        directions = context.directions
        states = np.concatenate([directions.control, *directions.worded])
        # Class 0 is the control, and each unwanted label is a class of its own.
        labels = np.repeat(np.arange(1 + len(directions.worded)), len(directions.control))
        return [Condition("", edits=(Erase.fit(directions.site, states, labels),))]
