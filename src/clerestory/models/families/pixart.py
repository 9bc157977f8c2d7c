"""PixArt, Alpha and Sigma: T5, and a transformer with cross-attention."""

from __future__ import annotations

from math import lcm
from typing import Any

from clerestory.models.core.family import families
from clerestory.models.families.captions import CaptionFamily, normalize_caption
from clerestory.models.families.conditioned import condition_hook
from clerestory.models.families.networks import Block, basic_hooks
from clerestory.models.families.t5_text import T5TextEncoder

__all__ = ["PixArt"]

T5_TOKENS = {
    "PixArtAlphaPipeline": 120,
    "PixArtSigmaPipeline": 300,
    "PixArtSigmaPAGPipeline": 300,
}
"""How many tokens T5 takes, as the pipelines have it by default."""


@families.register("PixArtAlphaPipeline")
@families.register("PixArtSigmaPipeline")
class PixArt(CaptionFamily):
    """PixArt Alpha and Sigma: T5, a transformer with cross-attention, autoencoder."""

    def __init__(self, pipeline: Any) -> None:
        net, window = pipeline.transformer, T5_TOKENS[type(pipeline).__name__]
        super().__init__(
            pipeline,
            "transformer",
            [
                T5TextEncoder(
                    pipeline, window=window, normalize=normalize_caption, masks_padding=True
                )
            ],
            conditioning=[condition_hook(window, net.config.caption_channels, "text")],
            blocks=[
                hook
                for index, module in enumerate(net.transformer_blocks)
                for hook in basic_hooks(
                    Block(
                        f"denoiser.blocks.{index}",
                        f"transformer.transformer_blocks.{index}",
                        module,
                    ),
                    "text",
                    window,
                )
            ],
            steps=20,
            guidance=4.5,
            # The pipeline refuses other multiples of 8; patches of the latent must come out even.
            size_multiple=lcm(8, pipeline.vae_scale_factor * net.config.patch_size),
        )
        self.window = window
