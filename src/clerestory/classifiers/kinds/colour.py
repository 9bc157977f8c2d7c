"""What colour a picture is: measured, not learnt, so that other answers can be controlled for it.

"scared" might only be "night", or "blue":

    group(recording, "lancet:mood", control=["place", "colour:tint"])
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clerestory.classifiers.base import Classifier, families
from clerestory.errors import RegistryError
from clerestory.registry import suggest
from clerestory.types import Role

__all__ = ["Colour"]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Shares of red, green and blue in lightness (BT.601)."""
WARMTH = np.array([1.0, 0.0, -1.0], np.float32)
"""Red above blue."""
SCALES = {
    "light": (LUMA, (0.25, 0.5, 0.75), ("dark", "middling", "light")),
    "tint": (WARMTH, (-0.2, 0.0, 0.2), ("cool", "neutral", "warm")),
}
"""By measure: weights of the channels, what its classes are typically, their names."""


@dataclass(frozen=True)
class Colour:
    """The mean of a picture along one scale, told as the nearest of its classes.

    Probabilities fall off with the square of the distance: midway between two classes both have
    one half, at a class's typical value it has nearly all.
    """

    measure: str
    measured: bool = True

    @property
    def classes(self) -> tuple[str, ...]:
        """From little to much."""
        return SCALES[self.measure][2]

    @property
    def source(self) -> str:
        """`colour:tint`."""
        return f"colour:{self.measure}"

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities `[n, class]`."""
        weights, typical, _ = SCALES[self.measure]
        means = pictures.reshape(len(pictures), -1, 3).mean(1) @ weights / 255
        places = np.asarray(typical)
        near = -np.square((means[:, None] - places) / (0.3 * (places[1] - places[0]))) / 2
        odds = np.exp(near - near.max(1, keepdims=True))
        return np.asarray(odds / odds.sum(1, keepdims=True), np.float32)


@families.register("colour")
def colour_classifier(measure: str, role: Role) -> Classifier:
    """`colour:tint` (cool, neutral, warm), `colour:light` (dark, middling, light): measured."""
    if measure not in SCALES:
        raise RegistryError(f"No colour is called {measure!r}.{suggest(measure, SCALES)}")
    return Colour(measure)
