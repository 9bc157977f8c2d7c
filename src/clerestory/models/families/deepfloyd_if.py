"""DeepFloyd IF, its first stage: T5, and a UNet that draws pixels, so that there is no autoencoder.

`denoiser/latent` is the noisy picture itself. The UNet's attentions join the text to their own keys
and values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.core.types import Options
from clerestory.models.families.captions import normalize_caption
from clerestory.models.families.conditioned import condition_hook
from clerestory.models.families.networks import unet_hooks
from clerestory.models.families.t5_text import T5TextEncoder
from clerestory.models.families.text_family import TextFamily

__all__ = ["DeepFloydIF"]

T5_TOKENS = 77
"""How many tokens T5 takes, as the model was trained."""


@families.register("IFPipeline")
class DeepFloydIF(TextFamily):
    """DeepFloyd IF, the first stage: T5, a UNet of pixels."""

    load_arguments: ClassVar[Mapping[str, Any]] = {
        "safety_checker": None,
        "requires_safety_checker": False,
        "watermarker": None,
    }

    def __init__(self, pipeline: Any) -> None:
        unet = pipeline.unet
        text = T5TextEncoder(
            pipeline, window=T5_TOKENS, normalize=normalize_caption, masks_padding=True
        )
        super().__init__(
            pipeline,
            "unet",
            [text],
            conditioning=[condition_hook(T5_TOKENS, unet.config.encoder_hid_dim, "text")],
            blocks=unet_hooks("unet", unet, "text", T5_TOKENS),
            steps=100,
            guidance=7.0,
            size_multiple=2 ** (len(unet.config.block_out_channels) - 1),
        )

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        # Cleaning changes prompts, as in PixArt.
        return {**super().encode_options(negatives), "clean_caption": False}

    @override
    def pipeline_options(self, options: Options) -> dict[str, Any]:
        return {**super().pipeline_options(options), "clean_caption": False}
