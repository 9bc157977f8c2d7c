"""T5's encoder: neither causal nor pooled, and without a start token."""

from __future__ import annotations

from typing import Any

from clerestory.models.core.family import SiteHook
from clerestory.models.core.types import Site
from clerestory.models.families.text import Text

__all__ = ["T5Text"]


class T5Text(Text):
    """The encoder of a T5. It has no `pooled` tap, since nothing in it is pooled."""

    def site_hooks(self, *, unused: int = 0) -> list[SiteHook]:
        """Attention with its heads, MLP (after the gate) and stream of every block.

        Args:
            unused: How many of the last blocks feed nothing in this pipeline; their sites have
                `affects_output` False.

        Returns:
            Hooks in the order in which the encoder computes their values.
        """
        config, hooks = self.encoder.config, []
        inner, heads = config.num_heads * config.d_kv, config.num_heads
        for index, block in enumerate(self.encoder.encoder.block):
            affects_output = index < len(self.encoder.encoder.block) - unused
            for tap, path, units, split, side in (
                ("q", "layer.0.SelfAttention.q", inner, heads, "output"),
                ("k", "layer.0.SelfAttention.k", inner, heads, "output"),
                ("v", "layer.0.SelfAttention.v", inner, heads, "output"),
                ("self_attn", "layer.0.SelfAttention", config.d_model, None, "output"),
                # T5 has no module for the product of gate and value, so the neurons are the input
                # of `wo`.
                ("mlp", "layer.1.DenseReluDense.wo", config.d_ff, None, "input"),
                ("resid", "", config.d_model, None, "output"),
            ):
                dotted = f"{self.root}.encoder.block.{index}.{path}".rstrip(".")
                module: Any = block.get_submodule(path)
                address = f"{self.stage}.blocks.{index}/{tap}"
                site = Site(address, (self.window, units), dotted, affects_output, split, module)
                hooks.append(SiteHook(site, side=side, text_window=self.stage))  # type: ignore[arg-type]
        return [self.token_hook("encoder.embed_tokens"), *hooks]
