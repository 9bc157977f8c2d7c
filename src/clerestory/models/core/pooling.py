"""Positions away: from `[sample, position, unit]` to `[sample, unit]`."""

from __future__ import annotations

import torch
from torch import Tensor

from clerestory.models.core.types import Pool

__all__ = ["POOLS", "WORD", "Pooler"]

POOLS = ("mean", "max", "last", "none")
WORD = "tokens:"
"""What stands before the word whose tokens are averaged."""


class Pooler:
    """Pools over positions, in float32; `none` gives `[sample, position, unit]` back.

    `counted`, bool `[sample, token]`, says which of the first positions count: real tokens, or a
    word's. Positions after those count as well, unless a word was asked for; `row` is False where
    they are a picture's, so that the last token is not the last of them. None where positions are
    no tokens: all count, and since a picture has no last place, `last` is the mean there. One is
    made for all the sites of a batch that share these, and works out their shares once.
    """

    def __init__(self, pool: Pool, counted: Tensor | None, *, row: bool = True) -> None:
        self.pool, self.counted, self.row = pool, counted, row
        self._kept: dict[tuple[int, str], Tensor] = {}
        self._shares: dict[tuple[int, str], Tensor] = {}

    def __call__(self, value: Tensor) -> Tensor:
        """`[sample, position, unit]` to `[sample, unit]`."""
        value = value.float()
        if self.pool == "none":
            return value.clone()  # the model may go on to change its own
        if self.counted is None:
            return value.amax(1) if self.pool == "max" else value.mean(1)
        keep = self._keep(value, self.counted)
        if self.pool == "last":
            places = torch.arange(value.shape[1], device=value.device)
            return value[torch.arange(len(value), device=value.device), (keep * places).argmax(1)]
        if self.pool == "max":
            return value.masked_fill(~keep[..., None], float("-inf")).amax(1)
        key = (value.shape[1], str(value.device))
        if key not in self._shares:
            self._shares[key] = (keep / keep.sum(1, keepdim=True))[:, None]
        return torch.bmm(self._shares[key], value)[:, 0]

    def _keep(self, value: Tensor, counted: Tensor) -> Tensor:
        key = (value.shape[1], str(value.device))
        if key not in self._kept:
            beyond = not self.pool.startswith(WORD) and (self.row or self.pool != "last")
            keep = torch.full(value.shape[:2], beyond, device=value.device)
            keep[:, : counted.shape[1]] = counted.to(value.device)
            self._kept[key] = keep
        return self._kept[key]
