"""CogView 4: GLM and a transformer of two streams, which share their matrices.

The text is padded to a multiple of 16 positions, on the left, and nothing masks the padding: a
picture of the pipeline depends on how long the other prompts of its batch are. So samples are drawn
one at a time, as the pipeline draws a prompt alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from typing_extensions import override

from clerestory.models.core.family import SiteHook, StageCall, families
from clerestory.models.core.types import Options, Sample
from clerestory.models.families.conditioned import BranchCalls, condition_hook
from clerestory.models.families.language_model_text import LanguageModelText
from clerestory.models.families.networks import Block
from clerestory.models.families.text_family import TextFamily

__all__ = ["CogView4"]

TOKENS, MULTIPLE = 1024, 16
"""How many tokens the text encoder takes, as the pipeline has it by default."""


@families.register("CogView4Pipeline")
class CogView4(BranchCalls, TextFamily):
    """CogView 4: GLM, a transformer of two streams, autoencoder."""

    half_precision = "bfloat16"
    encoded_arguments = ("prompt_embeds", "negative_prompt_embeds")

    def __init__(self, pipeline: Any) -> None:
        net, config = pipeline.transformer, pipeline.transformer.config
        text = LanguageModelText(
            pipeline,
            window=TOKENS,
            longest=True,
            multiple=MULTIPLE,
            masks_padding=False,
            # The states are those before the last block.
            unused_blocks=1,
        )
        last = len(net.transformer_blocks) - 1
        super().__init__(
            pipeline,
            "transformer",
            [text],
            conditioning=[condition_hook(None, config.text_embed_dim, "text")],
            blocks=[
                hook
                for index, module in enumerate(net.transformer_blocks)
                for hook in _block_hooks(index, module, text_is_read=index < last)
            ],
            steps=50,
            guidance=5.0,
            # The latent is cut into patches, which must come out even; the pipeline refuses other
            # multiples of 16.
            size_multiple=max(16, pipeline.vae_scale_factor * config.patch_size),
        )

    @override
    def batch_limit(self, addresses: Sequence[str], options: Options) -> int | None:
        return 1

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        return {**super().encode_options(negatives), "max_sequence_length": TOKENS}

    @override
    def denoiser_call(self, call: int, batch: Sequence[Sample]) -> StageCall:
        stage_call = super().denoiser_call(call, batch)
        (branch,) = stage_call.rows
        text = batch[0].prompt if branch == "cond" else batch[0].options.negative
        count = self.text_windows["text"].token_mask([text]).shape[1]
        return replace(stage_call, streams={"text": slice(0, count), "image": slice(count, None)})


def _block_hooks(index: int, module: Any, *, text_is_read: bool) -> list[SiteHook]:
    """The sites of one block: of the picture's stream, then of the text's."""
    hooks: list[SiteHook] = []
    width = module.attn1.to_out[0].out_features
    for part, (stream, window) in enumerate((("image", ""), ("text", "text"))):
        block = Block(
            f"denoiser.blocks.{index}.{stream}",
            f"transformer.transformer_blocks.{index}",
            module,
            text_window=window,
        )
        # In attention text and picture are one row of positions; in the MLP the picture comes
        # first, and the text in a call of its own.
        row = replace(block, stream=stream)
        # Nothing reads the text's stream after the last block.
        is_read = stream == "image" or text_is_read
        hooks += [
            *replace(row, affects_output=is_read).attention("attn1", "q"),
            *row.attention("attn1", "kv"),
        ]
        output = replace(block, affects_output=is_read)
        hooks += [
            output.tap("self_attn", "attn1", width, output_index=part),
            replace(output.mlp("ff"), call=part),
            output.tap("resid", "", width, output_index=part),
        ]
    return hooks
