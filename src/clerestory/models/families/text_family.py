"""Pipelines without a prior: a table of text encoders, sites and defaults makes a family."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.errors import OptionError
from clerestory.models.core.extras import provided_states
from clerestory.models.core.family import Encoding, SiteHook, seed_generators
from clerestory.models.core.text_windows import TextWindow
from clerestory.models.core.types import Branch, Options, Sample, Site
from clerestory.models.families.conditioned import (
    CONDITION,
    POOLED,
    ConditionedFamily,
    call_parameters,
)
from clerestory.models.families.networks import end_hooks, map_hooks
from clerestory.models.families.text import PipelineTextEncoder

__all__ = ["TextFamily"]

LATENT_ARGUMENTS = {"unet": "sample", "transformer": "hidden_states"}
"""The argument of a denoiser that takes the latent, by the denoiser's attribute of the pipeline."""
ATTENTION_OPTIONS = ("cross_attention_kwargs", "joint_attention_kwargs", "attention_kwargs")
"""Arguments of pipelines with the scale of a LoRA, which their text encoders heed as well."""


class TextFamily(ConditionedFamily):
    """A pipeline whose text states go straight to its denoiser, without a prior.

    Attributes:
        encoded_arguments: Arguments of the pipeline's call that its `encode_prompt` returns, in
            this order, "" for what the call makes itself; a pipeline without pooled states returns
            the first two.
        skipping_stages: Stages whose last blocks have no part in the picture with `clip_skip`.

    Args:
        pipeline: The pipeline.
        denoiser: The denoiser's attribute of the pipeline: `unet` or `transformer`.
        text_encoders: Its text encoders, in the order in which they run.
        conditioning: The hooks of its conditioning sites, `denoiser/condition` the first.
        blocks: The hooks within the denoiser.
        steps: Default number of denoising steps.
        guidance: Default guidance scale.
        size_multiple: Height and width must be multiples of this.
        sample_size: The denoiser's own size in latents: one number for both sides, or height and
            width; None for what its configuration says.
        latent_argument: The denoiser's argument that takes the latent; None for diffusers' usual.
        channels: Number of channels of the latent; None for what the denoiser's configuration says.
    """

    conditioning_site = CONDITION
    conditioning_arguments: ClassVar[Mapping[str, tuple[str, str]]] = {
        CONDITION: ("prompt_embeds", "negative_prompt_embeds"),
        POOLED: ("pooled_prompt_embeds", "negative_pooled_prompt_embeds"),
    }
    encoded_arguments: ClassVar[tuple[str, ...]] = (
        *conditioning_arguments[CONDITION],
        *conditioning_arguments[POOLED],
    )

    skipping_stages: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        pipeline: Any,
        denoiser: str,
        text_encoders: Sequence[PipelineTextEncoder],
        *,
        conditioning: Sequence[SiteHook],
        blocks: Sequence[SiteHook],
        steps: int,
        guidance: float,
        size_multiple: int,
        sample_size: Any = None,
        latent_argument: str | None = None,
        channels: int | None = None,
    ) -> None:
        self.pipeline = self.denoising_pipeline = pipeline
        self.progress_bar_pipelines = (pipeline,)
        self.denoiser = getattr(pipeline, denoiser)
        self.encoder_stages = tuple(text.stage for text in text_encoders)
        self.stages = (*self.encoder_stages, "denoiser")
        self.stage_modules = {text.stage: text.encoder for text in text_encoders}
        self.stage_modules |= {"denoiser": self.denoiser}
        decoding: list[SiteHook] = []
        # Some draw pixels.
        if getattr(pipeline, "vae", None) is not None:
            # Pipelines call `vae.decode`, a method whose calls no hook sees; the decoder inside is
            # a module.
            decoder = pipeline.vae.decoder
            self.stages = (*self.stages, "vae")
            self.stage_modules |= {"vae": decoder}
            decoding = map_hooks("vae", "vae.decoder", decoder)
        windows: dict[str, TextWindow] = {text.stage: text for text in text_encoders}
        self.text_windows = windows
        # The encoder with the longest window sets the limit: the others cut what it still reads.
        self.prompt_reader = max(text_encoders, key=lambda text: text.window)
        self.conditioning_sites = tuple(hook.site.address for hook in conditioning)
        latent, prediction = end_hooks(
            denoiser,
            self.denoiser,
            latent_argument or LATENT_ARGUMENTS[denoiser],
            channels=channels,
        )
        self.site_hooks = [
            *(hook for text in text_encoders for hook in text.site_hooks()),
            *conditioning,
            latent,
            *blocks,
            prediction,
            *decoding,
        ]
        self.size_multiple = size_multiple
        size = self.denoiser.config.sample_size if sample_size is None else sample_size
        height, width = size if isinstance(size, list | tuple) else (size, size)
        scale = getattr(pipeline, "vae_scale_factor", 1)
        self.defaults = Options(height * scale, width * scale, steps=steps, guidance=guidance)

    @override
    def has_two_branches(self, options: Options) -> bool:
        # Guidance may be distilled into a UNet (latent consistency models): then there is one
        # branch.
        distilled = self.denoiser.config.get("time_cond_proj_dim") is not None
        return super().has_two_branches(options) and not distilled

    @override
    def reads_negative(self, options: Options) -> bool:
        return self.has_two_branches(options)

    @override
    def bypassed(self, site: Site, options: Options) -> str:
        # First of all, since this is asked of every site of every run.
        if not options.extra or site.stage not in self.encoder_stages:
            return ""
        given = [name for name in options.extra if name in self.encoded_arguments]
        if given:
            return f"{' and '.join(given)} of extra take the place of what the text encoders give"
        skipped = options.extra.get("clip_skip") or 0
        if not skipped or site.stage not in self.skipping_stages:
            return ""
        # Of the blocks that are not left out in any case.
        fed = [
            other.site.address.partition("/")[0]
            for other in self.site_hooks
            if other.site.stage == site.stage
            and other.site.tap == "resid"
            and other.site.affects_output
        ]
        is_skipped = site.address.partition("/")[0] in fed[-skipped:]
        return f"clip_skip={skipped} of extra leaves this block out" if is_skipped else ""

    @override
    def check_extra(self, options: Options) -> None:
        super().check_extra(options)
        # The pipeline's call hands them to `encode_prompt`, which it is not asked for: it is given
        # the states.
        encoding = set(inspect.signature(self.pipeline.encode_prompt).parameters)
        used = {*self.encoded_arguments, "clip_skip"}
        for name in options.extra:
            if name in encoding - used:
                raise OptionError(
                    f"extra has {name!r}, an argument of how prompts are encoded that has no "
                    "effect here: leave it out."
                )

    @property
    @override
    def extra_names(self) -> Sequence[str]:
        # States that are given take the place of encoded ones.
        return call_parameters(self.pipeline)

    @override
    def extra_arguments(self, batch: Sequence[Sample]) -> dict[str, Any]:
        # What `encode` has taken already is among the values of the conditioning sites.
        return {
            name: value
            for name, value in super().extra_arguments(batch).items()
            if name not in self.encoded_arguments
        }

    def _encoder_arguments(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the further arguments that the pipeline's call hands to `encode_prompt`."""
        known = inspect.signature(self.pipeline.encode_prompt).parameters
        arguments = {name: extra[name] for name in ("clip_skip",) if name in extra}
        for name in ATTENTION_OPTIONS:
            scale = (extra.get(name) or {}).get("scale")
            if scale is not None and "lora_scale" in known:
                arguments["lora_scale"] = scale
        return arguments

    def encode_options(self, negatives: list[str] | None) -> dict[str, Any]:
        """Arguments of the pipeline's `encode_prompt`, besides the prompts.

        Args:
            negatives: Negative prompts, "" for none; None where only one branch is drawn.

        Returns:
            Keyword arguments.
        """
        return {
            "device": self.pipeline._execution_device,
            "do_classifier_free_guidance": negatives is not None,
            "negative_prompt": negatives,
        }

    def encode_texts(
        self, prompts: list[str], negatives: list[str] | None, **extra: Any
    ) -> dict[str, Any]:
        """Encode texts as the pipeline does.

        Args:
            prompts: One for each sample.
            negatives: Negative prompts, "" for none; None where only one branch is drawn.
            **extra: Further arguments of the pipeline's `encode_prompt`, such as `clip_skip`.

        Returns:
            Arguments of the pipeline's call: states `[sample, token, unit]` and pooled states
            `[sample, unit]` of each branch; None for a branch that is not drawn.
        """
        values = self.pipeline.encode_prompt(prompts, **self.encode_options(negatives), **extra)
        return dict(zip(self.encoded_arguments, values, strict=False))

    @override
    @torch.no_grad()
    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoding | None:
        options, stops_early = batch[0].options, until in self.encoder_stages
        # A run that stops within the text side needs no negative states unless they are read.
        both = self.has_two_branches(options) and (branch == "uncond" or not stops_early)
        extra = super().extra_arguments(batch)
        arguments = self.encode_texts(
            [sample.prompt for sample in batch],
            [sample.options.negative for sample in batch] if both else None,
            **self._encoder_arguments(extra),
        )
        if stops_early:
            return None
        given = {name: extra[name] for name in self.encoded_arguments if name in extra}
        arguments |= provided_states(given, arguments, len(batch))
        arguments = {name: value for name, value in arguments.items() if name and value is not None}
        branches: tuple[Branch, Branch] = ("cond", "uncond")
        conditioning: dict[str, dict[Branch, Tensor]] = {
            address: {
                branch: arguments.pop(name)
                for branch, name in zip(branches, self.conditioning_arguments[address], strict=True)
                if name in arguments
            }
            for address in self.conditioning_sites
        }
        # The text side draws no noise; states rather than seeds keep one way for all families,
        # since a prior draws some.
        states = [generator.get_state() for generator in seed_generators(batch)]
        return Encoding(conditioning, states, arguments)
