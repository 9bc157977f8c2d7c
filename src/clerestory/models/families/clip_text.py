"""CLIP's text encoder: causal, pooled at its end-of-text token."""

from __future__ import annotations

from clerestory.models.core.family import SiteHook
from clerestory.models.core.types import Site
from clerestory.models.families.text import Text

__all__ = ["ClipText"]


class ClipText(Text):
    """A CLIP text encoder, with or without its projection."""

    begins = True

    def site_hooks(self, *, unused: int = 0) -> list[SiteHook]:
        """Attention with its heads, MLP and stream of every block, and the projected embedding."""
        # transformers 5 dropped the prefix `text_model.` inside some CLIP text encoders.
        prefix = "text_model." if hasattr(self.encoder, "text_model") else ""
        layers = self.encoder.get_submodule(f"{prefix}encoder.layers")
        config, hooks = self.encoder.config, []
        heads, width = config.num_attention_heads, config.hidden_size
        for index, layer in enumerate(layers):
            affects_output = index < len(layers) - unused
            for tap, path, units, split in (
                ("q", "self_attn.q_proj", width, heads),
                ("k", "self_attn.k_proj", width, heads),
                ("v", "self_attn.v_proj", width, heads),
                ("self_attn", "self_attn", width, None),
                ("mlp", "mlp.activation_fn", config.intermediate_size, None),
                ("resid", "", width, None),
            ):
                dotted = f"{self.root}.{prefix}encoder.layers.{index}.{path}".rstrip(".")
                module = layer.get_submodule(path)
                address = f"{self.stage}.blocks.{index}/{tap}"
                site = Site(address, (self.window, units), dotted, affects_output, split, module)
                hooks.append(SiteHook(site, text_window=self.stage))
        return [self.token_hook(f"{prefix}embeddings.token_embedding"), *hooks, *self._pooled()]

    def _pooled(self) -> list[SiteHook]:
        projection = getattr(self.encoder, "text_projection", None)
        if projection is None:
            return []
        dotted = f"{self.root}.text_projection"
        shape = (1, projection.out_features)
        return [SiteHook(Site(f"{self.stage}/pooled", shape, dotted, module=projection))]
