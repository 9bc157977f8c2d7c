"""Flux: CLIP pooled, T5 as the condition, a transformer of double and single blocks.

Guidance is an input of the denoiser (or, in schnell, distilled away), so there is one branch. With
a negative prompt and a `true_guidance` above 1 there are two, in calls of their own, the prompt
first.

Double blocks, `denoiser.blocks.3/…`, have a stream of text beside the picture's, as in Stable
Diffusion 3; in single blocks, `denoiser.single.7/…`, text and picture are one row of positions, the
text first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clerestory.models.core.family import SiteHook, StageCall, families
from clerestory.models.core.types import Branch, Options, Sample
from clerestory.models.families.clip_text import ClipText
from clerestory.models.families.conditioned import (
    CONDITION,
    POOLED,
    STATES_AND_POOLED,
    Conditioned,
    conditioning_hook,
)
from clerestory.models.families.networks import attention_hooks, end_hooks, map_hooks, tap_hook
from clerestory.models.families.stable_diffusion_3 import stream_hooks
from clerestory.models.families.t5_text import T5Text

__all__ = ["Flux"]

LONGEST = {True: 512, False: 256}
"""How many tokens T5 is given: dev, which has guidance, and schnell, which has none."""


@families.register("FluxPipeline")
class Flux(Conditioned):
    """Flux.1 dev and schnell: CLIP, T5, a transformer of double and single blocks, autoencoder.

    Args:
        pipeline: The diffusers pipeline.

    Raises:
        ModelError: A text encoder or its tokenizer is missing.
    """

    half_precision = "bfloat16"
    single_file_types = ("flux-dev", "flux-schnell")
    negative_option = "true_guidance"
    argument_names = STATES_AND_POOLED

    def __init__(self, pipeline: Any) -> None:
        net, guided = pipeline.transformer, pipeline.transformer.config.guidance_embeds
        self.window = LONGEST[guided]
        texts = [
            ClipText(pipeline.tokenizer, pipeline.text_encoder, "text", "text_encoder"),
            T5Text(
                pipeline.tokenizer_2,
                pipeline.text_encoder_2,
                "text_2",
                "text_encoder_2",
                self.window,
            ),
        ]
        super().__init__(pipeline, net, texts)
        config = net.config
        latent, prediction = end_hooks(
            "transformer", net, config.in_channels, config.in_channels, "hidden_states"
        )
        self.site_hooks = [
            *(hook for text in texts for hook in text.site_hooks()),
            conditioning_hook(CONDITION, (self.window, config.joint_attention_dim), "text_2"),
            conditioning_hook(POOLED, (1, config.pooled_projection_dim)),
            latent,
            *(
                hook
                for index, block in enumerate(net.transformer_blocks)
                for hook in stream_hooks(index, block, net.inner_dim, self.window, "text_2")
            ),
            *self._single_hooks(net),
            prediction,
            *map_hooks("vae", "vae.decoder", pipeline.vae.decoder),
        ]
        # The latent is packed two by two into positions.
        self.size_multiple = pipeline.vae_scale_factor * 2
        side = pipeline.default_sample_size * pipeline.vae_scale_factor
        steps, guidance = (28, 3.5) if guided else (4, 0.0)
        self.defaults = Options(side, side, steps=steps, guidance=guidance)

    def _single_hooks(self, net: Any) -> list[SiteHook]:
        hooks: list[SiteHook] = []
        last = len(net.single_transformer_blocks) - 1
        for index, block in enumerate(net.single_transformer_blocks):
            address, width = f"denoiser.single.{index}", net.inner_dim
            dotted = f"transformer.single_transformer_blocks.{index}"
            on_text: dict[str, Any] = {"length": self.window, "text_window": "text_2"}
            hooks += [
                *attention_hooks(address, f"{dotted}.attn", block.attn, text_window="text_2"),
                tap_hook(
                    address, "self_attn", f"{dotted}.attn", block.attn, width, text_window="text_2"
                ),
                tap_hook(
                    address,
                    "mlp",
                    f"{dotted}.act_mlp",
                    block.act_mlp,
                    block.mlp_hidden_dim,
                    text_window="text_2",
                ),
                # Blocks return the text's stream and the picture's, in this order, also single
                # blocks, which split their one row again.
                tap_hook(address, "resid", dotted, block, width, output_index=1),
                tap_hook(
                    f"{address}.text",
                    "resid",
                    dotted,
                    block,
                    width,
                    # After the last block the text's positions are dropped.
                    affects_output=index < last,
                    **on_text,
                ),
            ]
        return hooks

    def has_two_branches(self, options: Options) -> bool:
        """Whether there is a negative prompt: guidance itself is an input of the denoiser.

        Args:
            options: Those of the batch.

        Returns:
            True with a negative prompt and `true_guidance` above 1.
        """
        return bool(options.negative) and options.true_guidance > 1

    def encode_texts(self, prompts: list[str], negatives: list[str] | None) -> dict[str, Any]:
        """T5's last states, and CLIP's pooled ones.

        Args:
            prompts: One for each sample.
            negatives: Negative prompts; None where only one branch is drawn.

        Returns:
            Arguments of the pipeline: `[sample, token, unit]` states and `[sample, unit]`
            pooled ones of each branch.
        """
        arguments: dict[str, Any] = {"max_sequence_length": self.window}
        for prefix, texts in (("", prompts), ("negative_", negatives)):
            if texts is None:
                continue
            states, pooled, _ = self.pipeline.encode_prompt(
                texts,
                None,
                device=self.pipeline._execution_device,
                max_sequence_length=self.window,
            )
            arguments |= {f"{prefix}prompt_embeds": states, f"{prefix}pooled_prompt_embeds": pooled}
        return arguments

    def pipeline_options(self, options: Options) -> dict[str, Any]:
        """The same with the strength of the negative prompt.

        Args:
            options: Those of the batch.

        Returns:
            Keyword arguments of the pipeline's call.
        """
        # 1.0 is the pipeline's own value for no second branch.
        strength = options.true_guidance if self.has_two_branches(options) else 1.0
        return {**super().pipeline_options(options), "true_cfg_scale": strength}

    def stage_call(self, stage: str, call: int, batch: Sequence[Sample]) -> StageCall:
        """The denoiser is called once for each branch of a step, the prompt first.

        Args:
            stage: The stage's name.
            call: How many calls of the stage came before in this batch.
            batch: The samples of the batch.

        Returns:
            The step of the call and the rows of each branch.
        """
        if stage != "denoiser":
            return super().stage_call(stage, call, batch)
        branches: tuple[Branch, ...] = (
            ("cond", "uncond") if self.has_two_branches(batch[0].options) else ("cond",)
        )
        # The pipeline calls the denoiser once for each branch, so there are two calls a step.
        index, turn = divmod(call, len(branches))
        return self.denoiser_call({branches[turn]: slice(0, len(batch))}, index)
