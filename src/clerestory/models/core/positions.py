"""An edit at some positions only: the end-of-text token, or the tokens of a word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clerestory.errors import EditError
from clerestory.models.core.pooling import WORD
from clerestory.models.core.types import Branch, Edit

__all__ = ["EVERYWHERE", "Partly", "partly"]

EVERYWHERE = "all"
LAST = "last"


@dataclass(frozen=True, eq=False)
class Partly:
    """`edit` where `keep`, bool `[sample, token]`, says so; positions beyond are left alone."""

    edit: Edit
    keep: Tensor = field(repr=False)

    @property
    def site(self) -> str:
        """The edit's own."""
        return self.edit.site

    @property
    def branch(self) -> Branch:
        """The one that prompts are in."""
        return "cond"

    def __call__(self, value: Tensor) -> Tensor:
        """`value` `[sample, position, unit]`, edited at these positions."""
        keep = torch.zeros(value.shape[:2], dtype=torch.bool, device=value.device)
        keep[:, : self.keep.shape[1]] = self.keep.to(value.device)
        return torch.where(keep[..., None], self.edit(value), value)


def partly(
    edit: Edit, window: str, real: Callable[[str], Tensor], word: Callable[[str, str], Tensor]
) -> Edit:
    """The edit as it is, or wrapped where it names positions.

    `real` and `word` give, of a text window, which positions are real and which are a word's.
    EditError for positions that the site does not have.
    """
    positions = getattr(edit, "positions", EVERYWHERE)
    if positions == EVERYWHERE:
        return edit
    if not window or getattr(edit, "branch", "cond") != "cond":
        raise EditError(
            f"The edit at {edit.site} is for positions {positions!r}: only sites with tokens have "
            "them, in branch cond."
        )
    if positions == LAST:
        keep = real(window)
        places = torch.arange(keep.shape[1], device=keep.device)
        return Partly(edit, places == (keep * places).argmax(1, keepdim=True))
    name = positions.removeprefix(WORD).strip()
    if not positions.startswith(WORD) or not name:
        raise EditError(
            f"Positions {positions!r} of the edit at {edit.site}: write all, last or tokens:WORD."
        )
    return Partly(edit, word(window, name))
