"""Positions away: from `[sample, position, unit]` to `[sample, unit]`."""

from __future__ import annotations

import torch
from torch import Tensor

from clerestory.models.base import Pool

__all__ = ["pooled"]


def pooled(value: Tensor, pool: Pool, real: Tensor | None) -> Tensor:
    """Pool over positions, in float32; `none` gives `[sample, position, unit]` back.

    `real`, bool `[sample, token]`, says which of the first positions hold real tokens; positions
    after those count as real. None where positions are no tokens: all count, and since a picture
    has no last place, `last` is the mean there.
    """
    value = value.float()
    if pool == "none":
        return value
    if real is None:
        return value.amax(1) if pool == "max" else value.mean(1)
    counted = torch.ones(value.shape[:2], dtype=torch.bool, device=value.device)
    counted[:, : real.shape[1]] = real
    if pool == "last":
        places = torch.arange(value.shape[1], device=value.device)
        return value[torch.arange(len(value)), (counted * places).argmax(1)]
    if pool == "max":
        return value.masked_fill(~counted[..., None], float("-inf")).amax(1)
    shares = counted / counted.sum(1, keepdim=True)
    return torch.bmm(shares[:, None], value)[:, 0]
