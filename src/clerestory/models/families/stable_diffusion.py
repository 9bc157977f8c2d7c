"""Stable Diffusion 1 and 2: one CLIP text encoder, a UNet with cross-attention."""

from __future__ import annotations

from typing import Any

from clerestory.models.core.family import families
from clerestory.models.core.types import Options
from clerestory.models.families.clip_text import ClipText
from clerestory.models.families.conditioned import (
    CONDITION,
    Conditioned,
    conditioning_hook,
    picture_size,
)
from clerestory.models.families.networks import end_hooks, map_hooks, unet_hooks

__all__ = ["StableDiffusion"]


@families.register("StableDiffusionPipeline")
class StableDiffusion(Conditioned):
    """Stable Diffusion 1 and 2: CLIP text encoder, UNet, autoencoder.

    Args:
        pipeline: The diffusers pipeline.

    Raises:
        ModelError: A text encoder or its tokenizer is missing.
    """

    single_file_types = ("v1", "v2")

    def __init__(self, pipeline: Any) -> None:
        text = ClipText(pipeline.tokenizer, pipeline.text_encoder, "text", "text_encoder")
        super().__init__(pipeline, pipeline.unet, [text])
        unet, channels = pipeline.unet, pipeline.unet.config.in_channels
        latent, prediction = end_hooks("unet", unet, channels, channels, "sample")
        shape = (text.window, unet.config.cross_attention_dim)
        self.site_hooks = [
            *text.site_hooks(),
            conditioning_hook(CONDITION, shape, "text"),
            latent,
            *unet_hooks("unet", unet, "text", text.window),
            prediction,
            *map_hooks("vae", "vae.decoder", pipeline.vae.decoder),
        ]
        # The pipeline refuses other multiples, whatever the autoencoder's scale is.
        self.size_multiple = 8
        height, width = picture_size(unet.config.sample_size, pipeline.vae_scale_factor)
        self.defaults = Options(height, width, steps=50, guidance=7.5)

    def has_two_branches(self, options: Options) -> bool:
        """Guidance may be distilled into the UNet (latent consistency models): then one branch.

        Args:
            options: Those of the batch.

        Returns:
            True with guidance above 1 and no embedding of guidance in the UNet.
        """
        return super().has_two_branches(options) and self.denoiser.config.time_cond_proj_dim is None

    def encode_texts(self, prompts: list[str], negatives: list[str] | None) -> dict[str, Any]:
        """CLIP's last hidden states.

        Args:
            prompts: One for each sample.
            negatives: Negative prompts; None where only one branch is drawn.

        Returns:
            Arguments of the pipeline: states `[sample, token, unit]` of each branch.
        """
        cond, uncond = self.pipeline.encode_prompt(
            prompts, self.pipeline._execution_device, 1, negatives is not None, negatives
        )
        return {
            "prompt_embeds": cond,
            "negative_prompt_embeds": uncond if negatives is not None else None,
        }
