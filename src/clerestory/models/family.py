"""What a family of models has to say about itself: its places, its halves, its turns.

A family is one file: a table of places and the few lines that differ. Everything else (hooks,
batches, pooling, sweeps) is written once, over this protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from clerestory.models.base import Branch, Sample, Site, Step
from clerestory.registry import Registry

__all__ = [
    "Encoded",
    "Family",
    "Hand",
    "Place",
    "Progress",
    "See",
    "Turn",
    "families",
    "sigma_of",
]

See = Callable[[Tensor, Step], None]
"""What a tap is: called with `[sample, position, unit]` and the step."""

Progress = Callable[[int, int], None]
"""Called with what is done, and of how much."""

Branches = Mapping[Branch, Tensor]
Hand = Callable[[str, Branches], Branches]
"""Passes a value that goes from one half to the other by its site; gives it back as edited."""


@dataclass(frozen=True)
class Place:
    """Where a site is among the torch modules.

    `module` is None for what is handed from half to half; `argument` names the keyword of an input;
    `channels` is how many of the first channels are used, where not all are; `tokens` is True where
    the positions are (or begin with) those of the text window.
    """

    site: Site
    module: nn.Module | None
    side: Literal["output", "input"] = "output"
    argument: str = ""
    channels: int | None = None
    tokens: bool = False


@dataclass(frozen=True)
class Turn:
    """One call of a stage: which step it is, and which rows of the batch are which branch."""

    rows: Mapping[Branch, slice]
    index: int = 0
    timestep: float | None = None
    sigma: float | None = None


@dataclass(frozen=True)
class Encoded:
    """What the first half hands to the second, with the state of each sample's random generator."""

    branches: Branches
    generators: Sequence[Tensor] = field(repr=False)


class Family(Protocol):
    """A family of models, around one pipeline.

    `stages` are in order; `roots` are the modules whose calls are a stage's turns; `bridge` is the
    address of the site that is handed from the first half (`encode`) to the second (`draw`).
    """

    pipeline: Any
    places: Sequence[Place]
    stages: tuple[str, ...]
    roots: Mapping[str, nn.Module]
    bridge: str

    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoded | None:
        """Run the first half; None where `until` is a stage before its end."""

    def draw(
        self, batch: Sequence[Sample], encoded: Encoded, hand: Hand, until: str
    ) -> NDArray[np.uint8] | None:
        """Hand over the bridge and run the second half; pictures if `until` is the last stage."""

    def turn(self, stage: str, call: int, batch: Sequence[Sample]) -> Turn:
        """What the stage's call number `call` is for this batch."""

    def real(self, batch: Sequence[Sample]) -> Mapping[Branch, Tensor]:
        """Which positions of the text window hold real tokens: bool `[sample, position]`."""

    def check(self, prompts: Sequence[str]) -> None:
        """PromptError where a prompt is empty or too long."""

    def words(self, prompt: str) -> list[str]:
        """The tokens of a prompt."""

    def quiet(self) -> AbstractContextManager[None]:
        """While this is open, the pipeline draws no progress bars."""


families: Registry[Callable[[Any], Family]] = Registry("pipeline class")
"""Families by the class name of the pipelines that they serve."""


def sigma_of(scheduler: Any, index: int) -> float | None:
    """Noise over signal at a step, from the scheduler's own sigmas or its products of alphas."""
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None and len(sigmas) >= len(scheduler.timesteps):
        return float(sigmas[index])
    kept = getattr(scheduler, "alphas_cumprod", None)
    if kept is None:
        return None
    signal = float(kept[int(scheduler.timesteps[index])])
    return float(np.sqrt((1 - signal) / signal)) if signal > 0 else float("inf")
