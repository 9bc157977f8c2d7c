"""Chroma: T5, a transformer of double and single blocks as Flux has them, true guidance.

Both branches of guidance are calls of their own. In single blocks, `denoiser.single.7/…`, text and
picture are one row of positions, the text first.
"""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.families.conditioned import BranchCalls, condition_hook
from clerestory.models.families.networks import Block, stream_hooks
from clerestory.models.families.t5_text import T5TextEncoder
from clerestory.models.families.text_family import TextFamily

__all__ = ["Chroma"]

T5_TOKENS = 512


@families.register("ChromaPipeline")
class Chroma(BranchCalls, TextFamily):
    """Chroma: T5, a transformer of double and single blocks, autoencoder."""

    half_precision = "bfloat16"
    single_file_types = ("chroma",)
    encoded_arguments: ClassVar[tuple[str, ...]] = (
        "prompt_embeds",
        "",
        "prompt_attention_mask",
        "negative_prompt_embeds",
        "",
        "negative_prompt_attention_mask",
    )

    def __init__(self, pipeline: Any) -> None:
        net = pipeline.transformer
        blocks = [
            hook
            for index, block in enumerate(net.transformer_blocks)
            for hook in stream_hooks(index, block, net.inner_dim, T5_TOKENS, "text")
        ]
        for index, module in enumerate(net.single_transformer_blocks):
            path = f"transformer.single_transformer_blocks.{index}"
            block = Block(f"denoiser.single.{index}", path, module, text_window="text")
            blocks += [
                *block.attention("attn"),
                # The block's own matrix mixes the heads, together with its neurons.
                block.tap("z", "attn", net.inner_dim, heads=module.attn.heads),
                block.tap("mlp", "act_mlp", module.mlp_hidden_dim),
                block.tap("resid", "", net.inner_dim),
            ]
        super().__init__(
            pipeline,
            "transformer",
            [T5TextEncoder(pipeline, window=T5_TOKENS, masks_padding=True)],
            conditioning=[condition_hook(T5_TOKENS, net.config.joint_attention_dim, "text")],
            blocks=blocks,
            steps=35,
            guidance=5.0,
            # The latent is packed two by two into positions.
            size_multiple=pipeline.vae_scale_factor * 2,
            sample_size=pipeline.default_sample_size,
        )

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        return {**super().encode_options(negatives), "max_sequence_length": T5_TOKENS}
