"""Language models as text encoders: a causal decoder that reads the prompt within a template.

Gemma, GLM, Llama, Mistral and Qwen have modules of the same names, also inside of models that see
pictures as well. Tokens of the template and of padding are no tokens of the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.models.core.family import SiteHook, UnfamiliarPartError
from clerestory.models.core.text_windows import TextWindow
from clerestory.models.core.words import find_words, select_occurrence
from clerestory.models.families.networks import Block
from clerestory.models.families.text import PipelineTextEncoder

__all__ = ["FilledPositions", "LanguageModelText", "SelectedPositions"]

PREFIXES = ("model.language_model.", "language_model.", "model.", "")
"""Where the decoder may be: within a model of texts and pictures, below a head, or by itself."""
MARK = "\N{WHITE SQUARE}"
"""Stands for the prompt where a template is split."""


class LanguageModelText(PipelineTextEncoder):
    """A language model that encodes prompts for a pipeline, with its tokenizer.

    Args:
        pipeline: The pipeline.
        name: The encoder's attribute of the pipeline.
        window: How many tokens it takes, those of the template included.
        template: The text that the pipeline makes of a prompt.
        longest: Whether texts are padded to the longest of their batch, rather than to the window.
        varies: Whether the encoder has other numbers of positions in other calls.
        multiple: Texts are padded on the left to a multiple of so many positions; 1 for not.
        masks_padding: Whether the encoder is told which positions are padding.
        special_tokens: Whether the tokenizer adds tokens to the template's.
        normalize: What the pipeline does to prompts before.
        unused_blocks: How many of the last blocks affect no output of this pipeline.

    Raises:
        ModelError: The pipeline has no such encoder or tokenizer.
        UnfamiliarPartError: The encoder is of another kind.
    """

    def __init__(
        self,
        pipeline: Any,
        name: str = "text_encoder",
        *,
        window: int,
        template: Callable[[str], str] = str,
        longest: bool = False,
        varies: bool = False,
        multiple: int = 1,
        masks_padding: bool = True,
        special_tokens: bool = True,
        normalize: Callable[[str], str] = str,
        unused_blocks: int = 0,
    ) -> None:
        self.template, self.special_tokens = template, special_tokens
        self.varies, self.multiple = varies or longest, multiple
        super().__init__(
            pipeline,
            name,
            window=window,
            normalize=normalize,
            unused_blocks=unused_blocks,
            longest=longest,
            masks_padding=masks_padding,
        )
        # A processor of texts and pictures has the tokenizer inside.
        self.tokenizer = getattr(self.tokenizer, "tokenizer", self.tokenizer)
        before, after = template(MARK).split(MARK)
        self.frame = len(before), len(after)

    @override
    def _check_encoder(self) -> None:
        for prefix in PREFIXES:
            self.prefix = prefix
            try:
                super()._check_encoder()
            except UnfamiliarPartError:
                continue
            return
        raise UnfamiliarPartError(f"{self.name} is a {type(self.encoder).__name__}")

    @property
    @override
    def positions(self) -> int | None:
        return None if self.varies else self.window

    @property
    @override
    def embedding_path(self) -> str:
        return f"{self.prefix}embed_tokens"

    @property
    @override
    def blocks_path(self) -> str:
        return f"{self.prefix}layers"

    @override
    def block_hooks(self, block: Block) -> list[SiteHook]:
        config = self.encoder.config.get_text_config()
        heads, width = config.num_attention_heads, config.hidden_size
        head_size = getattr(config, "head_dim", None) or width // heads
        last = block.module.mlp.down_proj
        attention = []
        for tap in "qkv":
            # Several queries may share one key and value (grouped-query attention).
            units = block.module.get_submodule(f"self_attn.{tap}_proj").out_features
            attention.append(
                block.tap(tap, f"self_attn.{tap}_proj", units, heads=units // head_size)
            )
        return [
            *attention,
            block.tap("z", "self_attn.o_proj", heads * head_size, heads=heads, is_input=True),
            block.tap("self_attn", "self_attn", width),
            # No module makes the product of gate and value, so the neurons are what this one takes.
            block.tap("mlp", "mlp.down_proj", last.in_features, is_input=True),
            block.tap("resid", "", width),
        ]

    @property
    @override
    def encoder_options(self) -> dict[str, Any]:
        # The head's outputs, a number for each word of the vocabulary, are used by nobody.
        has_head = "logits_to_keep" in signature(self.encoder.forward).parameters
        return {"logits_to_keep": 1} if has_head else {}

    @override
    def token_mask(self, texts: Sequence[str]) -> Tensor:
        filled = self.filled(texts)
        own = filled & (self._own_offsets(texts)[..., 1] > 0)
        # Of an empty text there is only the template.
        return torch.where(own.any(1, keepdim=True), own, filled)

    @override
    def word_mask(
        self, texts: Sequence[str], word: str, *, occurrence: int | None = None
    ) -> Tensor:
        offsets = self._own_offsets(texts)
        mask = torch.zeros(offsets.shape[:2], dtype=torch.bool)
        for row, text in enumerate(map(self.normalize, texts)):
            found = find_words(text, self.normalize(word.strip()))
            for first, last in select_occurrence(found, occurrence):
                for position, (start, end) in enumerate(offsets[row].tolist()):
                    overlaps = start < last and end > first
                    mask[row, position] |= overlaps and bool(text[start:end].strip())
        return mask

    @override
    def lengths(self, texts: Sequence[str]) -> Tensor | None:
        if not self.longest:
            return None
        return _round_up(self.filled(texts).sum(1), self.multiple)

    def filled(self, texts: Sequence[str]) -> Tensor:
        """Positions that are no padding.

        Args:
            texts: Prompts.

        Returns:
            bool `[text, position]`, on the CPU; true at those of the template as well.
        """
        filled: Tensor = self._padded(texts).attention_mask.bool()
        return filled

    @override
    def offsets(self, text: str) -> list[tuple[int, int]] | None:
        if self.normalize(text) != text:
            return None
        return [(start, end) for start, end in self._own_offsets([text])[0].tolist()]

    @override
    def round_trip(self, texts: Sequence[str]) -> list[str]:
        ids = [row[: self.capacity] for row in self.token_ids(texts)]
        return [text.strip() for text in self.tokenizer.batch_decode(ids)]

    @property
    @override
    def capacity(self) -> int:
        return self.window - len(self._untruncated([""]).input_ids[0])

    @override
    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        tokens = self._untruncated(texts)
        rows = []
        for text, ids, offsets in zip(texts, tokens.input_ids, tokens.offset_mapping, strict=True):
            own = self._within_prompt(text, torch.tensor(offsets))[:, 1] > 0
            rows.append(
                [number for number, is_own in zip(ids, own.tolist(), strict=True) if is_own]
            )
        return rows

    def _own_offsets(self, texts: Sequence[str]) -> Tensor:
        """Start and end of tokens in each prompt, `[text, position, 2]`; 0 for all others."""
        offsets = self._padded(texts).offset_mapping
        return torch.stack(
            [self._within_prompt(text, row) for text, row in zip(texts, offsets, strict=True)]
        )

    def _within_prompt(self, text: str, offsets: Tensor) -> Tensor:
        """Offsets in the whole text, `[position, 2]`, as those in the prompt; 0 for the template's.

        A token of the prompt may begin in the template, or end there.
        """
        before, after = self.frame
        length = len(self.template(self.normalize(text))) - before - after
        own = (offsets[:, 1] > before) & (offsets[:, 0] < before + length)
        return torch.where(own[:, None], (offsets - before).clamp(0, length), 0)

    @override
    def _tokenize_untruncated(self, texts: tuple[str, ...], size: int) -> Any:
        return self.tokenizer(
            [self.template(self.normalize(text)) for text in texts],
            add_special_tokens=self.special_tokens,
            truncation=False,
            verbose=False,
            return_offsets_mapping=True,
        )

    @override
    def _tokenize_padded(self, texts: tuple[str, ...], size: int) -> Any:
        return self.tokenizer(
            [self.template(self.normalize(text)) for text in texts],
            add_special_tokens=self.special_tokens,
            padding="longest" if self.longest else "max_length",
            # To a multiple, texts are padded on the left, whatever the tokenizer's own side is.
            pad_to_multiple_of=self.multiple if self.multiple > 1 else None,
            padding_side="left" if self.multiple > 1 else None,
            max_length=self.window,
            truncation=True,
            return_offsets_mapping=True,
            return_tensors="pt",
        )


def _round_up(counts: Tensor, multiple: int) -> Tensor:
    """Counts as the next multiples."""
    return (counts + multiple - 1) // multiple * multiple


class FilledPositions(TextWindow):
    """A text encoder's positions without padding, as a denoiser takes them from several texts.

    Args:
        text: The text encoder.
        start: How many of the first positions are left out.
        multiple: Each text is filled up to a multiple of so many positions, none of them real.
    """

    def __init__(self, text: LanguageModelText, start: int = 0, multiple: int = 1) -> None:
        self.text, self.start, self.multiple = text, start, multiple

    @override
    def token_mask(self, texts: Sequence[str]) -> Tensor:
        return self._select(texts, self.text.token_mask(texts))

    @override
    def word_mask(
        self, texts: Sequence[str], word: str, *, occurrence: int | None = None
    ) -> Tensor:
        return self._select(texts, self.text.word_mask(texts, word, occurrence=occurrence))

    @override
    def lengths(self, texts: Sequence[str]) -> Tensor:
        counts = (self.text.filled(texts).sum(1) - self.start).clamp(min=0)
        return _round_up(counts, self.multiple)

    def _select(self, texts: Sequence[str], mask: Tensor) -> Tensor:
        """A mask of the encoder's positions at the denoiser's."""
        selected = torch.zeros(len(texts), int(self.lengths(texts).max()), dtype=torch.bool)
        for row, (values, filled) in enumerate(zip(mask, self.text.filled(texts), strict=True)):
            own = values[filled][self.start :]
            selected[row, : len(own)] = own
        return selected


class SelectedPositions(TextWindow):
    """Some positions of a text encoder's window, the same for every text.

    Args:
        text: The text encoder.
        positions: Their indices, in the order in which the denoiser takes them.
    """

    def __init__(self, text: LanguageModelText, positions: Sequence[int]) -> None:
        self.text, self.selected = text, list(positions)

    @override
    def token_mask(self, texts: Sequence[str]) -> Tensor:
        return self.text.token_mask(texts)[:, self.selected]

    @override
    def word_mask(
        self, texts: Sequence[str], word: str, *, occurrence: int | None = None
    ) -> Tensor:
        return self.text.word_mask(texts, word, occurrence=occurrence)[:, self.selected]
