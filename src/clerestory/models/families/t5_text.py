"""T5's encoder: neither causal nor pooled, and without a start token."""

from __future__ import annotations

from typing_extensions import override

from clerestory.models.core.family import SiteHook
from clerestory.models.families.networks import Block
from clerestory.models.families.text import PipelineTextEncoder

__all__ = ["T5TextEncoder"]


class T5TextEncoder(PipelineTextEncoder):
    """The encoder of a T5. It has no `pooled` tap, since nothing in it is pooled."""

    embedding_path = "encoder.embed_tokens"
    blocks_path = "encoder.block"

    @override
    def block_hooks(self, block: Block) -> list[SiteHook]:
        config = self.encoder.config
        heads, attention = config.num_heads, "layer.0.SelfAttention"
        inner = heads * config.d_kv
        return [
            *(block.tap(tap, f"{attention}.{tap}", inner, heads=heads) for tap in "qkv"),
            block.tap("z", f"{attention}.o", inner, heads=heads, is_input=True),
            block.tap("self_attn", attention, config.d_model),
            # T5 has no module for the product of gate and value, so the neurons are the input of
            # `wo`.
            block.tap("mlp", "layer.1.DenseReluDense.wo", config.d_ff, is_input=True),
            block.tap("resid", "", config.d_model),
        ]
