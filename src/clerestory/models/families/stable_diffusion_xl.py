"""SDXL, also Turbo: two CLIP text encoders, of which the second is pooled as well.

Both are read at their penultimate block, so the first encoder's last block feeds nothing. Where the
checkpoint says so (most do), the empty prompt is never encoded: its states are zeros.
"""

from __future__ import annotations

from typing import Any

from clerestory.models.core.family import families
from clerestory.models.core.types import Options
from clerestory.models.families.clip_text import ClipText
from clerestory.models.families.conditioned import (
    CONDITION,
    POOLED,
    STATES_AND_POOLED,
    Conditioned,
    conditioning_hook,
    picture_size,
)
from clerestory.models.families.networks import end_hooks, map_hooks, unet_hooks

__all__ = ["StableDiffusionXL"]


@families.register("StableDiffusionXLPipeline")
class StableDiffusionXL(Conditioned):
    """SDXL and SDXL Turbo: two CLIP text encoders, UNet, autoencoder.

    Args:
        pipeline: The diffusers pipeline.

    Raises:
        ModelError: A text encoder or its tokenizer is missing.
    """

    argument_names = STATES_AND_POOLED
    single_file_types = ("xl_base", "playground-v2-5")

    def __init__(self, pipeline: Any) -> None:
        texts = [
            ClipText(pipeline.tokenizer, pipeline.text_encoder, "text", "text_encoder"),
            ClipText(pipeline.tokenizer_2, pipeline.text_encoder_2, "text_2", "text_encoder_2"),
        ]
        super().__init__(pipeline, pipeline.unet, texts)
        unet, channels, window = pipeline.unet, pipeline.unet.config.in_channels, texts[1].window
        latent, prediction = end_hooks("unet", unet, channels, channels, "sample")
        pooled = pipeline.text_encoder_2.config.projection_dim
        self.site_hooks = [
            # Penultimate states are read of both; the second encoder's last block still makes the
            # pooled embedding.
            *texts[0].site_hooks(unused=1),
            *texts[1].site_hooks(),
            conditioning_hook(CONDITION, (window, unet.config.cross_attention_dim), "text_2"),
            conditioning_hook(POOLED, (1, pooled)),
            latent,
            *unet_hooks("unet", unet, "text_2", window),
            prediction,
            *map_hooks("vae", "vae.decoder", pipeline.vae.decoder),
        ]
        self.size_multiple = 8
        height, width = picture_size(unet.config.sample_size, pipeline.vae_scale_factor)
        steps, guidance = (4, 0.0) if _is_turbo(pipeline.scheduler) else (50, 5.0)
        self.defaults = Options(height, width, steps=steps, guidance=guidance)

    def has_two_branches(self, options: Options) -> bool:
        """Guidance may be distilled into the UNet (latent consistency models): then one branch.

        Args:
            options: Those of the batch.

        Returns:
            True with guidance above 1 and no embedding of guidance in the UNet.
        """
        return super().has_two_branches(options) and self.denoiser.config.time_cond_proj_dim is None

    def encode_texts(self, prompts: list[str], negatives: list[str] | None) -> dict[str, Any]:
        """Penultimate hidden states of both encoders side by side, pooled ones of the second.

        Args:
            prompts: One for each sample.
            negatives: Negative prompts; None where only one branch is drawn.

        Returns:
            Arguments of the pipeline: states `[sample, token, unit]` and pooled ones
            `[sample, unit]` of each branch.
        """
        # The pipeline gives zeros for a negative prompt of None only, not for "", so all empty ones
        # become None.
        zeros = negatives is not None and not any(negatives)
        zeros = zeros and self.pipeline.config.force_zeros_for_empty_prompt
        cond, uncond, pooled, other = self.pipeline.encode_prompt(
            prompts,
            device=self.pipeline._execution_device,
            do_classifier_free_guidance=negatives is not None,
            negative_prompt=None if zeros else negatives,
        )
        return {
            "prompt_embeds": cond,
            "pooled_prompt_embeds": pooled,
            "negative_prompt_embeds": uncond,
            "negative_pooled_prompt_embeds": other,
        }


def _is_turbo(scheduler: Any) -> bool:
    """Only the scheduler tells Turbo: ancestral, and spaced from the last timestep."""
    ancestral = type(scheduler).__name__.startswith("EulerAncestral")
    return ancestral and scheduler.config.get("timestep_spacing") == "trailing"
