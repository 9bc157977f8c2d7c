"""Stable Cascade: CLIP, a prior that draws a small map, a decoder of latents, a VQGAN.

`prior/embedding` is that map, of 24×24 positions for 1024×1024 pixels. The decoder takes it and the
pooled text of the prior's encoder, `denoiser/pooled`; its own text encoder is never run. Both
networks are UNets whose levels are residual blocks, modulations by the timestep and attentions
(`prior.down.0.res.0/mlp`, `….time.0/out`, `….attn.0/q`); rows of the branch `cond` come first. The
decoder's branch `uncond` has zeros for the map.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.errors import OptionError
from clerestory.models.core.family import (
    Encoding,
    SeparatePrior,
    SiteHook,
    StageCall,
    families,
    seed_generators,
)
from clerestory.models.core.schedulers import seeded_scheduler
from clerestory.models.core.types import Branch, Options, Sample, Site
from clerestory.models.families.clip_text import ClipTextEncoder
from clerestory.models.families.conditioned import (
    POOLED,
    ConditionedFamily,
    denoising_call,
    pooled_hook,
)
from clerestory.models.families.networks import Block, end_hooks
from clerestory.models.families.unclip import EMBEDDING

__all__ = ["StableCascade"]

KINDS = {"depthwise": "res", "mapper": "time", "attention": "attn"}
"""Blocks of a level in addresses, by a part that only they have."""


@families.register("StableCascadeCombinedPipeline")
class StableCascade(ConditionedFamily):
    """Stable Cascade: CLIP text encoder, prior, decoder, VQGAN."""

    half_precision = "bfloat16"
    stages = ("text", "prior", "denoiser", "vae")
    encoder_stages = ("text", "prior")
    conditioning_site = EMBEDDING
    conditional_sites = (EMBEDDING,)
    conditioning_sites = (EMBEDDING, POOLED)
    conditioning_arguments: ClassVar[Mapping[str, tuple[str, str]]] = {
        # The decoder's pipeline makes the zeros of the branch uncond itself.
        EMBEDDING: ("image_embeddings", ""),
        POOLED: ("prompt_embeds_pooled", "negative_prompt_embeds_pooled"),
    }
    negative_option = "prior_guidance"
    trailing_windows: ClassVar[Mapping[str, str]] = {"prior": "text"}
    option_names = (*ConditionedFamily.option_names, "prior_steps", "prior_guidance")
    defaults = Options(1024, 1024, steps=12, guidance=0.0, prior_steps=60, prior_guidance=4.0)
    separate_prior = SeparatePrior(
        decoder="StableCascadeDecoderPipeline",
        prior="StableCascadePriorPipeline",
        combined="StableCascadeCombinedPipeline",
        example="stabilityai/stable-cascade-prior",
    )

    def __init__(self, pipeline: Any) -> None:
        self.pipeline, self.denoising_pipeline = pipeline, pipeline.decoder_pipe
        self.progress_bar_pipelines = (pipeline.prior_pipe, pipeline.decoder_pipe)
        text = ClipTextEncoder(pipeline, "prior_text_encoder")
        self.text_windows, self.prompt_reader = {"text": text}, text
        prior, decoder, vqgan = pipeline.prior_prior, pipeline.decoder, pipeline.vqgan
        self.size_multiple = _size_multiple(pipeline)
        prior_latent, prior_prediction = end_hooks("prior_prior", prior, "sample", "prior")
        latent, prediction = end_hooks("decoder", decoder, "sample")
        embedding = Site(EMBEDDING, (None, prior.config.out_channels), "prior_prior")
        self.site_hooks = [
            *text.site_hooks(),
            prior_latent,
            *_network_hooks("prior", "prior_prior", prior, text.window),
            prior_prediction,
            SiteHook(embedding),
            pooled_hook(decoder.config.clip_text_pooled_in_channels),
            latent,
            *_network_hooks("denoiser", "decoder", decoder, 0),
            prediction,
            *_decoder_hooks(vqgan.up_blocks),
        ]
        self.stage_modules = {
            "text": text.encoder,
            "prior": prior,
            "denoiser": decoder,
            "vae": vqgan.up_blocks,
        }

    @override
    @torch.no_grad()
    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoding | None:
        prompts, options = [sample.prompt for sample in batch], batch[0].options
        both = options.prior_guidance > 1
        if self.has_two_branches(options) and not both:
            raise OptionError(
                f"guidance is {options.guidance:g} and prior_guidance {options.prior_guidance:g}: "
                "the decoder takes the text of its branch uncond from the prior's, so give a "
                "prior_guidance above 1 as well."
            )
        pipe, stops_early = self.pipeline.prior_pipe, until == "text"
        texts = pipe.encode_prompt(
            pipe._execution_device,
            len(batch),
            1,
            both and (branch == "uncond" or not stops_early),
            prompt=prompts,
            negative_prompt=[options.negative] * len(batch),
        )
        if stops_early:
            return None
        states, pooled, negative_states, negative_pooled = texts
        generators, seeds = seed_generators(batch), [sample.seed for sample in batch]
        with seeded_scheduler(pipe.scheduler, generators, seeds):
            maps = pipe(
                prompt_embeds=states,
                prompt_embeds_pooled=pooled,
                negative_prompt_embeds=negative_states,
                negative_prompt_embeds_pooled=negative_pooled,
                height=options.height,
                width=options.width,
                num_inference_steps=options.prior_steps,
                guidance_scale=options.prior_guidance,
                generator=generators,
            )[0]
        branches: dict[Branch, Tensor] = {"cond": pooled}
        if self.has_two_branches(options):
            branches["uncond"] = negative_pooled
        return Encoding(
            {EMBEDDING: {"cond": maps}, POOLED: branches},
            # After the prior's noise: the decoder goes on from here, as in the combined pipeline.
            [generator.get_state() for generator in generators],
            # The decoder's pipeline counts these, and encodes texts itself without them.
            {"prompt_embeds": states},
        )

    @override
    def pipeline_options(self, options: Options) -> dict[str, Any]:
        # The size is that of the map.
        return {"num_inference_steps": options.steps, "guidance_scale": options.guidance}

    @override
    def stage_call(self, stage: str, call: int, batch: Sequence[Sample]) -> StageCall:
        if stage != "prior":
            return super().stage_call(stage, call, batch)
        two = batch[0].options.prior_guidance > 1
        return denoising_call(self.pipeline.prior_scheduler, call, _rows(len(batch), two))

    @override
    def denoiser_call(self, call: int, batch: Sequence[Sample]) -> StageCall:
        two = self.has_two_branches(batch[0].options)
        return denoising_call(self.pipeline.scheduler, call, _rows(len(batch), two))


def _rows(count: int, two: bool) -> dict[Branch, slice]:
    rows: dict[Branch, slice] = {"cond": slice(0, count)}
    return {**rows, "uncond": slice(count, 2 * count)} if two else rows


def _size_multiple(pipeline: Any) -> int:
    """The smallest side of which every multiple is drawn as it is asked for: 128 by default."""
    vqgan = pipeline.vqgan.config
    pixels = vqgan.up_down_scale_factor * 2 ** (vqgan.levels - 1)
    per_position = pipeline.prior_pipe.config.resolution_multiple
    latents = pipeline.decoder_pipe.config.latent_dim_scale

    def drawn_side(side: int) -> int:
        # As both pipelines round.
        return int(pixels * int(ceil(side / per_position) * latents))

    sides = range(pixels, 1024 * pixels, pixels)
    exact = (side for side in sides if all(drawn_side(k * side) == k * side for k in range(1, 9)))
    return next(exact, pixels)


def _network_hooks(stage: str, path: str, network: Any, window: int) -> list[SiteHook]:
    """Blocks of a prior or decoder, level by level; `window` tokens of text besides pooled ones."""
    hooks: list[SiteHook] = []
    # Pooled text, and in the prior a pooled picture, as so many tokens each.
    tokens = window + network.config.clip_seq * (2 if window else 1)
    for side in ("down", "up"):
        for level, modules in enumerate(getattr(network, f"{side}_blocks")):
            numbers: Counter[str] = Counter()
            for index, module in enumerate(modules):
                kind = next(kind for part, kind in KINDS.items() if hasattr(module, part))
                address = f"{stage}.{side}.{level}.{kind}.{numbers[kind]}"
                numbers[kind] += 1
                block = Block(address, f"{path}.{side}_blocks.{level}.{index}", module)
                condition = replace(block, positions=tokens, text_window="text" if window else "")
                hooks += _block_hooks(kind, block, condition)
    return hooks


def _block_hooks(kind: str, block: Block, condition: Block) -> list[SiteHook]:
    module: Any = block.module
    if kind == "time":
        return [block.tap("out", "", module.mapper.out_features // 2)]
    if kind == "res":
        neurons = block.tap("mlp", "channelwise.1", module.channelwise[-1].in_features)
        return [
            replace(neurons, channels_last=True),
            block.tap("out", "", module.depthwise.out_channels),
        ]
    width = module.attention.to_q.in_features
    if module.self_attn:
        # The picture's positions come before the tokens of the condition in keys and values.
        attention = [*block.attention("attention"), block.tap("self_attn", "attention", width)]
    else:
        attention = [
            *block.attention("attention", "q", prefix="cross_"),
            *condition.attention("attention", "kv", prefix="cross_"),
            block.tap("cross_attn", "attention", width),
        ]
    return [*attention, block.tap("out", "", width)]


def _decoder_hooks(blocks: Any) -> list[SiteHook]:
    """The VQGAN's blocks, a map each."""
    hooks = []
    for index, module in enumerate(blocks):
        # A residual block, or a convolution, alone or in a sequence of one.
        units = (
            module.channelwise[-1].out_features
            if hasattr(module, "channelwise")
            else [*module.modules()][-1].out_channels
        )
        hooks.append(
            Block(f"vae.up.{index}", f"vqgan.up_blocks.{index}", module).tap("out", "", units)
        )
    return hooks
