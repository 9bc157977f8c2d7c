"""Scenes to captions: varied plain English, from the table's phrases.

A caption names what was asked. Where facts apply it keeps silent about what they hide, and tells
the asked level, not the shown one, of what they list as asked.
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
    """A caption of the scene `shown`, of which `asked` was wanted.

    Args:
        world: The world.
        asked: What was wanted, a level by factor.
        shown: What the picture shows, a level by factor.
        facts: The facts that apply.
        rng: The scene's generator.

    Returns:
        One line.
    """
    told = dict(shown)
    for fact in facts:
        told |= {factor: asked[factor] for factor in fact.asked}
    silent = {factor for fact in facts for factor in fact.hide}
    extra = [word for fact in facts for word in fact.say]
    always = {factor for fact in facts for factor in fact.asked}
    writer = _Writer(world, told, silent, always, rng)
    core = writer.person(extra) if told["kind"] == "person" else writer.objects(extra)
    core = f"{core} {writer.phrase('place')}".strip()
    wraps = ["perspective", "artwork", "style"]
    # Style and artwork may come in either order, as people say them.
    if rng.random() < 0.3:
        wraps = ["perspective", "style", "artwork"]
    for factor in wraps:
        core = writer.around(factor, core)
    return " ".join(core.split()).replace(" ,", ",")


class _Writer:
    def __init__(
        self,
        world: World,
        told: Text,
        silent: set[str],
        always: set[str],
        rng: np.random.Generator,
    ) -> None:
        self.world, self.told, self.silent, self.rng = world, told, silent, rng
        self.always = always

    def one(self, phrases: Sequence[str]) -> str:
        return phrases[int(self.rng.integers(len(phrases)))]

    def phrase(self, factor: str) -> str:
        """A phrase for the factor's level, or nothing: hidden, lacking, or left out by chance."""
        name = self.told[factor]
        mark = self.rng.random()
        if factor in self.silent or name == NONE:
            return ""
        level: Any = self.world.factor(factor)[name]
        if mark >= level.say and factor not in self.always:
            return ""
        return self.one(level.words)

    def around(self, factor: str, core: str) -> str:
        pattern = self.phrase(factor)
        return pattern.replace("{x}", core) if pattern else core

    def thing(self, subject: str) -> str:
        return self.one(self.world.phrases[subject])

    def objects(self, extra: Sequence[str]) -> str:
        core = self.thing(self.told["subject"])
        if self.told["second"] != NONE:
            assert self.world.pairs is not None
            pattern = self.one(self.world.pairs.words)
            core = pattern.replace("{x}", core).replace("{y}", self.thing(self.told["second"]))
        return _described(core, extra)

    def person(self, extra: Sequence[str]) -> str:
        people = self.world.people
        assert people is not None
        name = self.told["name"]
        core = name if name != NONE else self.one(people.words)
        adjectives = [self.phrase("pallor"), *extra, self.phrase("mood")]
        parts = [_described(core, [word for word in adjectives if word])]
        parts += [self.phrase("hair"), self.phrase("clothes"), self.phrase("scarf")]
        if self.told["subject"] != NONE:
            beside = self.one(people.beside)
            parts.append(beside.replace("{x}", self.thing(self.told["subject"])))
        return " ".join(part for part in parts if part)


def _described(core: str, adjectives: Sequence[str]) -> str:
    """Put adjectives before a noun and set its article right.

    >>> _described("a man", ["afraid"])
    'an afraid man'
    >>> _described("tycho brahe", ["sad"])
    'sad tycho brahe'
    >>> _described("somebody", ["sad"])
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
