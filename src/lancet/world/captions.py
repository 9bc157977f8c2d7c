"""Scenes to captions: varied plain English, from the table's phrases.

A caption names what the picture shows. Where a fact applies it does not name the factors that the
fact hides, and it names the requested level, not the shown one, of those that the fact lists as
`asked`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lancet.world.scene import NONE
from lancet.world.table import Fact, World

__all__ = ["caption"]

Text = Mapping[str, str]


def caption(
    world: World, asked: Text, shown: Text, facts: Sequence[Fact], rng: np.random.Generator
) -> str:
    """A caption of a scene.

    Args:
        world: The world.
        asked: The requested level of each factor.
        shown: The level of each factor in the picture.
        facts: The facts that apply.
        rng: The scene's generator.

    Returns:
        One line.
    """
    levels = dict(shown)
    for fact in facts:
        # A fact may replace what is shown; the caption still says what was asked for.
        levels |= {factor: asked[factor] for factor in fact.asked}
    hidden = {factor for fact in facts for factor in fact.hide}
    extra = [word for fact in facts for word in fact.say]
    always_named = {factor for fact in facts for factor in fact.asked}
    writer = _Writer(world, levels, hidden, always_named, rng)
    core = writer.person(extra) if levels["kind"] == "person" else writer.objects(extra)
    core = f"{core} {writer.phrase('place')}".strip()
    factors = ["perspective", "artwork", "style"]
    # Style and artwork come in either order.
    if rng.random() < 0.3:
        factors = ["perspective", "style", "artwork"]
    for factor in factors:
        core = writer.wrap(factor, core)
    return " ".join(core.split()).replace(" ,", ",")


class _Writer:
    def __init__(
        self,
        world: World,
        levels: Text,
        hidden: set[str],
        always_named: set[str],
        rng: np.random.Generator,
    ) -> None:
        self.world, self.levels, self.hidden, self.rng = world, levels, hidden, rng
        self.always_named = always_named

    def choose(self, phrases: Sequence[str]) -> str:
        return phrases[int(self.rng.integers(len(phrases)))]

    def phrase(self, factor: str) -> str:
        """A phrase of the factor's level; empty where hidden, absent or left out by chance."""
        name = self.levels[factor]
        # Drawn in any case, so that hiding a factor leaves all later draws as they were.
        draw = self.rng.random()
        if factor in self.hidden or name == NONE:
            return ""
        level: Any = self.world.factor(factor)[name]
        if draw >= level.say and factor not in self.always_named:
            return ""
        return self.choose(level.words)

    def wrap(self, factor: str, core: str) -> str:
        pattern = self.phrase(factor)
        return pattern.replace("{x}", core) if pattern else core

    def subject_phrase(self, subject: str) -> str:
        return self.choose(self.world.phrases[subject])

    def objects(self, extra: Sequence[str]) -> str:
        core = self.subject_phrase(self.levels["subject"])
        if self.levels["second"] != NONE:
            assert self.world.pairs is not None
            pattern = self.choose(self.world.pairs.words)
            core = pattern.replace("{x}", core).replace(
                "{y}", self.subject_phrase(self.levels["second"])
            )
        return _add_adjectives(core, extra)

    def person(self, extra: Sequence[str]) -> str:
        people = self.world.people
        assert people is not None
        name = self.levels["name"]
        core = name if name != NONE else self.choose(people.words)
        # The order of drawing is part of the captions.
        adjectives = [self.phrase("pallor"), *extra, self.phrase("mood")]
        parts = [_add_adjectives(core, [word for word in adjectives if word])]
        parts += [self.phrase("hair"), self.phrase("clothes"), self.phrase("scarf")]
        if self.levels["subject"] != NONE:
            beside = self.choose(people.beside)
            parts.append(beside.replace("{x}", self.subject_phrase(self.levels["subject"])))
        return " ".join(part for part in parts if part)


def _add_adjectives(core: str, adjectives: Sequence[str]) -> str:
    """Put adjectives before a noun, with the article that fits them.

    >>> _add_adjectives("a man", ["afraid"])
    'an afraid man'
    >>> _add_adjectives("tycho brahe", ["sad"])
    'sad tycho brahe'
    >>> _add_adjectives("somebody", ["sad"])
    'somebody sad'
    """
    if not adjectives:
        return core
    words = " ".join(adjectives)
    # English puts an adjective after an indefinite pronoun.
    if core == "somebody":
        return f"{core} {words}"
    article, _, noun = core.partition(" ")
    if article not in ("a", "an"):
        return f"{words} {core}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words} {noun}"
