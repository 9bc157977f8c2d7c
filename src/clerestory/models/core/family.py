"""What a family of models has to say about itself: its places, its halves, its turns.

A family is one file: a table of places and the few lines that differ. Everything else (hooks,
batches, pooling, sweeps) is written once, over this class. `conditioned.py` has what the families
share whose text goes straight to the denoiser.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from clerestory.errors import PromptError
from clerestory.models.core.types import Branch, Options, Sample, Site, Step
from clerestory.registry import Registry

__all__ = [
    "Encoded",
    "Family",
    "Handoff",
    "Progress",
    "SiteHook",
    "StageCall",
    "TapCallback",
    "TextWindow",
    "families",
    "hide_progress_bars",
    "prepare_pipeline",
    "restore_generators",
    "scheduler_sigma",
    "seed_generators",
]

TapCallback = Callable[[Tensor, Step], None]
"""What a tap is: called with `[sample, position, unit]` and the step."""

Progress = Callable[[int, int], None]
"""Called with what is done, and of how much."""

Branches = Mapping[Branch, Tensor]
Handoff = Callable[[str, Branches], Branches]
"""Passes a value that goes from one half to the other by its site; gives it back as edited."""


@dataclass(frozen=True)
class SiteHook:
    """Where a site is among the torch modules.

    `site.module` is None for what is handed from half to half. Of a module that gives several
    values, `part` is the one; of one that takes several, `argument` is its name and `at` its place.
    `channels` is how many of the first channels are used, where not all are. `tokens` names the
    text window that the positions are (or begin with), "" where they are no tokens.
    """

    site: Site
    side: Literal["output", "input"] = "output"
    argument_name: str = ""
    argument_index: int = 0
    output_index: int = 0
    channels: int | None = None
    text_window: str = ""

    @property
    def module(self) -> nn.Module | None:
        """The torch module that takes or gives the value."""
        module: nn.Module | None = self.site.module
        return module


@dataclass(frozen=True)
class StageCall:
    """One call of a stage: which step it is, and which rows of the batch are which branch.

    `merged` is True where nobody knows which rows belong to which branch: then all the rows of a
    sample are shown as one, its positions one after another.
    """

    rows: Mapping[Branch, slice]
    index: int = 0
    timestep: float | None = None
    sigma: float | None = None
    merged: bool = False


@dataclass(frozen=True)
class Encoded:
    """What the first half hands to the second, with the state of each sample's random generator.

    `conditioning` has the value of each conditioning site by address; `rest` is whatever else the
    second half needs.
    """

    conditioning: Mapping[str, Branches]
    generators: Sequence[Tensor] = field(repr=False)
    rest: Mapping[str, Any] = field(default_factory=dict, repr=False)


class TextWindow(Protocol):
    """How a text window is filled: which positions are real, and where words stand."""

    def token_mask(self, texts: Sequence[str]) -> Tensor:
        """Bool `[text, position]`: no start token, nothing after end-of-text."""

    def word_mask(self, texts: Sequence[str], word: str) -> Tensor:
        """Bool `[text, position]`: the tokens of this word, wherever it stands, or none."""


class Family(ABC):
    """A family of models, around one pipeline.

    `stages` are in order, the stages `first` belong to the first half (`encode`), which hands the
    values of `conditioning_sites` to the second (`draw`). `conditioning_site` is the one of them
    that has the prompt's meaning; "" where a family has none.
    `roots` are the modules whose calls are a stage's turns, `windows` the text windows by name.
    `defaults` is how the family draws where nothing else is said, `about` what a user should know.
    """

    pipeline: Any
    site_hooks: Sequence[SiteHook]
    stage_modules: Mapping[str, nn.Module]
    stages: tuple[str, ...]
    encoder_stages: tuple[str, ...]
    conditioning_site: str
    conditioning_sites: tuple[str, ...] = ()
    text_windows: Mapping[str, TextWindow] = {}
    defaults: Options = Options()
    description: str = ""
    size_multiple: int = 1
    """What the sides of a picture must be multiples of."""
    max_batch: int | None = None
    """The most samples that can go together; None for any number."""
    negative_option: str = "guidance"
    """The option that says how far from a negative prompt it draws; "" where it takes none."""
    half_precision: ClassVar[str] = "float16"
    """The precision that `dtype="auto"` takes on an accelerator."""

    @cached_property
    def hooks_by_address(self) -> dict[str, SiteHook]:
        """The places by their sites' addresses."""
        return {place.site.address: place for place in self.site_hooks}

    @abstractmethod
    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoded | None:
        """Run the first half; None where `until` is a stage before its end."""

    @abstractmethod
    def draw(
        self, batch: Sequence[Sample], encoded: Encoded, handoff: Handoff, until: str
    ) -> NDArray[np.uint8] | None:
        """Handoff over and run the second half; pictures if `until` is the last stage."""

    def stage_call(self, stage: str, call: int, batch: Sequence[Sample]) -> StageCall:
        """What the stage's call number `call` is: by default all samples, step by step."""
        return StageCall({"cond": slice(0, len(batch))}, call)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """PromptError where a prompt is empty or too long."""
        for prompt in prompts:
            if not isinstance(prompt, str) or not prompt.strip():
                raise PromptError(f"The prompt is empty ({prompt!r}); write what is to be drawn.")

    def tokenize(self, prompt: str) -> list[str]:
        """The tokens of a prompt."""
        return prompt.split()

    def vocabulary(self) -> list[str]:
        """The words that the model has tokens of; none where that is not known."""
        return []

    def hide_progress_bars(self) -> AbstractContextManager[None]:
        """While this is open, the pipeline draws no progress bars."""
        return nullcontext()


families: Registry[Callable[[Any], Family]] = Registry("pipeline class")
"""Families by the class name of the pipelines that they serve."""


def seed_generators(batch: Sequence[Sample]) -> list[Generator]:
    """A generator for each sample, from its seed."""
    return [Generator().manual_seed(sample.seed) for sample in batch]


def restore_generators(states: Sequence[Tensor]) -> list[Generator]:
    """Generators that go on from these states."""
    generators = [Generator() for _ in states]
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)
    return generators


@contextmanager
def hide_progress_bars(*pipes: Any) -> Iterator[None]:
    """No progress bars while this is open; the pipelines' own settings come back."""
    before = [getattr(pipe, "_progress_bar_config", None) for pipe in pipes]
    try:
        for pipe, config in zip(pipes, before, strict=True):
            pipe._progress_bar_config = {**(config or {}), "disable": True}
        yield
    finally:
        for pipe, config in zip(pipes, before, strict=True):
            pipe._progress_bar_config = {} if config is None else config


@contextmanager
def prepare_pipeline(pipeline: Any, *, whole_vae: bool) -> Iterator[None]:
    """While this is open: no safety checker, which would blacken pictures.

    With `whole_vae` the autoencoder decodes a batch at once, neither sliced nor tiled. At the end
    parts that are offloaded leave the accelerator, also after an early end or an error.
    """
    changed: list[tuple[Any, str, Any]] = []
    vae = getattr(pipeline, "vae", None) or getattr(pipeline, "movq", None)
    for owner, name, off in (
        (pipeline, "safety_checker", None),
        *((vae, name, False) for name in ("use_slicing", "use_tiling") if whole_vae),
    ):
        was = getattr(owner, name, None)
        if was:
            changed.append((owner, name, was))
            setattr(owner, name, off)
    try:
        yield
    finally:
        for owner, name, was in changed:
            setattr(owner, name, was)
        if getattr(pipeline, "_all_hooks", None):
            pipeline.maybe_free_model_hooks()


def scheduler_sigma(scheduler: Any, index: int) -> float | None:
    """The scheduler's own sigma at a step, or noise over signal from its products of alphas.

    Of schedulers of flow matching it is the share of noise, of all others noise over signal.
    """
    between = getattr(scheduler, "sigmas_interpol", None)
    if between is not None and index % 2:
        return float(between[index])
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None and len(sigmas) >= len(scheduler.timesteps):
        return float(sigmas[index])
    kept = getattr(scheduler, "alphas_cumprod", None)
    if kept is None:
        return None
    signal = float(kept[int(scheduler.timesteps[index])])
    return float(np.sqrt((1 - signal) / signal)) if signal > 0 else float("inf")
