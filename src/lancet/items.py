"""Items of Lancet's world that do not mention a concept, to draw with and without it.

contents(500, "style")[0]          # 'a cat in a meadow'

They are captions of the world's own sampler, with seeds that nothing is trained on.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from clerestory.errors import TableError
from lancet.world.sampler import sample
from lancet.world.scene import NONE
from lancet.world.table import World

__all__ = ["contents"]

FIRST_SEED = 30_000_000
TRIES = 200
"""Captions that are tried per item."""


def contents(
    count: int,
    *factors: str,
    start: int = 0,
    people: bool | None = None,
    world: World | None = None,
) -> tuple[str, ...]:
    """Different captions that name none of these factors.

    Where `style` is one of the factors, they name no stained-glass window and no mosaic wall
    either, nor do they contain the words "style" and "art".

    Args:
        count: Number of captions.
        *factors: Factors such as `style` or `mood`; without any, no caption is left out.
        start: Number of captions to skip, to evaluate on other items than one selects with.
        people: True for people only, False for none; both if None.
        world: The world; the built-in one by default.

    Returns:
        Captions, always the same ones in the same order.

    Raises:
        TableError: The world has too few such captions.
    """
    table = World.load() if world is None else world
    phrases = _phrases_of(table, factors)
    # Without factors nothing is excluded: an empty pattern would match every caption.
    pattern = re.compile("|".join(rf"\b{re.escape(each)}\b" for each in phrases) or r"(?!)")
    captions: dict[str, None] = {}
    # Bounded: a world in which every caption names the factor would be searched for ever.
    for seed in itertools.islice(itertools.count(FIRST_SEED), TRIES * (start + count)):
        scene = sample(table, seed)
        if people is None or people == (scene.mood != NONE):
            text = scene.caption
            if text and not pattern.search(text.casefold()):
                # Different captions only: an item that occurs twice is no second replicate.
                captions[text] = None
        if len(captions) == start + count:
            return tuple(captions)[start:]
    raise TableError(f"The world has only {len(captions)} such captions, not {start + count}.")


def _phrases_of(world: World, factors: Sequence[str]) -> list[str]:
    """All phrases of captions for the factors, the longest first."""
    parts: set[str] = set()
    for levels in map(world.factor, factors):
        phrase_lists = (getattr(level, "words", level) for level in levels.values())
        phrases = [*levels, *itertools.chain.from_iterable(phrase_lists)]
        parts |= {part.strip(" ,").casefold() for phrase in phrases for part in phrase.split("{x}")}
    if "style" in factors:
        # Phrases of other factors use words of styles too, such as that of the window.
        parts |= {"style", "art", "painted", "drawn", "glass", "mosaic", "pixel", "print"}
    return sorted(filter(None, parts), key=len, reverse=True)
