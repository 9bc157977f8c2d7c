"""Stable Diffusion 3: two CLIP encoders, a T5 that may be absent, a transformer of two streams.

Each block of the denoiser has a stream of the picture, `denoiser.blocks.3/…`, and one of the text,
`denoiser.blocks.3.text/…`; the last block's text stream ends in its attention, and has no `mlp`.
"""

from __future__ import annotations

from typing import Any

from clerestory.models.core.family import SiteHook, families
from clerestory.models.core.types import Options
from clerestory.models.families.clip_text import ClipText
from clerestory.models.families.conditioned import (
    CONDITION,
    POOLED,
    STATES_AND_POOLED,
    Conditioned,
    JoinedWindows,
    conditioning_hook,
    picture_size,
)
from clerestory.models.families.networks import (
    ADDED,
    attention_hooks,
    end_hooks,
    map_hooks,
    mlp_hook,
    tap_hook,
)
from clerestory.models.families.t5_text import T5Text
from clerestory.models.families.text import Text

__all__ = ["StableDiffusion3", "stream_hooks"]

LONGEST = 256
"""How many tokens T5 is given, as the pipeline does by default."""


@families.register("StableDiffusion3Pipeline")
class StableDiffusion3(Conditioned):
    """Stable Diffusion 3 and 3.5: two CLIP encoders, T5 or none, a transformer, autoencoder.

    Args:
        pipeline: The diffusers pipeline.

    Raises:
        ModelError: A text encoder or its tokenizer is missing.
    """

    half_precision = "bfloat16"
    single_file_types = ("sd3", "sd35_large", "sd35_medium")
    argument_names = STATES_AND_POOLED

    def __init__(self, pipeline: Any) -> None:
        net, third = pipeline.transformer, pipeline.text_encoder_3
        texts: list[Text] = [
            ClipText(pipeline.tokenizer, pipeline.text_encoder, "text", "text_encoder"),
            ClipText(pipeline.tokenizer_2, pipeline.text_encoder_2, "text_2", "text_encoder_2"),
        ]
        if third is not None:
            texts.append(T5Text(pipeline.tokenizer_3, third, "text_3", "text_encoder_3", LONGEST))
        super().__init__(pipeline, net, texts)
        # Both CLIP encoders stand side by side in the units of the same positions, so one window
        # serves them.
        clip, t5 = texts[0], texts[2] if len(texts) > 2 else None
        self.text_windows = {
            **self.text_windows,
            "condition": JoinedWindows((clip, clip.window), (t5, LONGEST)),
        }
        window, config = clip.window + LONGEST, net.config
        latent, prediction = end_hooks(
            "transformer", net, config.in_channels, config.out_channels, "hidden_states"
        )
        hooks = [hook for text in texts for hook in text.site_hooks()]
        self.site_hooks = [
            *hooks,
            conditioning_hook(CONDITION, (window, config.joint_attention_dim), "condition"),
            conditioning_hook(POOLED, (1, config.pooled_projection_dim)),
            latent,
            *(
                hook
                for index, block in enumerate(net.transformer_blocks)
                for hook in stream_hooks(index, block, net.inner_dim, window, "condition")
            ),
            prediction,
            *map_hooks("vae", "vae.decoder", pipeline.vae.decoder),
        ]
        # The latent is cut into patches, which must come out even.
        self.size_multiple = pipeline.vae_scale_factor * pipeline.patch_size
        height, width = picture_size(config.sample_size, pipeline.vae_scale_factor)
        self.defaults = Options(height, width, steps=28, guidance=7.0)

    def encode_texts(self, prompts: list[str], negatives: list[str] | None) -> dict[str, Any]:
        """CLIP's penultimate states, then T5's; and CLIP's pooled ones side by side.

        Args:
            prompts: One for each sample.
            negatives: Negative prompts; None where only one branch is drawn.

        Returns:
            Arguments of the pipeline: states `[sample, token, unit]` and pooled ones
            `[sample, unit]` of each branch.
        """
        cond, uncond, pooled, other = self.pipeline.encode_prompt(
            prompts,
            None,
            None,
            device=self.pipeline._execution_device,
            do_classifier_free_guidance=negatives is not None,
            negative_prompt=negatives,
            max_sequence_length=LONGEST,
        )
        return {
            "prompt_embeds": cond,
            "pooled_prompt_embeds": pooled,
            "negative_prompt_embeds": uncond,
            "negative_pooled_prompt_embeds": other,
        }


def stream_hooks(
    index: int, block: Any, width: int, window: int, text_window: str
) -> list[SiteHook]:
    """One block of two streams (Esser et al. 2024), which meet in their attention.

    Args:
        index: The block's index.
        block: diffusers' `JointTransformerBlock` or `FluxTransformerBlock`.
        width: Units of both streams.
        window: Number of tokens of the text's stream.
        text_window: The window that they are.

    Returns:
        Hooks of the picture's stream, then of the text's.
    """
    address, dotted = f"denoiser.blocks.{index}", f"transformer.transformer_blocks.{index}"
    text, path = f"{address}.text", f"{dotted}.attn"
    # The last block computes nothing for the text after its attention; even the text's queries
    # there feed nothing.
    ends = getattr(block, "context_pre_only", False)
    on_text: dict[str, Any] = {"length": window, "text_window": text_window}
    hooks = [
        *attention_hooks(address, path, block.attn),
        tap_hook(address, "self_attn", path, block.attn, width),
        mlp_hook(address, f"{dotted}.ff", block.ff),
        tap_hook(address, "resid", dotted, block, width, output_index=1),
        *attention_hooks(text, path, block.attn, ADDED, unused=("q",) if ends else (), **on_text),
    ]
    # Stable Diffusion 3.5 medium has a second attention of the picture to itself in its first
    # blocks.
    second = getattr(block, "attn2", None)
    if second is not None:
        path = f"{dotted}.attn2"
        hooks += attention_hooks(address, path, second, prefix="second_")
        hooks.append(tap_hook(address, "second_attn", path, second, width))
    if ends:
        return hooks
    return [
        *hooks,
        tap_hook(text, "self_attn", f"{dotted}.attn", block.attn, width, output_index=1, **on_text),
        mlp_hook(text, f"{dotted}.ff_context", block.ff_context, **on_text),
        tap_hook(text, "resid", dotted, block, width, output_index=0, **on_text),
    ]
