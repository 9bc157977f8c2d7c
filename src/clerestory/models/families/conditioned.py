"""What the families share whose text states go straight to the denoiser, without a prior.

Such a family lists its text encoders, its sites and the arguments of its pipeline. The pipeline's
own `encode_prompt` makes the text states; they pass by their sites and go back to the pipeline as
arguments, so `denoiser/condition` is exactly what the denoiser is fed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from clerestory.models.core.family import (
    Encoded,
    Family,
    Handoff,
    SiteHook,
    StageCall,
    TextWindow,
    restore_generators,
    scheduler_sigma,
    seed_generators,
)
from clerestory.models.core.types import Branch, Options, Sample, Site
from clerestory.models.families.text import Text
from clerestory.types import Pictures

__all__ = [
    "CONDITION",
    "POOLED",
    "STATES_AND_POOLED",
    "Conditioned",
    "JoinedWindows",
    "conditioning_hook",
    "picture_size",
]

CONDITION, POOLED = "denoiser/condition", "denoiser/pooled"
STATES = {CONDITION: ("prompt_embeds", "negative_prompt_embeds")}
"""By site, what pipelines call the values of the branches cond and uncond."""
STATES_AND_POOLED = {**STATES, POOLED: ("pooled_prompt_embeds", "negative_pooled_prompt_embeds")}
"""The same for pipelines that take a pooled embedding as well."""


class JoinedWindows:
    """Text windows one after another, as some denoisers are fed them.

    Args:
        parts: Text encoders with their lengths in tokens; None where an encoder is absent and its
            positions are blank.
    """

    def __init__(self, *parts: tuple[Text | None, int]) -> None:
        self.parts = parts

    def token_mask(self, texts: Sequence[str]) -> Tensor:
        """Real tokens of all parts.

        Args:
            texts: Prompts.

        Returns:
            bool `[text, position]`, as long as the parts together; False in a part that is absent.
        """
        return self._join(texts, lambda text: text.token_mask(texts))

    def word_mask(self, texts: Sequence[str], word: str) -> Tensor:
        """A word's tokens in all parts.

        Args:
            texts: Prompts.
            word: A whole word or phrase.

        Returns:
            bool `[text, position]`, as long as the parts together; False in a part that is absent.
        """
        return self._join(texts, lambda text: text.word_mask(texts, word))

    def _join(self, texts: Sequence[str], mask: Callable[[Text], Tensor]) -> Tensor:
        masks = [
            torch.zeros(len(texts), length, dtype=torch.bool) if text is None else mask(text)
            for text, length in self.parts
        ]
        return torch.cat(masks, 1)


class Conditioned(Family):
    """A pipeline that takes `prompt_embeds`.

    Attributes:
        argument_names: `STATES`, or `STATES_AND_POOLED`.

    Args:
        pipeline: The pipeline.
        denoiser: Its denoiser.
        text_encoders: Its text encoders, in the order in which they run.
    """

    conditioning_site = CONDITION
    argument_names: ClassVar[Mapping[str, tuple[str, str]]] = STATES

    def __init__(self, pipeline: Any, denoiser: Any, text_encoders: Sequence[Text]) -> None:
        self.pipeline, self.denoiser = pipeline, denoiser
        self.text_encoders = tuple(text_encoders)
        self.encoder_stages = tuple(text.stage for text in self.text_encoders)
        self.stages = (*self.encoder_stages, "denoiser", "vae")
        self.conditioning_sites = tuple(self.argument_names)
        self.stage_modules = {
            **{text.stage: text.encoder for text in self.text_encoders},
            "denoiser": denoiser,
            # Pipelines call `vae.decode`, a method whose calls no hook sees; the decoder inside is
            # a module.
            "vae": pipeline.vae.decoder,
        }
        windows: dict[str, TextWindow] = {text.stage: text for text in self.text_encoders}
        self.text_windows = windows
        # The encoder with the longest window sets the limit: the others cut what it still reads.
        self.prompt_reader = max(self.text_encoders, key=lambda text: text.window)
        self.bar_pipelines = (pipeline,)

    @abstractmethod
    def encode_texts(self, prompts: list[str], negatives: list[str] | None) -> dict[str, Any]:
        """Encode texts as the pipeline does.

        Args:
            prompts: One for each sample.
            negatives: Negative prompts, "" for none; None where only one branch is drawn.

        Returns:
            Arguments to call the pipeline with.
        """

    def pipeline_options(self, options: Options) -> dict[str, Any]:
        """Options of a sample as arguments of the pipeline.

        Args:
            options: Those of the batch.

        Returns:
            Keyword arguments, besides the text states, of the pipeline's call.
        """
        return {
            "height": options.height,
            "width": options.width,
            "num_inference_steps": options.steps,
            "guidance_scale": options.guidance,
        }

    def has_two_branches(self, options: Options) -> bool:
        """Whether guidance draws with and without the prompt.

        Args:
            options: Those of the batch.

        Returns:
            As the pipeline decides it: guidance above 1.
        """
        return options.guidance > 1

    @torch.no_grad()
    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoded | None:
        """Run the text encoders as the pipeline does.

        Args:
            batch: Samples with the same options.
            until: The stage after which the run may stop.
            branch: The branch of guidance that is read.

        Returns:
            Text states and generators; None if the run may stop within the text encoders.
        """
        options, early = batch[0].options, until in self.encoder_stages
        # A run that stops within the text side needs no negative states unless they are read.
        both = self.has_two_branches(options) and (branch == "uncond" or not early)
        arguments = self.encode_texts(
            [sample.prompt for sample in batch],
            [sample.options.negative for sample in batch] if both else None,
        )
        if early:
            return None
        arguments = {name: value for name, value in arguments.items() if value is not None}
        branches: tuple[Branch, Branch] = ("cond", "uncond")
        conditioning: dict[str, dict[Branch, Tensor]] = {
            address: {
                branch: arguments.pop(name)
                for branch, name in zip(branches, names, strict=True)
                if name in arguments
            }
            for address, names in self.argument_names.items()
        }
        # The text side draws no noise; states rather than seeds keep one way for all families,
        # since a prior draws some.
        states = [generator.get_state() for generator in seed_generators(batch)]
        return Encoded(conditioning, states, arguments)

    def draw(
        self, batch: Sequence[Sample], encoded: Encoded, handoff: Handoff, until: str
    ) -> Pictures | None:
        """Pass the text states by their sites, then run the pipeline.

        Args:
            batch: The samples that were encoded.
            encoded: What `encode` gave.
            handoff: Edits and reads the value of a conditioning site.
            until: The stage after which the run may stop.

        Returns:
            uint8 `[sample, height, width, 3]` if `until` is the last stage; else None.
        """
        arguments: dict[str, Tensor] = {}
        for address, (cond, uncond) in self.argument_names.items():
            values = handoff(address, encoded.conditioning[address])
            arguments |= {cond: values["cond"]}
            arguments |= {uncond: values["uncond"]} if "uncond" in values else {}
        if until in (*self.encoder_stages, self.conditioning_site):
            return None
        output = self.pipeline(
            **arguments,
            **encoded.arguments,
            **self.pipeline_options(batch[0].options),
            generator=restore_generators(encoded.generators),
            # Latents are returned before the autoencoder is called, which saves decoding.
            output_type="np" if until == "vae" else "latent",
            return_dict=False,
        )[0]
        if until != "vae":
            return None
        # As diffusers makes its own pictures (`numpy_to_pil`), so pixels agree with it.
        return (np.asarray(output) * 255).round().astype(np.uint8)

    def stage_call(self, stage: str, call: int, batch: Sequence[Sample]) -> StageCall:
        """Text: the prompts, then the negative ones. Denoiser: uncond rows before cond.

        Args:
            stage: The stage's name.
            call: How many calls of the stage came before in this batch.
            batch: The samples of the batch.

        Returns:
            The step of the call and the rows of each branch.
        """
        count = len(batch)
        first = slice(0, count)
        if stage in self.encoder_stages:
            return StageCall({"uncond" if call else "cond": first})
        if stage == "vae":
            return StageCall({"cond": first})
        rows: dict[Branch, slice] = {"cond": first}
        if self.has_two_branches(batch[0].options):
            # diffusers concatenates the negative states before the positive ones.
            rows = {"uncond": first, "cond": slice(count, 2 * count)}
        return self.denoiser_call(rows, call)

    def denoiser_call(self, rows: Mapping[Branch, slice], index: int) -> StageCall:
        """A call of the denoiser at a step.

        Args:
            rows: Batch rows of each guidance branch.
            index: Index into the scheduler's timesteps.

        Returns:
            The call with its timestep and noise level.
        """
        scheduler = self.pipeline.scheduler
        return StageCall(
            rows, index, float(scheduler.timesteps[index]), scheduler_sigma(scheduler, index)
        )


def picture_size(sample_size: Any, scale: int) -> tuple[int, int]:
    """Height and width in pixels of a network's own sample size.

    Args:
        sample_size: In latents: one number for both sides, or height and width.
        scale: Pixels per latent.

    Returns:
        Height and width in pixels.
    """
    height, width = sample_size if isinstance(sample_size, list | tuple) else (sample_size,) * 2
    return int(height) * scale, int(width) * scale


def conditioning_hook(
    address: str, shape: tuple[int | None, int], text_window: str = ""
) -> SiteHook:
    """The hook of a value that goes from the text encoders to the denoiser; no module has it.

    Args:
        address: The site's address.
        shape: Positions and units; None positions where they depend on the run.
        text_window: The window that the positions are; "" where they are not tokens.

    Returns:
        A hook without a module, which `Attachment.handoff` serves.
    """
    return SiteHook(Site(address, shape, ""), text_window=text_window)
