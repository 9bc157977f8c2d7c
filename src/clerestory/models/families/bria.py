"""Bria 3.2: T5 without padding, a transformer like Flux's, autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.core.types import Options
from clerestory.models.families.conditioned import condition_hook
from clerestory.models.families.networks import single_hooks, stream_hooks
from clerestory.models.families.t5_text import T5TextEncoder
from clerestory.models.families.text_family import TextFamily

__all__ = ["Bria"]

T5_TOKENS = 128
WINDOW = "condition"
"""The text as the denoiser is fed it, with zeros in the place of padding."""


@families.register("BriaPipeline")
class Bria(TextFamily):
    """Bria 3.2: T5, a transformer of double and single blocks, autoencoder."""

    half_precision = "bfloat16"
    encoded_arguments = ("prompt_embeds", "negative_prompt_embeds")

    def __init__(self, pipeline: Any) -> None:
        net = pipeline.transformer
        super().__init__(
            pipeline,
            "transformer",
            [T5TextEncoder(pipeline, window=T5_TOKENS, longest=True, masks_padding=True)],
            conditioning=[condition_hook(T5_TOKENS, net.config.joint_attention_dim, WINDOW)],
            blocks=[
                *(
                    hook
                    for index, block in enumerate(net.transformer_blocks)
                    for hook in stream_hooks(index, block, net.inner_dim, T5_TOKENS, WINDOW)
                ),
                *single_hooks(net, T5_TOKENS, WINDOW),
            ],
            steps=30,
            guidance=5.0,
            # The latent is packed two by two into positions.
            size_multiple=pipeline.vae_scale_factor * 2,
            sample_size=pipeline.default_sample_size,
        )
        padded = T5TextEncoder(pipeline, window=T5_TOKENS)
        self.text_windows = {**self.text_windows, WINDOW: padded}

    @override
    def batch_limit(self, addresses: Sequence[str], options: Options) -> int | None:
        # The encoder is called for each text by itself; the denoiser for all of them.
        return 1 if any(address.startswith("text") for address in addresses) else None
