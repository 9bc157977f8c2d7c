"""Heat maps of spatial units, as overlays and crops of pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clerestory.microscope.folder import Microscope, Unit
from clerestory.reporting.pictures import data_address, open_picture

__all__ = ["overlay_and_crop"]

ACCENT = (255, 176, 0)
"""The overlay's colour, RGB."""
CROP_SHARE = 0.45
"""A crop's side, as a share of the picture's shorter side."""


def overlay_and_crop(
    microscope: Microscope, unit: Unit, sample: int, picture: str | None
) -> dict[str, str | None]:
    """The heat map of a unit in a picture, and the part around its maximum.

    Args:
        microscope: The microscope.
        unit: The unit.
        sample: The sample's number.
        picture: The picture's path under the folder; None if there is none.

    Returns:
        `data:` addresses of `overlay` and `crop`; both None without a map of this sample.
    """
    addresses: dict[str, str | None] = {"overlay": None, "crop": None}
    if picture is None or not unit.site.has("where"):
        return addresses
    samples = unit.figure("where-samples")
    index = np.flatnonzero(samples == sample)
    if not len(index):
        return addresses
    heat = np.asarray(unit.figure("where")[index[0]])
    with open_picture(microscope.folder / picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    return {"overlay": data_address(_overlay(heat)), "crop": data_address(_crop(pixels, heat))}


def _overlay(heat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The accent colour, `[row, column, RGBA]`, the more opaque the higher the unit is."""
    layer = np.empty((*heat.shape, 4), np.uint8)
    layer[..., :3] = ACCENT
    # At most three quarters, so that the picture shows through.
    layer[..., 3] = heat // 4 * 3
    return layer


def _crop(pixels: NDArray[np.uint8], heat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The part of the picture around the highest position, within its borders."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    side = max(8, int(min(pixels.shape[:2]) * CROP_SHARE))
    starts: list[int] = []
    for cell, cells, size in zip(
        (int(row), int(column)), heat.shape, pixels.shape[:2], strict=True
    ):
        middle = int((cell + 0.5) / cells * size)
        # Moved inwards at a border, so that all crops have one size.
        starts.append(min(max(middle - side // 2, 0), size - side))
    top, left = starts
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])
