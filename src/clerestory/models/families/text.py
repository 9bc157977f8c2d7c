"""A text encoder with its tokenizer: real tokens, words, what it cannot take.

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
    """One text encoder, called `stage`; `root` is its attribute of the pipeline.

    `window` is how many tokens it takes, as long as its tokenizer says unless told otherwise;
    `prepare` is what the pipeline does to texts first. ModelError where the pipeline lacks it.
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
        prepare: Callable[[str], str] = str,
    ) -> None:
        if tokenizer is None or encoder is None:
            raise ModelError(f"The pipeline has no {root} or no tokenizer for it: load it whole.")
        self.prepare = prepare
        self.tokenizer, self.encoder = tokenizer, encoder
        self.stage, self.root = stage, root
        self.window = int(tokenizer.model_max_length if window is None else window)
        # The encoder, its mask of real tokens and the check of a run repeated share their tokens.
        self._tokens = lru_cache(maxsize=4)(self._tokenised)
        self._ids = lru_cache(maxsize=4)(self._whole)

    @abstractmethod
    def site_hooks(self, *, unread: int = 0) -> list[SiteHook]:
        """The encoder's sites; the last `unread` blocks feed nothing."""

    def embedded(self, path: str) -> SiteHook:
        """`text/tokens`: the embeddings of the tokens, before anything is made of them."""
        module: Any = self.encoder.get_submodule(path)
        shape = (self.window, module.embedding_dim)
        site = Site(f"{self.stage}/tokens", shape, f"{self.root}.{path}", module=module)
        return SiteHook(site, text_window=self.stage)

    def encode(self, texts: Sequence[str], *, graph: bool = False) -> None:
        """Run the encoder as the pipelines do, for those who look on; `graph` for gradients."""
        ids = self._tokens(tuple(texts)).input_ids
        # Weights that wait elsewhere (offloaded: on the CPU or "meta") bring their inputs along.
        with torch.set_grad_enabled(graph):
            self.encoder(ids if self.encoder.device.type == "meta" else ids.to(self.encoder.device))

    def token_mask(self, texts: Sequence[str]) -> Tensor:
        """Bool `[text, position]`: no start token, nothing after end-of-text."""
        real: Tensor = self._tokens(tuple(texts)).attention_mask.bool().clone()
        if self.begins:
            real[:, 0] = False
        return real

    def word_mask(self, texts: Sequence[str], word: str) -> Tensor:
        """Bool `[text, position]`: the tokens of this word, also where it is split.

        Whole words, in any case; a phrase of several words is one. None where it is absent, or
        beyond the window.
        """
        shown = re.compile(rf"(?<!\w){re.escape(word.strip())}(?!\w)", re.IGNORECASE)
        found = torch.zeros(len(texts), self.window, dtype=torch.bool)
        for row, text in enumerate(map(self.prepare, texts)):
            offsets = self._offsets(text)
            for hit in shown.finditer(text):
                for position, (start, end) in enumerate(offsets):
                    # The space before a word belongs to its token in some tokenizers.
                    inside = start < hit.end() and end > hit.start() and text[start:end].strip()
                    found[row, position] |= bool(inside)
        return found

    def offsets(self, text: str) -> list[tuple[int, int]] | None:
        """From where to where in the text each position reads, (0, 0) for start and end.

        None where the pipeline reads another text than the one given.
        """
        return self._offsets(text) if self.prepare(text) == text else None

    def tokenize(self, prompt: str) -> list[str]:
        """The tokens of a prompt, without marks of words, start and end."""
        ids = self._ids((prompt,))[0]
        ids = [one for one in ids if one not in self.tokenizer.all_special_ids]
        words = self.tokenizer.convert_ids_to_tokens(ids)
        return [word.removesuffix("</w>").removeprefix("▁") for word in words]

    def reread(self, texts: Sequence[str]) -> list[str]:
        """What the tokens of each text say, decoded; cut where the window ends."""
        ids = [one[: self.window] for one in self._ids(tuple(texts))]
        said: list[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in said]

    @property
    def room(self) -> int:
        """How many tokens of a text's own the window holds."""
        return self.window - (2 if self.begins else 1)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, without start and end; not cut."""
        special = set(self.tokenizer.all_special_ids)
        return [[one for one in ids if one not in special] for ids in self._ids(tuple(texts))]

    def vocabulary(self) -> list[str]:
        """TextWindow that can stand as a word: two letters or more, in alphabetical order.

        CLIP's tokenizer does not tell whole words from endings, so some are endings.
        """
        words = set()
        for token in self.tokenizer.get_vocab():
            word = token.removesuffix("</w>").removeprefix("▁").removeprefix("Ġ")
            if word != token and len(word) > 1 and word.isascii() and word.isalpha():
                words.add(word.lower())
        return sorted(words)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """PromptError where a prompt is longer than the window."""
        extra = 2 if self.begins else 1
        for ids in self._ids(tuple(prompts)):
            if len(ids) > self.window:
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

    def _whole(self, texts: tuple[str, ...]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(
            [self.prepare(text) for text in texts], truncation=False, verbose=False
        ).input_ids
        return ids

    def _tokenised(self, texts: tuple[str, ...]) -> Any:
        return self.tokenizer(
            [self.prepare(text) for text in texts],
            padding="max_length",
            max_length=self.window,
            truncation=True,
            return_tensors="pt",
        )
