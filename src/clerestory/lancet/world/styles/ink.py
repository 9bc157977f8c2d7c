"""Ink: black lines and filled blacks on white."""

from __future__ import annotations

import cv2
import numpy as np

from clerestory.lancet.world.styles import Picture, styles, tone

__all__ = ["ink"]


@styles.register("ink")
def ink(picture: Picture, rng: np.random.Generator) -> Picture:
    """Edges thickened to a pen's width, what is dark filled, nothing between black and white."""
    line = (tone.edges(picture) > 0.20).astype(np.uint8)
    line = cv2.dilate(line, np.ones((2, 2), np.uint8))
    light = cv2.GaussianBlur(tone.grey(picture), (3, 3), 0)
    dark = light < rng.uniform(0.24, 0.32)
    white = (light > 0.62) & (line == 0)
    black = ((line > 0) | dark) & ~white
    around = cv2.blur(dark.astype(np.float32), (25, 25)) > 0.85
    shown = np.where(around & (line > 0) & (light > 0.16), False, black)
    page = np.where(shown[..., None], (22, 22, 24), (250, 249, 245)).astype(np.uint8)
    return page
