"""Contents of Lancet's world that never mention a concept, to draw with and without it.

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
"""Captions looked at for one that will do."""


def contents(
    count: int,
    *factors: str,
    start: int = 0,
    people: bool | None = None,
    world: World | None = None,
) -> tuple[str, ...]:
    """So many different captions that say nothing of these factors.

    Where a factor is the style they say nothing of windows and walls in one either, nor "a
    picture of". `start` leaves out the first so many: what is built with some contents is shown on
    others. `people` asks for people only, or for none. TableError where the world has too few.

    Args:
        count: How many captions.
        *factors: Factors such as `style` or `mood`.
        start: How many are left out at the beginning.
        people: True for people only, False for none; both if None.
        world: The world; the built-in one by default.

    Returns:
        Captions, always the same ones in the same order.

    Raises:
        TableError: The world has too few such captions.
    """
    table = World.load() if world is None else world
    spoken = re.compile("|".join(rf"\b{re.escape(one)}\b" for one in _said(table, factors)))
    found: dict[str, None] = {}
    for seed in itertools.islice(itertools.count(FIRST_SEED), TRIES * (start + count)):
        scene = sample(table, seed)
        if people is None or people == (scene.mood != NONE):
            text = scene.caption
            if text and not spoken.search(text.casefold()):
                found[text] = None
        if len(found) == start + count:
            return tuple(found)[start:]
    raise TableError(f"The world has only {len(found)} such contents, not {start + count}.")


def _said(world: World, factors: Sequence[str]) -> list[str]:
    """Whatever captions say of the factors, the longest first."""
    parts: set[str] = set()
    for levels in map(world.factor, factors):
        named = (getattr(level, "words", level) for level in levels.values())
        phrases = [*levels, *itertools.chain.from_iterable(named)]
        parts |= {part.strip(" ,").casefold() for phrase in phrases for part in phrase.split("{x}")}
    if "style" in factors:
        # Phrases of other factors use words of styles too, such as that of the window.
        parts |= {"style", "art", "painted", "drawn", "glass", "mosaic", "pixel", "print"}
    return sorted(filter(None, parts), key=len, reverse=True)
