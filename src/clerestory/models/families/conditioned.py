"""What families of diffusers pipelines share: guidance, values by argument, and the drawing itself.

The text side of a pipeline makes the values that its denoiser is conditioned on. They pass by their
sites and go back to the pipeline as arguments, so that `denoiser/condition` is exactly what the
denoiser takes. A family without a prior is a table: its text encoders, its sites, its defaults.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from typing_extensions import override

from clerestory.errors import SiteError
from clerestory.models.core.extras import Extra, check_extra
from clerestory.models.core.family import (
    Encoding,
    Family,
    Handoff,
    SiteHook,
    StageCall,
    restore_generators,
)
from clerestory.models.core.hooks import halt_before
from clerestory.models.core.schedulers import scheduler_sigma, seeded_scheduler
from clerestory.models.core.types import Branch, Options, Sample, Site
from clerestory.types import Floats, Pictures

__all__ = [
    "BranchCalls",
    "ConditionedFamily",
    "branch_values",
    "call_parameters",
    "condition_hook",
    "denoising_call",
    "pooled_hook",
]

CONDITION, POOLED = "denoiser/condition", "denoiser/pooled"
CONDITION_2 = "denoiser/condition_2"
"""States of a second text encoder, beside those of the first."""


class ConditionedFamily(Family):
    """A diffusers pipeline that takes the values of its conditioning sites as arguments.

    Attributes:
        conditioning_arguments: By site, the pipeline's names of the values of the branches cond and
            uncond.
        denoising_pipeline: The pipeline with the denoiser.
        returns_latents: Whether the pipeline can end before its autoencoder; otherwise it is left
            there.

    A subclass raises ModelError for a pipeline without one of its text encoders or tokenizers.
    """

    conditioning_arguments: ClassVar[Mapping[str, tuple[str, str]]]
    denoising_pipeline: Any
    returns_latents: ClassVar[bool] = True
    option_names: tuple[str, ...] = ("height", "width", "steps", "guidance", "negative")

    def has_two_branches(self, options: Options) -> bool:
        """Whether guidance draws with and without the prompt.

        Args:
            options: Those of the batch.

        Returns:
            As the pipeline decides it; by default with guidance above 1.
        """
        return options.guidance > 1

    def pipeline_options(self, options: Options) -> dict[str, Any]:
        """Options of a sample as arguments of the pipeline.

        Args:
            options: Those of the batch.

        Returns:
            Keyword arguments of the pipeline's call, besides the conditioning values.
        """
        return {
            "height": options.height,
            "width": options.width,
            "num_inference_steps": options.steps,
            "guidance_scale": options.guidance,
        }

    @property
    def extra_names(self) -> Sequence[str]:
        """Names that further arguments of the pipeline's call may have."""
        made = {name for pair in self.conditioning_arguments.values() for name in pair}
        return [name for name in call_parameters(self.denoising_pipeline) if name not in made]

    @override
    def check_extra(self, options: Options) -> None:
        if options.extra:
            kind = type(self.denoising_pipeline).__name__
            check_extra(options.extra, kind, self.extra_names, self.pipeline_options(options))

    def extra_arguments(self, batch: Sequence[Sample]) -> dict[str, Any]:
        """Further arguments of the pipeline's call for a batch.

        Args:
            batch: Samples with the same options.

        Returns:
            Values by name.
        """
        return Extra(batch[0].options.extra).arguments([sample.prompt for sample in batch])

    def pass_values(
        self, arguments: Mapping[str, Tensor], batch: Sequence[Sample]
    ) -> Mapping[str, Any]:
        """Conditioning values as the pipeline takes them; by default as they are.

        Args:
            arguments: Values as handed over, by the pipeline's names.
            batch: The samples.

        Returns:
            Keyword arguments of the pipeline's call.
        """
        return arguments

    @override
    def draw(
        self, batch: Sequence[Sample], encoding: Encoding, handoff: Handoff, until: str
    ) -> Pictures | Floats | None:
        arguments: dict[str, Any] = {}
        for address in self.conditioning_sites:
            cond, uncond = self.conditioning_arguments[address]
            values = handoff(address, encoding.conditioning[address])
            arguments |= {cond: values["cond"]}
            arguments |= {uncond: values["uncond"]} if "uncond" in values else {}
        if until in (*self.encoder_stages, self.conditioning_site):
            return None
        generators = restore_generators(encoding.generators)
        seeds = [sample.seed for sample in batch]
        is_whole, output = until == self.stages[-1], None
        later = [] if self.returns_latents else self.stages[self.stages.index(until) + 1 :]
        with (
            seeded_scheduler(self.denoising_pipeline.scheduler, generators, seeds),
            halt_before([self.stage_modules[stage] for stage in later]),
        ):
            output = self.denoising_pipeline(
                **self.pass_values(arguments, batch),
                **encoding.arguments,
                **{**self.pipeline_options(batch[0].options), **self.extra_arguments(batch)},
                generator=generators,
                # Latents are returned before the autoencoder is called, which saves decoding.
                output_type="latent" if self.returns_latents and not is_whole else "np",
            )[0]
        return np.asarray(output) if is_whole else None

    @override
    def stage_call(self, stage: str, call: int, batch: Sequence[Sample]) -> StageCall:
        rows = slice(0, len(batch))
        if stage in self.text_windows:
            # Pipelines encode the prompts first, then the negative prompts.
            return StageCall({"uncond" if call else "cond": rows})
        if stage == "vae":
            if call:
                raise SiteError(
                    "The autoencoder decodes a batch in several calls, so its sites have no whole "
                    "pictures to read or edit: disable its tiling."
                )
            return StageCall({"cond": rows})
        return self.denoiser_call(call, batch)

    def denoiser_call(self, call: int, batch: Sequence[Sample]) -> StageCall:
        """Describe one call of the denoiser; by default both branches are rows of one call.

        Args:
            call: How many calls of the denoiser came before in this batch.
            batch: The samples of the batch.

        Returns:
            The step of the call and the rows of each branch.
        """
        count = len(batch)
        rows: dict[Branch, slice] = {"cond": slice(0, count)}
        if self.has_two_branches(batch[0].options):
            # diffusers concatenates the negative states before the positive ones.
            rows = {"uncond": slice(0, count), "cond": slice(count, 2 * count)}
        return denoising_call(self.denoising_pipeline.scheduler, call, rows)


class BranchCalls(ConditionedFamily):
    """A pipeline that calls its denoiser once for each branch of guidance, the prompt first."""

    def guided_steps(self, options: Options) -> int:
        """How many of the first steps have guidance; by default all.

        Args:
            options: Those of the batch.

        Returns:
            A number of steps, those of the scheduler as it is set for the batch at most.
        """
        return len(self.denoising_pipeline.scheduler.timesteps)

    @override
    def denoiser_call(self, call: int, batch: Sequence[Sample]) -> StageCall:
        options = batch[0].options
        guided = self.guided_steps(options) if self.has_two_branches(options) else 0
        step, is_negative = divmod(call, 2) if call < 2 * guided else (call - guided, 0)
        rows: dict[Branch, slice] = {"uncond" if is_negative else "cond": slice(0, len(batch))}
        return denoising_call(self.denoising_pipeline.scheduler, step, rows)


def call_parameters(pipeline: Any) -> list[str]:
    """Names of the arguments of a pipeline's call.

    Args:
        pipeline: The pipeline.

    Returns:
        Their names, in order.
    """
    return list(inspect.signature(pipeline.__call__).parameters)


def denoising_call(scheduler: Any, index: int, rows: Mapping[Branch, slice]) -> StageCall:
    """A call of a denoiser or prior at a step.

    Args:
        scheduler: Its diffusers scheduler.
        index: Index into the scheduler's timesteps.
        rows: Batch rows of each guidance branch.

    Returns:
        The call with its timestep and noise level.
    """
    timestep = float(scheduler.timesteps[index])
    return StageCall(rows, index, timestep, scheduler_sigma(scheduler, index))


def branch_values(value: Tensor, *, both: bool) -> dict[Branch, Tensor]:
    """A value that a pipeline has encoded, by branch.

    Args:
        value: Its rows, those of the branch uncond first.
        both: Whether it has both branches; otherwise all rows are those of cond.

    Returns:
        A value of each branch.
    """
    if not both:
        return {"cond": value}
    uncond, cond = value.chunk(2)
    return {"cond": cond, "uncond": uncond}


def condition_hook(positions: int | None, units: int, text_window: str) -> SiteHook:
    """The hook of the text states that the denoiser attends to.

    Args:
        positions: Number of tokens; None where batches differ in it.
        units: Width of the states.
        text_window: The window that the positions are.

    Returns:
        A hook without a module, which `Attachment.handoff` serves.
    """
    return SiteHook(Site(CONDITION, (positions, units), ""), text_window=text_window)


def pooled_hook(units: int) -> SiteHook:
    """The hook of the pooled text state, which is one position.

    Args:
        units: Its width.

    Returns:
        A hook without a module, which `Attachment.handoff` serves.
    """
    return SiteHook(Site(POOLED, (1, units), ""))
