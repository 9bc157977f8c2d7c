"""Pictures for the page of an attribution: every coalition, and the prompt from each text layer."""

from __future__ import annotations

from collections.abc import Sequence

from clerestory.attribution.patching import text_blocks
from clerestory.attribution.pieces import Removal, SegmentedPrompt
from clerestory.attribution.results import COALITIONS
from clerestory.attribution.shapley import all_coalitions
from clerestory.edits import Patch
from clerestory.evaluation import Condition, Design, Evaluator
from clerestory.models import Model
from clerestory.models.core.seeds import item_seeds
from clerestory.reporting.progress import relabel
from clerestory.types import Pictures, Progress

__all__ = ["draw_attribution", "draw_layers"]

MAX_DRAWN = 4
"""Pieces up to which every coalition is drawn."""
COALITION_SEEDS, LAYER_SEEDS = 2, (0, 1, 2, 3)


def draw_attribution(
    evaluator: Evaluator,
    prompt: SegmentedPrompt,
    removal: Removal,
    *,
    seed: int = 0,
    layers: bool = True,
    progress: Progress,
) -> tuple[tuple[str, ...], dict[str, Pictures]]:
    """Draw what the page shows.

    Args:
        evaluator: Draws the coalitions; those that were measured are in its cache.
        prompt: The prompt in pieces.
        removal: What happens to pieces that a coalition does not have.
        seed: Gives other seeds for the prompt.
        layers: Whether to draw the prompt from each text layer too.
        progress: Receives how many pictures are drawn.

    Returns:
        `coalition_prompts` and `pictures` of `Attribution`.
    """
    pictures = {}
    if layers:
        pictures = draw_layers(evaluator.model, prompt.full_text, LAYER_SEEDS, progress=progress)
    texts: list[str] = []
    if len(prompt.pieces) <= MAX_DRAWN:
        texts = [prompt.text(row, removal) for row in all_coalitions(len(prompt.pieces))]
    # The empty coalition of a prompt that is all pieces, deleted, is no prompt to draw.
    if not texts or not all(texts):
        return (), pictures
    # The prompt is a paraphrase of itself: its coalitions were measured with these seeds.
    design = Design.crossed(texts, item_seeds(prompt.full_text, COALITION_SEEDS, seed))
    (drawing,) = evaluator.draw([Condition("coalitions")], design, description="drawing coalitions")
    return tuple(texts), {COALITIONS: drawing.pictures_by_item, **pictures}


def draw_layers(
    model: Model, prompt: str, seeds: Sequence[int], *, progress: Progress
) -> dict[str, Pictures]:
    """Draw a prompt from each layer of the text encoder, as if it were the last one.

    The output of a block replaces that of the last block and passes through all that follows: the
    final norm, the prior, the denoiser. Several text encoders are cut at the same relative depth.

    Args:
        model: The model.
        prompt: The prompt.
        seeds: The seeds of every picture.
        progress: Receives how many layers are drawn.

    Returns:
        Pictures `[seed, height, width, 3]` by block; those of the last block are the prompt's own.
        Empty where the model's text encoders have no such blocks.

    Source: Diffusion Lens, Toker et al. 2024.
    """
    blocks = {stage: text_blocks(model, stage) for stage in model.family.text_windows}
    blocks = {stage: sites for stage, sites in blocks.items() if sites}
    if not blocks:
        return {}
    read = [site for sites in blocks.values() for site in sites]
    # Seed 0 for all: text encoders draw no noise.
    values = model.run(prompt, 0, read=read, pool="none", pictures=False).site_values
    # The encoder of most blocks sets the depths: each of its blocks is drawn once.
    longest = max(blocks.values(), key=len)
    edits = []
    for depth in range(1, len(longest) + 1):
        layers = {
            # Encoders of 12 and 24 blocks are cut at blocks 6 and 12 together: half-way in both.
            stage: sites[max(round(depth * len(sites) / len(longest)), 1) - 1]
            for stage, sites in blocks.items()
        }
        edits.append(
            # Into the last block, so that what follows it, such as the final norm, still applies.
            [Patch(blocks[stage][-1], values[site].array()[:, 0]) for stage, site in layers.items()]
        )
    report = relabel(progress, "drawing from each layer")
    pictures = {}
    for site, run in zip(longest, model.sweep(prompt, seeds, edits, progress=report), strict=True):
        assert run.pictures is not None
        pictures[site] = run.pictures
    return pictures
