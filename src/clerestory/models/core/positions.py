"""Some positions only: edits at a prompt's tokens, its end-of-text token, or those of a word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clerestory.errors import EditError, PromptError
from clerestory.models.core.pooling import TOKENS_PREFIX
from clerestory.models.core.text_windows import TextWindow
from clerestory.models.core.types import Branch, Edit

__all__ = ["ALL_POSITIONS", "MaskedEdit", "restrict_positions", "word_mask"]

ALL_POSITIONS = "all"
LAST_POSITION = "last"
TOKEN_POSITIONS = "tokens"


@dataclass(frozen=True, eq=False)
class MaskedEdit:
    """An edit that acts at some tokens only.

    Attributes:
        edit: The edit, which is computed everywhere.
        mask: Where it is kept, bool `[sample, token]`; positions after the tokens are left alone.
    """

    edit: Edit
    mask: Tensor = field(repr=False)

    @property
    def site(self) -> str:
        """The edit's site."""
        return self.edit.site

    @property
    def branch(self) -> Branch:
        """The branch of the prompts, since the tokens are theirs."""
        return "cond"

    def __call__(self, value: Tensor) -> Tensor:
        """Edit activations where the mask is true.

        Args:
            value: `[sample, position, unit]`.

        Returns:
            A tensor of the same shape; positions beyond the mask are as they were.
        """
        # Made at each call: the number of positions is known only here.
        mask = torch.zeros(value.shape[:2], dtype=torch.bool, device=value.device)
        mask[:, : self.mask.shape[1]] = self.mask.to(value.device)
        # A copy, since an edit may write in place.
        return torch.where(mask[..., None], self.edit(value.clone()), value)


def restrict_positions(
    edit: Edit,
    window: str,
    token_mask: Callable[[str], Tensor],
    end_mask: Callable[[str], Tensor],
    word_mask: Callable[[str, str], Tensor],
) -> Edit:
    """Restrict an edit to the positions that its attribute `positions` names.

    Args:
        edit: Any edit; one without `positions`, or with `all`, comes back as it is.
        window: The text window of the edit's site; "" if positions are not tokens.
        token_mask: From a window to its real tokens, bool `[sample, token]`.
        end_mask: From a window to its real tokens up to end-of-text.
        word_mask: From a window and a word to the word's tokens.

    Returns:
        The edit, or a `MaskedEdit` around it.

    Raises:
        EditError: The site has no tokens, or the positions are unknown.
    """
    positions = getattr(edit, "positions", ALL_POSITIONS)
    if positions == ALL_POSITIONS:
        return edit
    if not window or getattr(edit, "branch", "cond") != "cond":
        raise EditError(
            f"The edit at {edit.site} has positions {positions!r}, which needs a site with "
            "tokens and branch cond."
        )
    if positions == TOKEN_POSITIONS:
        return MaskedEdit(edit, token_mask(window))
    if positions == LAST_POSITION:
        mask = end_mask(window)
        indices = torch.arange(mask.shape[1], device=mask.device)
        # End-of-text is the last real token, not the last position, which is padding.
        return MaskedEdit(edit, indices == (mask * indices).argmax(1, keepdim=True))
    word = positions.removeprefix(TOKENS_PREFIX).strip()
    if not positions.startswith(TOKENS_PREFIX) or not word:
        raise EditError(
            f"Positions {positions!r} of the edit at {edit.site}: write all, tokens, last or "
            "tokens:WORD."
        )
    return MaskedEdit(edit, word_mask(window, word))


def word_mask(window: TextWindow, texts: Sequence[str], word: str) -> Tensor:
    """The tokens of a word in each text.

    Args:
        window: The text window.
        texts: Prompts.
        word: The word, which every prompt must have.

    Returns:
        bool `[text, position]`.

    Raises:
        PromptError: A prompt lacks it.
    """
    mask = window.word_mask(texts, word)
    absent = [text for text, hits in zip(texts, mask, strict=True) if not hits.any()]
    if absent:
        raise PromptError(
            f"The word {word!r} is absent from {len(absent)} of {len(texts)} prompts (or "
            f"truncated), such as {absent[0]!r}; pool tokens:{word} needs the word in every prompt."
        )
    return mask
