"""Maps of words, summed while a model runs, so that only what is asked for is ever in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from math import log
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from clerestory.errors import OptionError, SiteError

__all__ = ["Grid", "MapSums", "grid_of"]

Grid = tuple[int, int]
"""Height and width in positions; (0, 0) where positions are no picture's."""
Key = tuple[str, int]
"""A layer and a step, "" and -1 where maps are averaged over them."""
MAX_DISTORTION = 1.3
"""How far the sides of a grid may differ from the picture's, whose latents may be rounded up."""


def grid_of(positions: int, height: int, width: int, address: str) -> Grid:
    """The rows and columns of a picture's positions.

    Args:
        positions: Their number.
        height: Of the picture, in any unit.
        width: Of the picture, in the same unit.
        address: The layer, for the message.

    Returns:
        Rows and columns, of the picture's proportions.

    Raises:
        SiteError: No grid of so many positions has these proportions.
    """
    grids = [(rows, positions // rows) for rows in range(1, positions + 1) if not positions % rows]
    distortion, grid = min(
        (abs(log(rows * width / (columns * height))), (rows, columns)) for rows, columns in grids
    )
    # A few positions only may be far off by rounding, as 2 × 1 of a latent of 3 × 2.
    if distortion > log(MAX_DISTORTION) and min(grid) > 2:
        raise SiteError(
            f"{address} has {positions} positions, which are no grid of a picture of "
            f"{width}×{height}."
        )
    return grid


class MapSums:
    """Sums of maps of one batch, by what is kept apart.

    Args:
        keep: Which of `layer`, `step` and `head` are kept apart; maps are averaged over the others.
        spreads: Whether a map's values are shares of one mass, so that a finer grid has smaller
            ones; otherwise each position's value is a share of its own.
    """

    def __init__(self, keep: Collection[str], *, spreads: bool) -> None:
        self._keep, self._spreads = keep, spreads
        self._sums: dict[tuple[Key, Grid], Tensor] = {}
        self._counts: Counter[Key] = Counter()

    def __getstate__(self) -> dict[str, Any]:
        # Another process may have no accelerator.
        return {**vars(self), "_sums": {key: each.cpu() for key, each in self._sums.items()}}

    def add(self, layer: str, step: int, grid: Grid, maps: Tensor) -> None:
        """Add the maps of one call.

        Args:
            layer: The address of the layer.
            step: The index of the step.
            grid: Rows and columns of the positions.
            maps: float32 `[sample, word, head, position]`.

        Raises:
            OptionError: Heads are kept apart and layers that differ in their number are not.
        """
        key = (layer if "layer" in self._keep else "", step if "step" in self._keep else -1)
        maps = maps if "head" in self._keep else maps.mean(2, keepdim=True)
        other = next((total for (known, _), total in self._sums.items() if known == key), maps)
        if other.shape[2] != maps.shape[2]:
            raise OptionError(
                f"{layer} has {maps.shape[2]} heads and another layer {other.shape[2]}: keep layers"
                " apart as well, or select layers with as many heads."
            )
        total = self._sums.get((key, grid))
        # Steps that are kept apart leave the accelerator at once.
        kept = maps.cpu() if "step" in self._keep else maps
        self._sums[key, grid] = kept if total is None else total + kept.to(total.device)
        self._counts[key] += 1

    @property
    def layers(self) -> list[str]:
        """Layers that are kept apart, in the order in which they ran; "" for their mean."""
        return list(dict.fromkeys(layer for layer, _ in self._counts))

    @property
    def steps(self) -> list[int]:
        """Steps that are kept apart; -1 for their mean."""
        return sorted({step for _, step in self._counts})

    @property
    def grid(self) -> Grid:
        """The finest grid of all layers, to which the others are resized."""
        return max((grid for _, grid in self._sums), key=lambda grid: grid[0] * grid[1])

    def mean(self) -> Tensor:
        """The means.

        Returns:
            float32 `[sample, word, layer, step, head, position]`, on the CPU; NaN for heads that a
            layer does not have, and where a layer did not run at a step.
        """
        first = next(iter(self._sums.values()))
        heads = max(total.shape[2] for total in self._sums.values())
        rows, columns = self.grid
        cells = rows * columns or first.shape[3]
        layers, steps = self.layers, self.steps
        shape = (*first.shape[:2], len(layers), len(steps), heads, cells)
        result = torch.full(shape, float("nan"))
        for key, count in self._counts.items():
            parts = [(grid, total) for (known, grid), total in self._sums.items() if known == key]
            mean = torch.stack([self._resize(total, grid).cpu() for grid, total in parts]).sum(0)
            place = result[:, :, layers.index(key[0]), steps.index(key[1])]
            place[:, :, : mean.shape[2]] = mean / count
        return result

    def _resize(self, maps: Tensor, grid: Grid) -> Tensor:
        if grid == self.grid:
            return maps
        resized = interpolate(
            maps.flatten(0, 1).unflatten(-1, grid), size=self.grid, mode="bilinear"
        )
        if self._spreads:
            resized = resized * (grid[0] * grid[1] / (self.grid[0] * self.grid[1]))
        flat: Tensor = resized.flatten(-2)
        return flat.view(*maps.shape[:3], flat.shape[-1])
