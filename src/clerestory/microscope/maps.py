"""Heat maps of spatial units, collected in one pass over a recording."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAPS", "Maps"]

MAPS = 8
"""Samples of each unit with a heat map."""


class Maps:
    """The highest samples of each unit so far, one of a prompt, with activations by position.

    Args:
        units: Units of the site.
        side: Positions along each side of the picture.
    """

    def __init__(self, units: int, side: int) -> None:
        self.side = side
        self.best = np.full((units, MAPS), -np.inf, np.float32)
        self.rows = np.full((units, MAPS), -1, np.int32)
        self.prompts = np.full((units, MAPS), -1, np.int64)
        # Half precision saves memory, and the figures have only eight bits.
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
            rows: Numbers of the samples, `[sample]`.
            prompts: Numbers of their prompts, `[sample]`; one sample of a prompt stays.
        """
        for row, prompt, activations in zip(rows, prompts, part, strict=True):
            # The mean over positions ranks samples, as it does on the pages.
            value = activations.mean(1)
            same = self.prompts == prompt
            # A sample replaces another one of its prompt, or else the lowest.
            slot = np.where(same.any(1), same.argmax(1), self.best.argmin(1))
            units = np.flatnonzero(value > self.best[np.arange(len(value)), slot])
            at = slot[units]
            self.best[units, at], self.rows[units, at] = value[units], row
            self.prompts[units, at] = prompt
            self.maps[units, at] = activations[units]

    def figures(self) -> dict[str, NDArray[Any]]:
        """Sample numbers, and maps `[unit, sample, row, column]`, scaled to 0 to 255 by unit."""
        wide = self.maps.astype(np.float32)
        low, high = wide.min((1, 2), keepdims=True), wide.max((1, 2), keepdims=True)
        scaled = (wide - low) / np.where(high > low, high - low, 1) * 255
        shape = (*wide.shape[:2], self.side, self.side)
        return {"where-samples": self.rows, "where": scaled.astype(np.uint8).reshape(shape)}
