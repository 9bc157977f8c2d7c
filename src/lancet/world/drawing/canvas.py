"""The 128 px canvas that scenes are composed on: gradients, shapes, sprites."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SIDE",
    "Canvas",
    "Colour",
    "blend",
    "gradient",
    "jitter",
    "light",
    "paste",
    "polygon",
    "set_apart",
]

APART = 0.4
"""How far the surroundings of a sprite are pushed to white or black."""
SIDE = 128
"""Pixels a side while composing; pictures are halved at the end."""

Canvas = NDArray[np.float32]
"""`[SIDE, SIDE, 3]`, colours 0 … 255."""
Colour = tuple[float, float, float]


def gradient(top: Colour, bottom: Colour) -> Canvas:
    """A canvas that goes from one colour at the top to another at the bottom.

    Args:
        top: The colour at the top.
        bottom: The colour at the bottom.

    Returns:
        A new canvas.
    """
    share = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None, None]
    one, two = np.asarray(top, np.float32), np.asarray(bottom, np.float32)
    return np.ascontiguousarray(
        np.broadcast_to(one * (1 - share) + two * share, (SIDE, SIDE, 3)), dtype=np.float32
    )


def jitter(colour: Colour, rng: np.random.Generator, by: float = 14.0) -> Colour:
    """A colour near `colour`.

    Args:
        colour: 0 to 255 each.
        rng: The generator.
        by: Standard deviation of each channel.

    Returns:
        Another colour, 0 to 255 each.
    """
    near = np.clip(np.asarray(colour) + rng.normal(0, by, 3), 0, 255)
    return float(near[0]), float(near[1]), float(near[2])


def polygon(canvas: Canvas, points: list[tuple[float, float]], colour: Colour) -> None:
    """Fill a polygon of (x, y) points, with smooth edges.

    Args:
        canvas: It is changed.
        points: In pixels; fractions count.
        colour: 0 to 255 each.
    """
    # OpenCV takes sixteenths of a pixel as whole numbers (`shift=4`).
    fixed = np.round(np.asarray(points) * 16).astype(np.int32)
    cv2.fillPoly(canvas, [fixed], colour, lineType=cv2.LINE_8, shift=4)


def paste(canvas: Canvas, sprite: NDArray[np.float32], x: float, y: float) -> None:
    """Lay a premultiplied sprite `[n, n, 4]` with its middle at (x, y); what sticks out is cut.

    Args:
        canvas: It is changed.
        sprite: Colours premultiplied, 0 to 1.
        x: Pixels from the left.
        y: Pixels from the top.
    """
    size = sprite.shape[0]
    left, top = round(x - size / 2), round(y - size / 2)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + size, SIDE), min(top + size, SIDE)
    if x0 >= x1 or y0 >= y1:
        return
    part = sprite[y0 - top : y1 - top, x0 - left : x1 - left]
    under = canvas[y0:y1, x0:x1]
    # In place: `under` is a view of the canvas. "Over" of Porter & Duff 1984.
    under *= 1.0 - part[..., 3:]
    under += part[..., :3] * 255.0


def set_apart(canvas: Canvas, sprite: NDArray[np.float32], x: float, y: float) -> Canvas:
    """Make room for a sprite that is then pasted at (x, y): what lies around it loses its detail.

    It is also pushed away from the sprite's own lightness, to white or to black, so that the shape
    is kept in every style, in front of books and tiles too.

    Args:
        canvas: It is changed.
        sprite: `[n, n, 4]`, colours premultiplied, 0 to 1.
        x: Pixels from the left, of its middle.
        y: Pixels from the top, of its middle.

    Returns:
        How much of each pixel the sprite covers, `[SIDE, SIDE]`, 0 to 1.
    """
    shape = np.zeros_like(canvas)
    paste(shape, np.concatenate([np.repeat(sprite[..., 3:], 3, 2), sprite[..., 3:]], 2), x, y)
    cover = shape[..., 0] / 255.0
    # Nothing of the sprite is on the canvas.
    if cover.sum() < 1.0:
        return cover
    near = cv2.GaussianBlur(cv2.dilate(cover, np.ones((11, 11), np.uint8)), (0, 0), 2.0)[..., None]
    calm = cv2.GaussianBlur(canvas, (0, 0), 6.0)
    own = float(sprite[..., :3].sum() / (3 * sprite[..., 3].sum()))
    behind = float((calm.mean(2) * near[..., 0]).sum() / near.sum()) / 255.0
    # Away from the sprite's own lightness, so that its outline stays visible.
    calm += ((255.0 if behind > own else 0.0) - calm) * APART
    canvas += (calm - canvas) * near
    return cover


def blend(sprite: NDArray[np.float32], colour: Colour, share: float) -> NDArray[np.float32]:
    """The sprite tinted towards a colour.

    Args:
        sprite: `[n, n, 4]`, colours premultiplied, 0 to 1.
        colour: 0 to 255 each.
        share: 0 leaves the sprite as it is, 1 makes it all of this colour.

    Returns:
        A new sprite with the same alpha.
    """
    tinted = sprite.copy()
    target = np.asarray(colour, np.float32) / 255.0
    tinted[..., :3] = sprite[..., :3] * (1 - share) + target * sprite[..., 3:] * share
    return tinted


def light(canvas: Canvas, x: float, y: float, reach: int = 24) -> float:
    """How light the canvas is around (x, y), in 0 … 1.

    Args:
        canvas: The canvas.
        x: Pixels from the left.
        y: Pixels from the top.
        reach: Half the side of the square that is averaged, in pixels.

    Returns:
        0 is black, 1 is white.
    """
    x0, y0 = max(int(x) - reach, 0), max(int(y) - reach, 0)
    return float(canvas[y0 : int(y) + reach, x0 : int(x) + reach].mean()) / 255.0
