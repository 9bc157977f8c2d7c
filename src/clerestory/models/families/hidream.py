"""HiDream: two CLIP encoders pooled, T5, and every block of Llama; a mixture of experts.

`denoiser/condition` are the states of Llama's blocks side by side, of which each block of the
denoiser reads its own; `denoiser/condition_2` are T5's. The text's stream of a block is what the
block before gave for T5's tokens and Llama's last states, then the states of Llama that the block
reads, which go no further. In single blocks, `denoiser.single.7.image/…` and `….text/…` are parts
of one row.

`mlp` of the picture's stream are the neurons of the experts that all positions share. Those of the
experts among which a gate chooses have no sites: each is given a choice of the batch's positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from clerestory.models.core.family import Encoding, Handoff, SiteHook, StageCall, families
from clerestory.models.core.pipeline_state import replace_attributes
from clerestory.models.core.types import Sample, Site
from clerestory.models.families.clip_text import ClipTextEncoder
from clerestory.models.families.conditioned import (
    CONDITION,
    CONDITION_2,
    POOLED,
    condition_hook,
    pooled_hook,
)
from clerestory.models.families.language_model_text import LanguageModelText
from clerestory.models.families.networks import Block
from clerestory.models.families.t5_text import T5TextEncoder
from clerestory.models.families.text import JoinedWindows
from clerestory.models.families.text_family import TextFamily
from clerestory.types import Floats, Pictures

__all__ = ["HiDream"]

TOKENS = 128
"""How many tokens each text encoder takes, as the pipeline has it by default."""


@families.register("HiDreamImagePipeline")
class HiDream(TextFamily):
    """HiDream: two CLIP encoders, T5, Llama, a transformer of double and single blocks."""

    half_precision = "bfloat16"
    encoded_arguments: ClassVar[tuple[str, ...]] = (
        "prompt_embeds_t5",
        "negative_prompt_embeds_t5",
        "prompt_embeds_llama3",
        "negative_prompt_embeds_llama3",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    )
    conditioning_arguments: ClassVar[Mapping[str, tuple[str, str]]] = {
        CONDITION: ("prompt_embeds_llama3", "negative_prompt_embeds_llama3"),
        CONDITION_2: ("prompt_embeds_t5", "negative_prompt_embeds_t5"),
        POOLED: TextFamily.conditioning_arguments[POOLED],
    }

    def __init__(self, pipeline: Any) -> None:
        config = pipeline.transformer.config
        clips = [
            ClipTextEncoder(pipeline, name, window=TOKENS)
            for name in ("text_encoder", "text_encoder_2")
        ]
        t5 = T5TextEncoder(pipeline, "text_encoder_3", window=TOKENS, masks_padding=True)
        self.llama_blocks = pipeline.text_encoder_4.config.num_hidden_layers
        llama = LanguageModelText(
            pipeline,
            "text_encoder_4",
            window=TOKENS,
            unused_blocks=self.llama_blocks - 1 - max(config.llama_layers),
        )
        t5_width, llama_width = config.caption_channels
        joined = JoinedWindows((t5, TOKENS), (llama, TOKENS), (llama, TOKENS))
        super().__init__(
            pipeline,
            "transformer",
            [*clips, t5, llama],
            conditioning=[
                condition_hook(TOKENS, self.llama_blocks * llama_width, llama.stage),
                SiteHook(Site(CONDITION_2, (TOKENS, t5_width), ""), text_window=t5.stage),
                pooled_hook(config.text_emb_dim),
            ],
            blocks=_block_hooks(pipeline.transformer, joined.window),
            steps=50,
            guidance=5.0,
            # The latent is cut into patches of two by two.
            size_multiple=pipeline.vae_scale_factor * 2,
            sample_size=pipeline.default_sample_size,
        )
        # All windows are as long; what matters most is what Llama reads.
        self.prompt_reader = llama
        self.text_windows = {**self.text_windows, "joined": joined}

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        return {**super().encode_options(negatives), "max_sequence_length": TOKENS}

    @override
    def encode_texts(
        self, prompts: list[str], negatives: list[str] | None, **extra: Any
    ) -> dict[str, Any]:
        arguments = super().encode_texts(prompts, negatives, **extra)
        for name in self.conditioning_arguments[CONDITION]:
            if arguments[name] is not None:
                # From [block, sample, token, unit].
                arguments[name] = arguments[name].permute(1, 2, 0, 3).flatten(2)
        return arguments

    @override
    def pass_values(
        self, arguments: Mapping[str, Tensor], batch: Sequence[Sample]
    ) -> Mapping[str, Any]:
        states = {
            name: arguments[name].unflatten(2, (self.llama_blocks, -1)).permute(2, 0, 1, 3)
            for name in self.conditioning_arguments[CONDITION]
            if name in arguments
        }
        return {**arguments, **states}

    @override
    def draw(
        self, batch: Sequence[Sample], encoding: Encoding, handoff: Handoff, until: str
    ) -> Pictures | Floats | None:
        options = batch[0].options
        # The pipeline would scale the size that is asked for to the area of its own, and round
        # down, hence a little more than that area.
        side = sqrt(options.height * options.width) / self.pipeline.vae_scale_factor
        with replace_attributes(self.pipeline, default_sample_size=side * (1 + 1e-9)):
            return super().draw(batch, encoding, handoff, until)

    @override
    def denoiser_call(self, call: int, batch: Sequence[Sample]) -> StageCall:
        options, side = batch[0].options, self.size_multiple
        patches = (options.height // side) * (options.width // side)
        # Pictures that are no squares are filled up to the largest number of patches.
        is_square = options.height == options.width
        text_start = patches if is_square else self.denoiser.max_seq
        streams = {"image": slice(0, patches), "text": slice(text_start, None)}
        return replace(super().denoiser_call(call, batch), streams=streams)


def _block_hooks(net: Any, tokens: int) -> list[SiteHook]:
    """The sites of the blocks of two streams, then of those of one row."""
    hooks: list[SiteHook] = []
    for index, module in enumerate(net.double_stream_blocks):
        path = f"transformer.double_stream_blocks.{index}.block"
        address = f"denoiser.blocks.{index}"
        picture = Block(f"{address}.image", path, module.block, stream="image")
        text = Block(f"{address}.text", path, module.block, tokens, "joined")
        hooks += _stream_hooks(picture, picture, "_i")
        hooks += _stream_hooks(text, text, "_t")
    last = len(net.single_stream_blocks) - 1
    for index, module in enumerate(net.single_stream_blocks):
        path = f"transformer.single_stream_blocks.{index}.block"
        address = f"denoiser.single.{index}"
        picture = Block(f"{address}.image", path, module.block, stream="image")
        text = Block(f"{address}.text", path, module.block, tokens, "joined", stream="text")
        hooks += _stream_hooks(picture, picture, "_i")
        # Nothing reads the text's positions after the last block.
        hooks += _stream_hooks(text, replace(text, affects_output=index < last), "_i")
    return hooks


def _stream_hooks(keys: Block, rows: Block, stream: str) -> list[SiteHook]:
    """The sites of one stream of a block, whose modules are those of `stream`."""
    attention = rows.module.attn1
    width, size = attention.inner_dim, attention.inner_dim // attention.heads
    suffix, index = ("_t", 1) if stream == "_t" else ("", 0)
    mlp = rows.module.get_submodule(f"ff{stream}")
    shared = ".shared_experts" if hasattr(mlp, "shared_experts") else ""
    return [
        *rows.heads({"q": f"attn1.to_q{suffix}"}, size),
        *keys.heads({tap: f"attn1.to_{tap}{suffix}" for tap in "kv"}, size),
        *rows.heads({"z": f"attn1.to_out{suffix}"}, size),
        rows.tap("self_attn", "attn1", width, output_index=index),
        rows.mlp(f"ff{stream}{shared}"),
        rows.tap("resid", "", width, output_index=index),
    ]
