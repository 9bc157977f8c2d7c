"""Karlo: CLIP, a prior, a decoder that draws 64×64 pixels, two networks that draw them larger.

The pipeline runs all of them in one call. Here it is left where the prior is done, and entered
there again with what `encode` gave: the image embedding, `prior/embedding`, and the text states
that are joined with it, `denoiser/condition` and `denoiser/pooled`. The decoder's attentions read a
few tokens made of the embedding, then those of the text.

`super_res_last` draws the last step of super-resolution, `super_res` those before it; neither
reads the text.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.models.core.family import Encoding, StageCall, families, seed_generators
from clerestory.models.core.hooks import halt_before, watch_inputs
from clerestory.models.core.pipeline_state import replace_attributes
from clerestory.models.core.schedulers import seeded_scheduler
from clerestory.models.core.types import Branch, Options, Sample
from clerestory.models.families.clip_text import ClipTextEncoder
from clerestory.models.families.conditioned import (
    CONDITION,
    POOLED,
    ConditionedFamily,
    branch_values,
    condition_hook,
    denoising_call,
    pooled_hook,
)
from clerestory.models.families.networks import end_hooks, map_hooks, unet_hooks
from clerestory.models.families.text import JoinedWindows
from clerestory.models.families.unclip import EMBEDDING, embedding_hook, prior_hooks

__all__ = ["Karlo"]


@families.register("UnCLIPPipeline")
class Karlo(ConditionedFamily):
    """Karlo: CLIP text encoder, prior, decoder of pixels, super-resolution."""

    stages = ("text", "prior", "denoiser", "super_res", "super_res_last")
    encoder_stages = ("text", "prior")
    conditioning_site = EMBEDDING
    conditional_sites = (EMBEDDING,)
    conditioning_sites = (EMBEDDING, CONDITION, POOLED)
    conditioning_arguments: ClassVar[Mapping[str, tuple[str, str]]] = {
        # A learned embedding is the decoder's own in the branch uncond.
        EMBEDDING: ("embedding", ""),
        CONDITION: ("states", "negative_states"),
        POOLED: ("pooled", "negative_pooled"),
    }
    returns_latents = False
    negative_option = ""
    # Sizes are those of the networks.
    option_names = ("steps", "guidance", "prior_steps", "prior_guidance")

    def __init__(self, pipeline: Any) -> None:
        self.pipeline, self.denoising_pipeline = pipeline, _Decoder(pipeline)
        self.progress_bar_pipelines = (pipeline,)
        text, prior, decoder = ClipTextEncoder(pipeline), pipeline.prior, pipeline.decoder
        joined = JoinedWindows(
            (None, pipeline.text_proj.clip_extra_context_tokens), (text, text.window)
        )
        self.text_windows = {"text": text, "condition": joined}
        self.prompt_reader = text
        networks = {"super_res": "super_res_first", "super_res_last": "super_res_last"}
        latent, prediction = end_hooks("decoder", decoder, "sample")
        self.site_hooks = [
            *text.site_hooks(),
            *prior_hooks("prior", prior, text.window),
            embedding_hook("prior", prior),
            condition_hook(text.window, text.encoder.config.hidden_size, "text"),
            pooled_hook(text.encoder.config.projection_dim),
            latent,
            *unet_hooks("decoder", decoder, "condition", joined.window),
            prediction,
            *(
                hook
                for stage, name in networks.items()
                for hook in map_hooks(stage, name, getattr(pipeline, name))
            ),
        ]
        self.stage_modules = {
            "text": text.encoder,
            "prior": prior,
            "denoiser": decoder,
            **{stage: getattr(pipeline, name) for stage, name in networks.items()},
        }
        side = pipeline.super_res_last.config.sample_size
        self.defaults = Options(
            side, side, steps=25, guidance=8.0, prior_steps=25, prior_guidance=4.0
        )

    @override
    def has_two_branches(self, options: Options) -> bool:
        # In the prior and in the decoder alike.
        return max(options.guidance, options.prior_guidance) > 1

    @property
    @override
    def extra_names(self) -> Sequence[str]:
        known = inspect.signature(self.pipeline.__call__).parameters
        return [name for name in known if name.startswith("super_res")]

    @override
    @torch.no_grad()
    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoding | None:
        pipe, options, stops_early = self.pipeline, batch[0].options, until == "text"
        both = self.has_two_branches(options) and (branch == "uncond" or not stops_early)
        prompts = [sample.prompt for sample in batch]
        pooled, states, mask = pipe._encode_prompt(prompts, pipe._execution_device, 1, both)
        if stops_early:
            return None
        generators, seeds = seed_generators(batch), [sample.seed for sample in batch]
        captured: dict[str, Any] = {}
        with (
            replace_attributes(pipe, _encode_prompt=lambda *args, **kwargs: (pooled, states, mask)),
            seeded_scheduler(pipe.prior_scheduler, generators, seeds),
            # What comes first after the prior.
            halt_before([pipe.text_proj]),
            watch_inputs({"": pipe.text_proj}, lambda name, args, kwargs: captured.update(kwargs)),
        ):
            pipe(
                prompt=prompts,
                prior_num_inference_steps=options.prior_steps,
                prior_guidance_scale=options.prior_guidance,
                decoder_guidance_scale=options.guidance,
                generator=generators,
            )
        return Encoding(
            {
                EMBEDDING: {"cond": captured["image_embeddings"]},
                CONDITION: branch_values(states, both=both),
                POOLED: branch_values(pooled, both=both),
            },
            [generator.get_state() for generator in generators],
            {"mask": mask},
        )

    @override
    def pipeline_options(self, options: Options) -> dict[str, Any]:
        return {
            "decoder_num_inference_steps": options.steps,
            "decoder_guidance_scale": options.guidance,
            "prior_guidance_scale": options.prior_guidance,
        }

    @override
    def stage_call(self, stage: str, call: int, batch: Sequence[Sample]) -> StageCall:
        if stage == "prior":
            rows = self.denoiser_call(0, batch).rows
            return denoising_call(self.pipeline.prior_scheduler, call, rows)
        if stage.startswith("super_res"):
            scheduler = self.pipeline.super_res_scheduler
            index = len(scheduler.timesteps) - 1 if stage == "super_res_last" else call
            return denoising_call(scheduler, index, {"cond": slice(0, len(batch))})
        return super().stage_call(stage, call, batch)


@dataclass(frozen=True)
class _Decoder:
    """Karlo's pipeline from where the prior is done."""

    pipeline: Any

    @property
    def scheduler(self) -> Any:
        return self.pipeline.decoder_scheduler

    def __call__(
        self,
        *,
        embedding: Tensor,
        states: Tensor,
        pooled: Tensor,
        mask: Tensor,
        negative_states: Tensor | None = None,
        negative_pooled: Tensor | None = None,
        **arguments: Any,
    ) -> Any:
        count = len(states)
        if negative_states is not None and negative_pooled is not None:
            states = torch.cat([negative_states, states])
            pooled = torch.cat([negative_pooled, pooled])
        # A prior of no steps, whose latent is drawn and scaled already.
        prior = SimpleNamespace(
            config=SimpleNamespace(embedding_dim=embedding.shape[-1]),
            post_process_latents=lambda latents: latents,
        )
        scheduler = SimpleNamespace(
            timesteps=torch.empty(0),
            init_noise_sigma=1.0,
            set_timesteps=lambda steps, device: None,
        )
        with replace_attributes(
            self.pipeline,
            _encode_prompt=lambda *args, **kwargs: (pooled, states, mask),
            prior=prior,
            prior_scheduler=scheduler,
        ):
            return self.pipeline(prompt=[""] * count, prior_latents=embedding, **arguments)
