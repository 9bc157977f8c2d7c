"""FLUX.2: a language model (Mistral 3; in Klein Qwen 3), a transformer of double and single blocks.

The text states are those of three of its blocks, side by side. dev takes guidance as an input and
has one branch; Klein is guided by calls of their own for the two branches, the prompt first, unless
it is distilled.

Double blocks have a stream of the picture, `denoiser.blocks.3.image/…`, and one of the text; in
single blocks, `denoiser.single.7/…`, text and picture are one row of positions, the text first. A
single block's attention and MLP are parallel, with common matrices: `q`, `k`, `v` and `z` are parts
of what these give and take, and there is no `self_attn`.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, ClassVar

from typing_extensions import override

from clerestory.models.core.family import SiteHook, families
from clerestory.models.core.types import Options
from clerestory.models.families.conditioned import CONDITION, BranchCalls, condition_hook
from clerestory.models.families.language_model_text import LanguageModelText
from clerestory.models.families.networks import Block, stream_hooks
from clerestory.models.families.text_family import TextFamily

__all__ = ["Flux2", "Flux2Klein"]


class _Flux2(BranchCalls, TextFamily):
    """What both have."""

    half_precision = "bfloat16"
    conditioning_arguments: ClassVar[Mapping[str, tuple[str, str]]] = {
        CONDITION: ("prompt_embeds", "negative_prompt_embeds"),
    }

    def __init__(self, pipeline: Any, text: LanguageModelText, steps: int) -> None:
        net, config = pipeline.transformer, pipeline.transformer.config
        self.window = text.window
        blocks = [
            hook
            for index, block in enumerate(net.transformer_blocks)
            for hook in stream_hooks(index, block, net.inner_dim, text.window, text.stage)
        ]
        super().__init__(
            pipeline,
            "transformer",
            [text],
            conditioning=[condition_hook(text.window, config.joint_attention_dim, text.stage)],
            blocks=blocks + _single_hooks(net, text.stage),
            steps=steps,
            guidance=4.0,
            # The latent is packed two by two into positions.
            size_multiple=pipeline.vae_scale_factor * 2,
            sample_size=pipeline.default_sample_size,
        )

    @override
    def encode_texts(
        self, prompts: list[str], negatives: list[str] | None, **extra: Any
    ) -> dict[str, Any]:
        cond, uncond = self.conditioning_arguments[CONDITION]
        texts = {cond: prompts} | ({} if negatives is None else {uncond: negatives})
        return {
            name: self.pipeline.encode_prompt(each, max_sequence_length=self.window, **extra)[0]
            for name, each in texts.items()
        }


@families.register("Flux2Pipeline")
class Flux2(_Flux2):
    """FLUX.2 dev: Mistral 3, a transformer of double and single blocks, autoencoder."""

    single_file_types = ("flux-2-dev",)
    negative_option = ""
    option_names = ("height", "width", "steps", "guidance")

    def __init__(self, pipeline: Any) -> None:
        processor = pipeline.tokenizer

        def template(prompt: str) -> str:
            messages = [("system", pipeline.system_message), ("user", prompt)]
            rendered: str = processor.apply_chat_template(
                [
                    {"role": role, "content": [{"type": "text", "text": text}]}
                    for role, text in messages
                ],
                tokenize=False,
            )
            return rendered

        text = LanguageModelText(
            pipeline,
            window=pipeline.tokenizer_max_length,
            template=template,
            # The template has them.
            special_tokens=False,
            # The pipeline takes the mark of a picture out of prompts.
            normalize=lambda prompt: prompt.replace("[IMG]", ""),
            unused_blocks=_unused_blocks(pipeline),
        )
        super().__init__(pipeline, text, steps=50)

    @override
    def has_two_branches(self, options: Options) -> bool:
        # Guidance is an input of the denoiser and makes no second branch.
        return False


@families.register("Flux2KleinPipeline")
class Flux2Klein(_Flux2):
    """FLUX.2 Klein: Qwen 3, a transformer of double and single blocks, autoencoder."""

    def __init__(self, pipeline: Any) -> None:
        tokenizer = pipeline.tokenizer

        def template(prompt: str) -> str:
            rendered: str = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
            )
            return rendered

        text = LanguageModelText(
            pipeline,
            window=pipeline.tokenizer_max_length,
            template=template,
            unused_blocks=_unused_blocks(pipeline),
        )
        super().__init__(pipeline, text, steps=4 if pipeline.config.is_distilled else 50)
        if pipeline.config.is_distilled:
            self.option_names = ("height", "width", "steps")

    @override
    def has_two_branches(self, options: Options) -> bool:
        return options.guidance > 1 and not self.pipeline.config.is_distilled


def _unused_blocks(pipeline: Any) -> int:
    """How many blocks of the text encoder come after the last whose states are used."""
    states = signature(pipeline.encode_prompt).parameters["text_encoder_out_layers"].default
    # The first of the states is that of the tokens, before any block.
    count: int = pipeline.text_encoder.config.get_text_config().num_hidden_layers - max(states)
    return count


def _single_hooks(net: Any, text_window: str) -> list[SiteHook]:
    """The sites of the blocks in which text and picture are one row of positions."""
    hooks: list[SiteHook] = []
    for index, module in enumerate(net.single_transformer_blocks):
        path = f"transformer.single_transformer_blocks.{index}"
        block = Block(f"denoiser.single.{index}", path, module, text_window=text_window)
        width, heads = module.attn.inner_dim, module.attn.heads
        hooks += [
            block.tap(tap, "attn.to_qkv_mlp_proj", width, heads=heads, first_unit=part * width)
            for part, tap in enumerate("qkv")
        ]
        hooks += [
            block.tap("mlp", "attn.mlp_act_fn", module.attn.mlp_hidden_dim),
            block.tap("z", "attn.to_out", width, heads=heads, is_input=True, first_unit=0),
            block.tap("resid", "", net.inner_dim),
        ]
    return hooks
