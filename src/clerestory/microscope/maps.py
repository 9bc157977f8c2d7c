"""Where in a picture spatial units are high, gathered while a recording is read once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAPS", "Maps"]

MAPS = 8
"""Samples of which it is kept where in the picture a unit is high."""


class Maps:
    """The highest samples of each unit so far, one of a prompt, with activations by position."""

    def __init__(self, units: int, side: int) -> None:
        """Make room for the maps of a site.

        Args:
            units: Units of the site.
            side: Positions along each side of the picture.
        """
        self.side = side
        self.best = np.full((units, MAPS), -np.inf, np.float32)
        self.rows = np.full((units, MAPS), -1, np.int32)
        self.prompts = np.full((units, MAPS), -1, np.int64)
        # Half precision, since the maps of all units are in memory together and end as eight bits.
        self.maps = np.zeros((units, MAPS, side * side), np.float16)

    def add(
        self,
        part: NDArray[np.float32],
        rows: NDArray[np.integer],
        prompts: NDArray[np.integer],
    ) -> None:
        """Add samples, in the order of the recording.

        Args:
            part: Activations, `[sample, unit, position]`.
            rows: The sample's numbers, `[sample]`.
            prompts: Their prompts' numbers, `[sample]`; one sample of a prompt stays.
        """
        for row, prompt, activations in zip(rows, prompts, part, strict=True):
            value = activations.mean(1)
            same = self.prompts == prompt
            # A better sample of a prompt takes that prompt's place, another one that of the lowest.
            place = np.where(same.any(1), same.argmax(1), self.best.argmin(1))
            units = np.flatnonzero(value > self.best[np.arange(len(value)), place])
            at = place[units]
            self.best[units, at], self.rows[units, at] = value[units], row
            self.prompts[units, at] = prompt
            self.maps[units, at] = activations[units]

    def figures(self) -> dict[str, NDArray[Any]]:
        """The samples, and the maps `[unit, sample, row, column]`, scaled to 0 to 255 by unit."""
        wide = self.maps.astype(np.float32)
        low, high = wide.min((1, 2), keepdims=True), wide.max((1, 2), keepdims=True)
        scaled = (wide - low) / np.where(high > low, high - low, 1) * 255
        shape = (*wide.shape[:2], self.side, self.side)
        return {"where-samples": self.rows, "where": scaled.astype(np.uint8).reshape(shape)}
