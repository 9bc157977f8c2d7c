"""A model whose causes are known: one text unit lights the picture, through one block, at one step.

A prompt with the word `glass` sets the units 0 and 1 of the text. Block 2 of four adds unit 0 to
the picture at step 3 of six; nothing reads unit 1, nor units 2 to 5, which tell items apart.
The word `night` raises unit 2.

Where `anything` lights the picture, block 2 reads how far the text is from its usual length: a push
of the concept's size does as much in any direction that the text varies in.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from clerestory.models import Model, Options
from clerestory.models.core.family import (
    Encoding,
    Family,
    Handoff,
    SiteHook,
    restore_generators,
    seed_generators,
)
from clerestory.models.core.types import Branch, Sample, Site

STEPS, BLOCKS, UNITS = 6, 4, 6
CAUSE = (2, 3)
"""The block and the step."""
FAR = 10.0
"""Length of the text beyond which it lights a picture where anything does."""


class _Text(nn.Module):
    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, prompts: torch.Tensor) -> torch.Tensor:
        return prompts


class _Block(nn.Module):
    def __init__(self, number: int, anything: bool) -> None:
        super().__init__()
        self.number, self.anything = number, anything

    def forward(self, condition: torch.Tensor, step: int) -> torch.Tensor:
        lit = condition[:, :, :1].clone()
        if self.anything:
            lit = (condition.norm(dim=-1, keepdim=True) > FAR).float()
        return lit if (self.number, step) == CAUSE else torch.zeros_like(lit)


class _Denoiser(nn.Module):
    def __init__(self, anything: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(number, anything) for number in range(BLOCKS))

    def forward(self, condition: torch.Tensor, step: int) -> torch.Tensor:
        return torch.stack([block(condition, step) for block in self.blocks]).sum(0)


def _told(prompt: str, strength: float) -> torch.Tensor:
    lit = strength * ("glass" in prompt.split())
    rng = np.random.default_rng(zlib.crc32(prompt.split()[-1].encode()))
    other = rng.normal(size=UNITS - 2) + np.eye(1, UNITS - 2)[0] * 4 * ("night" in prompt.split())
    return torch.tensor([[lit, 2 * lit + 0.1 * rng.normal(), *other]], dtype=torch.float32)


class PlantedFamily(Family):
    """Text and denoiser; pictures of 16×16 that are light where the concept got through."""

    stages, encoder_stages, conditioning_site = (
        ("text", "denoiser"),
        ("text",),
        "denoiser/condition",
    )
    conditioning_sites = (conditioning_site,)
    defaults = Options(height=16, width=16, steps=STEPS, guidance=1.0)

    def __init__(self, *, anything: bool = False) -> None:
        # Twice as far as `FAR`, so that an edit of the concept's size goes beyond it.
        self.text = _Text(FAR if anything else 1.0)
        self.denoiser = _Denoiser(anything)
        self.pipeline: Any = SimpleNamespace()
        self.site_hooks = [
            SiteHook(Site("text.blocks.0/mlp", (1, UNITS), "text", module=self.text)),
            SiteHook(Site("denoiser/condition", (1, UNITS), "text")),
            *(
                SiteHook(Site(f"denoiser.blocks.{n}/mlp", (1, 1), f"blocks.{n}", module=block))
                for n, block in enumerate(self.denoiser.blocks)
            ),
            SiteHook(Site("denoiser/prediction", (1, 1), "denoiser", module=self.denoiser)),
        ]
        self.stage_modules = {"text": self.text, "denoiser": self.denoiser}

    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoding | None:
        condition = self.text(
            torch.stack([_told(sample.prompt, self.text.strength) for sample in batch])
        )
        if until == "text":
            return None
        states = [generator.get_state() for generator in seed_generators(batch)]
        return Encoding({self.conditioning_site: {"cond": condition}}, states)

    def draw(self, batch: Sequence[Sample], encoded: Encoding, handoff: Handoff, until: str) -> Any:
        site = self.conditioning_site
        condition = handoff(site, encoded.conditioning[site])["cond"]
        if until == site:
            return None
        light = sum(self.denoiser(condition, step) for step in range(STEPS))
        noise = [
            torch.randint(0, 40, (16, 16, 3), generator=g)
            for g in restore_generators(encoded.generators)
        ]
        return (torch.stack(noise) + 160 * light[:, :, :1, None]).byte().numpy()


def model(*, anything: bool = False) -> Model:
    return Model("planted", PlantedFamily(anything=anything))


@dataclass(frozen=True)
class Light:
    """Sees whether a picture is light."""

    classes: tuple[str, ...] = ("dark", "light")
    source: str = "light"

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        lit = pictures.mean((1, 2, 3)) > 100
        return np.stack([~lit, lit], 1).astype(np.float32)


def light(pictures: np.ndarray) -> np.ndarray:
    """The same as a function, for `python:helpers.planted_cause:light`."""
    return Light()(pictures)


light.classes = Light().classes  # type: ignore[attr-defined]


def ghost(pictures: np.ndarray) -> np.ndarray:
    """Takes the subject of every light picture for a ghost: a side effect of the concept."""
    return Light()(pictures)


def parity(pictures: np.ndarray) -> np.ndarray:
    """Sees what the noise alone decides: no edit changes it."""
    odd = pictures[:, 0, 0, 0] % 2 == 1
    return np.stack([~odd, odd], 1).astype(np.float32)


ghost.classes = ("cat", "ghost")  # type: ignore[attr-defined]
parity.classes = ("even", "odd")  # type: ignore[attr-defined]
