"""Lumina 2: Gemma 2 and a transformer of single blocks.

A system prompt precedes the prompt, but not a negative prompt. Both branches of guidance are calls
of their own. A few blocks refine the picture, `denoiser.noise_refiner.1/…`, and the text,
`denoiser.context_refiner.1/…`; then the text without its padding and the picture are one row of
positions, of which `denoiser.blocks.7.text/…` and `denoiser.blocks.7.image/…` are parts. The
picture begins where the text ends, so samples are drawn one at a time where these are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from typing_extensions import override

from clerestory.models.core.family import StageCall, families
from clerestory.models.core.text_windows import TextWindow
from clerestory.models.core.types import Branch, Options, Sample
from clerestory.models.families.conditioned import BranchCalls, condition_hook
from clerestory.models.families.language_model_text import FilledPositions, LanguageModelText
from clerestory.models.families.networks import row_hooks
from clerestory.models.families.text_family import TextFamily

__all__ = ["Lumina2"]

TOKENS = 256
"""How many tokens the text encoder takes, as the pipeline has it by default."""


@families.register("Lumina2Pipeline")
class Lumina2(BranchCalls, TextFamily):
    """Lumina 2: Gemma 2, a transformer of single blocks, autoencoder."""

    half_precision = "bfloat16"
    encoded_arguments = (
        "prompt_embeds",
        "prompt_attention_mask",
        "negative_prompt_embeds",
        "negative_prompt_attention_mask",
    )

    def __init__(self, pipeline: Any) -> None:
        net, config = pipeline.transformer, pipeline.transformer.config

        def template(prompt: str) -> str:
            return f"{pipeline.system_prompt} <Prompt Start> {prompt}"

        # The states are those before the last block.
        text = LanguageModelText(pipeline, window=TOKENS, template=template, unused_blocks=1)
        plain = LanguageModelText(pipeline, window=TOKENS, unused_blocks=1)
        self.negative_windows = {"text": plain, "filled": FilledPositions(plain)}
        super().__init__(
            pipeline,
            "transformer",
            [text],
            conditioning=[condition_hook(TOKENS, config.cap_feat_dim, "text")],
            blocks=[
                *row_hooks("context_refiner", net.context_refiner, {"": "text"}),
                *row_hooks("noise_refiner", net.noise_refiner, {"": ""}),
                *row_hooks("layers", net.layers, {"text": "filled", "image": ""}),
            ],
            steps=30,
            guidance=4.0,
            # The latent is cut into patches, which must come out even.
            size_multiple=pipeline.vae_scale_factor * config.patch_size,
        )
        self.text_windows = {**self.text_windows, "filled": FilledPositions(text)}

    @override
    def text_window(self, name: str, branch: Branch) -> TextWindow:
        return self.negative_windows[name] if branch == "uncond" else self.text_windows[name]

    @override
    def guided_steps(self, options: Options) -> int:
        # As the pipeline decides it, step by step.
        steps, ratio = super().guided_steps(options), options.extra.get("cfg_trunc_ratio", 1.0)
        return sum((step + 1) / steps <= ratio for step in range(steps))

    @override
    def batch_limit(self, addresses: Sequence[str], options: Options) -> int | None:
        rows = any(address.startswith("denoiser.blocks.") for address in addresses)
        return 1 if rows else None

    @override
    def denoiser_call(self, call: int, batch: Sequence[Sample]) -> StageCall:
        stage_call, options = super().denoiser_call(call, batch), batch[0].options
        (branch,) = stage_call.rows
        text = batch[0].prompt if branch == "cond" else options.negative
        lengths = self.text_window("filled", branch).lengths([text])
        assert lengths is not None
        count = int(lengths)
        return replace(stage_call, streams={"text": slice(0, count), "image": slice(count, None)})
