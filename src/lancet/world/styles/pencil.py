"""Pencil: dodged greys, drawn edges, hatching where it is dark, on paper."""

from __future__ import annotations

import cv2
import numpy as np

from lancet.world.styles import Picture, styles, tone

__all__ = ["pencil"]


@styles.register("pencil")
def pencil(picture: Picture, rng: np.random.Generator) -> Picture:
    """Colour dodge of the greys, edges on top, diagonal hatching by darkness."""
    light = tone.grey(picture)
    size = light.shape[0]
    blurred = cv2.GaussianBlur(1.0 - light, (0, 0), 5)
    # Colour dodge with the blurred negative leaves only what differs from its surroundings.
    dodge = np.minimum(light / np.maximum(1.0 - blurred, 0.05), 1.0)
    lines = np.clip(tone.edges(picture) * 2.4 - 0.36, 0, 1)
    down, along = np.mgrid[0:size, 0:size].astype(np.float32)
    wobble = 3.0 * tone.grain(5, 9.0)[:size, :size]
    hatch = 0.5 + 0.5 * np.sin((down + along + wobble) * rng.uniform(1.0, 1.25))
    dark = np.clip(0.80 - light, 0, 1)
    shade = 1.0 - dark * (0.32 + 0.55 * hatch)
    paper = 0.965 + 0.012 * tone.grain(6, 0.8)[:size, :size]
    value = np.minimum(paper * (0.35 + 0.65 * dodge), shade) * (1.0 - 0.78 * lines)
    tint = np.array((252, 250, 244), np.float32) * np.clip(value, 0.1, 1)[..., None]
    return tone.cast(tint)
