"""Where and when a concept gets into the picture: activations of one run put into another.

A prompt that says the concept and its matched prompt are drawn with one seed. What some blocks add
in the first run is put into the second: if the concept then shows, it went through those blocks.
Source: causal tracing (Meng et al. 2022), for diffusion Basu et al. 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from clerestory.finding.causes import Effect, Range, change
from clerestory.finding.trials import Flags, Trials
from clerestory.models import Model
from clerestory.models.addresses import parse
from clerestory.steering import Patch

__all__ = ["LEAST", "blocks", "patched", "when", "where"]

CHUNK = 4
"""Contents whose activations are held at a time."""
PARTS = 6
"""Parts that the blocks of a stage, and the steps, are divided into at most."""
LEAST = 8
"""Matched prompts of one length below which nothing is put from text to text."""
ADDING = ("mlp", "self_attn", "cross_attn")
"""What a transformer's block adds to its stream; where a block has an `out`, that is taken."""
LAST = "vae"
"""The stage that only decodes."""


def blocks(model: Model) -> dict[str, dict[str, list[str]]]:
    """By stage and block the sites of all that the block adds, in the order that they run."""
    found: dict[str, dict[str, list[str]]] = {}
    for address, site in model.sites.items():
        if site.stage == LAST or site.feeds is False:
            continue
        block = address.split("/")[0]
        if site.tap == "out" or (site.tap in ADDING and block != site.stage):
            found.setdefault(site.stage, {}).setdefault(block, []).append(address)
    return {stage: _outermost(own) for stage, own in found.items()}


def where(trials: Trials, contents: int) -> tuple[list[Range], list[str]]:
    """For each stage every contiguous range of its blocks, and what stands against the map."""
    found, warnings = [], []
    for stage, own in blocks(trials.model).items():
        fitting = any(_tokens(trials, site) for sites in own.values() for site in sites)
        if fitting and trials.pairs["fits"].sum() < LEAST:
            warnings.append(f"Too few matched prompts have as many tokens to trace the {stage}.")
            continue
        parts = [[str(name) for name in part] for part in np.array_split(list(own), PARTS)]
        parts = [part for part in parts if part]
        spans = list(_spans(len(parts)))
        sets = [
            [site for part in parts[first : last + 1] for block in part for site in own[block]]
            for first, last in spans
        ]
        effects = _effects(trials, f"where: {stage}", sets, contents, fitting)
        found += [
            Range(stage, parts[first][0], parts[last][-1], effect)
            for (first, last), effect in zip(spans, effects, strict=True)
        ]
    return found, warnings


def when(trials: Trials, steps: int, contents: int) -> list[Range]:
    """Every contiguous range of the denoiser's steps: its predictions put into the other run."""
    site = "denoiser/prediction"
    if site not in trials.model.sites:
        return []
    parts = [part.tolist() for part in np.array_split(np.arange(steps), PARTS) if len(part)]
    spans = list(_spans(len(parts)))
    sets = [
        [f"{site}@{step}" for part in parts[first : last + 1] for step in part]
        for first, last in spans
    ]
    effects = _effects(trials, "when", sets, contents, fitting=False)
    return [
        Range("denoiser", str(parts[first][0]), str(parts[last][-1]), effect)
        for (first, last), effect in zip(spans, effects, strict=True)
    ]


def patched(
    trials: Trials,
    what: str,
    sets: Sequence[Sequence[str]],
    *,
    into: str = "absent",
    contents: int | None = None,
    fitting: bool = False,
) -> list[Flags]:
    """Flags `[content, seed]` for each set of sites (or `site@step`) put in from the other side."""
    source = "shown" if into == "absent" else "absent"
    givers = trials.prompts(source, contents, fitting=fitting)
    takers = trials.prompts(into, contents, fitting=fitting)
    came: list[list[Flags]] = [[] for _ in sets]
    for start in range(0, len(takers), CHUNK):
        trials.tell(what, start, len(takers))
        chunk = slice(start, start + CHUNK)
        edits = _patches(trials, givers[chunk], sets)
        runs = trials.model.sweep(takers[chunk], trials.seeds, edits)
        for page, run in zip(came, runs, strict=True):
            assert run.pictures is not None
            page.append(trials.sees(run.pictures).reshape(-1, len(trials.seeds)))
    trials.tell(what, len(takers), len(takers))
    return [np.concatenate(page) for page in came]


def _effects(
    trials: Trials, what: str, sets: list[list[str]], contents: int, fitting: bool
) -> list[Effect]:
    (before,) = trials.draw(what, "absent", contents=contents, fitting=fitting)
    came = patched(trials, what, sets, contents=contents, fitting=fitting)
    return [change(flags, before.shows) for flags in came]


def _patches(
    trials: Trials, givers: Sequence[str], sets: Sequence[Sequence[str]]
) -> list[list[Patch]]:
    sites = list(dict.fromkeys(parse(address).site for one in sets for address in one))
    read = trials.model.run(
        givers, trials.seeds, read=sites, pool="none", pictures=False
    ).activations
    held: dict[str, dict[int, NDArray[np.float32]]] = {}
    for site in sites:
        noted = read.unlabelled[site]
        values = noted.values()
        held[site] = {step.index: values[:, at] for at, step in enumerate(noted.steps)}
    patches = []
    for one in sets:
        wanted = [(parse(address).site, parse(address).steps) for address in one]
        patches.append(
            [
                Patch(f"{site}@{step}", held[site][step])
                for site, steps in wanted
                for step in (steps or tuple(held[site]))
            ]
        )
    return patches


def _outermost(own: dict[str, list[str]]) -> dict[str, list[str]]:
    """Without blocks inside other blocks that have an output of their own."""
    whole = {block for block, sites in own.items() if any(site.endswith("/out") for site in sites)}
    if not whole:
        return own
    return {block: [f"{block}/out"] for block in own if block in whole}


def _spans(parts: int) -> Iterator[tuple[int, int]]:
    for first in range(parts):
        for last in range(first, parts):
            yield first, last


def _tokens(trials: Trials, site: str) -> bool:
    return bool(trials.model.family.by_address[site].tokens)
