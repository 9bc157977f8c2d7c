"""Kandinsky 5: Qwen 2.5 VL reads the prompt in a template, CLIP pools it; cross-attention.

Both branches of guidance are calls of their own. A few blocks read the text first,
`denoiser.text_blocks.1/…`; those of the picture, `denoiser.blocks.7/…`, attend to what they give.
What the language model gives for the first tokens of the template never reaches the denoiser.

Nothing tells padding from text, so that a picture of the pipeline depends on how long the other
prompts of its batch are. Samples are drawn one at a time, as the pipeline draws a prompt alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from typing_extensions import override

from clerestory.models.core.family import Encoding, Handoff, SiteHook, families
from clerestory.models.core.pipeline_state import replace_attributes
from clerestory.models.core.types import Options, Sample
from clerestory.models.families.clip_text import ClipTextEncoder
from clerestory.models.families.conditioned import (
    CONDITION,
    POOLED,
    BranchCalls,
    condition_hook,
    pooled_hook,
)
from clerestory.models.families.language_model_text import FilledPositions, LanguageModelText
from clerestory.models.families.networks import Block
from clerestory.models.families.text_family import TextFamily
from clerestory.types import Floats, Pictures

__all__ = ["Kandinsky5"]

TOKENS, CLIP_TOKENS = 512, 77
"""How many tokens of a prompt the text encoders take, as the pipeline has it by default."""
ENCODED = ("prompt_embeds_qwen", "prompt_embeds_clip", "prompt_cu_seqlens")
"""What `encode_prompt` returns."""
MATRICES = {"q": "to_query", "k": "to_key", "v": "to_value", "z": "out_layer"}
"""Of an attention, by tap."""


@families.register("Kandinsky5T2IPipeline")
class Kandinsky5(BranchCalls, TextFamily):
    """Kandinsky 5: Qwen 2.5 VL, CLIP, a transformer with cross-attention, autoencoder."""

    half_precision = "bfloat16"
    encoded_arguments: ClassVar[tuple[str, ...]] = (
        *ENCODED,
        *(f"negative_{name}" for name in ENCODED),
    )
    conditioning_arguments: ClassVar[Mapping[str, tuple[str, str]]] = {
        CONDITION: ("prompt_embeds_qwen", "negative_prompt_embeds_qwen"),
        POOLED: ("prompt_embeds_clip", "negative_prompt_embeds_clip"),
    }

    def __init__(self, pipeline: Any) -> None:
        from diffusers.pipelines.kandinsky5.pipeline_kandinsky_t2i import prompt_clean

        net, config = pipeline.transformer, pipeline.transformer.config
        dropped = pipeline.prompt_template_encode_start_idx
        text = LanguageModelText(
            pipeline,
            window=TOKENS + dropped,
            template=pipeline.prompt_template.format,
            longest=True,
            masks_padding=False,
            normalize=prompt_clean,
        )
        clip = ClipTextEncoder(
            pipeline, "text_encoder_2", window=CLIP_TOKENS, normalize=prompt_clean
        )
        blocks = [
            hook
            for address, name in (
                ("text_blocks", "text_transformer_blocks"),
                ("blocks", "visual_transformer_blocks"),
            )
            for index, module in enumerate(getattr(net, name))
            for hook in _block_hooks(
                Block(f"denoiser.{address}.{index}", f"transformer.{name}.{index}", module)
            )
        ]
        super().__init__(
            pipeline,
            "transformer",
            [text, clip],
            conditioning=[
                condition_hook(None, config.in_text_dim, "condition"),
                pooled_hook(config.in_text_dim2),
            ],
            blocks=blocks,
            steps=50,
            guidance=3.5,
            # Patches of the latent must come out even.
            size_multiple=pipeline.vae_scale_factor_spatial * config.patch_size[1],
            sample_size=1024,
            channels=config.in_visual_dim,
        )
        self.text_windows = {**self.text_windows, "condition": FilledPositions(text, dropped)}

    @override
    def batch_limit(self, addresses: Sequence[str], options: Options) -> int | None:
        return 1

    @override
    def encode_texts(
        self, prompts: list[str], negatives: list[str] | None, **extra: Any
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for prefix, texts in (("", prompts), ("negative_", negatives)):
            if texts is not None:
                values = self.pipeline.encode_prompt(texts, dtype=self.denoiser.dtype, **extra)
                names = [f"{prefix}{name}" for name in ENCODED]
                arguments |= zip(names, values, strict=True)
        return arguments

    @override
    def draw(
        self, batch: Sequence[Sample], encoding: Encoding, handoff: Handoff, until: str
    ) -> Pictures | Floats | None:
        options = batch[0].options
        # The pipeline would replace the size that is asked for by one of a few.
        with replace_attributes(self.pipeline, resolutions=[(options.width, options.height)]):
            return super().draw(batch, encoding, handoff, until)


def _block_hooks(block: Block) -> list[SiteHook]:
    """The sites of a block of the text, or of the picture, which has cross-attention as well."""
    text = replace(block, text_window="condition")
    is_text = not hasattr(block.module, "cross_attention")
    rows = text if is_text else block
    width = block.module.self_attention.out_layer.out_features
    size = width // block.module.self_attention.num_heads
    own, cross = (
        {tap: f"{path}.{name}" for tap, name in MATRICES.items()}
        for path in ("self_attention", "cross_attention")
    )
    hooks = [*rows.heads(own, size), rows.tap("self_attn", "self_attention", width)]
    if not is_text:
        hooks += block.heads({"cross_q": cross["q"]}, size)
        hooks += text.heads({"cross_k": cross["k"], "cross_v": cross["v"]}, size)
        hooks += block.heads({"cross_z": cross["z"]}, size)
        hooks.append(block.tap("cross_attn", "cross_attention", width))
    neurons = block.module.feed_forward.out_layer.in_features
    return [
        *hooks,
        rows.tap("mlp", "feed_forward.activation", neurons),
        rows.tap("resid", "", width),
    ]
