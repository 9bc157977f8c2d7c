"""How likely words are in a row: bigrams of the model's captions, or a language model."""

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

from clerestory.errors import ModelError
from clerestory.models.profile import ModelProfile

__all__ = ["Bigrams", "Fluent", "caption_bigrams", "caption_words", "language_model"]

Fluent = Callable[[Sequence[str]], NDArray[np.float64]]
"""From texts to the mean log probability of a word, or of a token, in nats."""
MINE, ONE = 0.7, 0.999
"""How much a pair of words counts against its second word alone, and that against any word."""
START = "<s>"
UNKNOWN = -20.0
"""What a single token counts with a language model that has no start token."""


@dataclass(frozen=True, eq=False)
class Bigrams:
    """Pairs of words, mixed with words alone and with a vocabulary of equal chances."""

    pairs: Counter[tuple[str, str]] = field(repr=False)
    words: Counter[str] = field(repr=False)

    @functools.cached_property
    def total(self) -> int:
        """All words that were counted."""
        return self.words.total()

    @classmethod
    def of(cls, texts: Sequence[str]) -> Bigrams:
        """Counted in these texts."""
        pairs: Counter[tuple[str, str]] = Counter()
        words: Counter[str] = Counter()
        for text in texts:
            row = [START, *_words(text)]
            words.update(row)
            pairs.update(itertools.pairwise(row))
        return cls(pairs, words)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Of each text."""
        return np.array([self._mean([START, *_words(text)]) for text in texts])

    def _mean(self, row: list[str]) -> float:
        if len(row) < 2:
            return 0.0
        logs = [self._log(one, other) for one, other in itertools.pairwise(row)]
        return sum(logs) / len(logs)

    def _log(self, one: str, other: str) -> float:
        alone = ONE * self.words[other] / self.total + (1 - ONE) / (len(self.words) + 1)
        beside = self.pairs[one, other] / self.words[one] if self.words[one] else 0.0
        return math.log(MINE * beside + (1 - MINE) * alone)


@functools.lru_cache(maxsize=4)
def caption_bigrams(profile: ModelProfile) -> Bigrams | None:
    """Bigrams of the profile's captions; None where it has none."""
    captions = profile.captions()
    return Bigrams.of(captions) if captions else None


def caption_words(profile: ModelProfile) -> list[str]:
    """The words of those captions, in alphabetical order; empty where there are none."""
    bigrams = caption_bigrams(profile)
    return sorted(word for word in bigrams.words if word[:1].isalnum()) if bigrams else []


@functools.lru_cache(maxsize=1)
def language_model(name: str) -> Fluent:
    """A causal language model of transformers, by hub id or folder; ModelError if it is none."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(name, use_safetensors=True).eval()
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{name} is no causal language model ({reason}).") from error

    @torch.no_grad()
    def fluent(texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([_likely(model, tokenizer, text) for text in texts])

    return fluent


def _likely(model: torch.nn.Module, tokenizer: Callable[..., object], text: str) -> float:
    ids = tokenizer(text, return_tensors="pt").input_ids  # type: ignore[attr-defined]
    start = getattr(tokenizer, "bos_token_id", None)
    if start is not None and ids[0, 0] != start:
        ids = torch.cat([torch.tensor([[start]]), ids], 1)
    if ids.shape[1] < 2:
        return UNKNOWN
    logs = model(ids).logits.log_softmax(-1)[0, :-1]
    return float(logs[torch.arange(len(logs)), ids[0, 1:]].mean())


def _words(text: str) -> list[str]:
    return text.casefold().replace(",", " ,").split()
