"""Mosaic: square tiles of one colour each, set in grout."""

from __future__ import annotations

import cv2
import numpy as np

from lancet.world.styles import Picture, styles, tone

__all__ = ["mosaic"]

TILE = 8


@styles.register("mosaic")
def mosaic(picture: Picture, rng: np.random.Generator) -> Picture:
    """8 px tiles with jittered brightness, a light upper edge, grout 2 px wide."""
    count = picture.shape[0] // TILE
    colours = cv2.resize(picture, (count, count), interpolation=cv2.INTER_AREA).astype(np.float32)
    colours = colours.mean(2, keepdims=True) * -0.35 + colours * 1.35
    colours = colours * rng.uniform(0.82, 1.18, (count, count, 1))
    colours += rng.normal(0, 7, (count, count, 3))
    tiles = colours.repeat(TILE, 0).repeat(TILE, 1)
    inside = np.arange(picture.shape[0]) % TILE
    tiles[inside == 1] += 18
    tiles[inside == TILE - 2] -= 14
    grout = np.array((150, 144, 136), np.float32) * rng.uniform(0.8, 1.05)
    seam = (inside == 0) | (inside == TILE - 1)
    tiles[seam] = tiles[seam] * 0.35 + grout * 0.65
    tiles[:, seam] = tiles[:, seam] * 0.35 + grout * 0.65
    return tone.cast(tiles)
