"""Maps drawn over pictures: the darker the picture, the less of the map is there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clerestory.types import Floats

__all__ = ["overlay"]

COLORS = np.array(
    [(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float32
)
"""From none of a map to its largest value: five colours of matplotlib's `inferno`."""
STRENGTH = 0.65
"""How much of the colours there is where a map is largest."""
FAINTEST = 0.35
"""How much of them there is where it is zero."""


def overlay(picture: NDArray[np.uint8], values: Floats) -> NDArray[np.uint8]:
    """Draw a map over a picture, smoothly enlarged.

    Args:
        picture: `[height, width, 3]`.
        values: `[y, x]`, of any size and unit; its smallest value is dark and its largest bright.

    Returns:
        A picture of the same size. A map without any differences is dark.
    """
    from PIL import Image

    span = np.nanmax(values) - np.nanmin(values) if np.isfinite(values).any() else 0.0
    scaled = np.zeros(values.shape, np.float32)
    if span > 0:
        scaled = np.nan_to_num((values - np.nanmin(values)) / span).astype(np.float32)
    height, width = picture.shape[:2]
    image = Image.fromarray(scaled).resize((width, height), Image.Resampling.BILINEAR)
    shares = np.asarray(image)[..., None]
    place = shares[..., 0] * (len(COLORS) - 1)
    colors = np.stack(
        [np.interp(place, range(len(COLORS)), COLORS[:, channel]) for channel in range(3)], axis=-1
    )
    # The picture in grey, so that all colour is the map's.
    grey = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    amount = FAINTEST + (STRENGTH - FAINTEST) * shares
    mixed = (1 - amount) * grey[..., None] + amount * colors
    return np.asarray(np.clip(mixed, 0, 255).round(), dtype=np.uint8)
