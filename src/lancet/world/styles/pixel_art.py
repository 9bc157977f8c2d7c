"""Pixel art: sixteen blocks a side in ten colours."""

from __future__ import annotations

import cv2
import numpy as np

from lancet.world.styles import Picture, styles, tone

__all__ = ["pixel_art"]

BLOCKS, COLOURS = 16, 10


@styles.register("pixel art")
def pixel_art(picture: Picture, rng: np.random.Generator) -> Picture:
    """16×16 blocks, their colours gathered into ten."""
    small = cv2.resize(picture, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA)
    points = tone.saturated(small, 1.25).reshape(-1, 3)
    # Start spread over lightness: k-means from random centres would depend on the seed.
    order = np.argsort(points.sum(1), kind="stable")
    centres = points[order[np.linspace(0, len(points) - 1, COLOURS).astype(int)]]
    # Lloyd's algorithm (1982); after four rounds hardly a block moves.
    for _ in range(4):
        near = ((points[:, None] - centres) ** 2).sum(2).argmin(1)
        sizes = np.bincount(near, minlength=COLOURS)[:, None]
        sums = np.stack([np.bincount(near, points[:, i], COLOURS) for i in range(3)], 1)
        centres = np.where(sizes > 0, sums / np.maximum(sizes, 1), centres)
    blocks = tone.cast(centres[near]).reshape(BLOCKS, BLOCKS, 3)
    scale = picture.shape[0] // BLOCKS
    return blocks.repeat(scale, 0).repeat(scale, 1)
