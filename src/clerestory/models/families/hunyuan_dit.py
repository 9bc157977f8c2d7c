"""HunyuanDiT: BERT and T5 side by side as the condition, a transformer with cross-attention.

`denoiser/condition` are BERT's states, `denoiser/condition_2` T5's. Cross-attention reads 77 tokens
of the one and 256 of the other, projected to its width; learned vectors stand where texts end.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import lcm
from typing import Any, ClassVar

from typing_extensions import override

from clerestory.models.core.family import SiteHook, families
from clerestory.models.core.types import Options, Site
from clerestory.models.families.bert_text import BertTextEncoder
from clerestory.models.families.conditioned import CONDITION, CONDITION_2, condition_hook
from clerestory.models.families.networks import Block, basic_hooks
from clerestory.models.families.t5_text import T5TextEncoder
from clerestory.models.families.text import JoinedWindows
from clerestory.models.families.text_family import TextFamily

__all__ = ["HunyuanDiT"]

BERT_TOKENS, T5_TOKENS = 77, 256
ENCODED = (
    "prompt_embeds",
    "negative_prompt_embeds",
    "prompt_attention_mask",
    "negative_prompt_attention_mask",
)
"""What `encode_prompt` returns; of the second encoder, names end in `_2`."""


@families.register("HunyuanDiTPipeline")
class HunyuanDiT(TextFamily):
    """HunyuanDiT: BERT, T5, a transformer with cross-attention, autoencoder."""

    load_arguments: ClassVar[Mapping[str, Any]] = {
        "safety_checker": None,
        "requires_safety_checker": False,
    }
    encoded_arguments: ClassVar[tuple[str, ...]] = (*ENCODED, *(f"{name}_2" for name in ENCODED))
    conditioning_arguments: ClassVar[Mapping[str, tuple[str, str]]] = {
        CONDITION: ("prompt_embeds", "negative_prompt_embeds"),
        CONDITION_2: ("prompt_embeds_2", "negative_prompt_embeds_2"),
    }

    def __init__(self, pipeline: Any) -> None:
        net, config = pipeline.transformer, pipeline.transformer.config
        bert = BertTextEncoder(pipeline, window=BERT_TOKENS, masks_padding=True)
        t5 = T5TextEncoder(pipeline, "text_encoder_2", window=T5_TOKENS, masks_padding=True)
        joined = JoinedWindows((bert, BERT_TOKENS), (t5, T5_TOKENS))
        second = Site(CONDITION_2, (T5_TOKENS, config.cross_attention_dim_t5), "")
        super().__init__(
            pipeline,
            "transformer",
            [bert, t5],
            conditioning=[
                condition_hook(BERT_TOKENS, config.cross_attention_dim, "text"),
                SiteHook(second, text_window="text_2"),
            ],
            blocks=[
                hook
                for index, module in enumerate(net.blocks)
                for hook in basic_hooks(
                    Block(f"denoiser.blocks.{index}", f"transformer.blocks.{index}", module),
                    "condition",
                    joined.window,
                )
            ],
            steps=50,
            guidance=5.0,
            # The pipeline rounds sides down to 16; patches of the latent must come out even.
            size_multiple=lcm(16, pipeline.vae_scale_factor * config.patch_size),
            sample_size=pipeline.default_sample_size,
        )
        self.text_windows = {**self.text_windows, "condition": joined}

    @override
    def encode_texts(
        self, prompts: list[str], negatives: list[str] | None, **extra: Any
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for index, (window, suffix) in enumerate(((BERT_TOKENS, ""), (T5_TOKENS, "_2"))):
            values = self.pipeline.encode_prompt(
                prompts,
                **self.encode_options(negatives),
                dtype=self.denoiser.dtype,
                max_sequence_length=window,
                text_encoder_index=index,
                **extra,
            )
            names = [f"{name}{suffix}" for name in ENCODED]
            arguments |= zip(names, values, strict=True)
        return arguments

    @override
    def pipeline_options(self, options: Options) -> dict[str, Any]:
        # Binning would replace the size that is asked for by one of a few.
        return {**super().pipeline_options(options), "use_resolution_binning": False}
