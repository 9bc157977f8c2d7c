"""How a value at text sites would change with each token: one pass forward and one back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clerestory.errors import SiteError
from clerestory.models.core.family import StageCall, TapCallback
from clerestory.models.core.hooks import Attachment, Tap, attach
from clerestory.models.core.types import Step
from clerestory.models.families.text import Text

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["text_window", "token_gradients"]

Valued = Callable[[Mapping[str, Tensor]], Tensor]
"""From activations `[sample, position, unit]` by site to a value for each sample."""


def text_window(model: Model, sites: Sequence[str]) -> Text:
    """The text encoder that all these sites are in; SiteError where there is no such one."""
    stages = {model.sites[site].stage for site in sites}
    window = model.family.text_windows.get(next(iter(stages))) if len(stages) == 1 else None
    if not isinstance(window, Text):
        raise SiteError(
            f"Gradients reach tokens from the sites of one text encoder only, not from "
            f"{', '.join(sites)}: take a search without gradients."
        )
    return window


def token_gradients(
    model: Model, texts: Sequence[str], sites: Sequence[str], valued: Valued
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A value `[text]` of what the sites have, and its gradient `[text, position, embedding]`.

    The gradient is with respect to the tokens' embeddings. Parameters get none.
    """
    window = text_window(model, sites)
    place = f"{window.stage}/tokens"
    nudge = _Nudge(place)
    seen: dict[str, Tensor] = {}
    taps = [Tap(site, _into(seen, site)) for site in sites]
    rows = StageCall({"cond": slice(0, len(texts))})
    attachment = Attachment(model.family.hooks_by_address, lambda stage, call: rows, [nudge], taps)
    with (
        model.family.hide_progress_bars(),
        attach(attachment, model.family.stage_modules),
        torch.enable_grad(),
    ):
        window.encode(texts, graph=True)
        value = valued(seen)
        (slope,) = torch.autograd.grad(value.sum(), nudge.leaves)
    return value.detach().float().cpu().numpy(), slope.float().cpu().numpy()


def _into(seen: dict[str, Tensor], site: str) -> TapCallback:
    def callback(value: Tensor, step: Step) -> None:
        seen[site] = value

    return callback


@dataclass
class _Nudge:
    """An edit that adds nothing, and that a gradient can be taken of."""

    site: str
    leaves: list[Tensor] = field(default_factory=list)

    def __call__(self, value: Tensor) -> Tensor:
        leaf = torch.zeros_like(value, requires_grad=True)
        self.leaves = [leaf]
        return value.detach() + leaf
