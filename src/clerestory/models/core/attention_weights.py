"""Attention weights of one call of `scaled_dot_product_attention`, with its masks and its scale.

Only what is asked for is computed: the queries of a picture's positions or of a few tokens, and of
the weights their sums over words. No row of all queries and keys is ever in memory whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["AttentionCall"]

MAX_LOGITS = 1 << 26
"""Logits that are computed at once: 256 MB in float32."""


@dataclass(frozen=True)
class AttentionCall:
    """What one call was given.

    Attributes:
        query: `[row, head, query, unit]`, normalised and rotated as the network does it.
        key: `[row, head, key, unit]`, with as many heads.
        mask: As `scaled_dot_product_attention` takes it, expanded to `[row, head, query, key]`.
        scale: The factor of the logits; None for one over the root of the number of units.
    """

    query: Tensor
    key: Tensor
    mask: Tensor | None
    scale: float | None

    @classmethod
    def of(
        cls,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **options: Any,
    ) -> AttentionCall:
        """A call from its arguments.

        Args:
            query: The queries.
            key: The keys, perhaps of fewer heads, of which several queries share one.
            value: The values, of which weights do not depend.
            attn_mask: True where a key counts, or a number that is added to the logit.
            dropout_p: Not used: networks are run without.
            is_causal: Whether a query sees the keys up to its own alone.
            scale: The factor of the logits.
            **options: What makes no difference to the weights.

        Returns:
            The call, whose keys have the heads of the queries.
        """
        shape = (*query.shape[:3], key.shape[2])
        if is_causal:
            attn_mask = torch.ones(shape[2:], dtype=torch.bool, device=query.device).tril()
        mask = None if attn_mask is None else attn_mask.expand(shape)
        if key.shape[1] != query.shape[1]:
            # As keys are repeated where the kernel does not share them.
            key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        return cls(query, key, mask, scale)

    def select(
        self,
        *,
        rows: slice = slice(None),
        heads: Sequence[int] | None = None,
        queries: slice | Tensor = slice(None),
    ) -> AttentionCall:
        """A part of the call.

        Args:
            rows: Rows of the batch.
            heads: Indices of heads; None for all.
            queries: Queries; all keys stay, since a softmax is over them.

        Returns:
            The part, views where torch can make them.
        """
        chosen = slice(None) if heads is None else list(heads)
        parts = [
            None if part is None else part[rows][:, chosen]
            for part in (self.query, self.key, self.mask)
        ]
        query, key, mask = parts
        assert query is not None and key is not None
        mask = None if mask is None else mask[:, :, queries]
        return replace(self, query=query[:, :, queries], key=key, mask=mask)

    def sums(self, marks: Tensor) -> Tensor:
        """The weight that each query gives to groups of keys.

        The model's own kernel computes it, with the groups' marks in the place of values, so that
        it is as fast and as exact as the model's attention.

        Args:
            marks: `[row, group, key]`, 1 for a group's keys.

        Returns:
            float32 `[row, head, query, group]`.
        """
        rows, heads, _, width = self.query.shape
        parts = []
        # As many groups at once as values have units: kernels want as many as queries have.
        for group in marks.split(width, dim=1):
            values = self.key.new_zeros(rows, 1, self.key.shape[2], width)
            values[:, 0, :, : group.shape[1]] = group.transpose(1, 2)
            values = values.expand(-1, heads, -1, -1)
            chunks = [
                scaled_dot_product_attention(
                    part.query, part.key, values, attn_mask=part.mask, scale=self.scale
                )[..., : group.shape[1]].float()
                for part in self._chunks()
            ]
            parts.append(torch.cat(chunks, 2))
        return torch.cat(parts, 3)

    def weights(self) -> Tensor:
        """All weights of the queries, for a few of them.

        Returns:
            float32 `[row, head, query, key]`.
        """
        scale = self.query.shape[-1] ** -0.5 if self.scale is None else self.scale
        logits = self.query.float() @ self.key.float().transpose(-1, -2) * scale
        if self.mask is not None and self.mask.dtype == torch.bool:
            logits = logits.masked_fill(~self.mask, float("-inf"))
        elif self.mask is not None:
            logits = logits + self.mask
        return logits.softmax(-1)

    def _chunks(self) -> list[AttentionCall]:
        """The call in parts of some queries, where a kernel may compute all logits at once."""
        rows, heads, queries, _ = self.query.shape
        size = max(1, MAX_LOGITS // (rows * heads * self.key.shape[2]))
        if size >= queries:
            return [self]
        return [
            self.select(queries=slice(start, start + size)) for start in range(0, queries, size)
        ]
