"""PixArt, Alpha and Sigma: T5, and a transformer with cross-attention."""

from __future__ import annotations

from typing import Any

from clerestory.models.core.family import families
from clerestory.models.core.types import Options
from clerestory.models.families.conditioned import (
    CONDITION,
    Conditioned,
    conditioning_hook,
    picture_size,
)
from clerestory.models.families.networks import basic_hooks, end_hooks, map_hooks
from clerestory.models.families.t5_text import T5Text

__all__ = ["PixArt"]

LONGEST = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}
"""How many tokens T5 is given, as the pipelines do by default."""


@families.register("PixArtAlphaPipeline")
@families.register("PixArtSigmaPipeline")
class PixArt(Conditioned):
    """PixArt Alpha and Sigma: T5, a transformer with cross-attention, autoencoder.

    Args:
        pipeline: The diffusers pipeline.

    Raises:
        ModelError: A text encoder or its tokenizer is missing.
    """

    def __init__(self, pipeline: Any) -> None:
        net, config = pipeline.transformer, pipeline.transformer.config
        self.window = LONGEST[type(pipeline).__name__]
        text = T5Text(
            pipeline.tokenizer,
            pipeline.text_encoder,
            "text",
            "text_encoder",
            self.window,
            _normalize,
        )
        super().__init__(pipeline, net, [text])
        channels = config.in_channels
        latent, prediction = end_hooks("transformer", net, channels, channels, "hidden_states")
        self.site_hooks = [
            *text.site_hooks(),
            conditioning_hook(CONDITION, (self.window, config.caption_channels), "text"),
            latent,
            *(
                hook
                for index, block in enumerate(net.transformer_blocks)
                for hook in basic_hooks(
                    f"denoiser.blocks.{index}",
                    f"transformer.transformer_blocks.{index}",
                    block,
                    "text",
                    self.window,
                )
            ),
            prediction,
            *map_hooks("vae", "vae.decoder", pipeline.vae.decoder),
        ]
        self.size_multiple = pipeline.vae_scale_factor
        height, width = picture_size(config.sample_size, pipeline.vae_scale_factor)
        self.defaults = Options(height, width, steps=20, guidance=4.5)

    def encode_texts(self, prompts: list[str], negatives: list[str] | None) -> dict[str, Any]:
        """T5's last states with their masks; captions are not cleaned of what looks like HTML.

        Args:
            prompts: One for each sample.
            negatives: Negative prompts; None where only one branch is drawn.

        Returns:
            Arguments of the pipeline: states `[sample, token, unit]` and masks `[sample, token]` of
            each branch.
        """
        cond, mask, uncond, other = self.pipeline.encode_prompt(
            prompts,
            do_classifier_free_guidance=negatives is not None,
            negative_prompt=negatives or "",
            device=self.pipeline._execution_device,
            # Cleaning needs two more packages and changes prompts, so that tokens would not be the
            # user's.
            clean_caption=False,
            max_sequence_length=self.window,
        )
        return {
            "prompt_embeds": cond,
            "prompt_attention_mask": mask,
            "negative_prompt_embeds": uncond,
            "negative_prompt_attention_mask": other,
        }

    def pipeline_options(self, options: Options) -> dict[str, Any]:
        """The same, drawn at the size that is asked for rather than a binned one.

        Args:
            options: Those of the batch.

        Returns:
            Keyword arguments of the pipeline's call.
        """
        return {
            **super().pipeline_options(options),
            # The pipeline's default "" beside negative states would be refused.
            "negative_prompt": None,
            "use_resolution_binning": False,
            "clean_caption": False,
        }


def _normalize(text: str) -> str:
    """As the pipeline normalises a caption that it does not clean."""
    return text.lower().strip()
