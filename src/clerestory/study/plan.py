"""What a study will do, before it does it: the samples it reads and the pictures it draws."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from clerestory.errors import TableError
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
    """Count a study's samples and pictures; SiteError where the model lacks its sites.

    TableError where the edited site is not read, or a site is read in part.
    """
    sites = model.sites.match(study.read.sites)
    for address, wanted in model.sites.select(study.read.sites).items():
        if wanted.units is not None:
            raise TableError(f"Study {study.name!r} reads a part of {address}: read it whole.")
    if study.edit.site not in {site.address for site in sites}:
        raise TableError(
            f"Study {study.name!r} edits {study.edit.site}, which is not among the sites that it"
            " reads: add it to read.sites."
        )
    drawn, strengths = study.pictures, len(study.edit.strengths)
    tuned, every = len(study.contents.discovery), len(study.contents.report)
    pictures = (
        min(drawn.tune, tuned) * (1 + strengths)
        + every * len(drawn.seeds) * 3  # unedited, edited, words
        + min(drawn.curve, every) * strengths  # all other strengths, and the decoy's words
        + min(drawn.shuffled, every) * study.edit.shuffled
        + min(drawn.probes, every) * 2 * len({site.stage for site in sites})
    )
    return Plan(len(readings(study)), len(sites), pictures)


def readings(study: Definition) -> pd.DataFrame:
    """Every sample that is read, prompt by prompt, with the columns of `finding.pairing`."""
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
    """One prompt a content (the first `count`), phrasings in turn, row i alike in every arm."""
    phrases: tuple[str, ...] = getattr(getattr(study.phrasings, half), arm)
    contents: dict[str, str] = getattr(study.contents, half)
    chosen = list(contents.items())[:count]
    prompts = tuple(
        phrases[place % len(phrases)].replace("{x}", name) for place, (_, name) in enumerate(chosen)
    )
    return Asked(tuple(content for content, _ in chosen), prompts)
