"""Halftone: pop art in few flat colours, with rotated black dots that grow where it is dark."""

from __future__ import annotations

import cv2
import numpy as np

from lancet.world.styles import Picture, styles, tone

__all__ = ["halftone"]

SPACING = 8.0
OUTLINE = 0.32
LIFT = 0.62
"""Exponent that brightens the picture first: dots and outlines would turn dark scenes black."""


@styles.register("halftone")
def halftone(picture: Picture, rng: np.random.Generator) -> Picture:
    """Three levels a channel, dots on a grid turned by about 30°, thick outlines."""
    size = picture.shape[0]
    picture = tone.cast(255.0 * (picture / np.float32(255.0)) ** LIFT)
    # Small details would become specks of flat colour.
    calm = cv2.medianBlur(picture, 5)
    smooth = tone.cast(tone.saturated(calm, 1.8))
    levels = np.array((20, 150, 255), np.float32)
    flat = levels[np.clip(smooth.astype(np.int32) // 86, 0, 2)]
    turn = np.deg2rad(30.0) + rng.normal(0, 0.03)
    down, along = np.mgrid[0:size, 0:size].astype(np.float32)
    along, down = along + rng.uniform(0, SPACING), down + rng.uniform(0, SPACING)
    u = (along * np.cos(turn) + down * np.sin(turn)) % SPACING - SPACING / 2
    v = (down * np.cos(turn) - along * np.sin(turn)) % SPACING - SPACING / 2
    dark = 1.0 - cv2.blur(tone.grey(picture), (7, 7))
    radius = SPACING * (0.16 + 0.42 * np.clip(dark, 0, 1))
    dots = np.clip(radius - np.sqrt(u * u + v * v) + 0.5, 0, 1)[..., None]
    lines = cv2.dilate((tone.edges(calm) > OUTLINE).astype(np.uint8), np.ones((2, 2), np.uint8))
    shown = flat * (1 - 0.86 * dots)
    shown[lines > 0] = (16, 14, 20)
    return tone.cast(shown)
