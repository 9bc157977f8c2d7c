"""The prompts that a search may try: sequences of words, and the texts that they make.

A prompt is text: what the tokenizer does not read back as it was written is never scored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clerestory.errors import SearchError
from clerestory.maximization.vocabularies import default_words, vocabulary_words
from clerestory.models.core.text_windows import TextEncoder, TextWindow

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["WORDS", "Space", "State", "prompt_space", "text_window"]

State = tuple[int, ...]
"""A sequence of indices into the vocabulary."""
WORDS = "{words}"
"""The placeholder of the words in a template."""


@dataclass(frozen=True, eq=False)
class Space:
    """Sequences of `shortest` to `longest` words of a vocabulary, put into a template.

    Attributes:
        vocabulary: Two different words or more.
        shortest: Minimum number of words.
        longest: Maximum number of words.
        template: A prompt with `{words}` in it, once.
        banned: Strings that must not occur in the words, regardless of case, even across words.
        separator: The text between words: a blank, or nothing if the vocabulary is raw tokens,
            which have blanks of their own.
        is_readable: Returns for sequences and their prompts whether the tokenizer reproduces them;
            None if all are accepted.
        tokens: The token number of each entry, if the vocabulary is raw tokens.

    Raises:
        SearchError: The space is empty, or the template is not valid.
    """

    vocabulary: tuple[str, ...]
    shortest: int
    longest: int
    template: str = WORDS
    banned: tuple[str, ...] = ()
    separator: str = " "
    is_readable: Callable[[Sequence[State], Sequence[str]], Sequence[bool]] | None = field(
        default=None, repr=False
    )
    tokens: tuple[int, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.template.count(WORDS) != 1:
            raise SearchError(f"The template {self.template!r} must have {WORDS} in it, once.")
        if not 1 <= self.shortest <= self.longest:
            raise SearchError(f"{self.shortest} to {self.longest} words make no prompt.")
        if any(not ban.strip() for ban in self.banned):
            raise SearchError("A banned word is empty.")
        if len(self.vocabulary) < 2 or len(set(self.vocabulary)) < len(self.vocabulary):
            raise SearchError("A search needs two different words or more that are not banned.")

    @cached_property
    def size(self) -> int:
        """Number of sequences."""
        lengths = range(self.shortest, self.longest + 1)
        return sum(len(self.vocabulary) ** length for length in lengths)

    def words(self, state: State) -> str:
        """The words of a sequence.

        Args:
            state: Indices into the vocabulary.

        Returns:
            The words, joined, without blanks at either end.
        """
        return self.separator.join(self.vocabulary[index] for index in state).strip()

    def text(self, state: State) -> str:
        """The prompt of a sequence.

        Args:
            state: Indices into the vocabulary.

        Returns:
            The template with the words in it.
        """
        return self.template.replace(WORDS, self.words(state))

    def valid(self, states: Sequence[State]) -> list[bool]:
        """Whether sequences have an allowed length, no banned string, and are readable.

        Args:
            states: Sequences, of any length.

        Returns:
            A truth value for each.
        """
        allowed = [self._is_allowed(state) for state in states]
        if self.is_readable is None or not any(allowed):
            return allowed
        selected = [state for state, is_allowed in zip(states, allowed, strict=True) if is_allowed]
        readable = iter(self.is_readable(selected, [self.text(state) for state in selected]))
        return [is_allowed and bool(next(readable)) for is_allowed in allowed]

    def random(self, rng: np.random.Generator) -> State:
        """A sequence of random length and words, which may be invalid.

        Args:
            rng: The generator; the length is drawn first, then the words.

        Returns:
            Indices into the vocabulary.
        """
        length = int(rng.integers(self.shortest, self.longest + 1))
        return tuple(rng.integers(0, len(self.vocabulary), length).tolist())

    def sequences(self) -> Iterator[State]:
        """All sequences, the shortest first."""
        for length in range(self.shortest, self.longest + 1):
            yield from itertools.product(range(len(self.vocabulary)), repeat=length)

    def _is_allowed(self, state: State) -> bool:
        if not self.shortest <= len(state) <= self.longest:
            return False
        words = self.words(state).casefold()
        # Also without blanks: "stain" and "ed" must not combine to a banned word.
        compact = _compact(words)
        return bool(compact) and not any(
            ban.casefold() in words or _compact(ban) in compact for ban in self.banned
        )


def prompt_space(
    model: Model,
    *,
    words: int | tuple[int, int] = 3,
    template: str = WORDS,
    vocabulary: Sequence[str] | str | Path | None = None,
    ban: Sequence[str] = (),
    tokens: bool = False,
    sites: Sequence[str] = (),
) -> Space:
    """The space of a model's prompts.

    Args:
        model: The model whose tokenizer reads the prompts.
        words: Number of words, or the minimum and the maximum.
        template: A prompt with `{words}` in it, once.
        vocabulary: The words, the name of a vocabulary of a plug-in, or a file with a word a line.
            By default the words of the captions in the model's profile; without captions, all
            tokens of the model that end a word, which includes ends of longer words.
        ban: Strings that must not occur in the words.
        tokens: Whether to search over raw tokens in place of words.
        sites: Addresses of the sites that are maximized. The tokens are those of the encoder that
            reads them, the first one where these are several or none.

    Raises:
        SearchError: There are fewer than two words, or the model has no supported tokenizer.

    Returns:
        The space: its vocabulary, lengths and template.
    """
    window = text_window(model, sites)
    if tokens and vocabulary is not None:
        raise SearchError("Raw tokens come from the tokenizer: give a vocabulary, or `tokens`.")
    if tokens and not isinstance(window, TextEncoder):
        raise SearchError(f"{model.name} has no tokenizer for raw tokens: search over words.")
    words_or_tokens = default_words(model) if vocabulary is None else vocabulary_words(vocabulary)
    numbers = dict.fromkeys((word.strip() for word in words_or_tokens), 0)
    if tokens and isinstance(window, TextEncoder):
        numbers = _raw_tokens(window)
    banned = [text.casefold() for text in ban]
    # Banned here as well as in `valid`, so that random draws are seldom refused.
    entries = [word for word in numbers if word and not any(b in word.casefold() for b in banned)]
    if not tokens:
        # Of words that differ only in case, the first stays: a tokenizer may not distinguish them.
        entries = list({word.casefold(): word for word in reversed(entries)}.values())[::-1]
    if len(entries) < 2:
        raise SearchError(
            f"The vocabulary has {len(entries)} words, and a search needs two: give another one."
        )
    shortest, longest = (words, words) if isinstance(words, int) else words
    token_numbers = tuple(numbers[entry] for entry in entries) if tokens else None
    readable = (
        _readability(window, template, token_numbers) if isinstance(window, TextEncoder) else None
    )
    separator = "" if tokens else " "
    return Space(
        tuple(entries), shortest, longest, template, tuple(ban), separator, readable, token_numbers
    )


def _readability(
    window: TextEncoder, template: str, tokens: tuple[int, ...] | None
) -> Callable[[Sequence[State], Sequence[str]], list[bool]]:
    """Whether prompts are the same after encoding and decoding, and encode to these tokens."""
    prefix, _, suffix = template.partition(WORDS)
    # A blank stands for no text, which some tokenizers refuse.
    before, after = window.token_ids([prefix or " "])[0], window.token_ids([suffix or " "])[0]

    def is_readable(states: Sequence[State], texts: Sequence[str]) -> list[bool]:
        decoded, encoded = window.round_trip(texts), window.token_ids(texts)
        # What decodes to its own text needs no second encoding, which is most of the work.
        ids_of = dict(zip(texts, encoded, strict=True))
        changed = [text for text in decoded if text not in ids_of]
        if changed:
            ids_of |= zip(changed, window.token_ids(changed), strict=True)
        readable = []
        for state, text, reread, ids in zip(states, texts, decoded, encoded, strict=True):
            is_same = _compact(reread) == _compact(text) and ids == ids_of[reread]
            # A longer prompt is cut, so that words at its end would have no effect.
            is_same = is_same and len(ids) <= window.capacity
            if is_same and tokens is not None:
                # Raw tokens must survive: joined, they may be read as other tokens.
                is_same = ids == [*before, *(tokens[index] for index in state), *after]
            readable.append(is_same)
        return readable

    return is_readable


def _compact(text: str) -> str:
    """The text without case and blanks, which tokenizers do not preserve."""
    return "".join(text.casefold().split())


def text_window(model: Model, sites: Sequence[str]) -> TextWindow | None:
    """The window whose tokens some sites are.

    Args:
        model: The model.
        sites: Addresses.

    Returns:
        The window; the model's first one where sites are of several or of none, None without any.
    """
    windows, hooks = model.family.text_windows, model.hooks_by_address
    addresses = [model.sites[site].address for site in sites]
    # What is pooled has no tokens, and belongs to its encoder's stage.
    names = {hooks[site].text_window or hooks[site].site.stage for site in addresses}
    if len(names) == 1 and isinstance(windows.get(name := names.pop()), TextEncoder):
        return windows[name]
    return next(iter(windows.values()), None)


def _raw_tokens(window: TextEncoder) -> dict[str, int]:
    """The texts of tokens, blanks included, with their numbers."""
    special = set(window.tokenizer.all_special_ids)
    tokens: dict[str, int] = {}
    for token, number in sorted(window.tokenizer.get_vocab().items(), key=lambda pair: pair[1]):
        # Marks of blanks in CLIP's, SentencePiece's and GPT-2's vocabularies.
        text = token.replace("</w>", " ").replace("▁", " ").replace("Ġ", " ")
        if number not in special and text.strip() and text.isascii() and text.isprintable():
            tokens.setdefault(text, number)
    return tokens
