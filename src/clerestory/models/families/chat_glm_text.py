"""ChatGLM 3 as a text encoder: values have positions before samples, tokens are sentencepiece's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.models.core.family import SiteHook, UnfamiliarPartError
from clerestory.models.families.networks import Block
from clerestory.models.families.text import PipelineTextEncoder

__all__ = ["ChatGlmTextEncoder"]

START_TOKENS = 2
"""How many tokens begin a text."""


class ChatGlmTextEncoder(PipelineTextEncoder):
    """ChatGLM 3, which pads on the left and begins a text with two tokens of its own."""

    embedding_path = "embedding.word_embeddings"
    blocks_path = "encoder.layers"

    @override
    def _check_encoder(self) -> None:
        super()._check_encoder()
        if not self.encoder.config.multi_query_attention:
            raise UnfamiliarPartError(f"{self.name} has queries, keys and values head by head")

    @override
    def block_hooks(self, block: Block) -> list[SiteHook]:
        config = self.encoder.config
        heads, groups = config.num_attention_heads, config.multi_query_group_num
        size, attention = config.kv_channels, "self_attention"
        hooks, first_unit = [], 0
        for tap, count in (("q", heads), ("k", groups), ("v", groups)):
            # One matrix gives all three.
            path = f"{attention}.query_key_value"
            hooks.append(block.tap(tap, path, count * size, heads=count, first_unit=first_unit))
            first_unit += count * size
        hooks += [
            block.tap("z", f"{attention}.dense", heads * size, heads=heads, is_input=True),
            block.tap("self_attn", attention, config.hidden_size),
            # No module makes the product of gate and value, so the neurons are what this one takes.
            block.tap("mlp", "mlp.dense_4h_to_h", config.ffn_hidden_size, is_input=True),
            block.tap("resid", "", config.hidden_size),
        ]
        return [replace(hook, positions_first=True) for hook in hooks]

    @override
    def encode(self, texts: Sequence[str]) -> None:
        tokens, device = self._padded(texts), self.encoder.device
        names = ("input_ids", "attention_mask", "position_ids")
        with torch.no_grad():
            self.encoder(
                **{
                    name: tokens[name] if device.type == "meta" else tokens[name].to(device)
                    for name in names
                }
            )

    @override
    def token_mask(self, texts: Sequence[str]) -> Tensor:
        filled: Tensor = self._padded(texts).attention_mask.bool()
        own = filled & (filled.cumsum(1) > START_TOKENS)
        # Of an empty text there are only the tokens that begin it.
        return torch.where(own.any(1, keepdim=True), own, filled)

    @override
    def round_trip(self, texts: Sequence[str]) -> list[str]:
        ids = self.token_ids(texts)
        return [self.tokenizer.decode(row[: self.capacity]).strip() for row in ids]

    @property
    @override
    def capacity(self) -> int:
        return self.window - START_TOKENS

    @override
    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [row[START_TOKENS:] for row in self._untruncated(texts).input_ids]

    @override
    def _offsets(self, normalized: str) -> list[tuple[int, int]]:
        spans = _piece_spans(normalized, self.tokenizer.tokenize(normalized))[: self.capacity]
        return [(0, 0)] * (self.window - len(spans)) + spans

    @override
    def _tokenize_untruncated(self, texts: tuple[str, ...], size: int) -> Any:
        return self.tokenizer([self.normalize(text) for text in texts], verbose=False)


def _piece_spans(text: str, pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Where in a text its pieces stand: start and end in characters, (0, 0) for those without.

    The tokenizer knows no offsets. A mark of a word's start has no place, nor have bytes of rare
    characters.
    """
    spans, position = [], 0
    for piece in pieces:
        letters = piece.replace("▁", " ").strip()
        start = text.find(letters, position) if letters else -1
        if start < 0:
            spans.append((0, 0))
            continue
        position = start + len(letters)
        spans.append((start, position))
    return spans
