"""Pooling over positions: from `[sample, position, unit]` to `[sample, unit]`."""

from __future__ import annotations

import torch
from torch import Tensor

from clerestory.models.core.types import Pool

__all__ = ["POOLS", "TOKENS_PREFIX", "Pooler"]

POOLS = ("mean", "max", "last", "none")
TOKENS_PREFIX = "tokens:"
"""Prefix of a pool that averages over the tokens of one word."""


class Pooler:
    """Pools over positions, in float32 or in double precision; the pool `none` keeps them.

    One pooler serves all the sites of a batch that share a text window, so that its weights are
    computed once.

    Args:
        pool: `mean`, `max`, `last`, `none`, or `tokens:WORD`.
        mask: Which tokens count, bool `[sample, token]`: real tokens, or a word's. Positions after
            the tokens count as well, unless a word is pooled. None if positions are not tokens:
            then all count.
        sequence: Whether positions after the tokens continue the sequence. False where they are a
            picture's: it has no last position, so `last` stays among the tokens, and is the mean
            where there are none.
        closed: Whether positions after the tokens are padding, of which none counts.
        keeps_double: Whether values of double precision stay so, as finite differences need it.
    """

    def __init__(
        self,
        pool: Pool,
        mask: Tensor | None,
        *,
        sequence: bool = True,
        closed: bool = False,
        keeps_double: bool = False,
    ) -> None:
        self.pool, self.mask, self.sequence, self.closed = pool, mask, sequence, closed
        self.keeps_double = keeps_double
        # By number of positions and device, in which the sites of one window may differ.
        self._masks: dict[tuple[int, str], Tensor] = {}
        self._weights: dict[tuple[int, str], Tensor] = {}

    def __call__(self, value: Tensor, rows: slice = slice(None)) -> Tensor:
        """Pool activations.

        Args:
            value: `[sample, position, unit]`.
            rows: Which samples of the mask they are; by default all.

        Returns:
            float32 `[sample, unit]`, or with positions where the pool is `none`.
        """
        # float32 also where the model is in half precision: float16 keeps three digits of a mean,
        # and a sum may overflow it.
        if not (self.keeps_double and value.dtype == torch.float64):
            value = value.float()
        if self.pool == "none":
            return value.clone()  # the model may go on to change its own
        if self.mask is None:
            return value.amax(1) if self.pool == "max" else value.mean(1)
        mask = self._full_mask(value, self.mask)[rows]
        if self.pool == "last":
            positions = torch.arange(value.shape[1], device=value.device)
            # The highest true position; `argmax` of the mask alone would give the first.
            last = (mask * positions).argmax(1)
            return value[torch.arange(len(value), device=value.device), last]
        if self.pool == "max":
            # -inf rather than 0: activations may all be negative.
            return value.masked_fill(~mask[..., None], float("-inf")).amax(1)
        # A batched product needs no masked copy of the activations.
        key = (value.shape[1], str(value.device))
        if key not in self._weights:
            full = self._full_mask(value, self.mask)
            self._weights[key] = (full / full.sum(1, keepdim=True))[:, None]
        return torch.bmm(self._weights[key][rows].to(value.dtype), value)[:, 0]

    def _full_mask(self, value: Tensor, mask: Tensor) -> Tensor:
        """The mask at all positions of a site, which may go on after the tokens."""
        key = (value.shape[1], str(value.device))
        if key not in self._masks:
            beyond = (
                not self.closed
                and not self.pool.startswith(TOKENS_PREFIX)
                and (self.sequence or self.pool != "last")
            )
            full = torch.full((len(mask), value.shape[1]), beyond, device=value.device)
            # Shorter than the site where the denoiser appends positions to the text, or the prior
            # its own tokens.
            full[:, : mask.shape[1]] = mask.to(value.device)
            self._masks[key] = full
        return self._masks[key]
