"""Plain: the picture as it was composed."""

from __future__ import annotations

import numpy as np

from lancet.world.styles import Picture, styles

__all__ = ["plain"]


@styles.register("plain")
def plain(picture: Picture, rng: np.random.Generator) -> Picture:
    """The picture itself."""
    return picture
