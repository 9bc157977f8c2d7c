"""A text encoder with its tokenizer: real tokens, words, and checks of length.

What differs between kinds of encoders, their sites, is in `clip_text.py` and `t5_text.py`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from clerestory.errors import ModelError, PromptError
from clerestory.models.core.family import SiteHook
from clerestory.models.core.types import Site

__all__ = ["Text"]


class Text(ABC):
    """One text encoder of a pipeline.

    Args:
        tokenizer: Its tokenizer.
        encoder: Its network.
        stage: The name of its stage, such as `text_2`.
        root: Its attribute of the pipeline, such as `text_encoder_2`.
        window: How many tokens it takes; None for as many as its tokenizer says.
        normalize: What the pipeline does to texts before it tokenizes them.

    Raises:
        ModelError: The pipeline has no such encoder or tokenizer.
    """

    begins = False
    """Whether a start token stands before the text."""

    def __init__(
        self,
        tokenizer: Any,
        encoder: Any,
        stage: str,
        root: str,
        window: int | None = None,
        normalize: Callable[[str], str] = str,
    ) -> None:
        if tokenizer is None or encoder is None:
            raise ModelError(f"The pipeline has no {root} or no tokenizer for it: load it whole.")
        self.normalize = normalize
        self.tokenizer, self.encoder = tokenizer, encoder
        self.stage, self.root = stage, root
        self.window = int(tokenizer.model_max_length if window is None else window)
        # The encoder, its mask of real tokens and the check of a run repeated share their tokens.
        self._tokens = lru_cache(maxsize=4)(self._tokenize_padded)
        self._ids = lru_cache(maxsize=4)(self._tokenize_uncut)

    @abstractmethod
    def site_hooks(self, *, unused: int = 0) -> list[SiteHook]:
        """The encoder's sites.

        Args:
            unused: How many of the last blocks affect no output.

        Returns:
            Hooks in the order in which the encoder computes their values.
        """

    def token_hook(self, path: str) -> SiteHook:
        """The hook of `text/tokens`: the embeddings of the tokens, without positions.

        Args:
            path: The dotted path of the embedding within the encoder.

        Returns:
            The hook of a site `(window, embedding)`.
        """
        module: Any = self.encoder.get_submodule(path)
        shape = (self.window, module.embedding_dim)
        site = Site(f"{self.stage}/tokens", shape, f"{self.root}.{path}", module=module)
        return SiteHook(site, text_window=self.stage)

    def encode(self, texts: Sequence[str], *, graph: bool = False) -> None:
        """Run the encoder as pipelines do, for taps and edits.

        Args:
            texts: Prompts, truncated to the window.
            graph: Whether autograd records the call, for gradients.
        """
        ids = self._tokens(tuple(texts)).input_ids
        # Modules whose weights are offloaded (to the device "meta") move their inputs themselves.
        with torch.set_grad_enabled(graph):
            self.encoder(ids if self.encoder.device.type == "meta" else ids.to(self.encoder.device))

    def token_mask(self, texts: Sequence[str]) -> Tensor:
        """Real tokens: no start token, nothing after end-of-text.

        Args:
            texts: Prompts.

        Returns:
            bool `[text, position]`, on the CPU; true at end-of-text as well.
        """
        # Cloned: the tokens are cached, and the start token is masked out below.
        mask: Tensor = self._tokens(tuple(texts)).attention_mask.bool().clone()
        if self.begins:
            mask[:, 0] = False
        return mask

    def word_mask(self, texts: Sequence[str], word: str) -> Tensor:
        """The tokens of a word, bool `[text, position]`, also where it is split.

        Args:
            texts: Prompts.
            word: A whole word or phrase, in any case.

        Returns:
            True at its tokens wherever it stands; False where it is absent or beyond the window.
        """
        # Found in the text and mapped to tokens by their offsets, since a word has other tokens
        # inside another one (`cat` in `cathedral`).
        pattern = re.compile(rf"(?<!\w){re.escape(word.strip())}(?!\w)", re.IGNORECASE)
        mask = torch.zeros(len(texts), self.window, dtype=torch.bool)
        for row, text in enumerate(map(self.normalize, texts)):
            offsets = self._offsets(text)
            for hit in pattern.finditer(text):
                for position, (start, end) in enumerate(offsets):
                    # The space before a word belongs to its token in some tokenizers.
                    inside = start < hit.end() and end > hit.start() and text[start:end].strip()
                    mask[row, position] |= bool(inside)
        return mask

    def offsets(self, text: str) -> list[tuple[int, int]] | None:
        """Where in the text the token at each position stands.

        Args:
            text: A prompt.

        Returns:
            Start and end in characters for each position, (0, 0) for start and end tokens; None
            where the pipeline normalises the text, so that offsets would be of another one.
        """
        return self._offsets(text) if self.normalize(text) == text else None

    def tokenize(self, prompt: str) -> list[str]:
        """The tokens of a prompt, without start, end and the tokenizer's marks of words.

        Args:
            prompt: A prompt.

        Returns:
            Its tokens as texts; not truncated.
        """
        ids = self._ids((prompt,))[0]
        special = self.tokenizer.all_special_ids
        words = self.tokenizer.convert_ids_to_tokens([n for n in ids if n not in special])
        return [word.removesuffix("</w>").removeprefix("▁") for word in words]

    def reread(self, texts: Sequence[str]) -> list[str]:
        """Each text encoded and decoded again, cut where the window ends.

        Args:
            texts: Prompts.

        Returns:
            The texts as their tokens spell them, without space at the ends.
        """
        ids = [numbers[: self.window] for numbers in self._ids(tuple(texts))]
        decoded: list[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in decoded]

    @property
    def room(self) -> int:
        """How many tokens the window holds besides start and end."""
        # Both CLIP and T5 end a text with a token; only CLIP begins with one.
        return self.window - (2 if self.begins else 1)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The numbers of the tokens of each text, without start and end; not cut.

        Args:
            texts: Prompts.

        Returns:
            A list of ids for each text.
        """
        special = set(self.tokenizer.all_special_ids)
        return [[n for n in ids if n not in special] for ids in self._ids(tuple(texts))]

    def vocabulary(self) -> list[str]:
        """Tokens that can be a word: two letters or more, in alphabetical order.

        CLIP's tokenizer does not distinguish whole words from endings, so some are endings.
        """
        words = set()
        for token in self.tokenizer.get_vocab():
            word = token.removesuffix("</w>").removeprefix("▁").removeprefix("Ġ")
            # A token without a mark of a word's start or end is a part of a word.
            if word != token and len(word) > 1 and word.isascii() and word.isalpha():
                words.add(word.lower())
        return sorted(words)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Check that prompts fit the window.

        Args:
            prompts: Prompts.

        Raises:
            PromptError: One is longer; the message names what would be cut.
        """
        extra = 2 if self.begins else 1
        for ids in self._ids(tuple(prompts)):
            if len(ids) > self.window:
                # The last position of the window is end-of-text, so one token fewer is kept.
                cut = self.tokenizer.decode(ids[self.window - 1 : -1]).strip()
                raise PromptError(
                    f"The prompt has {len(ids) - extra} tokens and the text window holds "
                    f"{self.window - extra}; this would be cut: {cut!r}. Shorten it."
                )

    def _offsets(self, prepared: str) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = self.tokenizer(
            prepared, truncation=True, max_length=self.window, return_offsets_mapping=True
        ).offset_mapping
        return found

    def _tokenize_uncut(self, texts: tuple[str, ...]) -> list[list[int]]:
        # Not verbose: the tokenizer warns about texts that are too long, which is the question.
        ids: list[list[int]] = self.tokenizer(
            [self.normalize(text) for text in texts], truncation=False, verbose=False
        ).input_ids
        return ids

    def _tokenize_padded(self, texts: tuple[str, ...]) -> Any:
        return self.tokenizer(
            [self.normalize(text) for text in texts],
            padding="max_length",
            max_length=self.window,
            truncation=True,
            return_tensors="pt",
        )
