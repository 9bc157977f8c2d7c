"""Stable Diffusion 3: two CLIP encoders, a T5 that may be absent, a transformer of two streams.

Each block of the denoiser has a stream of the picture, `denoiser.blocks.3/…`, and one of the text,
`denoiser.blocks.3.text/…`; the last block's text stream ends in its attention, and has no `mlp`.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.families.clip_text import ClipTextEncoder
from clerestory.models.families.conditioned import TextFamily, condition_hook, pooled_hook
from clerestory.models.families.networks import stream_hooks
from clerestory.models.families.t5_text import T5TextEncoder
from clerestory.models.families.text import JoinedWindows

__all__ = ["StableDiffusion3"]

T5_TOKENS = 256
"""How many tokens T5 takes, as the pipeline has it by default."""


@families.register("StableDiffusion3Pipeline")
class StableDiffusion3(TextFamily):
    """Stable Diffusion 3 and 3.5: two CLIP encoders, T5 or none, a transformer, autoencoder."""

    half_precision = "bfloat16"
    single_file_types = ("sd3", "sd35_large", "sd35_medium")

    def __init__(self, pipeline: Any) -> None:
        net, config = pipeline.transformer, pipeline.transformer.config
        clip, clip_2 = ClipTextEncoder(pipeline), ClipTextEncoder(pipeline, "text_encoder_2")
        t5 = None
        if pipeline.text_encoder_3 is not None:
            t5 = T5TextEncoder(pipeline, "text_encoder_3", window=T5_TOKENS)
        # Both CLIP encoders stand side by side in the units of the same positions, so one window
        # serves them.
        joined = JoinedWindows((clip, clip.window), (t5, T5_TOKENS))
        super().__init__(
            pipeline,
            "transformer",
            [clip, clip_2, *([] if t5 is None else [t5])],
            conditioning=[
                condition_hook(joined.window, config.joint_attention_dim, "condition"),
                pooled_hook(config.pooled_projection_dim),
            ],
            blocks=[
                hook
                for index, block in enumerate(net.transformer_blocks)
                for hook in stream_hooks(index, block, net.inner_dim, joined.window, "condition")
            ],
            steps=28,
            guidance=7.0,
            # The latent is cut into patches, which must come out even.
            size_multiple=pipeline.vae_scale_factor * pipeline.patch_size,
        )
        self.text_windows = {**self.text_windows, "condition": joined}

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        options = super().encode_options(negatives)
        # None for the same prompt in all encoders.
        return {**options, "prompt_2": None, "prompt_3": None, "max_sequence_length": T5_TOKENS}
