"""The prompts that a Lancet is evaluated on: fixed, balanced, and none seen in training.

Captions come from the world's own sampler, with seeds that nothing is trained on; each names every
factor that it is judged by, and one that training has seen word for word gives way to the next.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from clerestory.errors import TableError
from clerestory.lancet.world.sampler import sample, scene_for
from clerestory.lancet.world.scene import NONE, WINDOW, Scene
from clerestory.lancet.world.table import World

__all__ = ["Ask", "captions_seen", "digest", "grid", "stands"]

FIRST_SEED = 20_000_000
TRIES = 200
OF_A_SUBJECT, OF_A_MOOD = 2, 16
"""Prompts for each subject and each mood: 412 with Lancet's own table."""

SEEDS = 8
"""Drawing seeds, dealt over the prompts."""


@dataclass(frozen=True)
class Ask:
    """A prompt with a drawing seed, and what its picture should show; `NONE` is not asked for."""

    prompt: str
    seed: int
    subject: str
    style: str
    place: str
    mood: str

    @property
    def window(self) -> bool:
        """Whether a stained-glass window was asked for."""
        return self.place == WINDOW


def captions_seen(world: World, scenes: int) -> list[str]:
    """The captions of the first so many training scenes, in their order."""
    return [sample(world, seed).caption for seed in range(scenes)]


def digest(captions: Iterable[str]) -> str:
    """What tells these captions, in this order, from any others."""
    return hashlib.sha256("\n".join(captions).encode()).hexdigest()


def grid(world: World, seen: Set[str] = frozenset()) -> tuple[Ask, ...]:
    """The evaluation's prompts, none of them in `seen`; the same ones every time."""
    rng = np.random.default_rng(FIRST_SEED)
    wanted = list(_wanted(world))
    styles = _dealt(tuple(world.styles), len(wanted), rng)
    places = _dealt(_places(world), len(wanted), rng)
    asks: list[Ask] = []
    taken = set(seen)
    for place, fixed in enumerate(wanted):
        turned = (*styles[place:], *styles[:place])
        scene = _scene(world, place, {**fixed, "place": places[place]}, turned, taken)
        taken.add(scene.caption)
        asks.append(_ask(scene, place % SEEDS))
    return tuple(asks)


def _wanted(world: World) -> Iterator[dict[str, str]]:
    """What each prompt must have besides its style and place: each subject, then each mood."""
    for _ in range(OF_A_SUBJECT if "object" in world.kinds else 0):
        for subject in world.subjects:
            yield {"kind": "object", "subject": subject}
    for _ in range(OF_A_MOOD if "person" in world.kinds else 0):
        for mood in world.moods:
            yield {"kind": "person", "mood": mood, "subject": NONE}


def _places(world: World) -> tuple[str, ...]:
    """The places, with the window twice: its rate is a figure of its own."""
    return (*world.places, *(WINDOW for _ in range(WINDOW in world.places)))


def _dealt(levels: tuple[str, ...], count: int, rng: np.random.Generator) -> list[str]:
    """So many levels, each as often as the others, in random order."""
    return [levels[at] for at in rng.permutation(np.arange(count) % len(levels))]


def _scene(
    world: World, number: int, fixed: Mapping[str, str], styles: tuple[str, ...], seen: Set[str]
) -> Scene:
    """An unseen scene whose caption names all that is fixed, in the first style that can be had.

    Facts forbid some styles of some subjects: those are never shown as asked.
    """
    for style in dict.fromkeys(styles):
        factors = {**fixed, "style": style, "perspective": "plain"}
        for attempt in range(TRIES):
            try:
                scene = scene_for(world, FIRST_SEED + number * TRIES + attempt, **factors)
            except TableError:
                break
            if scene.caption not in seen and _told(world, scene):
                return scene
    raise TableError(f"World {world.name!r} has no unseen caption that names {dict(fixed)}.")


def _told(world: World, scene: Scene) -> bool:
    """Whether the caption names its style, its place and, for people, the mood."""
    factors = ("style", "place", *(("mood",) if scene.mood != NONE else ()))
    for factor in factors:
        levels: Mapping[str, Any] = world.factor(factor)
        if not any(stands(words, scene.caption) for words in levels[getattr(scene, factor)].words):
            return False
    return True


def stands(words: str, caption: str) -> bool:
    """Whether a phrase, open at {x}, stands in a caption.

    >>> stands("a mosaic of {x}", "a mosaic of a cat"), stands("mad", "a cat made of tiles")
    (True, False)
    """
    parts = [re.escape(part.strip()) for part in words.split("{x}")]
    return re.search(rf"(?<!\w){'.*'.join(parts)}(?!\w)", caption) is not None


def _ask(scene: Scene, seed: int) -> Ask:
    return Ask(scene.caption, seed, scene.subject, scene.style, scene.place, scene.mood)
