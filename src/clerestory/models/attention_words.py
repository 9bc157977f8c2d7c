"""The words whose attention is asked for, and their tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clerestory.errors import PromptError
from clerestory.models.core.family import Family
from clerestory.models.core.text_windows import TextEncoder, TextWindow

__all__ = ["WordOccurrence", "find_words", "token_texts", "word_token_masks"]

NUMBERED = re.compile(r"(?P<word>.+)#(?P<number>[1-9]\d{0,2})", re.DOTALL)
"""A word with the number of the place where it stands."""
WORDS = re.compile(r"\w+(?:['’-]\w+)*")


@dataclass(frozen=True)
class WordOccurrence:
    """A word at one place, or at its only one.

    Attributes:
        label: What it is called: the word, and where it stands several times its number, `cat#2`.
        word: The word, or several.
        occurrence: Which of its places, from 0; None for the only one.
    """

    label: str
    word: str
    occurrence: int | None = None

    def mask(self, window: TextWindow, texts: Sequence[str]) -> Tensor:
        """Its tokens.

        Args:
            window: The text window.
            texts: Prompts.

        Returns:
            bool `[text, token]`.
        """
        return window.word_mask(texts, self.word, occurrence=self.occurrence)


def find_words(
    window: TextWindow, texts: Sequence[str], words: Sequence[str] | None
) -> list[WordOccurrence]:
    """The words that are asked for, one for each place where a word stands.

    Args:
        window: A text window of the layers.
        texts: The prompts, or the negative prompts.
        words: Words or phrases; None for all words that stand in every text.

    Returns:
        The words in their order. Of a word that stands several times in a text each place is one.

    Raises:
        PromptError: A word is absent from a text, or there is none.
    """
    unique = list(dict.fromkeys(texts))
    wanted = _common_words(unique) if words is None else list(words)
    asked = [each for word in wanted for each in _occurrences(window, unique, word.strip())]
    if words is None:
        # As they stand in the first prompt, also those that stand several times.
        asked.sort(key=lambda each: int(each.mask(window, unique[:1]).int().argmax()))
    if not asked:
        raise PromptError(
            f"There is no word to look for in {unique[0]!r:.80}; write words that stand in it."
        )
    return list({each.label: each for each in asked}.values())


def word_token_masks(
    window: TextWindow, texts: Sequence[str], words: Sequence[WordOccurrence]
) -> Tensor:
    """The tokens of words.

    Args:
        window: The text window.
        texts: Prompts of a batch.
        words: The words.

    Returns:
        bool `[text, word, token]`; nowhere true for a place that a text does not have.

    Raises:
        PromptError: A word is beyond the window.
    """
    marks = torch.stack([word.mask(window, texts) for word in words], 1)
    for index, word in enumerate(words):
        if not word.occurrence and not marks[:, index].any(1).all():
            text = texts[int(marks[:, index].any(1).int().argmin())]
            raise PromptError(f"The word {word.label!r} of {text!r:.80} is beyond the text window.")
    return marks


def token_texts(family: Family, text: str, word: WordOccurrence) -> list[str]:
    """The tokens of a word as the text encoder with the longest window splits it.

    Args:
        family: The model's family.
        text: The prompt.
        word: The word.

    Returns:
        Parts of the text; tokens of the word alone where the text is changed before it is split.
    """
    reader = family.prompt_reader
    offsets = reader.offsets(text) if isinstance(reader, TextEncoder) else None
    if offsets is None or not isinstance(reader, TextEncoder):
        return family.tokenize(word.word)
    (mask,) = word.mask(reader, [text])
    spans = [span for span, inside in zip(offsets, mask.tolist(), strict=False) if inside]
    return [text[start:end].strip() for start, end in spans]


def _occurrences(window: TextWindow, texts: Sequence[str], word: str) -> list[WordOccurrence]:
    counts = _counts(window, texts, word)
    numbered = NUMBERED.fullmatch(word)
    if not min(counts) and numbered is not None:
        number = int(numbered["number"])
        if min(_counts(window, texts, numbered["word"])) >= number:
            return [WordOccurrence(word, numbered["word"], number - 1)]
    if not min(counts):
        text = texts[counts.index(0)]
        there = ", ".join(dict.fromkeys(WORDS.findall(text)))
        raise PromptError(
            f"The word {word!r} is absent from {text!r:.200}, or beyond its text window; the words "
            f"there are {there or 'none'}."
        )
    if max(counts) == 1:
        return [WordOccurrence(word, word)]
    return [WordOccurrence(f"{word}#{index + 1}", word, index) for index in range(max(counts))]


def _counts(window: TextWindow, texts: Sequence[str], word: str) -> list[int]:
    """How often a word stands in each text, within the window."""
    counts, occurrence = [0] * len(texts), 0
    while word:
        found = window.word_mask(texts, word, occurrence=occurrence).any(1).tolist()
        if not any(found):
            break
        counts = [count + bool(hit) for count, hit in zip(counts, found, strict=True)]
        occurrence += 1
    return counts


def _common_words(texts: Sequence[str]) -> list[str]:
    """Words that stand in every text, once each, in the order of the first."""
    first, *others = [{word.casefold(): word for word in WORDS.findall(text)} for text in texts]
    return [word for folded, word in first.items() if all(folded in each for each in others)]
