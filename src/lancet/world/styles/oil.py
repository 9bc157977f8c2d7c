"""Oil: short thick strokes along the edges, lit from one side."""

from __future__ import annotations

import cv2
import numpy as np

from lancet.world.styles import Picture, styles, tone

__all__ = ["oil"]

STROKES = 800


@styles.register("oil")
def oil(picture: Picture, rng: np.random.Generator) -> Picture:
    """Strokes in the picture's colours along its edge tangents, then a slight emboss."""
    size = picture.shape[0]
    light = cv2.GaussianBlur(tone.grey(picture), (0, 0), 2.5)
    across, down = cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)
    # Perpendicular to the gradient: strokes follow outlines, as a painter's do.
    angles = np.arctan2(across, -down) + rng.normal(0, 0.35, light.shape).astype(np.float32)
    base = tone.saturated(picture, 1.35)
    canvas = cv2.blur(base, (7, 7))
    places = rng.integers(0, size, (STROKES, 2))
    shades = base[places[:, 0], places[:, 1]] + rng.normal(0, 14, (STROKES, 3))
    shades = np.clip(shades + rng.normal(0, 11, (STROKES, 1)), 0, 255)
    lengths = rng.uniform(3.0, 6.5, STROKES)
    widths = rng.integers(2, 5, STROKES)
    turn = angles[places[:, 0], places[:, 1]]
    ends = np.stack([np.cos(turn), np.sin(turn)], 1) * lengths[:, None]
    middle = places[:, ::-1].astype(np.float64)
    starts, stops = (middle - ends).astype(int), (middle + ends).astype(int)
    # In random order, since later strokes lie over earlier ones.
    for start, stop, shade, width in zip(
        starts.tolist(), stops.tolist(), shades.tolist(), widths.tolist(), strict=True
    ):
        cv2.line(canvas, start, stop, shade, width)
    relief = canvas.mean(2)
    shift = np.array([[1, 0, 1], [0, 1, 1]], np.float32)
    moved = cv2.warpAffine(relief, shift, (size, size), borderMode=cv2.BORDER_REPLICATE)
    bump = relief - moved
    return tone.cast(canvas + 0.35 * np.clip(bump, -60, 60)[..., None])
