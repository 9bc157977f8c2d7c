"""The arms of a contrast, and a half's activations averaged to a row for each item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clerestory.types import Integers, Role

__all__ = ["ARMS", "HALVES", "ArmValues"]

ARMS = ("positive", "negative", "hard_negative")
HALVES: tuple[Role, Role] = ("selection", "evaluation")


@dataclass(frozen=True, eq=False)
class ArmValues:
    """Activations of the items of each arm.

    Attributes:
        positive: `[item, unit]` with the concept.
        negative: `[item, unit]` without it; where paired, row i is the same item as in `positive`.
        hard_negative: The same for what resembles the concept, None without such an arm.
        paired: Whether the arms have the same items.
    """

    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    hard_negative: NDArray[np.float64] | None
    paired: bool = True

    @property
    def by_arm(self) -> dict[str, NDArray[np.float64]]:
        """The arms that there are, the positive one first."""
        values = {"positive": self.positive, "negative": self.negative}
        return (
            values
            if self.hard_negative is None
            else {
                **values,
                "hard_negative": self.hard_negative,
            }
        )

    def folds(self, count: int) -> list[tuple[ArmValues, ArmValues]]:
        """Split the items into parts: for each part all others, and the part itself.

        Args:
            count: How many parts; fewer where an arm has fewer items.

        Returns:
            Pairs (others, part); empty where an arm has fewer than two items.
        """
        # Unpaired arms are split each by itself, in as many parts.
        count = min(count, *(len(values) for values in self.by_arm.values()))
        if count < 2:
            return []
        parts = {
            arm: np.array_split(np.arange(len(values)), count)
            for arm, values in self.by_arm.items()
        }
        return [
            (
                self._rows({arm: np.delete(np.concatenate(p), p[at]) for arm, p in parts.items()}),
                self._rows({arm: p[at] for arm, p in parts.items()}),
            )
            for at in range(count)
        ]

    def project(self, direction: NDArray[np.float64]) -> ArmValues:
        """One unit: the projection of each item on a direction; 0 for a direction of length 0.

        Args:
            direction: The direction `[unit]`; its length does not matter.

        Returns:
            `[item, 1]` for each arm, in the units of the activations.
        """
        # To unit length, so that projections along directions of different methods are comparable.
        length = np.linalg.norm(direction)
        unit = (direction / (length if length > 0 else 1.0))[:, None]
        return self._map({arm: values @ unit for arm, values in self.by_arm.items()})

    def _rows(self, rows: dict[str, Integers]) -> ArmValues:
        return self._map({arm: values[rows[arm]] for arm, values in self.by_arm.items()})

    def _map(self, values: dict[str, NDArray[np.float64]]) -> ArmValues:
        return ArmValues(
            values["positive"], values["negative"], values.get("hard_negative"), self.paired
        )
