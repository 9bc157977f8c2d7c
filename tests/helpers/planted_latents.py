"""A model and a dictionary whose effects are known, latent by latent.

The model is that of `planted_cause` with pictures in colour. The words `glass`, `lamp` and `light`
raise unit 0 of the text, which lights the picture, and unit 1, which nothing reads. The words
`lamp` and `night` raise unit 2, which makes it blue. Of the dictionary's latents at the text, LIGHT
is of unit 0, FOLLOWER of unit 1 and BLUE of unit 2; the others are of what tells items apart.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from clerestory.dictionaries import Dictionary
from clerestory.dictionaries.kinds.relu import ReLU
from clerestory.models import Model, ModelProfile
from clerestory.models.core.family import Encoding, Handoff, restore_generators, seed_generators
from clerestory.models.core.types import Branch, Sample
from helpers.planted_cause import STEPS, UNITS, PlantedFamily
from helpers.planted_cause import light as light

TEXT, CONDITIONING = "text.blocks.0/mlp", "denoiser/condition"
LIGHT, FOLLOWER, BLUE, LATENTS = 5, 8, 7, 9
LIT, DARK = {"glass", "lamp", "light"}, {"lamp", "night"}
ITEMS = [f"c{number}" for number in range(48)]
LIGHT_CLASSIFIER, BLUE_CLASSIFIER, PARITY = (
    f"python:helpers.planted_latents:{name}" for name in ("light", "blue", "parity")
)


def values_of(prompt: str) -> torch.Tensor:
    """The values of a prompt at the text, `[position, unit]`."""
    words = set(prompt.replace(",", " ").split())
    lit, blue = float(bool(words & LIT)), float(bool(words & DARK))
    rng = np.random.default_rng(zlib.crc32(prompt.split()[-1].encode()))
    # Noise of unit 1, then what tells items apart.
    noise, *other = rng.normal(size=UNITS - 2)
    values = [lit, 2 * lit + 0.1 * noise, 4 * blue, *other]
    return torch.tensor([values], dtype=torch.float32)


class PlantedColours(PlantedFamily):
    """As `PlantedFamily`, with the colour blue by unit 2."""

    def encode(self, batch: Sequence[Sample], until: str, branch: Branch) -> Encoding | None:
        condition = self.text(torch.stack([values_of(sample.prompt) for sample in batch]))
        if until == "text":
            return None
        states = [generator.get_state() for generator in seed_generators(batch)]
        return Encoding({self.conditioning_site: {"cond": condition}}, states)

    def draw(self, batch: Sequence[Sample], encoded: Encoding, handoff: Handoff, until: str) -> Any:
        site = self.conditioning_site
        condition = handoff(site, encoded.conditioning[site])["cond"]
        if until == site:
            return None
        lit = sum(self.denoiser(condition, step) for step in range(STEPS))
        noise = [
            torch.randint(0, 40, (16, 16, 3), generator=g)
            for g in restore_generators(encoded.generators)
        ]
        pictures = torch.stack(noise) + 160 * lit[:, :, :1, None].clamp(0, 1)
        pictures[..., 2] += 55 * (condition[:, :, 2, None] > 2)
        return pictures.clamp(0, 255).byte().numpy()


@dataclass(frozen=True)
class Captions(ModelProfile):
    """Prompts that give searches their words."""

    def captions(self) -> Sequence[str]:
        return ["moose glass tree night cat dog house sky red plain"]


def model() -> Model:
    return Model("planted", PlantedColours(), profile=Captions())


def dictionary(site: str = TEXT, seed: int = 0) -> Dictionary:
    """Latents that are 2, 1 and 2 where the words are; other ones of the units 3 to 5."""
    generator = torch.Generator().manual_seed(seed)
    encoder, bias = torch.zeros(UNITS, LATENTS), torch.zeros(LATENTS)
    encoder[3:] = torch.randn(UNITS - 3, LATENTS, generator=generator) / 2
    for latent, unit, weight, below in ((LIGHT, 0, 2, 0), (FOLLOWER, 1, 0.5, 0), (BLUE, 2, 1, -2)):
        encoder[:, latent], bias[latent] = torch.eye(UNITS)[unit] * weight, below
    decoder = encoder.T.clone()
    decoder[LIGHT] /= 4  # 2 of the latent are 1 of the unit
    decoder[FOLLOWER] *= 4
    decoder[BLUE] *= 2
    return Dictionary(encoder, bias, decoder, torch.zeros(UNITS), ReLU(), site=site)


def prompts(phrases: int = 8, leads: Sequence[str] = ("glass", "plain")) -> pd.DataFrame:
    """Every item in every phrase of the leading words."""
    rows = [
        {
            "prompt": f"p{number} {lead} {item}",
            "style": lead,
            "phrase": f"{lead} {number}",
            "item": item,
        }
        for lead in leads
        for number in range(phrases)
        for item in ITEMS
    ]
    return pd.DataFrame(rows)


def blue(pictures: np.ndarray) -> np.ndarray:
    """Sees whether a picture is bluer than red."""
    seen = pictures[..., 2].mean((1, 2)) > pictures[..., 0].mean((1, 2)) + 20
    return np.stack([~seen, seen], 1).astype(np.float32)


def parity(pictures: np.ndarray) -> np.ndarray:
    """Sees what the noise alone decides, in a place of one colour: no edit changes it."""
    odd = pictures[:, 0, 0, 1] % 2 == 1
    return np.stack([~odd, odd], 1).astype(np.float32)


blue.classes = ("grey", "blue")  # type: ignore[attr-defined]
parity.classes = ("even", "odd")  # type: ignore[attr-defined]
