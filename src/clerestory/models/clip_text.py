"""A CLIP text encoder with its tokenizer: sites, real tokens, what it cannot take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from clerestory.errors import PromptError
from clerestory.models.base import Site
from clerestory.models.family import Place

__all__ = ["Text"]


class Text:
    """One CLIP text encoder; its window is as long as its tokenizer says."""

    def __init__(self, tokenizer: Any, encoder: Any) -> None:
        self.tokenizer, self.encoder = tokenizer, encoder
        self.window = int(tokenizer.model_max_length)
        # A batch is tokenised once for the encoder and once for its mask of real tokens.
        self._tokens = lru_cache(maxsize=4)(self._tokenised)

    def places(self, stage: str, root: str) -> list[Place]:
        """Self-attention, MLP and stream of every block, and the pooled, projected embedding."""
        # transformers 5 dropped the prefix `text_model.` inside some CLIP text encoders.
        prefix = "text_model." if hasattr(self.encoder, "text_model") else ""
        layers = self.encoder.get_submodule(f"{prefix}encoder.layers")
        config, places = self.encoder.config, []
        for index, layer in enumerate(layers):
            for tap, path, units in (
                ("self_attn", "self_attn", config.hidden_size),
                ("mlp", "mlp.activation_fn", config.intermediate_size),
                ("resid", "", config.hidden_size),
            ):
                dotted = f"{root}.{prefix}encoder.layers.{index}.{path}".rstrip(".")
                site = Site(f"{stage}.blocks.{index}/{tap}", (self.window, units), dotted)
                places.append(Place(site, layer.get_submodule(path), tokens=True))
        projection = getattr(self.encoder, "text_projection", None)
        if projection is not None:
            units = projection.out_features
            pooled = Site(f"{stage}/pooled", (1, units), f"{root}.text_projection")
            places.append(Place(pooled, projection))
        return places

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> None:
        """Run the encoder as the pipelines do, for those who look on."""
        self.encoder(self._tokens(tuple(texts)).input_ids.to(self.encoder.device))

    def real(self, texts: Sequence[str]) -> Tensor:
        """Bool `[text, position]`: no start token, nothing after end-of-text."""
        real: Tensor = self._tokens(tuple(texts)).attention_mask.bool().clone()
        real[:, 0] = False
        return real.to(self.encoder.device)

    def words(self, prompt: str) -> list[str]:
        """The tokens between start and end, without the mark of a word's end."""
        ids = self._ids([prompt])[0][1:-1]
        return [word.removesuffix("</w>") for word in self.tokenizer.convert_ids_to_tokens(ids)]

    def check(self, prompts: Sequence[str]) -> None:
        """PromptError where a prompt is empty or longer than the window."""
        for prompt in prompts:
            if not isinstance(prompt, str) or not prompt.strip():
                raise PromptError(f"The prompt is empty ({prompt!r}); write what is to be drawn.")
        for ids in self._ids(prompts):
            if len(ids) > self.window:
                cut = self.tokenizer.decode(ids[self.window - 1 : -1]).strip()
                raise PromptError(
                    f"The prompt has {len(ids) - 2} tokens and the text window holds "
                    f"{self.window - 2}; this would be cut: {cut!r}. Shorten it."
                )

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(
            list(texts), truncation=False, verbose=False
        ).input_ids
        return ids

    def _tokenised(self, texts: tuple[str, ...]) -> Any:
        return self.tokenizer(
            list(texts),
            padding="max_length",
            max_length=self.window,
            truncation=True,
            return_tensors="pt",
        )
