"""Where and when a concept gets into the picture: activations of one run put into another.

A prompt that says the concept and its matched prompt are drawn with one seed. What some blocks make
in the first run is put into the second: if the concept then shows, it went through those blocks.
Activations of another prompt without the concept, put in the same way, are what it is held to.
Source: causal tracing (Meng et al. 2022), for diffusion Basu et al. 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from clerestory.causal.results import Effect, Range, change
from clerestory.causal.trials import Flags, Trials
from clerestory.edits import Patch
from clerestory.models import Model
from clerestory.models.core.addresses import parse

__all__ = ["LEAST", "blocks", "held_bytes", "patched", "when", "where"]

CHUNK, HELD = 4, 4 << 30
"""Contents whose activations are held at a time, if that takes no more than so many bytes."""
PARTS = 6
"""Parts that the blocks of a stage, and the steps, are divided into at most."""
LEAST = 8
"""Matched prompts of one length below which nothing is put from text to text."""
ADDING = ("mlp", "self_attn", "cross_attn")
"""What a transformer's block adds to its stream. Of a UNet's block there is its whole output."""
LAST = "vae"
"""The stage that only decodes."""


def blocks(model: Model) -> dict[str, dict[str, list[str]]]:
    """By stage and block the sites that are put in: what it adds, or of a UNet what it gives."""
    found: dict[str, dict[str, list[str]]] = {}
    for address, site in model.sites.items():
        if site.stage == LAST or site.affects_output is False:
            continue
        block = address.split("/")[0]
        if site.tap == "out" or (site.tap in ADDING and block != site.stage):
            found.setdefault(site.stage, {}).setdefault(block, []).append(address)
    return {stage: _outermost(own) for stage, own in found.items()}


def where(trials: Trials, contents: int) -> tuple[list[Range], list[str]]:
    """For each stage every contiguous range of its parts, and what stands against the map.

    A stage has at most six parts, of one block or more in the order of their sites.
    """
    found, warnings = [], []
    for stage, own in blocks(trials.model).items():
        fitting = any(_tokens(trials, site) for sites in own.values() for site in sites)
        if fitting and trials.pairs["fits"].sum() < LEAST:
            warnings.append(f"Too few matched prompts have as many tokens to trace the {stage}.")
            continue
        needed = held_bytes(trials, [site for sites in own.values() for site in sites])
        if needed > HELD:
            warnings.append(
                f"The {stage} is not traced: {needed / 2**30:.0f} GiB a prompt would be held, more "
                f"than {HELD / 2**30:.0f}. Fewer steps, or smaller pictures, need less."
            )
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
            Range(stage, parts[first][0], parts[last][-1], effect, _holds(own))
            for (first, last), effect in zip(spans, effects, strict=True)
        ]
    return found, warnings


def when(trials: Trials, contents: int) -> list[Range]:
    """Every contiguous range of the denoiser's calls: its predictions put into the other run.

    A prediction is of its own run's latent. What that does by itself is what another prompt's
    predictions do, which is taken off.
    """
    site = "denoiser/prediction"
    if site not in trials.model.sites:
        return []
    asked = trials.prompts("shown", 1)
    read = trials.model.run(asked, trials.seeds[0], read=[site], pool="none", pictures=False)
    steps = [step.index for step in read.activations.unlabelled[site].steps]
    parts = [part.tolist() for part in np.array_split(steps, PARTS) if len(part)]
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
    givers: Sequence[str] = (),
) -> list[Flags]:
    """Flags `[content, seed]` for each set of sites (or `site@step`) put in from `givers`.

    By default those are the prompts of the other side.
    """
    source = "shown" if into == "absent" else "absent"
    givers = givers or trials.prompts(source, contents, fitting=fitting)
    takers = trials.prompts(into, contents, fitting=fitting)
    came: list[list[Flags]] = [[] for _ in sets]
    sites = list(dict.fromkeys(parse(address).site for one in sets for address in one))
    size = max(1, min(CHUNK, int(HELD // max(held_bytes(trials, sites), 1))))
    for start in range(0, len(takers), size):
        trials.tell(what, start, len(takers))
        chunk = slice(start, start + size)
        edits = _patches(trials, givers[chunk], sets)
        runs = trials.model.sweep(takers[chunk], trials.seeds, edits)
        for page, run in zip(came, runs, strict=True):
            assert run.pictures is not None
            page.append(trials.sees(run.pictures).reshape(-1, len(trials.seeds)))
    trials.tell(what, len(takers), len(takers))
    return [np.concatenate(page) for page in came]


def held_bytes(trials: Trials, sites: Sequence[str]) -> int:
    """What the sites' activations of one prompt take, over all steps; measured in two of them."""
    model = trials.model
    prompt = trials.prompts("shown", 1)
    read = model.run(prompt, 0, read=list(sites), pool="none", steps=2, pictures=False).activations
    needed = 0.0
    for site in sites:
        noted = read.unlabelled[site]
        stepped = model.sites[site].stage == "denoiser" and len(noted.steps) > 1
        needed += noted.values().nbytes * (model.defaults.steps / 2 if stepped else 1)
    return int(needed * len(trials.seeds))


def _effects(
    trials: Trials, what: str, sets: list[list[str]], contents: int, fitting: bool
) -> list[Effect]:
    """Beside putting in what the next content's prompt without the concept has.

    Texts only fit texts of their own length: they are held to the prompt as it is.
    """
    came = patched(trials, what, sets, contents=contents, fitting=fitting)
    if fitting:
        (before,) = trials.draw(what, "absent", contents=contents, fitting=True)
        return [change(flags, before.shows) for flags in came]
    plain = trials.prompts("absent", contents)
    held = patched(trials, what, sets, contents=contents, givers=[*plain[1:], plain[0]])
    return [change(flags, before) for flags, before in zip(came, held, strict=True)]


def _holds(own: dict[str, list[str]]) -> bool:
    return any(site.endswith("/out") for sites in own.values() for site in sites)


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
    """Where there are blocks with an output, those alone."""
    whole = {block for block, sites in own.items() if any(site.endswith("/out") for site in sites)}
    if not whole:
        return own
    return {block: [f"{block}/out"] for block in own if block in whole}


def _spans(parts: int) -> Iterator[tuple[int, int]]:
    for first in range(parts):
        for last in range(first, parts):
            yield first, last


def _tokens(trials: Trials, site: str) -> bool:
    return bool(trials.model.family.hooks_by_address[site].text_window)
