"""The interfaces of text windows and text encoders: tokens, masks, words, lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

__all__ = ["PromptReader", "TextEncoder", "TextWindow"]


class TextWindow(Protocol):
    """How a window of tokens is filled by texts."""

    def token_mask(self, texts: Sequence[str]) -> Tensor:
        """Real tokens: no start token, nothing after end-of-text.

        Args:
            texts: Prompts.

        Returns:
            bool `[text, position]`, on the CPU; true at end-of-text as well.
        """

    def end_mask(self, texts: Sequence[str]) -> Tensor:
        """Real tokens up to end-of-text, which is the last of them.

        Args:
            texts: Prompts.

        Returns:
            As `token_mask`, but nothing after an end-of-text token that stands in the prompt, where
            the encoder takes the text's state from that one.
        """
        return self.token_mask(texts)

    def word_mask(
        self, texts: Sequence[str], word: str, *, occurrence: int | None = None
    ) -> Tensor:
        """The tokens of a word wherever it stands, also where it is split into several.

        Args:
            texts: Prompts.
            word: A whole word or phrase, in any case.
            occurrence: Which of the places where it stands, from 0; None for all.

        Returns:
            bool `[text, position]`, on the CPU; False everywhere where the word is absent or beyond
            the window.
        """

    def lengths(self, texts: Sequence[str]) -> Tensor | None:
        """How many positions each text fills, where the longest text of a batch sets their number.

        Args:
            texts: Prompts.

        Returns:
            int `[text]`, on the CPU; None where all texts have as many positions, as by default.
        """
        return None


@runtime_checkable
class TextEncoder(TextWindow, Protocol):
    """A text window that one transformers encoder fills, as gradients and token searches need.

    Attributes:
        stage: The name of its stage, such as `text_2`.
        tokenizer: The transformers tokenizer.
        encoder: The transformers network.
    """

    stage: str
    tokenizer: Any
    encoder: Any

    @property
    def capacity(self) -> int:
        """Number of tokens that the window holds besides start and end."""

    def encode(self, texts: Sequence[str]) -> None:
        """Run the encoder, for taps and edits.

        Args:
            texts: Prompts, truncated to the window.
        """

    def offsets(self, text: str) -> list[tuple[int, int]] | None:
        """Where in a text the token at each position stands.

        Args:
            text: A prompt.

        Returns:
            Start and end in characters for each position, (0, 0) for start and end tokens; None
            where the pipeline normalizes the text, so that offsets would be of another one.
        """

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without start and end; not truncated.

        Args:
            texts: Prompts.

        Returns:
            A list of ids for each text.
        """

    def round_trip(self, texts: Sequence[str]) -> list[str]:
        """Encode and decode each text, truncated to the window.

        Args:
            texts: Prompts.

        Returns:
            Each text as its tokens spell it, without space at the ends; a search compares it with
            what it proposed.
        """


class PromptReader(Protocol):
    """Checks and tokenizes prompts: a family, or its text encoder with the longest window."""

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Check that prompts can be drawn.

        Args:
            prompts: Prompts.

        Raises:
            PromptError: One is empty, or longer than the window; the message names what would be
                cut.
        """

    def tokenize(self, prompt: str) -> list[str]:
        """Split a prompt into tokens as the model reads it, without start and end.

        Args:
            prompt: A prompt.

        Returns:
            Its tokens as texts, without the tokenizer's marks of words; not truncated. Words split
            at spaces where the model has no tokenizer.
        """

    def vocabulary(self) -> list[str]:
        """Tokens that can be a word, of two letters or more, sorted; empty where none are known."""
