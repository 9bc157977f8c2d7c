"""Kolors: ChatGLM 3 in the place of SDXL's text encoders.

The states are those before its last block; what this one gives for the last token is
`denoiser/pooled`.
"""

from __future__ import annotations

from math import lcm
from typing import Any

from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.families.chat_glm_text import ChatGlmTextEncoder
from clerestory.models.families.conditioned import condition_hook, pooled_hook
from clerestory.models.families.networks import unet_hooks
from clerestory.models.families.text_family import TextFamily

__all__ = ["Kolors"]

TOKENS = 256
"""How many tokens the text encoder takes, as the pipeline has it."""


@families.register("KolorsPipeline")
class Kolors(TextFamily):
    """Kolors: ChatGLM 3, UNet, autoencoder."""

    def __init__(self, pipeline: Any) -> None:
        text = ChatGlmTextEncoder(pipeline, window=TOKENS)
        width = text.encoder.config.hidden_size
        super().__init__(
            pipeline,
            "unet",
            [text],
            conditioning=[condition_hook(TOKENS, width, text.stage), pooled_hook(width)],
            blocks=unet_hooks("unet", pipeline.unet, text.stage, TOKENS),
            steps=50,
            guidance=5.0,
            size_multiple=lcm(8, pipeline.vae_scale_factor),
        )

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        return {**super().encode_options(negatives), "max_sequence_length": TOKENS}
