"""Neon: glowing tubes along the edges, on near-black."""

from __future__ import annotations

import cv2
import numpy as np

from lancet.world.styles import Picture, styles, tone

__all__ = ["neon"]


@styles.register("neon")
def neon(picture: Picture, rng: np.random.Generator) -> Picture:
    """Edges in the saturated colours around them, with a wide and a narrow glow."""
    slope = np.clip(tone.edges(picture) * 2.4 - 0.22, 0, 1)
    around = cv2.dilate(picture, np.ones((5, 5), np.uint8))
    vivid = tone.saturated(around, 3.0)
    vivid *= 255.0 / np.maximum(vivid.max(2, keepdims=True), 60.0)
    tubes = vivid * slope[..., None]
    # A scene full of edges would glow white: its light is shared.
    glare = min(1.0, 0.14 * 255.0 / max(float(tubes.mean()), 1.0))
    tubes = tubes * (0.4 + 0.6 * glare)
    glow = glare * (
        cv2.GaussianBlur(tubes, (0, 0), 2.2) * 0.9 + cv2.GaussianBlur(tubes, (0, 0), 7.0) * 0.7
    )
    core = np.clip(slope - 0.55, 0, 1)[..., None] * 150.0
    night = np.array((10, 7, 22), np.float32)
    return tone.cast(night + glow + tubes * 0.75 + core)
