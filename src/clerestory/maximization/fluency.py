"""Fluency of word sequences, by bigrams of captions or by a language model.

>>> bigrams = Bigrams.of(["a red cat", "a red ship"])
>>> likely, unlikely = bigrams(["a red cat", "cat a red"])
>>> bool(likely > unlikely)
True
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from clerestory.errors import ModelError, describe_error

__all__ = ["Bigrams", "Fluency", "language_model"]

Fluency = Callable[[Sequence[str]], NDArray[np.float64]]
"""Returns the mean log probability of each text's words or tokens, `[text]`, in nats."""
PAIR_WEIGHT, WORD_WEIGHT = 0.7, 0.999
"""Weights of pairs against single words, and of single words against a uniform distribution."""
START = "<s>"
"""Precedes the first word of every text."""
UNKNOWN = -20.0
"""Log probability of a single token where a language model has no start token to precede it."""


@dataclass(frozen=True, eq=False)
class Bigrams:
    """Counts of word pairs, interpolated with single words and a uniform vocabulary."""

    pairs: Counter[tuple[str, str]] = field(repr=False)
    words: Counter[str] = field(repr=False)

    @functools.cached_property
    def total(self) -> int:
        """Number of words, repetitions included."""
        return self.words.total()

    @classmethod
    def of(cls, texts: Sequence[str]) -> Bigrams:
        """Count the pairs of texts.

        Args:
            texts: Captions; words are separated by blanks, commas are words, case does not count.

        Returns:
            The counts.
        """
        pairs: Counter[tuple[str, str]] = Counter()
        words: Counter[str] = Counter()
        for text in texts:
            sequence = [START, *_words(text)]
            # The start mark is counted as a word, since pairs are divided by
            # the count of their first.
            words.update(sequence)
            pairs.update(itertools.pairwise(sequence))
        return cls(pairs, words)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Mean log probability of each text's words, `[text]`, in nats; 0 without words."""
        return np.array([self._mean([START, *_words(text)]) for text in texts])

    def _mean(self, sequence: list[str]) -> float:
        if len(sequence) < 2:
            return 0.0
        logs = [self._log(first, second) for first, second in itertools.pairwise(sequence)]
        return sum(logs) / len(logs)

    def _log(self, first: str, second: str) -> float:
        single = WORD_WEIGHT * self.words[second] / self.total
        # The uniform part keeps the logarithm of an unknown word finite.
        single += (1 - WORD_WEIGHT) / (len(self.words) + 1)
        pair = self.pairs[first, second] / self.words[first] if self.words[first] else 0.0
        # Jelinek–Mercer interpolation, with fixed weights.
        return math.log(PAIR_WEIGHT * pair + (1 - PAIR_WEIGHT) * single)


@functools.lru_cache(maxsize=1)
def language_model(name: str) -> Fluency:
    """A causal language model of transformers, by hub id or folder.

    Args:
        name: A hub id or a folder with safetensors weights.

    Returns:
        A function from texts to the mean log probability of a token, in nats, `[text]`.

    Raises:
        ModelError: There is no such model, or it is of another kind.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        # Without it transformers asks on the terminal whether to run a checkpoint's own code.
        safe = {"trust_remote_code": False}
        model = AutoModelForCausalLM.from_pretrained(name, use_safetensors=True, **safe).eval()
        tokenizer = AutoTokenizer.from_pretrained(name, **safe)
    # transformers raises OSError, ValueError, KeyError and others, depending on what is missing.
    except Exception as error:
        raise ModelError(
            f"{name} is not a causal language model ({describe_error(error)})."
        ) from error

    @torch.no_grad()
    def fluency(texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([_mean_log_probability(model, tokenizer, text) for text in texts])

    return fluency


def _mean_log_probability(
    model: torch.nn.Module, tokenizer: Callable[..., object], text: str
) -> float:
    ids = tokenizer(text, return_tensors="pt").input_ids  # type: ignore[attr-defined]
    start = getattr(tokenizer, "bos_token_id", None)
    # Some tokenizers put the start token before every text by themselves.
    if start is not None and ids[0, 0] != start:
        ids = torch.cat([torch.tensor([[start]]), ids], 1)
    if ids.shape[1] < 2:
        return UNKNOWN
    # The logits at a position predict the next token, so the last position predicts nothing here.
    logs = model(ids).logits.log_softmax(-1)[0, :-1]
    return float(logs[torch.arange(len(logs)), ids[0, 1:]].mean())


def _words(text: str) -> list[str]:
    # A comma is a word of its own: it separates the words of many prompts.
    return text.casefold().replace(",", " ,").split()
