"""Colour classifiers: measured, not trained, as controls for other predictions.

For example "scared" might only mean "night" or "blue":

    group(recording, "lancet:mood", control=["place", "colour:tint"])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clerestory.classifiers.base import Classifier, classifier_kinds
from clerestory.errors import RegistryError
from clerestory.registry import suggest
from clerestory.types import Floats, Pictures, Role

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ColourClassifier"]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in lightness (ITU-R BT.601)."""
WARMTH = np.array([1.0, 0.0, -1.0], np.float32)
"""Red minus blue."""
SCALES = {
    "light": (LUMA, (0.25, 0.5, 0.75), ("dark", "middling", "light")),
    "tint": (WARMTH, (-0.2, 0.0, 0.2), ("cool", "neutral", "warm")),
}
"""By scale: weights of the channels, typical values of its classes, their names."""
SHARPNESS = 0.3
"""Standard deviation of a class, in distances between neighbouring classes."""


@dataclass(frozen=True)
class ColourClassifier:
    """The class whose typical value is nearest to the mean of a picture on one scale.

    Probabilities are those of normal distributions around the typical values: midway between two
    classes each has about one half, and at the typical value of a class it has nearly 1.

    Attributes:
        scale: `light` or `tint`.
        is_measurement: Always True: the classifier is not trained.
    """

    scale: str
    is_measurement: bool = True

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the scale."""
        return SCALES[self.scale][2]

    @property
    def source(self) -> str:
        """`colour:tint`."""
        return f"colour:{self.scale}"

    def __call__(self, pictures: Pictures) -> Floats:
        """Probabilities `[n, class]`.

        Args:
            pictures: `[n, height, width, 3]`.

        Returns:
            Each row adds up to 1.
        """
        weights, typical, _ = SCALES[self.scale]
        # Before the weights: the mean of a weighted sum is the weighted sum of means.
        means = pictures.reshape(len(pictures), -1, 3).mean(1) @ weights / 255
        centers = np.asarray(typical)
        spread = SHARPNESS * (centers[1] - centers[0])
        # Normal densities around the typical values, so that the classes
        # in between share a picture.
        log_odds = -np.square((means[:, None] - centers) / spread) / 2
        # Minus the maximum, so that the exponentials of a row cannot all underflow to 0.
        odds = np.exp(log_odds - log_odds.max(1, keepdims=True))
        return np.asarray(odds / odds.sum(1, keepdims=True), np.float32)

    def log_probabilities(self, pictures: Tensor) -> Tensor:
        """The logarithms of the same, which autograd can differentiate.

        Args:
            pictures: `[n, height, width, 3]`, from 0 to 1.

        Returns:
            `[n, class]`.
        """
        weights, typical, _ = SCALES[self.scale]
        means = pictures.flatten(1, 2).mean(1) @ pictures.new_tensor(weights)
        centers = pictures.new_tensor(typical)
        spread = SHARPNESS * (centers[1] - centers[0])
        log_odds = -((means[:, None] - centers) / spread).square() / 2
        return log_odds.log_softmax(1)


@classifier_kinds.register("colour")
def open_colour_classifier(scale: str, role: Role) -> Classifier:
    """`colour:tint` (cool, neutral, warm), `colour:light` (dark, middling, light): measured.

    Args:
        scale: `light` or `tint`.
        role: Not used: there is one measurement of each colour.

    Returns:
        The classifier.

    Raises:
        RegistryError: There is no such scale.
    """
    if scale not in SCALES:
        raise RegistryError(f"No colour is called {scale!r}.{suggest(scale, SCALES)}")
    return ColourClassifier(scale)
