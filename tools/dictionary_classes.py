"""The classes of Lancet's world as contrasts, for `measure_dictionaries.py`.

Each level of a factor is worded in twelve phrases, six for each half of the evidence, by the words
of the world's captions and by sentence frames where these are fewer. Every phrase is about every
item of its half: captions that do not name the factor; somebody somewhere for what people alone
have; a place and a perspective for subjects.

The negative arm of a class is the factor's usual level, and the hard negative arm all of its other
levels, with what looks or sounds like the class: a stained-glass window for stained glass. Where
the class is the usual level itself, and for subjects, the negative arm is the other levels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

__all__ = ["FACTORS", "Factor", "arms", "classes", "prompts", "target"]

HALVES = ("selection", "evaluation")
PHRASES = 6
"""Phrases of a level in each half."""
FRAMES = {
    "selection": (
        "{x}",
        "{x}, a picture",
        "a picture of {x}",
        "an illustration of {x}",
        "{x}, an illustration",
        "a simple picture of {x}",
        "a plain picture of {x}",
    ),
    "evaluation": (
        "{x}",
        "{x}, an image",
        "an image of {x}",
        "a drawing of {x}",
        "{x}, a drawing",
        "a depiction of {x}",
        "a simple drawing of {x}",
    ),
}
"""Sentence frames of words, as many as make enough phrases of them."""
ADJECTIVES = ("mood", "pallor")
SIMILAR = {
    "style": {
        "stained glass": ("place", "stained glass window"),
        "mosaic": ("place", "mosaic wall"),
    },
    "place": {
        "stained glass window": ("style", "stained glass"),
        "mosaic wall": ("style", "mosaic"),
    },
}
"""Levels of other factors with the same words or the same material, by factor and level."""
NEGATIVE_SUBJECTS = 16
"""Other subjects that a subject is compared with."""


@dataclass(frozen=True)
class Factor:
    """A factor of the world, as far as its classes are compared.

    Attributes:
        name: Its name.
        usual: The level that scenes have without being asked for; None for subjects.
        items: Items, half of them in each half of the evidence.
        people: Whether only people have it.
    """

    name: str
    usual: str | None
    items: int
    people: bool = False


FACTORS = {
    factor.name: factor
    for factor in (
        Factor("style", "plain", 48),
        Factor("mood", "neutral", 48, people=True),
        Factor("perspective", "plain", 48),
        Factor("place", "plain wall", 48),
        Factor("artwork", "noto", 24),
        Factor("hair", "short dark", 24, people=True),
        Factor("clothes", "blue shirt", 24, people=True),
        Factor("scarf", "no scarf", 24, people=True),
        Factor("pallor", "usual", 24, people=True),
        Factor("subject", None, 24),
    )
}
WINDOW = "present"
"""The class of the factor `window`, whose prompts are those of a place."""


def classes(factor: str) -> list[str]:
    """The classes of a factor, in the order of the world's table.

    Args:
        factor: A factor, or `window`.

    Returns:
        Its levels.
    """
    from lancet.world.table import World

    return [WINDOW] if factor == "window" else list(World.load().factor(factor))


def target(factor: str, level: str) -> tuple[str, str]:
    """The classifier of a class and the label it predicts.

    Args:
        factor: The factor.
        level: The class.

    Returns:
        Name and label.
    """
    return f"lancet:{factor}", level


def prompts(factor: str) -> pd.DataFrame:
    """The prompts of all classes of a factor.

    Args:
        factor: A factor of `FACTORS`.

    Returns:
        Columns `prompt`, `level`, `item`, `phrase`, `half`.
    """
    own = [(level, factor, level) for level in classes(factor)]
    # Once each: a level may resemble several classes.
    others = dict.fromkeys(SIMILAR.get(factor, {}).values())
    own += [(f"{other}: {level}", other, level) for other, level in others]
    rows = [
        {
            "prompt": frame.replace("{x}", _with_word(of, word, item)),
            "level": name,
            "item": item.name,
            "phrase": frame.replace("{x}", word),
            "half": half,
        }
        for name, of, level in own
        for half in HALVES
        for frame, word in _phrases(of, level, half)
        for item in _items(FACTORS[factor])[HALVES.index(half) :: len(HALVES)]
    ]
    return pd.DataFrame(rows)


def arms(factor: str, level: str) -> dict[str, list[str]]:
    """The values of the column `level` in each arm of a class.

    Args:
        factor: A factor, or `window`.
        level: Its class.

    Returns:
        Levels by arm.
    """
    if factor == "window":
        return arms("place", "stained glass window")
    usual, levels = FACTORS[factor].usual, classes(factor)
    others = [name for name in levels if name != level]
    if usual is None:
        # Evenly through the table, in which relatives are neighbours.
        step, start = len(others) / NEGATIVE_SUBJECTS, levels.index(level)
        every = range(NEGATIVE_SUBJECTS)
        chosen = [others[int(start + number * step) % len(others)] for number in every]
        return {"positive": [level], "negative": chosen}
    if level == usual:
        return {"positive": [level], "negative": others}
    hard = [name for name in others if name != usual]
    if level in SIMILAR.get(factor, {}):
        hard.append(": ".join(SIMILAR[factor][level]))
    found = {"positive": [level], "negative": [usual], "hard_negative": hard}
    return {arm: names for arm, names in found.items() if names}


def _phrases(factor: str, level: str, half: str) -> list[tuple[str, str]]:
    """Frames and words of a level in a half."""
    words = _words(factor, level)
    if len(words) == 1:
        # Both halves share the word, so that they have to differ in its frames.
        return [(frame, words[0]) for frame in FRAMES[half][1:]]
    own = words[HALVES.index(half) :: len(HALVES)]
    frames = FRAMES[half][: -(-PHRASES // len(own))]
    return [(frame, word) for frame in frames for word in own][:PHRASES]


def _words(factor: str, level: str) -> list[str]:
    """What captions call a level."""
    from lancet.world.table import World

    entry: Any = World.load().factor(factor)[level]
    # The first word of a subject is its emoji.
    return list(entry[1:] if factor == "subject" else entry.words)


class _Item(NamedTuple):
    """What a prompt is about: somebody or something, and what follows."""

    core: str
    rest: str = ""

    @property
    def name(self) -> str:
        return f"{self.core} {self.rest}".strip()


def _with_word(factor: str, word: str, item: _Item) -> str:
    """An item with the word of a level where captions have it."""
    if factor == "subject":
        return item.core.replace("{x}", word)
    if "{x}" in word:
        return word.replace("{x}", item.name)
    article, _, noun = item.core.partition(" ")
    if factor in ADJECTIVES and word:
        article = "an" if word[0] in "aeiou" else "a"
        return f"{article} {word} {noun} {item.rest}".strip()
    return " ".join(part for part in (item.core, word, item.rest) if part)


@cache
def _items(factor: Factor) -> list[_Item]:
    """All items of a factor."""
    from lancet.items import contents

    if factor.name == "subject":
        return list(itertools.islice(_scenes(), factor.items))
    if factor.people:
        every = list(_people())
        chosen = np.random.default_rng(0).permutation(len(every))[: factor.items]
        return [every[at] for at in chosen]
    # Captions name the place before the perspective.
    excluded = dict.fromkeys((factor.name, "style", *(["perspective"] * (factor.name == "place"))))
    return [_Item(text) for text in contents(factor.items, *excluded)]


def _people() -> Iterator[_Item]:
    """Nobody in particular, beside what has no effect on looks and moods, somewhere."""
    from lancet.world.table import World

    world = World.load()
    # Planted facts: what is beside somebody, or where they are, changes how they look.
    facts = [fact.when for fact in world.facts if fact.when.get("kind") == "person"]
    decisive = {
        name
        for when in facts
        for factor in ("subject", "place")
        for name in ([when[factor]] if isinstance(when.get(factor), str) else when.get(factor, ()))
    }
    assert world.people is not None
    # "somebody scared" is worded unlike all others.
    nouns = [noun for noun in world.people.words if noun.startswith("a ")]
    beside = [
        "",
        *(
            f"with {world.phrases[name][0]}"
            for name in world.people.companions
            if name not in decisive
        ),
    ]
    # A window or a wall of mosaic hides nobody, but is a class of its own.
    places = [
        level.words[0]
        for name, level in world.places.items()
        if name not in decisive and "glass" not in name and "mosaic" not in name
    ]
    for noun, thing, place in itertools.product(nouns, beside, places):
        yield _Item(noun, f"{thing} {place}".strip())


def _scenes() -> Iterator[_Item]:
    """Places and perspectives around a subject `{x}`, each place in turn."""
    from lancet.world.table import World

    world = World.load()
    views = [level.words[0] for level in world.perspectives.values()]
    places = [level.words[0] for level in world.places.values()]
    for number, place in enumerate(itertools.cycle(places)):
        view = views[(number + number // len(places)) % len(views)]
        yield _Item(view.replace("{x}", f"{{x}} {place}"))
