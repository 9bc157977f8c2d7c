"""PixArt, Alpha and Sigma: T5, and a transformer with cross-attention."""

from __future__ import annotations

from math import lcm
from typing import Any

from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.core.types import Options
from clerestory.models.families.conditioned import TextFamily, condition_hook
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
class PixArt(TextFamily):
    """PixArt Alpha and Sigma: T5, a transformer with cross-attention, autoencoder."""

    encoded_arguments = (
        "prompt_embeds",
        "prompt_attention_mask",
        "negative_prompt_embeds",
        "negative_prompt_attention_mask",
    )

    def __init__(self, pipeline: Any) -> None:
        net, window = pipeline.transformer, T5_TOKENS[type(pipeline).__name__]
        super().__init__(
            pipeline,
            "transformer",
            [T5TextEncoder(pipeline, window=window, normalize=normalize_caption)],
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

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        return {
            **super().encode_options(negatives),
            # Cleaning captions of what looks like HTML needs two more packages and changes prompts,
            # so that tokens would not be the user's.
            "clean_caption": False,
            "max_sequence_length": self.window,
        }

    @override
    def pipeline_options(self, options: Options) -> dict[str, Any]:
        return {
            **super().pipeline_options(options),
            # The pipeline's default "" beside negative states would be refused.
            "negative_prompt": None,
            # Binning would replace the size that is asked for by one of a few.
            "use_resolution_binning": False,
            "clean_caption": False,
        }


def normalize_caption(text: str) -> str:
    """As the pipeline normalizes a caption that it does not clean."""
    return text.lower().strip()
