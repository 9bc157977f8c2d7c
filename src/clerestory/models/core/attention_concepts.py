"""Concepts in the text's place among the arguments of a denoiser, for a second call of it.

The denoiser's own code then makes of them what it makes of a text: it embeds, refines, places and
modulates them as its text tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clerestory.errors import OptionError, SiteError

__all__ = ["ConceptTokens", "check_denoiser", "concept_arguments"]

TEXT, TEXTS = "encoder_hidden_states", "cap_feats"
"""The argument of text states of a batch; of lists of them, one for each row (Z-Image)."""
SECOND_TEXTS = ("encoder_hidden_states_2", "encoder_hidden_states_t5")
"""Arguments of denoisers that read several texts side by side (HunyuanImage, HiDream)."""
TEXT_MASKS = ("encoder_hidden_states_mask", "encoder_attention_mask")
"""Arguments that tell padding, `[row, token]`."""


@dataclass(frozen=True)
class ConceptTokens:
    """Concepts as the text states that a denoiser takes.

    Attributes:
        names: The concepts.
        states: `[token, unit]`, one concept after the other.
        marks: bool `[concept, token]`.
        leading: How many positions of its own the denoiser puts before those of the text.
    """

    names: tuple[str, ...]
    states: Tensor
    marks: Tensor
    leading: int = 0


def check_denoiser(denoiser: nn.Module, name: str) -> None:
    """Check that concepts can take the text's place.

    Args:
        denoiser: The denoiser.
        name: The model's name, for the message.

    Raises:
        SiteError: They cannot.
    """
    parameters = inspect.signature(denoiser.forward).parameters
    several = [other for other in SECOND_TEXTS if other in parameters]
    if several or not {TEXT, TEXTS} & parameters.keys():
        raise SiteError(
            f"Concepts cannot take the text's place in {name}: {type(denoiser).__name__} reads "
            f"{'several texts side by side' if several else 'no sequence of text states'}. Ask for "
            "the words of the prompt by space='output'."
        )
    if getattr(denoiser, "is_cache_enabled", False):
        raise SiteError(
            f"The denoiser of {name} keeps what it computes from call to call, so that a second "
            "call with concepts would change the picture: disable its cache."
        )


def concept_arguments(
    denoiser: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], states: Tensor
) -> dict[str, Any]:
    """The arguments of a call with concepts in place of the text.

    Args:
        denoiser: The denoiser.
        args: What it was given.
        kwargs: What it was given by name.
        states: `[token, unit]`, the concepts' tokens, none of them padding.

    Returns:
        Arguments by name; what is not the text's is as it was.

    Raises:
        OptionError: There are more tokens than the denoiser has positions for a text.
    """
    values = dict(inspect.signature(denoiser.forward).bind(*args, **kwargs).arguments)
    if isinstance(values.get(TEXTS), list):
        values[TEXTS] = [states.to(text) for text in values[TEXTS]]
        return values
    text, count = values[TEXT], len(states)
    values[TEXT] = states.to(text).expand(len(text), -1, -1)
    for name in TEXT_MASKS:
        if values.get(name) is not None:
            values[name] = values[name].new_ones(len(text), count)
    if values.get("attention_mask") is not None:
        # Chroma's, whose picture follows.
        picture = values["attention_mask"][:, text.shape[1] :]
        values["attention_mask"] = torch.cat([picture.new_ones(len(text), count), picture], 1)
    if values.get("txt_ids") is not None:
        if count > values["txt_ids"].shape[-2]:
            raise OptionError(
                f"The concepts have {count} tokens, and the text has {text.shape[1]} positions: "
                "name fewer concepts."
            )
        values["txt_ids"] = values["txt_ids"][..., :count, :]
    return values
