"""Watercolour: soft warped washes with dark rims, on a paper border."""

from __future__ import annotations

import cv2
import numpy as np

from lancet.world.styles import Picture, styles, tone

__all__ = ["watercolour"]


@styles.register("watercolour")
def watercolour(picture: Picture, rng: np.random.Generator) -> Picture:
    """Warped and smoothed, paled, edges darkened, uneven pigment, an irregular white rim."""
    size = picture.shape[0]
    top, left = rng.integers(0, 192 - size, 2)
    push = tone.grain(11, 5.0)[top : top + size, left : left + size] * 2.4
    pull = tone.grain(12, 5.0)[top : top + size, left : left + size] * 2.4
    down, along = np.mgrid[0:size, 0:size].astype(np.float32)
    warped = cv2.remap(
        picture, along + push, down + pull, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    smooth = cv2.bilateralFilter(warped, 7, 45, 4)
    rim = np.clip(tone.edges(smooth) * 1.3, 0, 0.5)
    pigment = 0.10 * tone.grain(13, 3.0)[left : left + size, top : top + size]
    wash = 255.0 - (255.0 - tone.saturated(smooth, 1.05)) * (0.62 + pigment)[..., None]
    wash *= 1.0 - 0.55 * rim[..., None]
    # The distance to the nearest edge, for a rim that the brush left white.
    reach = np.minimum(np.minimum(down, size - 1 - down), np.minimum(along, size - 1 - along))
    torn = tone.grain(14, 6.0)[top : top + size, left : left + size] * 4.0
    cover = np.clip((reach + torn - 7.0) / 4.0, 0, 1)[..., None]
    paper = np.array((252, 250, 245), np.float32)
    return tone.cast(wash * cover + paper * (1 - cover))
