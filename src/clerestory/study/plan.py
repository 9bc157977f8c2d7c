"""What a study will do, before it does it: the samples it reads and the pictures it draws."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from clerestory.models import Model
from clerestory.study.definition import HALVES, Definition, Half

__all__ = ["Asked", "Plan", "asked", "plan", "readings"]


@dataclass(frozen=True)
class Asked:
    """Prompts to draw, one a content: `contents[i]` asked for as `prompts[i]`."""

    contents: tuple[str, ...]
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """How much there is to do."""

    readings: int
    sites: int
    pictures: int

    def __str__(self) -> str:
        return (
            f"{self.readings:,} samples are read at {self.sites} sites,"
            f" {self.pictures:,} pictures are drawn."
        )


def plan(study: Definition, model: Model) -> Plan:
    """Count a study's samples and pictures; SiteError where the model lacks its sites."""
    sites = model.sites.match(study.read.sites)
    edit = model.sites[study.edit.site]
    stages = {site.stage for site in sites}
    drawn, strengths, every = study.pictures, len(study.edit.strengths), len(study.contents.report)
    pictures = (
        min(drawn.tune, len(study.contents.discovery)) * (1 + strengths)
        + 3 * every * len(drawn.seeds)
        + min(drawn.curve, every) * (strengths - 1 + 1)
        + min(drawn.shuffled, every) * study.edit.shuffled
        + min(drawn.probes, every) * len(probed(stages, edit.stage))
    )
    return Plan(len(readings(study)), len(sites), pictures)


def probed(stages: set[str], edited: str) -> tuple[str, ...]:
    """The stages of which the first neuron is changed too, to see whether it controls."""
    return tuple(sorted(stages))


def readings(study: Definition) -> pd.DataFrame:
    """Every sample that is read, prompt by prompt and seed by seed, as `finding.pairing` wants it."""
    rows = [
        (phrase.replace("{x}", name), content, phrase, arm, half, seed)
        for half in HALVES
        for arm, phrases in getattr(study.phrasings, half)
        for phrase in phrases
        for content, name in getattr(study.contents, half).items()
        for seed in study.read.seeds
    ]
    return pd.DataFrame(rows, columns=["prompt", "content", "phrase", "arm", "half", "seed"])


def asked(study: Definition, half: Half, arm: str, count: int | None = None) -> Asked:
    """One prompt a content (the first `count`), phrasings in turn: row i is the same in every arm."""
    phrases: tuple[str, ...] = getattr(getattr(study.phrasings, half), arm)
    contents: dict[str, str] = getattr(study.contents, half)
    chosen = list(contents.items())[:count]
    prompts = tuple(
        phrases[place % len(phrases)].replace("{x}", name) for place, (_, name) in enumerate(chosen)
    )
    return Asked(tuple(content for content, _ in chosen), prompts)
