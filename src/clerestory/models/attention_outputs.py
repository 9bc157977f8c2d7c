"""What output-space maps need: layers of joint attention, concepts as a denoiser reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from clerestory.errors import PromptError, SiteError
from clerestory.models.attention_maps import Word
from clerestory.models.attention_words import WordOccurrence, token_texts
from clerestory.models.core.attention_concepts import ConceptTokens, check_denoiser
from clerestory.models.core.attention_layers import AttentionLayer, attention_layers
from clerestory.models.core.attention_outputs import ConceptPass
from clerestory.models.core.requests import Request
from clerestory.models.core.sweeps import run_sweep
from clerestory.models.core.types import Options, Sample

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["concept_pass", "describe_concepts", "joint_layers", "usual_layers"]

CONDITION = "denoiser/condition"


def joint_layers(model: Model) -> list[AttentionLayer]:
    """The layers of a denoiser in which text and picture attend to each other.

    Args:
        model: The model.

    Returns:
        Layers in the order in which they run.

    Raises:
        SiteError: There are none.
    """
    layers = [layer for layer in attention_layers(model.family) if "from-words" in layer.directions]
    if not layers:
        raise SiteError(
            f"{model.name} has no output-space maps: they need joint attention, in which words are "
            "positions that have outputs of their own, as in Stable Diffusion 3 or Flux."
        )
    return layers


def usual_layers(layers: Sequence[AttentionLayer]) -> list[AttentionLayer]:
    """Those of blocks with two streams, which the method reads (Helbling et al. 2025).

    Args:
        layers: All layers of joint attention.

    Returns:
        The layers; all of them where no block has two streams.
    """
    return [layer for layer in layers if layer.kind == "joint"] or list(layers)


def concept_pass(
    model: Model, layers: Sequence[AttentionLayer], names: Sequence[str], options: Options
) -> ConceptPass:
    """What a denoiser needs to read concepts in the text's place.

    Each concept is encoded as a prompt of its own; its states are those of its words' tokens,
    without start, end, template and padding.

    Args:
        model: The model.
        layers: The layers that are asked for.
        names: The concepts.
        options: How samples are drawn.

    Returns:
        The concepts and the blocks on their way.

    Raises:
        SiteError: Concepts cannot take the text's place.
        PromptError: A concept is too long, or has no tokens.
    """
    family, window = model.family, layers[0].window
    denoiser = family.stage_modules["denoiser"]
    check_denoiser(denoiser, model.name)
    own = family.hooks_by_address[CONDITION].text_window
    states, counts, leading = [], [], 0
    for name, values in zip(names, _conditions(model, names, options), strict=True):
        masks = [
            family.text_window(each, "cond").word_mask([name], name)[0] for each in (own, window)
        ]
        if not all(mask.any() for mask in masks):
            raise PromptError(f"The concept {name!r:.80} has no tokens in the text window.")
        states.append(values[: len(masks[0])][masks[0][: len(values)]])
        counts.append(len(states[-1]))
        # The same token counted with and without what the denoiser puts before the text.
        first, first_there = (int(mask.int().argmax()) for mask in masks)
        leading = first_there - first
    marks = torch.zeros(len(names), sum(counts), dtype=torch.bool)
    for row, (count, end) in enumerate(zip(counts, np.cumsum(counts).tolist(), strict=True)):
        marks[row, end - count : end] = True
    every = joint_layers(model)
    last = max(every.index(layer) for layer in layers)
    blocks = [(layer, _block(model, layer)) for layer in every]
    return ConceptPass(
        ConceptTokens(tuple(names), torch.cat(states), marks, leading),
        denoiser,
        {layer.address: (layer, block) for layer, block in blocks[: last + 1]},
        [block for _, block in blocks[last + 1 :]],
    )


def describe_concepts(
    model: Model, concepts: Sequence[WordOccurrence], tokens: ConceptTokens
) -> list[Word]:
    """The tokens of concepts.

    Args:
        model: The model.
        concepts: The concepts.
        tokens: The same as the denoiser reads them.

    Returns:
        Their tokens and positions among the tokens of all concepts.
    """
    return [
        Word(each.label, token_texts(model.family, each.word, each), mark.nonzero()[:, 0].tolist())
        for each, mark in zip(concepts, tokens.marks, strict=True)
    ]


def _conditions(model: Model, names: Sequence[str], options: Options) -> list[Tensor]:
    """What the denoiser is given for each concept alone, `[position, unit]`."""
    request = Request(
        samples=tuple(Sample(name, 0, options) for name in names),
        read=model.sites.select(CONDITION),
        edit_sets=((),),
        pool="none",
        branch="cond",
        pictures=False,
        stop="auto",
        # Positions of a text are then those that it has alone, also where texts are padded.
        batch=1,
        taps={},
        progress=False,
    )
    (run,) = run_sweep(model, request)
    values = run.site_values[CONDITION].batches
    return [torch.from_numpy(np.asarray(batch)[0, 0]) for batch in values]


def _block(model: Model, layer: AttentionLayer) -> torch.nn.Module:
    """The block around an attention."""
    root, _, inside = layer.path.partition(".")
    network: torch.nn.Module = getattr(model.pipeline, root)
    return network.get_submodule(inside.rpartition(".")[0])
