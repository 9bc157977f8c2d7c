"""Where in a picture a spatial unit is high: a layer to lay over it, and a part cut out."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clerestory.microscope.folder import Microscope, Unit
from clerestory.reporting.pictures import data_address

__all__ = ["overlay_and_crop"]

ACCENT = (255, 176, 0)
PART = 0.45
"""Of the picture's side, what is cut out."""


def overlay_and_crop(
    microscope: Microscope, unit: Unit, sample: int, picture: str | None
) -> dict[str, str | None]:
    """Addresses of `overlay` and `crop`; None where no positions were kept.

    Args:
        microscope: The microscope.
        unit: The unit.
        sample: The sample's number.
        picture: The picture's path under the folder; None where none was kept.

    Returns:
        `data:` addresses, both None where there is no map of this sample.
    """
    addresses: dict[str, str | None] = {"overlay": None, "crop": None}
    path = microscope.folder / (picture or "")
    if picture is None or not unit.site.has("where"):
        return addresses
    samples = unit.figure("where-samples")
    index = np.flatnonzero(samples == sample)
    if not len(index):
        return addresses
    heat = np.asarray(unit.figure("where")[index[0]])
    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    return {"overlay": _overlay(heat), "crop": data_address(_cut(pixels, heat))}


def _overlay(heat: NDArray[np.uint8]) -> str:
    """A small picture that is the accent's colour, the denser the higher the unit is."""
    layer = np.empty((*heat.shape, 4), np.uint8)
    layer[..., :3] = ACCENT
    # Never opaque: at most three quarters, so that the picture shows through.
    layer[..., 3] = heat // 4 * 3
    buffer = io.BytesIO()
    Image.fromarray(layer, "RGBA").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _cut(pixels: NDArray[np.uint8], heat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The part around the highest position."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    side = max(8, int(min(pixels.shape[:2]) * PART))
    starts: list[int] = []
    for place, of, size in zip((int(row), int(column)), heat.shape, pixels.shape[:2], strict=True):
        middle = int((place + 0.5) / of * size)
        starts.append(min(max(middle - side // 2, 0), size - side))
    top, left = starts
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])
