"""Stable Diffusion 3: two CLIP encoders, a T5 that may be absent, a transformer of two streams.

Each block of the denoiser has a stream of the picture, `denoiser.blocks.3.image/…`, and one of the
text, `denoiser.blocks.3.text/…`; the last block's text stream ends in its attention, without `mlp`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.families.clip_text import ClipTextEncoder
from clerestory.models.families.conditioned import condition_hook, pooled_hook
from clerestory.models.families.networks import stream_hooks
from clerestory.models.families.t5_text import T5TextEncoder
from clerestory.models.families.text import JoinedWindows
from clerestory.models.families.text_family import TextFamily

__all__ = ["StableDiffusion3"]

T5_TOKENS = 256
"""How many tokens T5 takes, as the pipeline has it by default."""


@families.register("StableDiffusion3Pipeline")
@families.register("StableDiffusion3ControlNetPipeline")
class StableDiffusion3(TextFamily):
    """Stable Diffusion 3 and 3.5: two CLIP encoders, T5 or none, a transformer, autoencoder."""

    half_precision = "bfloat16"
    single_file_types: ClassVar[tuple[str, ...]] = ("sd3", "sd35_large", "sd35_medium")
    optional_parts = ("text_encoder_3", "tokenizer_3")
    text_comes_first = False

    def __init__(self, pipeline: Any) -> None:
        net, config = pipeline.transformer, pipeline.transformer.config
        clips = [clip := ClipTextEncoder(pipeline)]
        self.shares_encoder = pipeline.text_encoder is pipeline.text_encoder_2
        if not self.shares_encoder:
            clips.append(ClipTextEncoder(pipeline, "text_encoder_2"))
        t5 = None
        if pipeline.text_encoder_3 is not None:
            t5 = T5TextEncoder(pipeline, "text_encoder_3", window=T5_TOKENS)
        # Both CLIP encoders stand side by side in the units of the same positions, so one window
        # serves them.
        joined = JoinedWindows((clip, clip.window), (t5, T5_TOKENS))
        super().__init__(
            pipeline,
            "transformer",
            [*clips, *([] if t5 is None else [t5])],
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
    @staticmethod
    def prepare_pipeline(pipeline: Any) -> None:
        # An edit of the first encoder then reaches an equal second one as well, and its weights
        # are in memory once.
        first, second = pipeline.text_encoder, pipeline.text_encoder_2
        weights, others = first.state_dict(), second.state_dict()
        if weights.keys() == others.keys() and all(
            torch.equal(weights[name], others[name]) for name in weights
        ):
            pipeline.register_modules(text_encoder_2=first)

    @override
    def encode_texts(
        self, prompts: list[str], negatives: list[str] | None, **extra: Any
    ) -> dict[str, Any]:
        if not self.shares_encoder:
            return super().encode_texts(prompts, negatives, **extra)
        cond, pooled = self._encode_shared(prompts, extra.get("clip_skip"))
        uncond, pooled_uncond = (
            (None, None) if negatives is None else self._encode_shared(negatives)
        )
        values = (cond, uncond, pooled, pooled_uncond)
        return dict(zip(self.encoded_arguments, values, strict=True))

    def _encode_shared(
        self, texts: list[str], clip_skip: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """As the pipeline's `encode_prompt`, with one call for both CLIP encoders.

        Hooks then see one call of the stage `text` for each branch, and an edit there reaches both
        halves of the text states.
        """
        device = self.pipeline._execution_device
        states, pooled = self.pipeline._get_clip_prompt_embeds(
            texts, device=device, clip_skip=clip_skip
        )
        last = self.pipeline._get_t5_prompt_embeds(
            texts, max_sequence_length=T5_TOKENS, device=device
        )
        both = torch.cat([states, states], -1)
        padded = torch.nn.functional.pad(both, (0, last.shape[-1] - both.shape[-1]))
        return torch.cat([padded, last], -2), torch.cat([pooled, pooled], -1)

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        options = super().encode_options(negatives)
        # None for the same prompt in all encoders.
        return {**options, "prompt_2": None, "prompt_3": None, "max_sequence_length": T5_TOKENS}
