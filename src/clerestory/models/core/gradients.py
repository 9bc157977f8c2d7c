"""Gradients of a value at text sites with respect to each token: one forward, one backward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from clerestory.errors import ModelError, SiteError
from clerestory.models.core.attachment import Attachment
from clerestory.models.core.family import StageCall, TapCallback
from clerestory.models.core.hooks import attach
from clerestory.models.core.latents import make_tap
from clerestory.models.core.pipeline_state import (
    hide_progress_bars,
    hold_pipeline,
    prepare_pipeline,
)
from clerestory.models.core.text_windows import TextEncoder
from clerestory.models.core.types import Step
from clerestory.types import Floats

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["find_text_window", "token_gradients"]

Objective = Callable[[Mapping[str, Tensor]], Tensor]
"""From activations `[sample, position, unit]` by site to a value for each sample."""


def find_text_window(model: Model, sites: Sequence[str]) -> TextEncoder:
    """The text encoder that contains some sites.

    Args:
        model: The model.
        sites: Addresses.

    Returns:
        The text window of their stage, with its tokenizer and network.

    Raises:
        SiteError: The sites are not all in one text encoder.
    """
    stages = {model.sites[site].stage for site in sites}
    window = model.family.text_windows.get(next(iter(stages))) if len(stages) == 1 else None
    if not isinstance(window, TextEncoder):
        raise SiteError(
            f"Gradients reach tokens from the sites of one text encoder only, not from "
            f"{', '.join(sites)}; use a gradient-free search."
        )
    return window


def token_gradients(
    model: Model, texts: Sequence[str], sites: Sequence[str], objective: Objective
) -> tuple[Floats, Floats]:
    """Differentiate an objective of some sites with respect to the embeddings of tokens.

    Args:
        model: The model; its parameters get no gradients.
        texts: Prompts.
        sites: Addresses in one text encoder.
        objective: What is differentiated.

    Returns:
        The objective's values `[text]` and their gradients `[text, position, embedding]`, float32.

    Raises:
        SiteError: The sites are not all in one text encoder.
        ModelError: A value or gradient is not finite.
    """
    with (
        hold_pipeline(model.pipeline),
        prepare_pipeline(model.pipeline, whole_vae=False),
        hide_progress_bars(*model.family.progress_bar_pipelines),
    ):
        return _token_gradients(model, texts, sites, objective)


def _token_gradients(
    model: Model, texts: Sequence[str], sites: Sequence[str], objective: Objective
) -> tuple[Floats, Floats]:
    model.rebind()
    window = find_text_window(model, sites)
    offset = _TokenOffset(f"{window.stage}/tokens")
    activations: dict[str, Tensor] = {}
    # The graph's own tensors, which the objective only reads.
    hooks = model.hooks_by_address
    taps = [make_tap(hooks[site], _writer(activations, site), copies=False) for site in sites]
    # One call of the encoder with the prompts alone: every row is conditional.
    rows = StageCall({"cond": slice(0, len(texts))})
    attachment = Attachment(hooks, lambda stage, call: rows, [offset], taps)
    with attach(attachment, model.family.stage_modules), torch.enable_grad():
        window.encode(texts, graph=True)
        value = objective(activations)
        # Rows of a batch do not interact, so the gradient of the sum holds the gradient of each
        # text.
        (gradient,) = torch.autograd.grad(value.sum(), offset.leaves)
    values, gradients = value.detach().float().cpu().numpy(), gradient.float().cpu().numpy()
    if not np.isfinite(values).all() or not np.isfinite(gradients).all():
        raise ModelError(
            f"The values or gradients at {', '.join(sites)} are not finite: the weights have NaN, "
            "or their precision cannot hold the values; open the model with another dtype, such "
            "as float32."
        )
    return values, gradients


def _writer(activations: dict[str, Tensor], site: str) -> TapCallback:
    def callback(value: Tensor, step: Step) -> None:
        activations[site] = value

    return callback


@dataclass
class _TokenOffset:
    """Adds a leaf tensor of zeros at the token embeddings, for autograd to differentiate by."""

    site: str
    leaves: list[Tensor] = field(default_factory=list)

    def __call__(self, value: Tensor) -> Tensor:
        leaf = torch.zeros_like(value, requires_grad=True)
        # Kept by the edit, since `attach` gives edits no way to return more than the value.
        self.leaves = [leaf]
        # Detached from the embedding table, which needs no gradient; adding zeros changes no value.
        return value.detach() + leaf
