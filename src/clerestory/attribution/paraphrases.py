"""Paraphrases of the sentence around the pieces: they are the replicates.

paraphrases(parse_pieces("[alexandra elbakyan] with a [raven]"), 24)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np

from clerestory.attribution.baselines import LEADS
from clerestory.attribution.pieces import Absence, Prompt, parse_pieces
from clerestory.errors import EvidenceError, PromptError
from clerestory.models import Model

__all__ = ["LEAST", "USUAL", "paraphrases", "paraphrases_of", "short_enough"]

LEAST, USUAL = 20, 48
FRAMES = (
    "{x}",
    "a picture of {x}",
    "an image of {x}",
    "a drawing of {x}",
    "an illustration of {x}",
    "a depiction of {x}",
    "a simple picture of {x}",
    "{x}, a drawing",
    "{x}, a picture",
    "{x}, an illustration",
    "a plain picture of {x}",
    "a scene with {x}",
    "a new drawing of {x}",
    "the image of {x}",
    "this is {x}",
    "here is {x}",
    "{x}, an image",
    "a good picture of {x}",
    "one picture of {x}",
    "a view of {x}",
    "we see {x}",
)
"""Ways to present a sentence that add nothing to what it says."""
SAME = {
    "with": ("with", "and", "together with"),
    "in a": ("in a", "inside a", "in the"),
}
"""Words between pieces, and what can stand in their place."""
BOUND = re.compile(rf"(?<!\S)(?:{LEADS}|together|along|\w+(?:ed|en|ing))\s+$", re.IGNORECASE)
"""What such a word belongs to, as in `covered with`: then nothing else can stand there."""


def paraphrases(
    asked: Prompt,
    count: int,
    *,
    atleast: int | None = None,
    model: Model | None = None,
    absence: Sequence[Absence] = ("neutral",),
    seed: int = 0,
) -> tuple[Prompt, ...]:
    """So many different sentences around the same pieces; the first is the one asked for.

    Where there are fewer, `atleast` so many will do. With a `model` they are short enough for its
    text window, with each piece or without. Those are left out of which nothing remains without the
    pieces. EvidenceError for fewer than 20, which are too few replicates, or more than there are.
    """
    least = count if atleast is None else min(atleast, count)
    if least < LEAST:
        raise EvidenceError(f"{least} paraphrases are too few replicates: take {LEAST} or more.")
    inner = [_variants(asked, place) for place in range(1, len(asked.pieces))]
    every = list(itertools.product(FRAMES, *inner))
    order = np.random.default_rng(seed).permutation(np.arange(1, len(every)))
    found = [_framed(asked, every[at]) for at in [0, *order.tolist()]]
    none = [False] * len(asked.pieces)
    found = [one for one in found if all(one.text(none, way) for way in absence)]
    if model is not None:
        row = _longest(model, asked) if "neutral" in absence else [True] * len(none)
        found = [one for one in found if short_enough(model, [one.whole, one.text(row)])]
    if len(found) < least:
        raise EvidenceError(
            f"There are {len(found)} paraphrases of this prompt and {least} are asked for: "
            "ask for fewer, or give a file of your own."
        )
    return tuple(found[:count])


def paraphrases_of(asked: Prompt, lines: Sequence[str]) -> tuple[Prompt, ...]:
    """Sentences of one's own, with the same pieces in brackets and in the same order."""
    found = [parse_pieces(line) for line in dict.fromkeys(lines)]
    wanted = [piece.words for piece in asked.pieces]
    for one in found:
        if [piece.words for piece in one.pieces] != wanted:
            raise EvidenceError(
                f"A sentence has other pieces than {wanted}: {one.whole!r}. Each needs "
                "them all, in brackets and in this order."
            )
    if len(found) < LEAST:
        raise EvidenceError(f"There are {len(found)} sentences; {LEAST} or more are needed.")
    return tuple(Prompt(one.around, asked.pieces) for one in found)


def short_enough(model: Model, texts: Sequence[str]) -> bool:
    """Whether the model's text window holds them all."""
    try:
        for text in texts:
            model.check(text)
    except PromptError:
        return False
    return True


def _longest(model: Model, asked: Prompt) -> list[bool]:
    """Which pieces are there in the longest combination: those longer than their stand-ins."""
    sizes = [[len(model.words(text)) for text in (one.words, one.stand_in)] for one in asked.pieces]
    return [own >= other for own, other in sizes]


def _variants(asked: Prompt, place: int) -> list[str]:
    """What can stand between two pieces: what does, first."""
    here = asked.around[place]
    for words, others in SAME.items():
        found = re.search(rf"(?<!\S){words}(?!\S)", here)
        if found and not BOUND.search(here[: found.start()]):
            put = [here[: found.start()] + one + here[found.end() :] for one in others]
            return list(dict.fromkeys([here, *put]))
    return [here]


def _framed(asked: Prompt, chosen: Sequence[str]) -> Prompt:
    before, _, after = chosen[0].partition("{x}")
    inner = chosen[1:]
    around = [before + asked.around[0], *inner, asked.around[-1] + after]
    return Prompt(tuple(around), asked.pieces, chosen[0])
