"""The styles of Lancet's world: recipes from a 128 px picture to the same picture in a style.

A style is one file with one registration: a function of the picture `[128, 128, 3]` uint8 and a
random generator that gives a picture of the same shape; the same generator state, the same bytes.

    styles["mosaic"](picture, np.random.default_rng(0))
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clerestory.registry import Registry

__all__ = ["Picture", "Style", "styles"]

Picture = NDArray[np.uint8]
Style = Callable[[Picture, np.random.Generator], Picture]

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
