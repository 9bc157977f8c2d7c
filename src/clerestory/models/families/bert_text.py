"""BERT's encoder, and XLM-RoBERTa's, which has the same modules: both read in both directions."""

from __future__ import annotations

from dataclasses import replace

from typing_extensions import override

from clerestory.models.core.family import SiteHook
from clerestory.models.families.networks import Block
from clerestory.models.families.text import PipelineTextEncoder

__all__ = ["BertTextEncoder", "MultilingualClipTextEncoder"]


class BertTextEncoder(PipelineTextEncoder):
    """A BERT. It has no `pooled` tap, since its pooled state is not used."""

    has_start_token = True
    embedding_path = "embeddings.word_embeddings"
    blocks_path = "encoder.layer"

    @override
    def block_hooks(self, block: Block) -> list[SiteHook]:
        config = self.encoder.config
        heads, width = config.num_attention_heads, config.hidden_size
        # The residual and a normalisation follow within `attention.output`.
        mixing = "attention.output.dense"
        return [
            *(
                block.tap(tap, f"attention.self.{name}", width, heads=heads)
                for tap, name in (("q", "query"), ("k", "key"), ("v", "value"))
            ),
            block.tap("z", mixing, width, heads=heads, is_input=True),
            block.tap("self_attn", mixing, width),
            # What the second matrix takes, as baking an edit into weights needs it.
            block.tap("mlp", "output.dense", config.intermediate_size, is_input=True),
            block.tap("resid", "", width),
        ]


class MultilingualClipTextEncoder(BertTextEncoder):
    """Kandinsky 2.1's XLM-RoBERTa, whose states are averaged over tokens and projected."""

    embedding_path = "transformer.embeddings.word_embeddings"
    blocks_path = "transformer.encoder.layer"

    @override
    def site_hooks(self) -> list[SiteHook]:
        projection = "LinearTransformation"
        units = self.encoder.get_submodule(projection).out_features
        whole = replace(self.whole, positions=1, text_window="")
        return [*super().site_hooks(), whole.tap("pooled", projection, units)]
