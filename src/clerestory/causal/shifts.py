"""How far a concept moves the activations of a site along a direction, and the edits that do so.

    shift = shift_along(readings, "prior/embedding", direction)
    shift.addition(), shift.ablation()

No strength is searched for: an addition moves as far as the concept does, which is the same rule
for neurons, directions and latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.causal.baselines import SelectionReadings
from clerestory.edits import Ablate, Add
from clerestory.errors import EvidenceError

__all__ = ["Shift", "shift_along"]


@dataclass(frozen=True, eq=False)
class Shift:
    """The distance between the arms of the selection half along a direction.

    Attributes:
        site: Address of the site.
        direction: `[unit]`, of length 1.
        negative: Mean projection of the negative arm.
        positive: Mean projection of the positive arm.
    """

    site: str
    direction: NDArray[np.float64]
    negative: float
    positive: float

    @property
    def distance(self) -> float:
        """How much higher the positive arm is; below 0 where it is lower."""
        return self.positive - self.negative

    def addition(self, region: Any = None) -> Add:
        """The edit that moves activations as far as the concept does.

        Args:
            region: Where in the picture; None for everywhere.

        Returns:
            The edit.
        """
        return Add(self.site, self.direction * self.distance, region=region)

    def ablation(self, region: Any = None) -> Ablate:
        """The edit that sets the component to the level of the negative arm.

        Args:
            region: Where in the picture; None for everywhere.

        Returns:
            The edit.
        """
        # Not to 0, which may be as far from that level as the concept is.
        return Ablate(self.site, self.direction, self.negative, region=region)


def shift_along(
    readings: SelectionReadings, site: str, direction: NDArray[np.floating], name: str = ""
) -> Shift:
    """Measure how far the concept moves activations along a direction.

    Args:
        readings: Activations of samples of the selection half.
        site: Address of a site that was read.
        direction: `[unit]`, of any length but 0; for a single unit, 1 there and 0 elsewhere.
        name: What the direction is called in errors; by default the site.

    Returns:
        The means of both arms, in which each template counts once.

    Raises:
        EvidenceError: The direction is zero, or has another number of units than the site.
    """
    positive, negative = (readings.arm_mean(site, arm) for arm in ("positive", "negative"))
    # Directions are shorter than the site if only some of its units were recorded.
    if len(direction) != len(positive):
        raise EvidenceError(
            f"{name or site} was found among {len(direction)} of the site's {len(positive)} "
            "units; record all of them to change it."
        )
    length = float(np.linalg.norm(direction))
    # Dividing by a length of 0 would give NaN.
    if length == 0:
        raise EvidenceError(f"The direction {name or site} is zero: there is nothing to change.")
    unit = np.asarray(direction, np.float64) / length
    return Shift(site, unit, float(negative @ unit), float(positive @ unit))
