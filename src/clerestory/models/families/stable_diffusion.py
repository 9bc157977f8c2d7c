"""Stable Diffusion 1 and 2: one CLIP text encoder, a UNet with cross-attention."""

from __future__ import annotations

from collections.abc import Mapping
from math import lcm
from typing import Any, ClassVar

from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.families.clip_text import ClipTextEncoder
from clerestory.models.families.conditioned import condition_hook
from clerestory.models.families.networks import unet_hooks
from clerestory.models.families.text_family import TextFamily

__all__ = ["StableDiffusion"]


@families.register("StableDiffusionPipeline")
@families.register("StableDiffusionControlNetPipeline")
class StableDiffusion(TextFamily):
    """Stable Diffusion 1 and 2: CLIP text encoder, UNet, autoencoder."""

    single_file_types: ClassVar[tuple[str, ...]] = ("v1", "v2")
    skipping_stages: ClassVar[tuple[str, ...]] = ("text",)
    # The safety checker blackens pictures.
    load_arguments: ClassVar[Mapping[str, Any]] = {
        "safety_checker": None,
        "requires_safety_checker": False,
    }

    def __init__(self, pipeline: Any) -> None:
        text, unet = ClipTextEncoder(pipeline), pipeline.unet
        width = unet.config.cross_attention_dim
        super().__init__(
            pipeline,
            "unet",
            [text],
            conditioning=[condition_hook(text.window, width, "text")],
            blocks=unet_hooks("unet", unet, "text", text.window),
            steps=50,
            guidance=7.5,
            # The pipeline refuses other multiples of 8, and cuts off parts of a latent's pixel.
            size_multiple=lcm(8, pipeline.vae_scale_factor),
        )

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        return {**super().encode_options(negatives), "num_images_per_prompt": 1}
