"""The styles of Lancet's world: functions that draw a 128 px picture in a style.

A style is one file with one registration: a function of type `Style`.

    styles["mosaic"](picture, np.random.default_rng(0))
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clerestory.registry import Registry

__all__ = ["Picture", "Style", "styles"]

Picture = NDArray[np.uint8]
"""`[128, 128, 3]`, uint8."""
Style = Callable[[Picture, np.random.Generator], Picture]
"""A picture and a generator to a new picture; the same generator state gives the same bytes."""

styles: Registry[Style] = Registry("style")

from lancet.world.styles import (  # noqa: E402, F401
    halftone,
    ink,
    mosaic,
    neon,
    oil,
    pencil,
    pixel_art,
    plain,
    stained_glass,
    watercolour,
)
