"""HunyuanImage 2.1: Qwen 2.5 VL reads the prompt, ByT5 what it has in quotation marks.

`denoiser/condition` are the states of the one, `denoiser/condition_2` those of the other, which are
zeros, and unused, where a prompt quotes nothing. The text's stream has ByT5's tokens, then the
prompt's, then what is padding of both. A few blocks read the prompt first,
`denoiser.context_refiner.1/…`. In single blocks text and picture are one row, of which
`denoiser.single.7.image/…` and `….text/…` are parts, the picture first.

A part of the pipeline, its guider, guides by calls of their own for the two branches, the prompt
first; `guidance` is its scale. Some pipelines have a second guider for prompts that quote: one
such prompt would decide for its batch, so samples are drawn one at a time there.

ByT5 itself has no sites: it is called for the prompts that quote alone, one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from math import lcm
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.models.core.family import (
    Encoding,
    Handoff,
    SiteHook,
    StageCall,
    UnfamiliarPartError,
    families,
)
from clerestory.models.core.pipeline_state import replace_attributes
from clerestory.models.core.text_windows import TextWindow
from clerestory.models.core.types import Branch, Options, Sample, Site
from clerestory.models.core.words import find_words, select_occurrence
from clerestory.models.families.conditioned import (
    CONDITION,
    CONDITION_2,
    condition_hook,
    denoising_call,
)
from clerestory.models.families.language_model_text import LanguageModelText, SelectedPositions
from clerestory.models.families.networks import Block, stream_hooks
from clerestory.models.families.t5_text import T5TextEncoder
from clerestory.models.families.text_family import TextFamily
from clerestory.types import Floats, Pictures

__all__ = ["HunyuanImage"]

GUIDERS = ("guider", "ocr_guider")
"""The guider of most prompts, and of those that quote."""
ENCODED = ("prompt_embeds", "prompt_embeds_mask", "prompt_embeds_2", "prompt_embeds_mask_2")
"""What `encode_prompt` returns."""


@families.register("HunyuanImagePipeline")
class HunyuanImage(TextFamily):
    """HunyuanImage 2.1: Qwen 2.5 VL, ByT5, a transformer of double and single blocks."""

    half_precision = "bfloat16"
    text_comes_first = False
    encoded_arguments: ClassVar[tuple[str, ...]] = (
        *ENCODED,
        *(f"negative_{name}" for name in ENCODED),
    )
    conditioning_arguments: ClassVar[Mapping[str, tuple[str, str]]] = {
        CONDITION: ("prompt_embeds", "negative_prompt_embeds"),
        CONDITION_2: ("prompt_embeds_2", "negative_prompt_embeds_2"),
    }

    def __init__(self, pipeline: Any) -> None:
        net, config = pipeline.transformer, pipeline.transformer.config
        dropped, tokens = pipeline.prompt_template_encode_start_idx, pipeline.tokenizer_max_length
        text = LanguageModelText(
            pipeline,
            window=tokens + dropped,
            template=pipeline.prompt_template_encode.format,
            # The states are those before the last two blocks.
            unused_blocks=2,
        )
        self.quoted = QuotedText(pipeline)
        conditioning = [condition_hook(tokens, config.text_embed_dim, "condition")]
        joined: TextWindow = SelectedPositions(text, range(dropped, dropped + tokens))
        windows = {"condition": joined}
        window = tokens
        if net.context_embedder_2 is not None:
            shape = (self.quoted.window, config.text_embed_2_dim)
            conditioning.append(SiteHook(Site(CONDITION_2, shape, ""), text_window="quoted"))
            joined, window = _QuotedFirst(self.quoted, text, dropped), window + shape[0]
        self.guiders = {name: getattr(pipeline, name) for name in GUIDERS}
        guidance = 3.25 if config.guidance_embeds else 1.0
        for guider in self.guiders.values():
            if guider is not None and len(guider._input_predictions) != 2:
                raise UnfamiliarPartError(f"the guider is a {type(guider).__name__}")
            if guider is not None and not config.guidance_embeds:
                guidance = guider.guidance_scale
        super().__init__(
            pipeline,
            "transformer",
            [text],
            conditioning=conditioning,
            blocks=_block_hooks(net, tokens, window),
            steps=50,
            guidance=guidance,
            # The pipeline asks for even sides of the latent; its patches must come out even.
            size_multiple=pipeline.vae_scale_factor * lcm(2, *config.patch_size),
            sample_size=pipeline.default_sample_size,
        )
        self.text_windows = {
            **self.text_windows,
            **windows,
            "quoted": self.quoted,
            "joined": joined,
        }

    @override
    def batch_limit(self, addresses: Sequence[str], options: Options) -> int | None:
        return None if self.guiders["ocr_guider"] is None else 1

    @override
    def has_two_branches(self, options: Options) -> bool:
        return any(
            len(self._branches(name, options, step)) > 1
            for name in GUIDERS
            for step in range(options.steps)
        )

    def _guider(self, name: str, options: Options) -> Any:
        """A guider with the scale of some options, as before its first step; None without one."""
        guider = copy(self.guiders[name])
        if guider is not None:
            guider.set_state(0, None, None)
            if not self.denoiser.config.guidance_embeds:
                guider.guidance_scale = options.guidance
        return guider

    def _branches(self, name: str, options: Options, step: int) -> Sequence[Branch]:
        """The branches of a step; a guider may guide some of the steps only."""
        both: tuple[Branch, Branch] = ("cond", "uncond")
        guider = self._guider(name, options)
        if guider is None:
            return both[:1]
        guider.set_state(step, options.steps, None)
        return both[: guider.num_conditions]

    @override
    def encode_texts(
        self, prompts: list[str], negatives: list[str] | None, **extra: Any
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for prefix, texts in (("", prompts), ("negative_", negatives)):
            if texts is not None:
                values = self.pipeline.encode_prompt(texts, batch_size=len(texts), **extra)
                names = [f"{prefix}{name}" for name in ENCODED]
                arguments |= zip(names, values, strict=True)
        return arguments

    @override
    def pass_values(
        self, arguments: Mapping[str, Tensor], batch: Sequence[Sample]
    ) -> Mapping[str, Any]:
        values = dict(arguments)
        texts = [sample.prompt for sample in batch], [sample.options.negative for sample in batch]
        for name, own in zip(self.conditioning_arguments[CONDITION_2], texts, strict=True):
            if name in values:
                # The pipeline chooses its guider by these, which an edit must not decide.
                quotes = self.quoted.filled(own).any(1).to(values[name].device)
                values[name] = values[name] * quotes[:, None, None]
        return values

    @override
    def pipeline_options(self, options: Options) -> dict[str, Any]:
        arguments = super().pipeline_options(options)
        guidance = arguments.pop("guidance_scale")
        embeds = self.denoiser.config.guidance_embeds
        return {**arguments, "distilled_guidance_scale": guidance} if embeds else arguments

    @override
    def draw(
        self, batch: Sequence[Sample], encoding: Encoding, handoff: Handoff, until: str
    ) -> Pictures | Floats | None:
        options = batch[0].options
        guiders = {name: self._guider(name, options) for name in GUIDERS}
        with replace_attributes(self.pipeline, **guiders):
            return super().draw(batch, encoding, handoff, until)

    @override
    def denoiser_call(self, call: int, batch: Sequence[Sample]) -> StageCall:
        options, count = batch[0].options, len(batch)
        # With a second guider there is one sample.
        quotes = bool(self.quoted.filled([batch[0].prompt]).any())
        name = GUIDERS[quotes and self.guiders["ocr_guider"] is not None]
        calls = [
            (step, branch)
            for step in range(len(self.pipeline.scheduler.timesteps))
            for branch in self._branches(name, options, step)
        ]
        step, branch = calls[call]
        sides = zip((options.height, options.width), self.denoiser.config.patch_size, strict=True)
        height, width = (side // (self.pipeline.vae_scale_factor * patch) for side, patch in sides)
        streams = {"image": slice(0, height * width), "text": slice(height * width, None)}
        stage_call = denoising_call(self.pipeline.scheduler, step, {branch: slice(0, count)})
        return replace(stage_call, streams=streams)


class QuotedText(T5TextEncoder):
    """ByT5, which is given what a prompt has in quotation marks; its tokens are bytes.

    Args:
        pipeline: The pipeline.
    """

    def __init__(self, pipeline: Any) -> None:
        from diffusers.pipelines.hunyuan_image.pipeline_hunyuanimage import extract_glyph_text

        super().__init__(
            pipeline,
            "text_encoder_2",
            window=pipeline.tokenizer_2_max_length,
            normalize=lambda text: extract_glyph_text(text) or "",
        )

    def filled(self, texts: Sequence[str]) -> Tensor:
        """Positions that the denoiser attends to.

        Args:
            texts: Prompts.

        Returns:
            bool `[text, position]`, on the CPU; False everywhere where a prompt quotes nothing.
        """
        quotes = torch.tensor([bool(self.normalize(text)) for text in texts])
        filled: Tensor = self._padded(texts).attention_mask.bool() & quotes[:, None]
        return filled

    @override
    def token_mask(self, texts: Sequence[str]) -> Tensor:
        filled = self.filled(texts)
        # Where nothing is quoted, all states are zeros.
        return filled | ~filled.any(1, keepdim=True)

    @override
    def word_mask(
        self, texts: Sequence[str], word: str, *, occurrence: int | None = None
    ) -> Tensor:
        mask = torch.zeros(len(texts), self.window, dtype=torch.bool)
        for row, text in enumerate(map(self.normalize, texts)):
            for first, last in select_occurrence(find_words(text, word.strip()), occurrence):
                mask[row, len(text[:first].encode()) : len(text[:last].encode())] = True
        return mask


class _QuotedFirst(TextWindow):
    """The text's stream of the denoiser: what is quoted, the prompt, then the padding of both.

    Args:
        quoted: What reads the quotations.
        text: What reads the prompt.
        dropped: How many of its first positions do not reach the denoiser.
    """

    def __init__(self, quoted: QuotedText, text: LanguageModelText, dropped: int) -> None:
        self.quoted, self.text, self.dropped = quoted, text, dropped

    @override
    def token_mask(self, texts: Sequence[str]) -> Tensor:
        return self._join(texts, self.quoted.token_mask(texts), self.text.token_mask(texts))

    @override
    def word_mask(
        self, texts: Sequence[str], word: str, *, occurrence: int | None = None
    ) -> Tensor:
        quoted = self.quoted.word_mask(texts, word)
        if occurrence is not None:
            # What is quoted is counted by itself: its first word may be the prompt's second.
            quoted = torch.zeros_like(quoted)
        return self._join(texts, quoted, self.text.word_mask(texts, word, occurrence=occurrence))

    def _join(self, texts: Sequence[str], quoted: Tensor, text: Tensor) -> Tensor:
        """A mask of both at the denoiser's positions."""
        text, filled = text[:, self.dropped :], self.text.filled(texts)[:, self.dropped :]
        joined = torch.zeros(len(texts), quoted.shape[1] + text.shape[1], dtype=torch.bool)
        for row, is_quoted in enumerate(self.quoted.filled(texts)):
            own = torch.cat([quoted[row][is_quoted], text[row][filled[row]]])
            joined[row, : len(own)] = own
        return joined


def _block_hooks(net: Any, tokens: int, window: int) -> list[SiteHook]:
    """The sites of the blocks of the prompt, of those of two streams, and of those of one row."""
    hooks: list[SiteHook] = []
    width = net.config.num_attention_heads * net.config.attention_head_dim
    refiner = "context_embedder.token_refiner.refiner_blocks"
    for index, module in enumerate(net.get_submodule(refiner)):
        address, path = f"denoiser.context_refiner.{index}", f"transformer.{refiner}.{index}"
        block = Block(address, path, module, tokens, "condition")
        hooks += [
            *block.attention("attn"),
            block.tap("self_attn", "attn", width),
            block.mlp("ff"),
            block.tap("resid", "", width),
        ]
    for index, module in enumerate(net.transformer_blocks):
        hooks += stream_hooks(index, module, width, window, "joined", picture_index=0)
    last = len(net.single_transformer_blocks) - 1
    for index, module in enumerate(net.single_transformer_blocks):
        address = f"denoiser.single.{index}"
        picture = Block(
            f"{address}.image", f"transformer.single_transformer_blocks.{index}", module
        )
        text = replace(picture, address=f"{address}.text", positions=window, text_window="joined")
        for part, (stream, block) in enumerate((("image", picture), ("text", text))):
            row = replace(block, stream=stream)
            # Nothing reads the text's positions after the last block.
            is_read = stream == "image" or index < last
            output = replace(block, affects_output=is_read)
            hooks += [
                *replace(row, affects_output=is_read).attention("attn", "q"),
                *row.attention("attn", "kv"),
                # The block's own matrix mixes the heads, together with its neurons.
                output.tap("z", "attn", width, heads=module.attn.heads, output_index=part),
                replace(row, affects_output=is_read).tap(
                    "mlp", "act_mlp", module.proj_mlp.out_features
                ),
                output.tap("resid", "", width, output_index=part),
            ]
    return hooks
