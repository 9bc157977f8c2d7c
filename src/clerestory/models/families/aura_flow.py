"""AuraFlow: one T5 encoder, a transformer of joint and single blocks.

The denoiser puts eight register tokens of its own before those of the text. In single blocks,
`denoiser.single.7/…`, registers, text and picture are one row of positions.
"""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.families.conditioned import condition_hook
from clerestory.models.families.networks import Block, stream_hooks
from clerestory.models.families.t5_text import T5TextEncoder
from clerestory.models.families.text import JoinedWindows
from clerestory.models.families.text_family import TextFamily

__all__ = ["AuraFlow"]

T5_TOKENS = 256


@families.register("AuraFlowPipeline")
class AuraFlow(TextFamily):
    """AuraFlow: T5, a transformer of joint and single blocks, autoencoder."""

    half_precision = "bfloat16"
    single_file_types = ("auraflow",)
    encoded_arguments: ClassVar[tuple[str, ...]] = (
        "prompt_embeds",
        "prompt_attention_mask",
        "negative_prompt_embeds",
        "negative_prompt_attention_mask",
    )

    def __init__(self, pipeline: Any) -> None:
        net, config = pipeline.transformer, pipeline.transformer.config
        text = T5TextEncoder(pipeline, window=T5_TOKENS, masks_padding=True)
        registers = net.register_tokens.shape[1]
        joined = JoinedWindows((None, registers), (text, T5_TOKENS))
        path = "transformer.joint_transformer_blocks"
        blocks = [
            hook
            for index, block in enumerate(net.joint_transformer_blocks)
            for hook in stream_hooks(index, block, net.inner_dim, joined.window, "registers", path)
        ]
        for index, module in enumerate(net.single_transformer_blocks):
            path = f"transformer.single_transformer_blocks.{index}"
            block = Block(f"denoiser.single.{index}", path, module, text_window="registers")
            blocks += [
                *block.attention("attn"),
                block.tap("self_attn", "attn", net.inner_dim),
                block.mlp("ff"),
                block.tap("resid", "", net.inner_dim),
            ]
        super().__init__(
            pipeline,
            "transformer",
            [text],
            conditioning=[condition_hook(T5_TOKENS, config.joint_attention_dim, "text")],
            blocks=blocks,
            steps=50,
            guidance=3.5,
            # The latent is cut into patches, which must come out even.
            size_multiple=pipeline.vae_scale_factor * config.patch_size,
        )
        self.text_windows = {**self.text_windows, "registers": joined}

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        return {**super().encode_options(negatives), "max_sequence_length": T5_TOKENS}
