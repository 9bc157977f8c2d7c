"""Positions of pairs of prompts, counted from the words that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from clerestory.causal.paired_runs import PairedSamples
from clerestory.models import Model
from clerestory.types import Bools

__all__ = ["PositionColumns", "differing_words", "position_columns"]

FOLLOWING = 6
"""Tokens after the words that have a column of their own."""
BEFORE, WORDS, LATER, END = "before", "the words", "later", "end"
ORDER = (BEFORE, WORDS, *(f"+{step}" for step in range(1, FOLLOWING + 1)), LATER, END)


@dataclass(frozen=True, eq=False)
class PositionColumns:
    """Positions that prompts have in common, by name.

    Attributes:
        names: Names of columns, from left to right.
        masks: For each pair the positions of each column, `[position]`; none where a pair has
            none.
    """

    names: tuple[str, ...]
    masks: Sequence[Mapping[str, Bools]] = field(repr=False)

    def at(self, pair: int, name: str) -> Bools:
        """The positions of a column in a pair, `[position]`."""
        own = self.masks[pair]
        return own[name] if name in own else np.zeros_like(next(iter(own.values())))


def position_columns(model: Model, pairs: PairedSamples, stage: str) -> PositionColumns | None:
    """What comes before the words that differ, they themselves, each token after them, the end.

    Args:
        model: The model.
        pairs: The pairs.
        stage: The text encoder.

    Returns:
        The columns; with one pair they are named by its tokens. None where the encoder's tokens
        are not those that the model shows.
    """
    window = model.family.text_window(stage, "cond")
    found: list[dict[str, Bools]] = []
    for clean, corrupted in zip(pairs.clean, pairs.corrupted, strict=True):
        tokens, differing = differing_words(model, clean, corrupted)
        mask = window.token_mask([clean])[0].numpy()
        # Encoders count an end token or not; another tokenizer's count is another one.
        if not differing or mask.sum() - len(tokens) not in (0, 1):
            return None
        found.append(_places(int(mask.argmax()), differing, len(tokens), len(mask)))
    names = [name for name in ORDER if any(name in each for each in found)]
    if len(found) > 1:
        return PositionColumns(tuple(names), found)
    labels = _labels(model, pairs, names)
    own = {label: found[0][name] for label, name in zip(labels, names, strict=True)}
    return PositionColumns(tuple(labels), [own])


def differing_words(model: Model, clean: str, corrupted: str) -> tuple[list[str], list[int]]:
    """The tokens of a prompt, and the places of those that another prompt does not have.

    Args:
        model: The model.
        clean: A prompt.
        corrupted: Another of as many tokens.

    Returns:
        Tokens and places; no place where the prompts differ in their number of tokens.
    """
    own, other = model.tokenize(clean), model.tokenize(corrupted)
    if len(own) != len(other):
        return own, []
    return own, [place for place, token in enumerate(own) if token != other[place]]


def _places(start: int, differing: Sequence[int], tokens: int, positions: int) -> dict[str, Bools]:
    place = np.arange(positions)
    first, last, end = start + differing[0], start + differing[-1], start + tokens
    masks = {BEFORE: place < first, WORDS: (place >= first) & (place <= last)}
    for step in range(1, FOLLOWING + 1):
        masks[f"+{step}"] = (place == last + step) & (place < end)
    masks |= {LATER: (place > last + FOLLOWING) & (place < end), END: place >= end}
    return {name: mask for name, mask in masks.items() if mask.any()}


def _labels(model: Model, pairs: PairedSamples, names: Sequence[str]) -> list[str]:
    """The columns of one pair, by its own tokens."""
    tokens, places = differing_words(model, pairs.clean[0], pairs.corrupted[0])
    own = slice(places[0], places[-1] + 1)
    others = model.tokenize(pairs.corrupted[0])[own]
    known = {WORDS: f"{' '.join(tokens[own])} → {' '.join(others)}"}
    # Numbered, since a token may stand there twice.
    known |= {
        name: f"{name} {tokens[places[-1] + int(name)]}" for name in names if name.startswith("+")
    }
    return [known.get(name, name) for name in names]
