"""Lancet's tokenizer: CLIP's byte-level byte-pair encoding, its merges learnt from the captions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

__all__ = ["learn"]

START, END, SUFFIX = "<|startoftext|>", "<|endoftext|>", "</w>"


def learn(captions: Sequence[str], vocabulary: int, window: int) -> CLIPTokenizer:
    """A tokenizer of at most `vocabulary` entries that cuts texts at `window` tokens.

    Every byte, inside a word and at its end, is an entry, so any text has tokens. Source: Sennrich
    et al. 2016 (byte-pair encoding), Radford et al. 2021 (CLIP's end-of-word suffix).

    Args:
        captions: The texts to learn merges from.
        vocabulary: Entries at most, the start and the end token included.
        window: Tokens of a text, the start and the end token included.

    Returns:
        The tokenizer.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    base = letters + [letter + SUFFIX for letter in letters]
    learner = Tokenizer(models.BPE(end_of_word_suffix=SUFFIX))
    # Texts are split and normalised exactly as the trained tokenizer will do it.
    template = CLIPTokenizer(vocab={START: 0, END: 1}, merges=[])
    learner.normalizer = template.backend_tokenizer.normalizer
    learner.pre_tokenizer = template.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2,
        initial_alphabet=letters,
        end_of_word_suffix=SUFFIX,
        show_progress=False,
    )
    learner.train_from_iterator(captions, trainer)
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    # The trainer does not count the letters that end a word.
    merges = merges[: vocabulary - 2 - len(base)]
    words = dict.fromkeys([*base, *("".join(merge) for merge in merges), START, END])
    entries = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=entries, merges=merges, model_max_length=window)
