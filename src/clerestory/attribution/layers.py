"""The prompt as each layer of the text encoder has it, drawn.

What a block hands on is put in the place of what the last block does, and goes through all that
comes after: its norm, the prior, the denoiser. Source: Diffusion Lens (Toker et al. 2024).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clerestory.attribution.attribute import Progress, named
from clerestory.attribution.patching import text_blocks
from clerestory.edits import Patch
from clerestory.models import Model

__all__ = ["layers"]


def layers(
    model: Model, prompt: str, seeds: Sequence[int], *, progress: Progress | None = None
) -> dict[str, NDArray[np.uint8]]:
    """Pictures `[seed, height, width, 3]` by block, the last one being the prompt as it is.

    Where there are several text encoders, all are cut at the same depth. {} where the model's
    text encoders have no such blocks.
    """
    blocks = {stage: text_blocks(model, stage) for stage in model.family.windows}
    blocks = {stage: own for stage, own in blocks.items() if own}
    if not blocks:
        return {}
    every = [site for own in blocks.values() for site in own]
    noted = model.run(prompt, 0, read=every, pool="none", pictures=False).activations.unlabelled
    longest = max(blocks.values(), key=len)
    sets = []
    for depth in range(1, len(longest) + 1):
        cut = {
            stage: own[max(round(depth * len(own) / len(longest)), 1) - 1]
            for stage, own in blocks.items()
        }
        sets.append([Patch(blocks[of][-1], noted[site].values()[:, 0]) for of, site in cut.items()])
    report = None if progress is None else named(progress, "drawing from each layer")
    runs = model.sweep(prompt, list(seeds), sets, progress=report)
    found = {}
    for site, run in zip(longest, runs, strict=True):
        assert run.pictures is not None
        found[site] = run.pictures
    return found
