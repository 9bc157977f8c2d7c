"""SDXL, also Turbo: two CLIP text encoders, of which the second is pooled as well.

Both are read at their penultimate block, so the first encoder's last block affects nothing. Where
the checkpoint says so (most do), the empty prompt is never encoded: its states are zeros.
"""

from __future__ import annotations

from math import lcm
from typing import Any, ClassVar

from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.families.clip_text import ClipTextEncoder
from clerestory.models.families.conditioned import condition_hook, pooled_hook
from clerestory.models.families.networks import unet_hooks
from clerestory.models.families.text_family import TextFamily

__all__ = ["StableDiffusionXL"]


@families.register("StableDiffusionXLPipeline")
@families.register("StableDiffusionXLControlNetPipeline")
class StableDiffusionXL(TextFamily):
    """SDXL and SDXL Turbo: two CLIP text encoders, UNet, autoencoder."""

    single_file_types: ClassVar[tuple[str, ...]] = ("xl_base", "playground-v2-5")
    # The second encoder's last blocks still make the pooled embedding.
    skipping_stages = ("text",)

    def __init__(self, pipeline: Any) -> None:
        # The second encoder's last block still makes the pooled embedding.
        first = ClipTextEncoder(pipeline, unused_blocks=1)
        second = ClipTextEncoder(pipeline, "text_encoder_2")
        unet = pipeline.unet
        width = unet.config.cross_attention_dim
        steps, guidance = (4, 0.0) if _is_turbo(pipeline.scheduler) else (50, 5.0)
        super().__init__(
            pipeline,
            "unet",
            [first, second],
            conditioning=[
                condition_hook(second.window, width, "text_2"),
                pooled_hook(second.encoder.config.projection_dim),
            ],
            blocks=unet_hooks("unet", unet, "text_2", second.window),
            steps=steps,
            guidance=guidance,
            size_multiple=lcm(8, pipeline.vae_scale_factor),
        )

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        options = super().encode_options(negatives)
        # The pipeline gives zeros for a negative prompt of None only, not for "", so all empty ones
        # become None.
        if self.pipeline.config.force_zeros_for_empty_prompt and not any(negatives or ()):
            options["negative_prompt"] = None
        return options


def _is_turbo(scheduler: Any) -> bool:
    """Only the scheduler tells Turbo: ancestral, and spaced from the last timestep."""
    ancestral = type(scheduler).__name__.startswith("EulerAncestral")
    return ancestral and scheduler.config.get("timestep_spacing") == "trailing"
