"""Positions away: from `[sample, position, unit]` to `[sample, unit]`."""

from __future__ import annotations

import torch
from torch import Tensor

from clerestory.models.base import Pool

__all__ = ["POOLS", "WORD", "pooled"]

POOLS = ("mean", "max", "last", "none")
WORD = "tokens:"
"""What stands before the word whose tokens are averaged."""


def pooled(value: Tensor, pool: Pool, counted: Tensor | None, *, row: bool = True) -> Tensor:
    """Pool over positions, in float32; `none` gives `[sample, position, unit]` back.

    `counted`, bool `[sample, token]`, says which of the first positions count: real tokens, or a
    word's. Positions after those count as well, unless a word was asked for; `row` is False where
    they are a picture's, so that the last token is not the last of them. None where positions are
    no tokens: all count, and since a picture has no last place, `last` is the mean there.
    """
    value = value.detach().float()
    if pool == "none":
        return value.clone()  # the model may go on to change its own
    if counted is None:
        return value.amax(1) if pool == "max" else value.mean(1)
    beyond = not pool.startswith(WORD) and (row or pool != "last")
    keep = torch.full(value.shape[:2], beyond, device=value.device)
    keep[:, : counted.shape[1]] = counted.to(value.device)
    if pool == "last":
        places = torch.arange(value.shape[1], device=value.device)
        return value[torch.arange(len(value), device=value.device), (keep * places).argmax(1)]
    if pool == "max":
        return value.masked_fill(~keep[..., None], float("-inf")).amax(1)
    shares = keep / keep.sum(1, keepdim=True)
    return torch.bmm(shares[:, None], value)[:, 0]
