"""Stained glass: irregular panes of one colour each, dark leads, dark lines painted on top."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lancet.world.styles import Picture, styles, tone

__all__ = ["panes", "stained_glass"]

GRID = 7
"""Panes along each side at the start: 7² = 49."""
WORK = 64
"""Side at which pixels are assigned to panes."""


@styles.register("stained glass")
def stained_glass(picture: Picture, rng: np.random.Generator) -> Picture:
    """Superpixels as panes, saturation × 1.9, leads of 3 px, dark lines kept."""
    labels = panes(picture, rng)
    count = GRID * GRID
    values = tone.saturated(picture, 1.9)
    flat = labels.ravel()
    sizes = np.maximum(np.bincount(flat, minlength=count), 1)
    means = [np.bincount(flat, values[..., i].ravel(), count) / sizes for i in range(3)]
    colours = np.stack(means, 1) * rng.uniform(0.78, 1.22, (count, 1))
    colours += rng.normal(0, 9, (count, 3))
    glass = colours[labels].astype(np.float32)
    glass *= 1.0 + 0.05 * tone.grain(3, 2.0)[: labels.shape[0], : labels.shape[1], None]
    border = np.zeros(labels.shape, np.uint8)
    border[:, 1:] |= (labels[:, 1:] != labels[:, :-1]).astype(np.uint8)
    border[1:] |= (labels[1:] != labels[:-1]).astype(np.uint8)
    lead = cv2.dilate(border, np.ones((2, 2), np.uint8)).astype(bool)
    drawing = cv2.GaussianBlur(_drawing(picture), (3, 3), 0)
    glass *= 1.0 - 0.85 * drawing[..., None]
    glass[lead] = (14, 13, 16)
    return tone.cast(glass)


def panes(picture: Picture, rng: np.random.Generator) -> NDArray[np.int64]:
    """Pane numbers `[128, 128]`: SLIC superpixels (Achanta et al. 2012) from a jittered grid.

    Args:
        picture: `[128, 128, 3]`, uint8.
        rng: The generator.

    Returns:
        Numbers from 0 to 48.
    """
    size = picture.shape[0]
    small = cv2.resize(picture, (WORK, WORK), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    axis = (np.arange(GRID) + 0.5) * WORK / GRID
    centres = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    centres += rng.uniform(-2.6, 2.6, centres.shape)
    place = np.stack(np.meshgrid(np.arange(WORK), np.arange(WORK), indexing="ij"), -1)
    # 0.22 weighs colour against distance: larger values make panes follow outlines more closely.
    points = np.concatenate([place.astype(np.float32), lab * 0.22], 2).reshape(-1, 5)
    row, column = np.clip(centres, 0, WORK - 1).astype(int).T
    seeds = np.concatenate([centres, lab[row, column] * 0.22], 1).astype(np.float32)
    # Two rounds: more would round the panes off.
    for _ in range(2):
        labels = _nearest(points, seeds)
        sizes = np.maximum(np.bincount(labels, minlength=len(seeds)), 1)
        moved = [np.bincount(labels, points[:, i], len(seeds)) / sizes for i in range(5)]
        seeds = np.stack(moved, 1).astype(np.float32)
    labels = _nearest(points, seeds).reshape(WORK, WORK).astype(np.uint8)
    # Removes specks, which leads would surround.
    smooth = cv2.medianBlur(cv2.medianBlur(labels, 5), 3)
    large = cv2.resize(smooth, (size, size), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.medianBlur(large, 5), np.int64)


def _nearest(points: NDArray[np.float32], seeds: NDArray[np.float32]) -> NDArray[np.int64]:
    closeness = points @ seeds.T
    # The largest x·s − |s|²/2 is the nearest seed, without a table of differences.
    closeness -= 0.5 * (seeds * seeds).sum(1)
    return np.asarray(closeness.argmax(1), np.int64)


def _drawing(picture: Picture) -> NDArray[np.float32]:
    """The picture's own dark lines: much darker than what is around them."""
    light = tone.grey(picture)
    around = cv2.blur(light, (13, 13))
    darker = np.clip((around - light - 0.10) * 5.0, 0, 1)
    black = np.clip((0.16 - light) * 8, 0, 1)
    return np.asarray(np.maximum(darker, black), np.float32)
