"""Z-Image: Qwen 3 and a transformer of single blocks, which takes and gives lists.

Guidance above 0 (not 1) guides, by rows of one call, those of the prompt first. A few blocks refine
the picture, `denoiser.noise_refiner.1/…`, and the text, `denoiser.context_refiner.1/…`; then both
are one row of positions, of which `denoiser.blocks.7.image/…` and `denoiser.blocks.7.text/…` are
parts. The denoiser fills up both to multiples of 32 positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import override

from clerestory.models.core.family import StageCall, families
from clerestory.models.core.types import Branch, Options, Sample
from clerestory.models.families.conditioned import condition_hook, denoising_call
from clerestory.models.families.language_model_text import FilledPositions, LanguageModelText
from clerestory.models.families.networks import row_hooks
from clerestory.models.families.text_family import TextFamily

__all__ = ["ZImage"]

TOKENS = 512
"""How many tokens the text encoder takes, as the pipeline has it by default."""
MULTIPLE, PATCH = 32, 2


@families.register("ZImagePipeline")
class ZImage(TextFamily):
    """Z-Image and Z-Image Turbo: Qwen 3, a transformer of single blocks, autoencoder."""

    half_precision = "bfloat16"
    single_file_types = ("z-image-turbo",)

    def __init__(self, pipeline: Any) -> None:
        net, tokenizer = pipeline.transformer, pipeline.tokenizer

        def template(prompt: str) -> str:
            rendered: str = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=True,
            )
            return rendered

        # The states are those before the last block.
        text = LanguageModelText(pipeline, window=TOKENS, template=template, unused_blocks=1)
        blocks = [
            *row_hooks("noise_refiner", net.noise_refiner, {"image": ""}),
            *row_hooks("context_refiner", net.context_refiner, {"context": "filled"}),
            *row_hooks("layers", net.layers, {"image": "", "text": "filled"}),
        ]
        super().__init__(
            pipeline,
            "transformer",
            [text],
            conditioning=[condition_hook(None, net.config.cap_feat_dim, "condition")],
            blocks=blocks,
            steps=50,
            guidance=5.0,
            # The latent is cut into patches, which must come out even.
            size_multiple=pipeline.vae_scale_factor * PATCH,
            sample_size=128,
            latent_argument="x",
        )
        self.text_windows = {
            **self.text_windows,
            "condition": FilledPositions(text),
            "filled": FilledPositions(text, multiple=MULTIPLE),
        }

    @override
    def has_two_branches(self, options: Options) -> bool:
        return options.guidance > 0

    @override
    def encode_texts(
        self, prompts: list[str], negatives: list[str] | None, **extra: Any
    ) -> dict[str, Any]:
        arguments = {}
        for name, texts in (("prompt_embeds", prompts), ("negative_prompt_embeds", negatives)):
            if texts is not None:
                # The pipeline writes into the list that it is given.
                states, _ = self.pipeline.encode_prompt(
                    list(texts),
                    do_classifier_free_guidance=False,
                    max_sequence_length=TOKENS,
                    **extra,
                )
                arguments[name] = pad_sequence(states, batch_first=True)
        return arguments

    @override
    def pass_values(
        self, arguments: Mapping[str, Tensor], batch: Sequence[Sample]
    ) -> Mapping[str, Any]:
        texts = {
            "prompt_embeds": [sample.prompt for sample in batch],
            "negative_prompt_embeds": [sample.options.negative for sample in batch],
        }
        values: dict[str, list[Tensor]] = {}
        for name, states in arguments.items():
            lengths = self.text_windows["condition"].lengths(texts[name])
            assert lengths is not None
            values[name] = [row[:length] for row, length in zip(states, lengths, strict=True)]
        return values

    @override
    def denoiser_call(self, call: int, batch: Sequence[Sample]) -> StageCall:
        count, options = len(batch), batch[0].options
        rows: dict[Branch, slice] = {"cond": slice(0, count)}
        # Steps after this time, from 0 to 1, have no guidance; None and numbers above 1 are none.
        last = options.extra.get("cfg_truncation", 1.0)
        # In float32, as the pipeline computes it.
        time = ((1000 - self.pipeline.scheduler.timesteps.float()) / 1000)[call].item()
        if self.has_two_branches(options) and (last is None or float(last) > 1 or time <= last):
            rows["uncond"] = slice(count, 2 * count)
        side = self.pipeline.vae_scale_factor * PATCH
        patches = (options.height // side) * (options.width // side)
        streams = {
            "context": slice(None),
            "image": slice(0, patches),
            "text": slice(-(-patches // MULTIPLE) * MULTIPLE, None),
        }
        stage_call = denoising_call(self.pipeline.scheduler, call, rows)
        return replace(stage_call, streams=streams)
