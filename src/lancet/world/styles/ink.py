"""Ink: black lines and filled blacks on white."""

from __future__ import annotations

import cv2
import numpy as np

from lancet.world.styles import Picture, styles, tone

__all__ = ["ink"]


@styles.register("ink")
def ink(picture: Picture, rng: np.random.Generator) -> Picture:
    """Edges as black lines, dark areas filled, no greys."""
    line = tone.edges(picture) > 0.26
    light = cv2.GaussianBlur(tone.grey(picture), (3, 3), 0)
    dark = light < rng.uniform(0.24, 0.32)
    # Bright areas stay white even inside dark surroundings.
    white = (light > 0.62) & ~line
    black = (line | dark) & ~white
    around = cv2.blur(dark.astype(np.float32), (25, 25)) > 0.85
    # In a filled black, lines would only thicken it.
    shown = np.where(around & line & (light > 0.16), False, black)
    page = np.where(shown[..., None], (22, 22, 24), (250, 249, 245)).astype(np.uint8)
    return page
