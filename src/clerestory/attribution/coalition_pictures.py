"""Every combination of a prompt's pieces, drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clerestory.attribution.attribute import Progress, named
from clerestory.attribution.indices import coalitions
from clerestory.attribution.pieces import Absence, Prompt
from clerestory.models import Model

__all__ = ["combinations"]


def combinations(
    model: Model,
    asked: Prompt,
    absence: Absence,
    seeds: Sequence[int],
    *,
    progress: Progress | None = None,
) -> NDArray[np.uint8] | None:
    """Pictures `[coalition, seed, height, width, 3]` of the prompt as it was asked.

    None where without its pieces nothing is left of it.
    """
    texts = [asked.text(row, absence) for row in coalitions(len(asked.pieces))]
    if not all(texts):
        return None
    tell = None if progress is None else named(progress, "drawing combinations")
    drawn = model.run(texts, list(seeds), progress=tell).pictures
    assert drawn is not None
    return drawn.reshape(len(texts), len(seeds), *drawn.shape[1:])
