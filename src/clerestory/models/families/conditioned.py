"""What the families share whose text states go straight to the denoiser, without a prior.

Such a family gives its text encoders, its hooks and the arguments of its pipeline. The text
states are made by the pipeline's own `encode_prompt`, passed by their sites, and given back to the
pipeline as arguments: `denoiser/condition` is what the denoiser is fed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clerestory.models.core.family import (
    Encoded,
    Family,
    Handoff,
    SiteHook,
    StageCall,
    TextWindow,
    hide_progress_bars,
    restore_generators,
    scheduler_sigma,
    seed_generators,
)
from clerestory.models.core.types import Branch, Options, Sample, Site
from clerestory.models.families.text import Text

__all__ = [
    "CONDITION",
    "POOLED",
    "WITH_POOLED",
    "Conditioned",
    "Joined",
    "conditioning_hook",
    "sides",
]

CONDITION, POOLED = "denoiser/condition", "denoiser/pooled"
STATES = {CONDITION: ("prompt_embeds", "negative_prompt_embeds")}
"""By site, what pipelines call the values of the branches cond and uncond."""
WITH_POOLED = {**STATES, POOLED: ("pooled_prompt_embeds", "negative_pooled_prompt_embeds")}
"""The same for pipelines that take a pooled embedding as well."""


class Joined:
    """Text windows one after another, as some denoisers are fed them; None is one left blank."""

    def __init__(self, *parts: tuple[Text | None, int]) -> None:
        self.parts = parts

    def token_mask(self, texts: Sequence[str]) -> Tensor:
        """Bool `[text, position]`."""
        return torch.cat(
            [_blank(texts, n) if t is None else t.token_mask(texts) for t, n in self.parts], 1
        )

    def word_mask(self, texts: Sequence[str], word: str) -> Tensor:
        """Bool `[text, position]`."""
        shown = [_blank(texts, n) if t is None else t.word_mask(texts, word) for t, n in self.parts]
        return torch.cat(shown, 1)


def _blank(texts: Sequence[str], length: int) -> Tensor:
    return torch.zeros(len(texts), length, dtype=torch.bool)


class Conditioned(Family):
    """A pipeline that takes `prompt_embeds`; `net` is its denoiser, `texts` its text encoders.

    `handing` is `STATES`, or `WITH_POOLED`.
    """

    conditioning_site = CONDITION
    handing: ClassVar[Mapping[str, tuple[str, str]]] = STATES

    def __init__(self, pipeline: Any, net: Any, texts: Sequence[Text]) -> None:
        self.pipeline, self.net, self.texts = pipeline, net, tuple(texts)
        self.encoder_stages = tuple(text.stage for text in self.texts)
        self.stages = (*self.encoder_stages, "denoiser", "vae")
        self.conditioning_sites = tuple(self.handing)
        self.stage_modules = {
            **{text.stage: text.encoder for text in self.texts},
            "denoiser": net,
            "vae": pipeline.vae.decoder,
        }
        self.text_windows: Mapping[str, TextWindow] = {text.stage: text for text in self.texts}

    @property
    def widest(self) -> Text:
        """The text encoder that reads the most of a prompt."""
        return max(self.texts, key=lambda text: text.window)

    @abstractmethod
    def states(self, prompts: list[str], negatives: list[str] | None) -> dict[str, Any]:
        """What the pipeline is called with of these texts; negatives None for one branch only."""

    def asked(self, options: Options) -> dict[str, Any]:
        """What the pipeline is called with of the options."""
        return {
            "height": options.height,
            "width": options.width,
            "num_inference_steps": options.steps,
            "guidance_scale": options.guidance,
        }

    def two(self, options: Options) -> bool:
        """Whether guidance has two branches."""
        return options.guidance > 1

    @torch.no_grad()
    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoded | None:
        """The text encoders, as the pipeline runs them."""
        options, early = batch[0].options, until in self.encoder_stages
        both = self.two(options) and (branch == "uncond" or not early)
        told = self.states(
            [sample.prompt for sample in batch],
            [sample.options.negative for sample in batch] if both else None,
        )
        if early:
            return None
        told = {name: value for name, value in told.items() if value is not None}
        branches: tuple[Branch, Branch] = ("cond", "uncond")
        conditioning: dict[str, dict[Branch, Tensor]] = {
            address: {
                branch: told.pop(name)
                for branch, name in zip(branches, names, strict=True)
                if name in told
            }
            for address, names in self.handing.items()
        }
        return Encoded(conditioning, [each.get_state() for each in seed_generators(batch)], told)

    def draw(
        self, batch: Sequence[Sample], encoded: Encoded, handoff: Handoff, until: str
    ) -> NDArray[np.uint8] | None:
        """Handoff over the text states, then the pipeline."""
        given: dict[str, Tensor] = {}
        for address, (cond, uncond) in self.handing.items():
            values = handoff(address, encoded.conditioning[address])
            given |= {cond: values["cond"]}
            given |= {uncond: values["uncond"]} if "uncond" in values else {}
        if until in (*self.encoder_stages, self.conditioning_site):
            return None
        drawn = self.pipeline(
            **given,
            **encoded.rest,
            **self.asked(batch[0].options),
            generator=restore_generators(encoded.generators),
            output_type="np" if until == "vae" else "latent",
            return_dict=False,
        )[0]
        if until != "vae":
            return None
        pictures: NDArray[np.uint8] = (np.asarray(drawn) * 255).round().astype(np.uint8)
        return pictures

    def stage_call(self, stage: str, call: int, batch: Sequence[Sample]) -> StageCall:
        """Text: the prompts, then the negative ones. Denoiser: uncond rows before cond."""
        count = len(batch)
        every = slice(0, count)
        if stage in self.encoder_stages:
            return StageCall({"uncond" if call else "cond": every})
        if stage == "vae":
            return StageCall({"cond": every})
        rows: dict[Branch, slice] = {"cond": every}
        if self.two(batch[0].options):
            rows = {"uncond": every, "cond": slice(count, 2 * count)}
        return self.timed(rows, call)

    def timed(self, rows: Mapping[Branch, slice], index: int) -> StageCall:
        """A turn of the denoiser at an index into the scheduler's timesteps."""
        scheduler = self.pipeline.scheduler
        return StageCall(
            rows, index, float(scheduler.timesteps[index]), scheduler_sigma(scheduler, index)
        )

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """PromptError where a prompt is empty or longer than the widest text window."""
        super().check_prompts(prompts)
        self.widest.check_prompts(prompts)

    def tokenize(self, prompt: str) -> list[str]:
        """The tokens of a prompt, as the widest window reads it."""
        return self.widest.tokenize(prompt)

    def vocabulary(self) -> list[str]:
        """The words among the tokens."""
        return self.widest.vocabulary()

    def hide_progress_bars(self) -> AbstractContextManager[None]:
        """No progress bars while this is open."""
        return hide_progress_bars(self.pipeline)


def sides(sample_size: Any, scale: int) -> tuple[int, int]:
    """Height and width in pixels of a network's own sample size, one number or two."""
    height, width = sample_size if isinstance(sample_size, list | tuple) else (sample_size,) * 2
    return int(height) * scale, int(width) * scale


def conditioning_hook(
    address: str, shape: tuple[int | None, int], text_window: str = ""
) -> SiteHook:
    """The place of a value that goes from the text encoders to the denoiser."""
    return SiteHook(Site(address, shape, ""), text_window=text_window)
