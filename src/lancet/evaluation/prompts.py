"""The prompts that a Lancet is evaluated on: fixed, balanced, and none of them a training caption.

Captions come from the world's own sampler, with seeds that nothing is trained on. Each names every
factor that it is evaluated by; a training caption is replaced by the next seed's.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clerestory.errors import TableError
from lancet.world.sampler import held_out, sample, scene_for
from lancet.world.scene import FACTORS, NONE, WINDOW, Scene
from lancet.world.table import World

__all__ = ["EvaluationPrompt", "contains_phrase", "digest", "grid", "training_captions"]

FIRST_SEED = 20_000_000
TRIES = 200
PER_SUBJECT, PER_MOOD = 2, 20
"""Prompts for each subject and each mood in the main part: 404 with Lancet's own table."""
PER_PERSPECTIVE, PAIRS, HELD_OUT = 20, 100, 100
"""Prompts of the other parts: for each perspective but `plain`, for two objects, held out."""

SEEDS = 8
"""Number of drawing seeds, assigned to the prompts in turn."""

Part = Literal["main", "perspective", "pair", "held out"]


@dataclass(frozen=True)
class EvaluationPrompt:
    """A prompt with a drawing seed, and the levels that it asks for; `NONE` where it asks for none.

    Parts: `main` has one subject or one person in combinations that training may show, seen
    straight; `perspective` asks for another point of view, `pair` for two objects, `held out` for
    combinations that training never shows.
    """

    prompt: str
    seed: int
    subject: str
    style: str
    place: str
    mood: str
    second: str = NONE
    perspective: str = "plain"
    part: Part = "main"

    @property
    def window(self) -> bool:
        """Whether the prompt asks for a stained-glass window."""
        return self.place == WINDOW


def training_captions(world: World, scenes: int) -> list[str]:
    """The captions of the first so many training scenes, in their order.

    Args:
        world: The world.
        scenes: How many scenes, by seeds from 0.

    Returns:
        Captions; they may repeat.
    """
    return [sample(world, seed).caption for seed in range(scenes)]


def digest(captions: Iterable[str]) -> str:
    """A digest of captions in their order.

    Args:
        captions: The captions.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256("\n".join(captions).encode()).hexdigest()


def grid(world: World, excluded_captions: Set[str] = frozenset()) -> tuple[EvaluationPrompt, ...]:
    """The evaluation's prompts, the same ones every time.

    Args:
        world: The world.
        excluded_captions: Captions that are no prompts, such as those of training.

    Returns:
        Prompts with their seeds.

    Raises:
        TableError: The world has no new caption of a combination.
    """
    rng = np.random.default_rng(FIRST_SEED)
    combinations = list(_required_factors(world, rng))
    # Balanced within each part, whose rates are reported by themselves.
    counts = Counter(part for part, _ in combinations).values()
    styles = [name for count in counts for name in _balanced(tuple(world.styles), count, rng)]
    places = [name for count in counts for name in _balanced(_places(world), count, rng)]
    prompts: list[EvaluationPrompt] = []
    excluded = set(excluded_captions)
    for number, (part, fixed) in enumerate(combinations):
        # Each prompt has a style of its own; the next ones replace it where facts forbid it.
        preferred_styles = (*styles[number:], *styles[:number])
        place = _place(world, fixed, (*places[number:], *places[:number]))
        fixed = {"perspective": "plain", "place": place, **fixed}
        scene = _scene(world, number, part, fixed, preferred_styles, excluded)
        # No prompt twice: each is one trial of a rate.
        excluded.add(scene.caption)
        prompts.append(_evaluation_prompt(scene, number % SEEDS, part))
    return tuple(prompts)


def _required_factors(
    world: World, rng: np.random.Generator
) -> Iterator[tuple[Part, dict[str, str]]]:
    """The fixed factors of each prompt, besides a style and, where none is fixed, a place."""
    has_objects, has_people = "object" in world.kinds, "person" in world.kinds
    for _ in range(PER_SUBJECT if has_objects else 0):
        for subject in world.subjects:
            yield "main", {"kind": "object", "subject": subject}
    for _ in range(PER_MOOD if has_people else 0):
        for mood in world.moods:
            yield "main", {"kind": "person", "mood": mood, "subject": NONE}
    names = tuple(world.subjects)
    views = [name for name in world.perspectives if name != "plain"] if has_objects else []
    for view in views * PER_PERSPECTIVE:
        subject = names[int(rng.integers(len(names)))]
        yield "perspective", {"kind": "object", "subject": subject, "perspective": view}
    for _ in range(PAIRS if "pair" in world.kinds else 0):
        one, two = rng.choice(len(names), 2, replace=False)
        yield "pair", {"kind": "pair", "subject": names[one], "second": names[two]}
    yield from (("held out", fixed) for fixed in _held_out_factors(world, rng))


def _held_out_factors(world: World, rng: np.random.Generator) -> list[dict[str, str]]:
    """Held-out combinations of an object and a style, and of a mood and a place, in turn."""
    blank = _blank_scene()
    drawn_pairs = [
        {"kind": "object", "subject": subject, "style": style}
        for subject in world.subjects
        for style in world.styles
        if held_out(world, {**blank, "subject": subject, "style": style})
    ]
    pairs = [
        {"kind": "person", "subject": NONE, **pair}
        for pair in world.held_out.pairs
        # Pairs of object and style that the table names are among those above.
        if set(pair) == {"mood", "place"}
    ]
    # Four prompts of each named pair; the others are drawn from the pairs of object and style.
    # Drawn without replacement: no combination is asked for twice.
    chosen = [
        drawn_pairs[at] for at in rng.permutation(len(drawn_pairs))[: HELD_OUT - 4 * len(pairs)]
    ]
    return [*chosen, *pairs * 4]


def _place(world: World, fixed: Mapping[str, str], places: Sequence[str]) -> str:
    """The first of these places that is not held out by itself, whatever the style."""
    blank = {**_blank_scene(), **fixed, "style": NONE}
    return next(name for name in places if not held_out(world, {**blank, "place": name}))


def _blank_scene() -> dict[str, str]:
    return dict.fromkeys((*FACTORS, "kind", "name"), NONE)


def _places(world: World) -> tuple[str, ...]:
    """The places, with the window twice: its rate is a figure of its own."""
    return (*world.places, *(WINDOW for _ in range(WINDOW in world.places)))


def _balanced(levels: tuple[str, ...], count: int, rng: np.random.Generator) -> list[str]:
    """`count` levels in random order, each as often as the others."""
    # Counts differ by one at most.
    return [levels[at] for at in rng.permutation(np.arange(count) % len(levels))]


def _scene(
    world: World,
    number: int,
    part: Part,
    fixed: Mapping[str, str],
    styles: tuple[str, ...],
    excluded_captions: Set[str],
) -> Scene:
    """A new scene whose caption names all fixed factors, in the first style that is possible.

    Facts forbid some styles of some subjects, which are never shown as the caption says.
    """
    split = "held out" if part == "held out" else "train"
    for style in dict.fromkeys([fixed["style"]] if "style" in fixed else styles):
        factors = {**fixed, "style": style}
        for attempt in range(TRIES):
            try:
                # Attempts of one prompt do not meet the seeds of the next.
                scene = scene_for(world, FIRST_SEED + number * TRIES + attempt, **factors)
            # A fact or a held-out combination forbids this style here.
            except TableError:
                break
            if (
                scene.caption not in excluded_captions
                and scene.split == split
                and _names_its_factors(world, scene)
            ):
                return scene
    raise TableError(f"World {world.name!r} has no new caption that names {dict(fixed)}.")


def _names_its_factors(world: World, scene: Scene) -> bool:
    """Whether the caption names style and place and, where they apply, mood and perspective."""
    mood = ("mood",) if scene.mood != NONE else ()
    view = ("perspective",) if scene.perspective != "plain" else ()
    factors = ("style", "place", *mood, *view)
    for factor in factors:
        levels: Mapping[str, Any] = world.factor(factor)
        if not any(
            contains_phrase(words, scene.caption) for words in levels[getattr(scene, factor)].words
        ):
            return False
    return True


def contains_phrase(words: str, caption: str) -> bool:
    """Whether a caption contains a phrase as whole words.

    Args:
        words: A phrase; `{x}` stands for any words.
        caption: The caption.

    Returns:
        Whether the phrase is in the caption.

    >>> contains_phrase("a mosaic of {x}", "a mosaic of a cat")
    True
    >>> contains_phrase("mad", "a cat made of tiles")
    False
    """
    # What stands for `{x}` lies between the parts.
    # Phrases are plain text in the table and may contain signs of regular expressions.
    parts = [re.escape(part.strip()) for part in words.split("{x}")]
    return re.search(rf"(?<!\w){'.*'.join(parts)}(?!\w)", caption) is not None


def _evaluation_prompt(scene: Scene, seed: int, part: Part) -> EvaluationPrompt:
    factors = ("subject", "style", "place", "mood", "second", "perspective")
    levels = {factor: getattr(scene, factor) for factor in factors}
    return EvaluationPrompt(scene.caption, seed, **levels, part=part)
