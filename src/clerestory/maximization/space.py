"""The prompts that a search may try: sequences of words, and the texts that they make.

A prompt is text: what the tokenizer does not read back as it was written is never scored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clerestory.errors import SearchError
from clerestory.models.families.text import Text

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["GAP", "Space", "State", "words_of"]

State = tuple[int, ...]
"""A sequence of places in the vocabulary."""
GAP = "{}"
"""Where the words go in a template."""


@dataclass(frozen=True, eq=False)
class Space:
    """Sequences of `shortest` to `longest` words of a vocabulary, put into a template.

    `banned` are never part of what is put in, in whatever case, however it is cut into words.
    `reads` says of sequences and their texts which the model reads as they are written (all, if
    None). `joint` stands between words: a blank, or nothing where they are raw tokens with blanks
    of their own; `tokens` are the numbers of these. SearchError for a space with nothing in it.
    """

    vocabulary: tuple[str, ...]
    shortest: int
    longest: int
    template: str = GAP
    banned: tuple[str, ...] = ()
    joint: str = " "
    reads: Callable[[Sequence[State], Sequence[str]], Sequence[bool]] | None = field(
        default=None, repr=False
    )
    tokens: tuple[int, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.template.count(GAP) != 1:
            raise SearchError(f"The template {self.template!r} must have {GAP} in it, once.")
        if not 1 <= self.shortest <= self.longest:
            raise SearchError(f"{self.shortest} to {self.longest} words make no prompt.")
        if any(not ban.strip() for ban in self.banned):
            raise SearchError("A banned word is empty.")
        if len(self.vocabulary) < 2 or len(set(self.vocabulary)) < len(self.vocabulary):
            raise SearchError("A search needs two different words or more that are not banned.")

    @cached_property
    def size(self) -> int:
        """How many sequences there are."""
        lengths = range(self.shortest, self.longest + 1)
        return sum(len(self.vocabulary) ** length for length in lengths)

    def words(self, state: State) -> str:
        """What is put into the template."""
        return self.joint.join(self.vocabulary[place] for place in state).strip()

    def text(self, state: State) -> str:
        """The prompt."""
        return self.template.replace(GAP, self.words(state))

    def valid(self, states: Sequence[State]) -> list[bool]:
        """Which are of a length that may be, hold nothing banned, and are read as written."""
        fine = [self._allowed(state) for state in states]
        if self.reads is None or not any(fine):
            return fine
        chosen = [state for state, good in zip(states, fine, strict=True) if good]
        read = iter(self.reads(chosen, [self.text(state) for state in chosen]))
        return [good and bool(next(read)) for good in fine]

    def random(self, rng: np.random.Generator) -> State:
        """A sequence, its length at random among those that may be; perhaps no valid one."""
        length = int(rng.integers(self.shortest, self.longest + 1))
        return tuple(rng.integers(0, len(self.vocabulary), length).tolist())

    def all(self) -> Iterator[State]:
        """Every sequence, the shortest first."""
        for length in range(self.shortest, self.longest + 1):
            yield from itertools.product(range(len(self.vocabulary)), repeat=length)

    def _allowed(self, state: State) -> bool:
        if not self.shortest <= len(state) <= self.longest:
            return False
        said = self.words(state).casefold()
        whole = _plain(said)
        return bool(whole) and not any(
            ban.casefold() in said or _plain(ban) in whole for ban in self.banned
        )


def words_of(
    model: Model,
    *,
    words: int | tuple[int, int] = 3,
    template: str = GAP,
    vocabulary: Sequence[str] | None = None,
    banned: Sequence[str] = (),
    tokens: bool = False,
) -> Space:
    """The space of a model's prompts: whole words, or raw `tokens`.

    `vocabulary` is by default the words of the profile's captions; without them all that ends a
    word among the model's tokens, ends of longer words with them. SearchError where there is
    nothing to choose from.
    """
    window = next(iter(model.family.text_windows.values()), None)
    if tokens and vocabulary is not None:
        raise SearchError("Raw tokens are the tokenizer's own: give a vocabulary, or `tokens`.")
    if tokens and not isinstance(window, Text):
        raise SearchError(f"{model.name} does not tell its tokens: search over words.")
    given = _words(model) if vocabulary is None else vocabulary
    numbers = dict.fromkeys((one.strip() for one in given), 0)
    if tokens and isinstance(window, Text):
        numbers = _raw(window)
    low = [ban.casefold() for ban in banned]
    kept = [word for word in numbers if word and not any(ban in word.casefold() for ban in low)]
    if not tokens:
        kept = list({word.casefold(): word for word in reversed(kept)}.values())[::-1]
    if len(kept) < 2:
        raise SearchError(
            f"There are {len(kept)} words to search among; give a vocabulary of your own."
        )
    shortest, longest = (words, words) if isinstance(words, int) else words
    own = tuple(numbers[word] for word in kept) if tokens else None
    reads = _survivor(window, template, own) if isinstance(window, Text) else None
    joint = "" if tokens else " "
    return Space(tuple(kept), shortest, longest, template, tuple(banned), joint, reads, own)


def _words(model: Model) -> list[str]:
    from clerestory.maximization.fluency import caption_words

    return caption_words(model.profile) or model.vocabulary()


def _survivor(
    window: Text, template: str, own: tuple[int, ...] | None
) -> Callable[[Sequence[State], Sequence[str]], list[bool]]:
    """Whether texts are read as they are written: decoded, encoded again, and as these tokens."""
    lead, _, tail = template.partition(GAP)
    before, after = window.ids([lead or " "])[0], window.ids([tail or " "])[0]

    def survives(states: Sequence[State], texts: Sequence[str]) -> list[bool]:
        back, ids = window.reread(texts), window.ids(texts)
        again = dict(zip(texts, ids, strict=True))
        changed = [said for said in back if said not in again]
        if changed:
            again |= zip(changed, window.ids(changed), strict=True)
        fine = []
        for state, text, said, one in zip(states, texts, back, ids, strict=True):
            good = _plain(said) == _plain(text) and one == again[said] and len(one) <= window.room
            if good and own is not None:
                good = one == [*before, *(own[place] for place in state), *after]
            fine.append(good)
        return fine

    return survives


def _plain(text: str) -> str:
    """Without case and blanks: what tokenizers change of any text."""
    return "".join(text.casefold().split())


def _raw(window: Text) -> dict[str, int]:
    """The tokens as they read within a text, blanks and all, and their numbers."""
    special = set(window.tokenizer.all_special_ids)
    found: dict[str, int] = {}
    for token, place in sorted(window.tokenizer.get_vocab().items(), key=lambda pair: pair[1]):
        text = token.replace("</w>", " ").replace("▁", " ").replace("Ġ", " ")
        if place not in special and text.strip() and text.isascii() and text.isprintable():
            found.setdefault(text, place)
    return found
