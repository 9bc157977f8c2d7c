"""CLIP's text encoder: causal, pooled at its end-of-text token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.models.core.family import SiteHook
from clerestory.models.families.networks import Block
from clerestory.models.families.text import PipelineTextEncoder

__all__ = ["ClipTextEncoder"]


class ClipTextEncoder(PipelineTextEncoder):
    """A CLIP text encoder, with or without its projection."""

    has_start_token = True

    @override
    def end_mask(self, texts: Sequence[str]) -> Tensor:
        # Its pooled state is that of the first end-of-text token, also where it stands in a prompt.
        ends = (self._padded(texts).input_ids == self.tokenizer.eos_token_id).cumsum(1)
        is_after = torch.nn.functional.pad(ends, (1, 0))[:, :-1] > 0
        return self.token_mask(texts) & ~is_after

    @property
    def prefix(self) -> str:
        """What stands before the paths of its modules."""
        # transformers 5 dropped the prefix inside some CLIP text encoders.
        return "text_model." if hasattr(self.encoder, "text_model") else ""

    @property
    @override
    def embedding_path(self) -> str:
        return f"{self.prefix}embeddings.token_embedding"

    @property
    @override
    def blocks_path(self) -> str:
        return f"{self.prefix}encoder.layers"

    @override
    def block_hooks(self, block: Block) -> list[SiteHook]:
        config = self.encoder.config
        heads, width = config.num_attention_heads, config.hidden_size
        return [
            *(block.tap(tap, f"self_attn.{tap}_proj", width, heads=heads) for tap in "qkv"),
            block.tap("z", "self_attn.out_proj", width, heads=heads, is_input=True),
            block.tap("self_attn", "self_attn", width),
            # The neurons are what the non-linearity gives, before the second matrix mixes them.
            block.tap("mlp", "mlp.activation_fn", config.intermediate_size),
            block.tap("resid", "", width),
        ]

    @override
    def site_hooks(self) -> list[SiteHook]:
        projection = getattr(self.encoder, "text_projection", None)
        if projection is None:
            return super().site_hooks()
        # One position, since it is projected from the end-of-text token alone.
        whole = replace(self.whole, positions=1, text_window="")
        pooled = whole.tap("pooled", "text_projection", projection.out_features)
        return [*super().site_hooks(), pooled]
