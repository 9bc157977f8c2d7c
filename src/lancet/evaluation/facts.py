"""The planted facts: what the table plants, what training scenes show, what Lancet draws.

measured = facts(clerestory.load("lancet"))
measured[0].lancet      # Rate(rate=0.71, low=0.62, high=0.79, of=120)

Every prompt is a phrase of the table in a context that no fact is about; it is drawn once. Nothing
here depends on the name of a fact.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.models import Model
from clerestory.types import Bools, Progress
from lancet import checkpoint
from lancet.classifiers import LancetClassifiers
from lancet.evaluation.prompts import SEEDS, contains_phrase
from lancet.evaluation.rates import Rate, rate
from lancet.world.sampler import scene_where
from lancet.world.table import Choice, Fact, Level, World

__all__ = ["FactResult", "facts", "prompts", "share_in_renders"]

PROMPTS = 120
"""Prompts for a fact, and as many for its control."""
SCENES = 2_000
CONTEXTS = ("place", "style", "artwork", "perspective")
"""Factors of a prompt's context; a later one only where the earlier give too few prompts."""


@dataclass(frozen=True)
class FactResult:
    """One fact: how often pictures of its prompts, and of its control's, show the expected levels.

    `planted` is the table's rate, `renders` the rate in training scenes for which the fact holds,
    `lancet` that in Lancet's pictures, as the evaluation classifiers predict them. `attributes` has
    the rate of each expected factor alone.
    """

    name: str
    expected: str
    planted: float
    renders: float
    lancet: Rate
    control: Rate
    attributes: Mapping[str, Rate] = field(default_factory=dict)
    prompts: tuple[str, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {name: value for name, value in asdict(self).items() if name != "prompts"}


def facts(
    model: Model, folder: Path | None = None, *, progress: Progress | None = None
) -> list[FactResult]:
    """Measure every fact of the world that this Lancet was trained on.

    Args:
        model: The Lancet.
        folder: Its folder; by default the shipped one.
        progress: A callback of (label, completed, total); None for silence.

    Returns:
        One result a fact, in the order of the table.

    Raises:
        ModelError: A file of the folder is missing or damaged.
    """
    # The table in the folder: the built-in one may be another world.
    world = World.load(checkpoint.verified(folder) / "world.toml")
    classify = _FactClassifier(model, LancetClassifiers.load("evaluation", folder), progress)
    return [_measure(world, fact, classify) for fact in world.facts]


def prompts(world: World, fact: Fact, patterns: Sequence[str]) -> tuple[str, ...]:
    """At most `PROMPTS` different prompts: the patterns in contexts that no fact is about.

    Contexts are as short as possible: a place, then also a plain style, then more.

    Args:
        world: The world.
        fact: The fact; no context names one of its factors.
        patterns: Phrases, open at `{x}` for what the fact is about.

    Returns:
        Prompts, always the same ones.
    """
    cores = [
        pattern.replace("{x}", thing)
        for pattern in patterns
        # A fact about nothing in particular has one prompt for each pattern.
        for thing in ([world.phrases[name][0] for name in fact.about] or [""])
    ]
    free = [factor for factor in CONTEXTS if factor not in _factors_of(fact)]
    texts: dict[str, None] = dict.fromkeys(cores)
    for size in range(1, len(free) + 1):
        contexts = list(itertools.product(*(_phrases(world, factor) for factor in free[:size])))
        # A fixed seed for each number of factors: the prompts are the same in every call.
        for at in np.random.default_rng(size).permutation(len(contexts)):
            texts |= dict.fromkeys(_in_context(core, world, free, contexts[at]) for core in cores)
        if len(texts) >= PROMPTS:
            break
    return tuple(texts)[:PROMPTS]


def share_in_renders(world: World, fact: Fact, scenes: int = SCENES) -> float:
    """The share of the fact's training scenes that show the expected levels.

    Args:
        world: The world.
        fact: The fact.
        scenes: Number of scenes to sample, by seeds from 0.

    Returns:
        0 to 1.

    Raises:
        TableError: No scene meets the fact's condition.
    """
    scenes_of_fact = [scene_where(world, seed, fact.when) for seed in range(scenes)]
    hits = [
        all(getattr(scene, factor) in _levels(choice) for factor, choice in fact.expect.items())
        for scene in scenes_of_fact
    ]
    return float(np.mean(hits))


class _FactClassifier:
    """Draws prompts and predicts which pictures show the expected levels."""

    def __init__(
        self, model: Model, classifiers: LancetClassifiers, progress: Progress | None
    ) -> None:
        self.model, self.classifiers, self.progress = model, classifiers, progress

    def __call__(
        self, label: str, texts: Sequence[str], expect: Mapping[str, Choice]
    ) -> dict[str, Bools]:
        """For each factor of `expect`, whether each prompt's picture has one of its levels."""
        pictures = self._draw(label, texts)
        probabilities = self.classifiers.probabilities(pictures)
        names = {factor: np.array(self.classifiers.classes[factor]) for factor in expect}
        return {
            factor: np.isin(names[factor][probabilities[factor].argmax(1)], _levels(choice))
            for factor, choice in expect.items()
        }

    def _draw(self, label: str, texts: Sequence[str]) -> NDArray[np.uint8]:
        drawn: dict[int, NDArray[np.uint8]] = {}
        # The seeds are assigned in turn: prompts of one seed are drawn in one run.
        for seed in range(min(SEEDS, len(texts))):
            rows = range(seed, len(texts), SEEDS)
            pictures = self.model.run([texts[row] for row in rows], seed).pictures
            assert pictures is not None
            drawn |= dict(zip(rows, pictures, strict=True))
            if self.progress is not None:
                self.progress(label, len(drawn), len(texts))
        return np.stack([drawn[row] for row in range(len(texts))])


def _measure(world: World, fact: Fact, classify: _FactClassifier) -> FactResult:
    texts = prompts(world, fact, fact.ask)
    parts = classify(fact.name, texts, fact.expect)
    control = prompts(world, fact, fact.control_ask)
    expect = fact.control_expect or fact.expect
    control_parts = classify(f"{fact.name}, control", control, expect)
    return FactResult(
        name=fact.name,
        expected=fact.direction,
        planted=_planted_rate(fact),
        renders=share_in_renders(world, fact),
        lancet=_rate_of_all(parts),
        control=_rate_of_all(control_parts),
        attributes={factor: _rate_of_all({factor: hits}) for factor, hits in parts.items()},
        prompts=texts,
    )


def _rate_of_all(parts: Mapping[str, Bools]) -> Rate:
    # A picture shows the fact only if all of its levels are right.
    hits = np.logical_and.reduce(list(parts.values()))
    return rate(int(hits.sum()), len(hits))


def _planted_rate(fact: Fact) -> float:
    """How often the table shows the expected levels; 1 - rate where it plants others."""
    agrees = all(
        set(_levels(choice)) <= set(_levels(fact.then.get(factor, choice)))
        for factor, choice in fact.expect.items()
    )
    return fact.rate if agrees else 1 - fact.rate


def _factors_of(fact: Fact) -> set[str]:
    """The factors that a fact or its control is about; `window` is a place."""
    parts = (fact.when, fact.then, fact.control, fact.expect, fact.control_expect)
    factors = {factor for part in parts for factor in part}
    return factors | {"place"} if "window" in factors else factors


def _phrases(world: World, factor: str) -> list[str]:
    """Phrases of a factor for a context: of levels that no fact is about, and an empty one."""
    planted_levels = {level for fact in world.facts for level in _levels(fact.when.get(factor, ()))}
    levels: Mapping[str, Level] = getattr(world, f"{factor}s")
    # The plain style alone, the table's first: other styles hide other factors, and so a fact.
    if factor == "style":
        levels = dict(list(levels.items())[:1])
    free = [level for name, level in levels.items() if name not in planted_levels and level.say > 0]
    return ["", *(words for level in free for words in level.words)]


def _in_context(core: str, world: World, factors: Sequence[str], context: Sequence[str]) -> str:
    """The pattern in its context, without phrases of factors that the pattern names itself."""
    prompt = core
    for factor, words in zip(factors, context, strict=False):
        # The pattern's own words come first: a second place would contradict it.
        if words and not any(
            contains_phrase(phrase, core) for phrase in _phrases(world, factor) if phrase
        ):
            prompt = f"{prompt} {words}" if factor == "place" else words.replace("{x}", prompt)
    return prompt


def _levels(choice: Choice) -> tuple[str, ...]:
    return (choice,) if isinstance(choice, str) else choice
