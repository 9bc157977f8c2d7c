"""Qwen-Image: Qwen 2.5 VL reads the prompt in a template, a transformer of two streams.

`true_guidance` guides with calls of their own for the two branches; where there is no negative
prompt the model's authors give a blank. What the text encoder gives for the first tokens of the
template never reaches the denoiser: positions of `denoiser/condition` begin after them.
"""

from __future__ import annotations

from typing import Any

import torch
from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.core.types import Options
from clerestory.models.families.conditioned import BranchCalls, condition_hook
from clerestory.models.families.language_model_text import FilledPositions, LanguageModelText
from clerestory.models.families.networks import stream_hooks
from clerestory.models.families.text_family import TextFamily

__all__ = ["QwenImage"]


@families.register("QwenImagePipeline")
class QwenImage(BranchCalls, TextFamily):
    """Qwen-Image: Qwen 2.5 VL, a transformer of two streams, autoencoder."""

    half_precision = "bfloat16"
    negative_option = "true_guidance"
    option_names = (*TextFamily.option_names, "true_guidance")

    def __init__(self, pipeline: Any) -> None:
        net, config = pipeline.transformer, pipeline.transformer.config
        dropped = pipeline.prompt_template_encode_start_idx
        text = LanguageModelText(
            pipeline,
            window=pipeline.tokenizer_max_length + dropped,
            template=pipeline.prompt_template_encode.format,
            longest=True,
            normalize=_normalize,
        )
        last = len(net.transformer_blocks) - 1
        super().__init__(
            pipeline,
            "transformer",
            [text],
            conditioning=[condition_hook(None, config.joint_attention_dim, "condition")],
            blocks=[
                hook
                for index, block in enumerate(net.transformer_blocks)
                for hook in stream_hooks(
                    index,
                    block,
                    net.inner_dim,
                    None,
                    "condition",
                    mlps=("img_mlp", "txt_mlp"),
                    text_is_read=index < last,
                )
            ],
            steps=50,
            guidance=1.0,
            # The latent is packed two by two into positions.
            size_multiple=pipeline.vae_scale_factor * 2,
            sample_size=pipeline.default_sample_size,
        )
        self.text_windows = {**self.text_windows, "condition": FilledPositions(text, dropped)}
        if not config.guidance_embeds:
            self.option_names = tuple(name for name in self.option_names if name != "guidance")

    @override
    def has_two_branches(self, options: Options) -> bool:
        return options.true_guidance > 1

    @override
    def encode_texts(
        self, prompts: list[str], negatives: list[str] | None, **extra: Any
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for prefix, texts in (("", prompts), ("negative_", negatives)):
            if texts is not None:
                states, mask = self.pipeline.encode_prompt(
                    [_normalize(text) for text in texts], **extra
                )
                # The pipeline has no mask where no text is padded.
                mask = torch.ones(states.shape[:2], device=states.device) if mask is None else mask
                arguments[f"{prefix}prompt_embeds"] = states
                arguments[f"{prefix}prompt_embeds_mask"] = mask
        return arguments

    @override
    def pipeline_options(self, options: Options) -> dict[str, Any]:
        embeds = self.denoiser.config.guidance_embeds
        return {
            **super().pipeline_options(options),
            "guidance_scale": options.guidance if embeds else None,
            "true_cfg_scale": options.true_guidance,
        }


def _normalize(text: str) -> str:
    """The text itself; a blank for none."""
    return text or " "
