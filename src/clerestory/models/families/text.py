"""The text encoders of pipelines, with their tokenizers: tokens, masks, words, checks of length.

What differs between kinds of encoders, their sites, is in `clip_text.py` and `t5_text.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.errors import ModelError, PromptError
from clerestory.models.core.family import SiteHook, UnfamiliarPartError
from clerestory.models.core.text_windows import PromptReader, TextEncoder, TextWindow
from clerestory.models.core.words import find_words, select_occurrence
from clerestory.models.families.networks import Block

__all__ = ["JoinedWindows", "PipelineTextEncoder"]


class PipelineTextEncoder(TextEncoder, PromptReader):
    """One text encoder of a pipeline, with its tokenizer.

    Args:
        pipeline: The pipeline.
        name: The encoder's attribute of the pipeline, such as `text_encoder_2`. Its tokenizer is
            `tokenizer_2`.
        stage: Its stage; by default `text_2` for that name.
        window: How many tokens it takes; None for as many as its tokenizer says.
        normalize: What the pipeline does to texts before it tokenizes them.
        unused_blocks: How many of the last blocks affect no output of this pipeline.
        longest: Whether texts are padded to the longest of their batch, or not at all, rather than
            to the window.
        masks_padding: Whether padding is kept from the states of the text, by the attention mask
            that the pipeline gives to the encoder or because it pads no text.

    Raises:
        ModelError: The pipeline has no such encoder or tokenizer, or the tokenizer's texts are
            longer than the encoder takes.
        UnfamiliarPartError: The encoder is of another kind.
    """

    has_start_token = False

    def __init__(
        self,
        pipeline: Any,
        name: str = "text_encoder",
        *,
        stage: str = "",
        window: int | None = None,
        normalize: Callable[[str], str] = str,
        unused_blocks: int = 0,
        longest: bool = False,
        masks_padding: bool = False,
    ) -> None:
        self.longest, self.masks_padding = longest, masks_padding
        self.encoder = getattr(pipeline, name)
        self.tokenizer = getattr(pipeline, name.replace("text_encoder", "tokenizer"))
        if self.tokenizer is None or self.encoder is None:
            raise ModelError(f"The pipeline has no {name} or no tokenizer for it: load it whole.")
        self.name = name
        # Kandinsky's only text encoder is that of its prior, `prior_text_encoder`.
        self.stage = stage or name.removeprefix("prior_").replace("text_encoder", "text")
        self._check_encoder()
        self.window = int(self.tokenizer.model_max_length if window is None else window)
        positions = getattr(self.encoder.config, "max_position_embeddings", None) or self.window
        if self.window > positions:
            # The pipeline would pad every prompt to that many tokens.
            raise ModelError(
                f"The tokenizer of {name} has the model_max_length {self.window:,}, and the encoder"
                f" {positions:,} positions: write {positions} in its tokenizer_config.json."
            )
        self.unused_blocks = unused_blocks
        # Textual inversion of several vectors puts as many tokens in the place of one.
        convert = getattr(pipeline, "maybe_convert_prompt", None)
        self.normalize = (
            normalize if convert is None else lambda text: convert(normalize(text), self.tokenizer)
        )
        self.whole = Block(self.stage, name, self.encoder, self.positions, self.stage)
        # One tokenization serves the encoder, the mask of real tokens and the check of lengths.
        self._tokens = lru_cache(maxsize=4)(self._tokenize_padded)
        self._ids = lru_cache(maxsize=4)(self._tokenize_untruncated)

    def _check_encoder(self) -> None:
        """UnfamiliarPartError where the encoder is of another kind than these sites are of."""
        try:
            self.encoder.get_submodule(self.embedding_path)
            self.encoder.get_submodule(self.blocks_path)
        except AttributeError as error:
            raise UnfamiliarPartError(f"{self.name} is a {type(self.encoder).__name__}") from error

    @property
    def positions(self) -> int | None:
        """Number of positions of its sites; None where it differs from batch to batch."""
        return None if self.longest else self.window

    @property
    @abstractmethod
    def embedding_path(self) -> str:
        """The dotted path within the encoder of its token embeddings."""

    @property
    @abstractmethod
    def blocks_path(self) -> str:
        """The dotted path within the encoder of its list of blocks."""

    @abstractmethod
    def block_hooks(self, block: Block) -> list[SiteHook]:
        """The sites of one block.

        Args:
            block: The block.

        Returns:
            Hooks in the order in which the block computes their values.
        """

    def site_hooks(self) -> list[SiteHook]:
        """The encoder's sites, in the order in which it computes their values."""
        embedding = self.encoder.get_submodule(self.embedding_path)
        hooks = [self.whole.tap("tokens", self.embedding_path, embedding.embedding_dim)]
        blocks = self.encoder.get_submodule(self.blocks_path)
        for index, module in enumerate(blocks):
            block = Block(
                f"{self.stage}.blocks.{index}",
                f"{self.name}.{self.blocks_path}.{index}",
                module,
                self.positions,
                self.stage,
                affects_output=index < len(blocks) - self.unused_blocks,
            )
            hooks += self.block_hooks(block)
        return hooks

    @override
    def encode(self, texts: Sequence[str]) -> None:
        tokens, device = self._padded(texts), self.encoder.device
        arguments = {"input_ids": tokens.input_ids}
        if self.masks_padding:
            arguments["attention_mask"] = tokens.attention_mask
        # Modules whose weights are offloaded (to the device "meta") move their inputs themselves.
        if device.type != "meta":
            arguments = {name: value.to(device) for name, value in arguments.items()}
        with torch.no_grad():
            self.encoder(**arguments, **self.encoder_options)

    @property
    def encoder_options(self) -> dict[str, Any]:
        """Further arguments of the encoder's call."""
        return {}

    @override
    def lengths(self, texts: Sequence[str]) -> Tensor | None:
        return self._padded(texts).attention_mask.sum(1) if self.longest else None

    @override
    def token_mask(self, texts: Sequence[str]) -> Tensor:
        # Cloned: the tokens are cached, and the start token is masked out below.
        mask: Tensor = self._padded(texts).attention_mask.bool().clone()
        if self.has_start_token:
            mask[:, 0] = False
        return mask

    @override
    def word_mask(
        self, texts: Sequence[str], word: str, *, occurrence: int | None = None
    ) -> Tensor:
        # Found in the text and mapped to tokens by their offsets, since a word has other tokens
        # inside another one (`cat` in `cathedral`).
        mask = torch.zeros_like(self._padded(texts).attention_mask, dtype=torch.bool)
        # A word of several vectors is as many words in the text that the pipeline makes of it.
        wanted = self.normalize(word.strip())
        for row, text in enumerate(map(self.normalize, texts)):
            offsets = self._offsets(text)
            for first, last in select_occurrence(find_words(text, wanted), occurrence):
                for position, (start, end) in enumerate(offsets):
                    overlaps = start < last and end > first
                    # The space before a word belongs to its token in some tokenizers.
                    mask[row, position] |= overlaps and bool(text[start:end].strip())
        return mask

    @override
    def offsets(self, text: str) -> list[tuple[int, int]] | None:
        return self._offsets(text) if self.normalize(text) == text else None

    @override
    def tokenize(self, prompt: str) -> list[str]:
        (ids,) = self.token_ids([prompt])
        tokens = self.tokenizer.convert_ids_to_tokens(ids)
        return [token.removesuffix("</w>").lstrip("▁Ġ") for token in tokens]

    @override
    def round_trip(self, texts: Sequence[str]) -> list[str]:
        ids = [row[: self.window] for row in self._untruncated(texts).input_ids]
        decoded: list[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in decoded]

    @property
    @override
    def capacity(self) -> int:
        # Both CLIP and T5 end a text with a token; only CLIP begins with one.
        return self.window - (2 if self.has_start_token else 1)

    @override
    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        tokens = self._untruncated(texts)
        # Not by the ids of special tokens, which may stand in a prompt as well.
        return [
            [number for number, added in zip(row, mask, strict=True) if not added]
            for row, mask in zip(tokens.input_ids, tokens.special_tokens_mask, strict=True)
        ]

    @override
    def vocabulary(self) -> list[str]:
        words = set()
        for token in self.tokenizer.get_vocab():
            word = token.removesuffix("</w>").removeprefix("▁").removeprefix("Ġ")
            # A token without a mark of a word's start or end is a part of a word. CLIP's tokenizer
            # does not distinguish whole words from endings, so some are endings.
            if word != token and len(word) > 1 and word.isascii() and word.isalpha():
                words.add(word.lower())
        return sorted(words)

    @override
    def check_prompts(self, prompts: Sequence[str]) -> None:
        for ids in self.token_ids(prompts):
            if len(ids) > self.capacity:
                cut = self.tokenizer.decode(ids[self.capacity :]).strip()
                raise PromptError(
                    f"The prompt has {len(ids)} tokens and the text window holds {self.capacity};"
                    f" this would be cut: {cut!r}. Shorten it."
                )

    def _offsets(self, normalized: str) -> list[tuple[int, int]]:
        offsets: list[tuple[int, int]] = self.tokenizer(
            normalized, truncation=True, max_length=self.window, return_offsets_mapping=True
        ).offset_mapping
        return offsets

    def _untruncated(self, texts: Sequence[str]) -> Any:
        return self._ids(tuple(texts), len(self.tokenizer))

    def _padded(self, texts: Sequence[str]) -> Any:
        return self._tokens(tuple(texts), len(self.tokenizer))

    # Both are cached by the size of the vocabulary as well, to which textual inversion adds.

    def _tokenize_untruncated(self, texts: tuple[str, ...], size: int) -> Any:
        # Not verbose: the tokenizer warns about texts that are too long, which is the question.
        return self.tokenizer(
            [self.normalize(text) for text in texts],
            truncation=False,
            verbose=False,
            return_special_tokens_mask=True,
        )

    def _tokenize_padded(self, texts: tuple[str, ...], size: int) -> Any:
        return self.tokenizer(
            [self.normalize(text) for text in texts],
            padding="longest" if self.longest else "max_length",
            max_length=self.window,
            truncation=True,
            return_tensors="pt",
        )


class JoinedWindows(TextWindow):
    """Text windows one after another, as some denoisers take them.

    Args:
        parts: Text encoders with their lengths in tokens; None where an encoder is absent and its
            positions are blank, which makes them False in every mask.
    """

    def __init__(self, *parts: tuple[PipelineTextEncoder | None, int]) -> None:
        self.parts = parts
        self.window = sum(length for _, length in parts)

    @override
    def token_mask(self, texts: Sequence[str]) -> Tensor:
        return self._join(texts, lambda text: text.token_mask(texts))

    @override
    def end_mask(self, texts: Sequence[str]) -> Tensor:
        return self._join(texts, lambda text: text.end_mask(texts))

    @override
    def word_mask(
        self, texts: Sequence[str], word: str, *, occurrence: int | None = None
    ) -> Tensor:
        return self._join(texts, lambda text: text.word_mask(texts, word, occurrence=occurrence))

    def _join(self, texts: Sequence[str], mask: Callable[[PipelineTextEncoder], Tensor]) -> Tensor:
        masks = [
            torch.zeros(len(texts), length, dtype=torch.bool) if text is None else mask(text)
            for text, length in self.parts
        ]
        return torch.cat(masks, 1)
