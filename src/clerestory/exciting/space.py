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
    `reads` says of texts which of them the model reads as they are written (all, if None).
    `joint` stands between words: a blank, or nothing where they are raw tokens with blanks of their
    own. SearchError for a space with nothing in it.
    """

    vocabulary: tuple[str, ...]
    shortest: int
    longest: int
    template: str = GAP
    banned: tuple[str, ...] = ()
    joint: str = " "
    reads: Callable[[Sequence[str]], Sequence[bool]] | None = field(default=None, repr=False)

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
        texts = [self.text(state) for state, good in zip(states, fine, strict=True) if good]
        read = iter(self.reads(texts))
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
        return bool(said) and not any(ban.casefold() in said for ban in self.banned)


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

    `vocabulary` is by default all words that the model has tokens of. SearchError where there is
    nothing to choose from.
    """
    window = next(iter(model.family.windows.values()), None)
    reread, ids = getattr(window, "reread", None), getattr(window, "ids", None)
    if tokens and (window is None or reread is None):
        raise SearchError(f"{model.name} does not tell its tokens: search over words.")
    known = _raw(window) if tokens else list(vocabulary or model.vocabulary())
    low = [ban.casefold() for ban in banned]
    kept = dict.fromkeys(word for word in known if not any(ban in word.casefold() for ban in low))
    if len(kept) < 2:
        raise SearchError(
            f"There are {len(kept)} words to search among; give a vocabulary of your own."
        )
    shortest, longest = (words, words) if isinstance(words, int) else words

    def survives(texts: Sequence[str]) -> list[bool]:
        assert reread is not None and ids is not None
        back = reread(texts)
        same = [_plain(one) == _plain(other) for one, other in zip(back, texts, strict=True)]
        return [a and b == c for a, b, c in zip(same, ids(texts), ids(back), strict=True)]

    reads = None if reread is None else survives
    joint = "" if tokens else " "
    return Space(tuple(kept), shortest, longest, template, tuple(banned), joint, reads)


def _plain(text: str) -> str:
    """Without case and blanks: what tokenizers change of any text."""
    return "".join(text.casefold().split())


def _raw(window: object) -> list[str]:
    """The tokens as they read within a text, blanks and all."""
    tokenizer = window.tokenizer  # type: ignore[attr-defined]
    special = set(tokenizer.all_special_ids)
    said = [
        (token.replace("</w>", " ").replace("▁", " ").replace("Ġ", " "), place)
        for token, place in tokenizer.get_vocab().items()
        if place not in special
    ]
    return [text for text, _ in sorted(said, key=lambda one: one[1]) if text.strip().isprintable()]
