"""The masks of words that are regions of edits: their attention maps, cut at a threshold.

The map of a word is the mean over all layers, steps and heads in which the picture attends to
words, of the unedited picture of the same prompt and seed. A position is inside where the map has
`THRESHOLD` of its maximum or more, as in DAAM (Tang et al. 2023). So a run whose edits have words
as regions draws each sample once more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clerestory.errors import EditError, PromptError
from clerestory.models.attention import AttentionQuestion, read_attention
from clerestory.models.core.regions import as_region, region_word, regions
from clerestory.models.core.requests import Request
from clerestory.models.core.runner import check_request
from clerestory.models.core.types import Sample
from clerestory.types import Floats, ProgressOption

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["THRESHOLD", "with_word_masks", "word_masks"]

THRESHOLD = 0.4
"""The share of a map's maximum from which on a position is inside."""


def with_word_masks(model: Model, request: Request) -> Request:
    """Measure the masks of the words that are regions of a request's edits.

    Args:
        model: The model.
        request: What is drawn; its edits do not act while maps are measured.

    Returns:
        The request with its masks; the same, without any run, where no region is a word.

    Raises:
        EditError: A region is neither a name nor a word of each prompt, or an edit with a region is
            of a site without positions of the picture.
        SiteError: The model has no maps of words.
    """
    edits = [edit for edits in request.edit_sets for edit in edits]
    words = (region_word(as_region(getattr(edit, "region", None), edit.site)) for edit in edits)
    asked = list(dict.fromkeys(word for word in words if word is not None))
    if not asked:
        return request
    # Before the maps are measured, which takes as long as the pictures do.
    check_request(model, request)
    masks = {
        word: word_masks(
            model, request.samples, word, batch=request.batch, progress=request.progress
        )
        for word in asked
    }
    return replace(request, word_masks=masks)


def word_masks(
    model: Model,
    samples: tuple[Sample, ...],
    word: str,
    *,
    batch: int = 16,
    progress: ProgressOption = False,
) -> Floats:
    """Measure the mask of a word in each of some samples.

    Args:
        model: The model.
        samples: What is drawn, without edits.
        word: A word of each prompt.
        batch: Samples that are drawn together, at most.
        progress: As in `Model.run`.

    Returns:
        float32 `[sample, y, x]` of 0 and 1, on the finest grid of the model's maps.

    Raises:
        EditError: It is no word of each prompt.
        SiteError: The model has no maps of words.
    """
    question = AttentionQuestion(words=[word])
    try:
        maps = read_attention(
            model, samples, question, edits=(), pictures=None, batch=batch, progress=progress
        )
    except PromptError as error:
        raise EditError(
            f"The region {word!r} is neither {', '.join(regions)} nor a word of the prompt: {error}"
        ) from error
    # A word that stands several times has a map for each place, NaN where a prompt lacks one.
    values = np.nansum(maps.array.to_numpy(), axis=1)
    peaks = values.max((1, 2), keepdims=True)
    mask: Floats = (values >= THRESHOLD * peaks).astype(np.float32)
    return mask
