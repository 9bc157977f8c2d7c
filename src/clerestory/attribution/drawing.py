"""Pictures for the page of an attribution: every coalition, and the prompt from each text layer."""

from __future__ import annotations

from clerestory.attribution.pieces import Removal, SegmentedPrompt
from clerestory.attribution.results import COALITIONS
from clerestory.attribution.shapley import all_coalitions
from clerestory.evaluation import Condition, Design, Evaluator
from clerestory.models import Model
from clerestory.models.core.seeds import item_seeds
from clerestory.models.lens import text_blocks
from clerestory.reporting.progress import relabel
from clerestory.types import Pictures, Progress

__all__ = ["draw_attribution"]

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
        report = relabel(progress, "drawing from each layer")
        pictures = _draw_layers(evaluator.model, prompt.full_text, report)
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


def _draw_layers(model: Model, prompt: str, progress: Progress) -> dict[str, Pictures]:
    """Pictures by layer; none where the model's text encoders have no blocks that are known."""
    if not any(text_blocks(model, stage) for stage in model.family.text_windows):
        return {}
    return dict(model.lens(prompt, LAYER_SEEDS, progress=progress).pictures)
