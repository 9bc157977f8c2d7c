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
        """Attention with its heads, MLP and stream of every block, and the projected embedding.

        Args:
            unused: How many of the last blocks feed nothing in this pipeline; their sites have
                `affects_output` False.

        Returns:
            Hooks in the order in which the encoder computes their values.
        """
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
                # The neurons are what the non-linearity gives, before the second matrix mixes them.
                ("mlp", "mlp.activation_fn", config.intermediate_size, None),
                # No path: the block itself, whose output is the stream after it.
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
        # One position, since it is projected from the end-of-text token alone.
        shape = (1, projection.out_features)
        return [SiteHook(Site(f"{self.stage}/pooled", shape, dotted, module=projection))]
