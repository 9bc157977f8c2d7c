"""Sana and Sana Sprint: Gemma 2, a transformer of linear attention with cross-attention.

Gemma reads instructions to enhance the prompt before it, except in a negative prompt, so the
branches of guidance differ in the numbers of positions of `text.…`. The denoiser is given the start
token and the last 299 positions. `mlp` is a map: its MLP has convolutions.
"""

from __future__ import annotations

from inspect import signature
from math import lcm
from typing import Any

from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.core.text_windows import TextWindow
from clerestory.models.core.types import Branch, Options
from clerestory.models.families.captions import CaptionFamily, normalize_caption
from clerestory.models.families.conditioned import condition_hook
from clerestory.models.families.language_model_text import LanguageModelText, SelectedPositions
from clerestory.models.families.networks import Block, basic_hooks

__all__ = ["Sana", "SanaSprint"]

TOKENS = 300
"""How many positions the denoiser takes, as the pipelines have it by default."""


@families.register("SanaPipeline")
class Sana(CaptionFamily):
    """Sana: Gemma 2, a transformer of linear attention, deep compression autoencoder."""

    half_precision = "bfloat16"
    steps = 20
    window = TOKENS

    def __init__(self, pipeline: Any) -> None:
        net = pipeline.transformer
        parameters = signature(pipeline.__call__).parameters
        self.instructions = parameters["complex_human_instruction"].default
        before = "\n".join(self.instructions or [])
        # As the pipeline reckons: it takes the instructions' start token off again, and one more.
        extra = len(pipeline.tokenizer.encode(before)) - 2 if before else 0
        text = LanguageModelText(
            pipeline,
            window=TOKENS + extra,
            template=lambda prompt: before + prompt,
            varies=bool(before),
            normalize=normalize_caption,
        )
        self.plain_text = LanguageModelText(pipeline, window=TOKENS, normalize=normalize_caption)
        super().__init__(
            pipeline,
            "transformer",
            [text],
            conditioning=[condition_hook(TOKENS, net.config.caption_channels, "condition")],
            blocks=[
                hook
                for index, module in enumerate(net.transformer_blocks)
                for hook in basic_hooks(
                    Block(
                        f"denoiser.blocks.{index}",
                        f"transformer.transformer_blocks.{index}",
                        module,
                    ),
                    "condition",
                    TOKENS,
                )
            ],
            steps=self.steps,
            guidance=4.5,
            # Patches of the latent must come out even; the pipelines refuse other multiples of 32.
            size_multiple=lcm(32, pipeline.vae_scale_factor * net.config.patch_size),
        )
        positions = [0, *range(extra + 1, extra + TOKENS)]
        self.text_windows = {
            **self.text_windows,
            "condition": SelectedPositions(text, positions),
        }

    @override
    def text_window(self, name: str, branch: Branch) -> TextWindow:
        return self.plain_text if branch == "uncond" else super().text_window(name, branch)

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        return {
            **super().encode_options(negatives),
            "complex_human_instruction": self.instructions,
        }


@families.register("SanaSprintPipeline")
class SanaSprint(Sana):
    """Sana Sprint: as Sana, distilled to few steps; guidance is an input of the denoiser."""

    steps = 2
    negative_option = ""
    option_names = ("height", "width", "steps", "guidance")

    @override
    def has_two_branches(self, options: Options) -> bool:
        return False

    @override
    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        options = super().encode_options(negatives)
        return {
            name: value
            for name, value in options.items()
            if name not in ("do_classifier_free_guidance", "negative_prompt")
        }

    @override
    def pipeline_options(self, options: Options) -> dict[str, Any]:
        arguments = super().pipeline_options(options)
        del arguments["negative_prompt"]
        # The time between two steps, which the pipeline takes for two steps only.
        return arguments | ({} if options.steps == 2 else {"intermediate_timesteps": None})
