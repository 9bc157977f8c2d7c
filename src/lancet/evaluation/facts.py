"""The planted facts, measured: what was planted, what training shows, what Lancet draws.

measured = facts(clerestory.load("lancet"))
measured[0].lancet      # Rate(rate=0.71, low=0.62, high=0.79, of=120): how often it draws it

Every prompt is a phrase of the table in a context that no fact is about, is drawn once, and counts
once. Nothing here knows the name of a fact.
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
from lancet.evaluation.prompts import SEEDS, stands
from lancet.evaluation.rates import Rate, rate
from lancet.world.sampler import scene_where
from lancet.world.table import Choice, Fact, Level, World

__all__ = ["FactResult", "facts", "prompts", "share_in_renders"]

PROMPTS = 120
"""Prompts for a fact, and as many for its control."""
SCENES = 2_000
CONTEXTS = ("place", "style", "artwork", "perspective")
"""What a prompt may say besides its fact; the later ones only where the earlier are too few."""


@dataclass(frozen=True)
class FactResult:
    """One fact: rates of what is expected of its prompts, and of its control's.

    `planted` is the table's rate, `renders` the rate in training scenes for which the fact holds,
    `lancet` that in Lancet's pictures, as the evaluation classifiers predict them. `attributes` has
    each part of the expectation by itself.
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
    """Measure every fact of the world that this Lancet was taught.

    Args:
        model: The Lancet.
        folder: Its folder; by default the shipped one.
        progress: A callback of (label, completed, total); None for silence.

    Returns:
        One result a fact, in the order of the table.

    Raises:
        ModelError: A file of the folder is missing or damaged.
    """
    # The table that the weights were taught, not the built-in one, which may be another.
    world = World.load(checkpoint.verified(folder) / "world.toml")
    observe = _Observer(model, LancetClassifiers.load("evaluation", folder), progress)
    return [_measured(world, fact, observe) for fact in world.facts]


def prompts(world: World, fact: Fact, patterns: Sequence[str]) -> tuple[str, ...]:
    """At most `PROMPTS` different prompts: the patterns in contexts that no fact is about.

    Contexts say as little as will do: a place, then also a plain style, then more.

    Args:
        world: The world.
        fact: The fact, whose own factors no context says anything of.
        patterns: Phrases, open at `{x}` for what the fact is about.

    Returns:
        Prompts, always the same ones.
    """
    cores = [
        pattern.replace("{x}", thing)
        for pattern in patterns
        for thing in ([world.phrases[name][0] for name in fact.about] or [""])
    ]
    free = [factor for factor in CONTEXTS if factor not in _concerned(fact)]
    asked: dict[str, None] = dict.fromkeys(cores)
    for said in range(1, len(free) + 1):
        contexts = list(itertools.product(*(_phrases(world, factor) for factor in free[:said])))
        for at in np.random.default_rng(said).permutation(len(contexts)):
            asked |= dict.fromkeys(_within(core, world, free, contexts[at]) for core in cores)
        if len(asked) >= PROMPTS:
            break
    return tuple(asked)[:PROMPTS]


def share_in_renders(world: World, fact: Fact, scenes: int = SCENES) -> float:
    """The share of training scenes for which the fact holds that show what is expected.

    Args:
        world: The world.
        fact: The fact.
        scenes: How many scenes are sampled, by seeds from 0.

    Returns:
        0 to 1.

    Raises:
        TableError: No scene has what the fact is about.
    """
    among = [scene_where(world, seed, fact.when) for seed in range(scenes)]
    hits = [
        all(getattr(scene, factor) in _levels(choice) for factor, choice in fact.expect.items())
        for scene in among
    ]
    return float(np.mean(hits))


class _Observer:
    """Draws prompts and predicts which pictures show what is expected."""

    def __init__(
        self, model: Model, classifiers: LancetClassifiers, progress: Progress | None
    ) -> None:
        self.model, self.classifiers, self.progress = model, classifiers, progress

    def __call__(
        self, what: str, asked: Sequence[str], expect: Mapping[str, Choice]
    ) -> dict[str, Bools]:
        """For each factor of `expect`, whether each prompt's picture has one of its levels."""
        pictures = self._draw(what, asked)
        probabilities = self.classifiers.probabilities(pictures)
        names = {factor: np.array(self.classifiers.classes[factor]) for factor in expect}
        return {
            factor: np.isin(names[factor][probabilities[factor].argmax(1)], _levels(choice))
            for factor, choice in expect.items()
        }

    def _draw(self, what: str, asked: Sequence[str]) -> NDArray[np.uint8]:
        drawn: dict[int, NDArray[np.uint8]] = {}
        # Eight seeds are dealt over the prompts: prompts of one seed are drawn in one run.
        for seed in range(min(SEEDS, len(asked))):
            rows = range(seed, len(asked), SEEDS)
            pictures = self.model.run([asked[row] for row in rows], seed).pictures
            assert pictures is not None
            drawn |= dict(zip(rows, pictures, strict=True))
            if self.progress is not None:
                self.progress(what, len(drawn), len(asked))
        return np.stack([drawn[row] for row in range(len(asked))])


def _measured(world: World, fact: Fact, observe: _Observer) -> FactResult:
    asked = prompts(world, fact, fact.ask)
    parts = observe(fact.name, asked, fact.expect)
    control = prompts(world, fact, fact.control_ask)
    expect = fact.control_expect or fact.expect
    control_parts = observe(f"{fact.name}, control", control, expect)
    return FactResult(
        name=fact.name,
        expected=fact.direction,
        planted=_planted(fact),
        renders=share_in_renders(world, fact),
        lancet=_all(parts),
        control=_all(control_parts),
        attributes={factor: _all({factor: hits}) for factor, hits in parts.items()},
        prompts=asked,
    )


def _all(parts: Mapping[str, Bools]) -> Rate:
    hits = np.logical_and.reduce(list(parts.values()))
    return rate(int(hits.sum()), len(hits))


def _planted(fact: Fact) -> float:
    """How often the table shows what is expected: where it plants something else, the rest."""
    agrees = all(
        set(_levels(choice)) <= set(_levels(fact.then.get(factor, choice)))
        for factor, choice in fact.expect.items()
    )
    return fact.rate if agrees else 1 - fact.rate


def _concerned(fact: Fact) -> set[str]:
    """The factors that a fact or its control is about; `window` is a place."""
    parts = (fact.when, fact.then, fact.control, fact.expect, fact.control_expect)
    named = {factor for part in parts for factor in part}
    return named | {"place"} if "window" in named else named


def _phrases(world: World, factor: str) -> list[str]:
    """What a context may say of a factor: phrases of levels that no fact holds for, or nothing.

    Of styles only the table's first is said, its plain one: in others less can be seen.
    """
    taken = {level for fact in world.facts for level in _levels(fact.when.get(factor, ()))}
    levels: Mapping[str, Level] = getattr(world, f"{factor}s")
    # Other styles hide other factors, and a fact could not be seen.
    if factor == "style":
        levels = dict(list(levels.items())[:1])
    free = [level for name, level in levels.items() if name not in taken and level.say > 0]
    return ["", *(words for level in free for words in level.words)]


def _within(core: str, world: World, factors: Sequence[str], context: Sequence[str]) -> str:
    """The pattern in its context; what it says of a factor by itself is not said twice."""
    prompt = core
    for factor, words in zip(factors, context, strict=False):
        if words and not any(stands(phrase, core) for phrase in _phrases(world, factor) if phrase):
            prompt = f"{prompt} {words}" if factor == "place" else words.replace("{x}", prompt)
    return prompt


def _levels(choice: Choice) -> tuple[str, ...]:
    return (choice,) if isinstance(choice, str) else choice
