"""Directions at the conditioning site that suppression methods are built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clerestory.attribution import SegmentedPrompt
from clerestory.attribution.paraphrases import TEMPLATES, fits_window
from clerestory.errors import EvidenceError
from clerestory.evaluation import Condition, Design, Evaluator, fill
from clerestory.suppression.association import Association, Target
from clerestory.types import Floats

__all__ = ["Directions", "read_directions"]

SEEDS = (0, 1)
MIN_SENTENCES = 6
PIECE_TEMPLATES = TEMPLATES[:12]


@dataclass(frozen=True, eq=False)
class Directions:
    """States and differences of states at the conditioning site.

    Attributes:
        site: The conditioning site.
        unwanted: What the words of each unwanted label change in the control, `[label, unit]`.
        alternatives: The same for the labels that the control shows instead, `[label, unit]`.
        preserved: What each piece changes, said by itself, `[piece, unit]`.
        difference: The mean difference of prompt and control, `[unit]`.
        control_mean: The mean of the control, `[unit]`.
        control: States of the control, `[sentence, unit]`.
        worded: States of the control with the words of each unwanted label, each
            `[sentence, unit]`.
    """

    site: str
    unwanted: Floats
    alternatives: Floats
    preserved: Floats
    difference: Floats
    control_mean: Floats
    control: Floats
    worded: tuple[Floats, ...]

    def basis(self, *, guarded: bool) -> Floats:
        """An orthonormal basis of the unwanted directions, `[direction, unit]`.

        Each basis vector has the sign of the difference between prompt and control.

        Args:
            guarded: Whether to project out the preserved directions first.
        """
        directions = self.unwanted
        if guarded:
            # An orthonormal basis first: preserved directions need not be orthogonal to each other.
            preserved, _ = np.linalg.qr(self.preserved.T)
            directions = directions - directions @ preserved @ preserved.T
        axes, _ = np.linalg.qr(directions.T)
        return np.asarray(axes.T * np.sign(axes.T @ self.difference)[:, None])


def read_directions(
    evaluator: Evaluator,
    association: Association,
    paraphrases: Sequence[SegmentedPrompt],
    alternatives: Sequence[Target],
) -> Directions:
    """Read the states of the selection half.

    Args:
        evaluator: Runs the model.
        association: What is to be counteracted.
        paraphrases: The sentences of the selection half.
        alternatives: The labels that the control shows instead of the unwanted ones.

    Raises:
        EvidenceError: The model has no conditioning site, or the prompt is too long for the words
            of the labels.
    """
    model, site = association.model, association.model.conditioning_site
    if site not in model.sites:
        raise EvidenceError(f"{model.name} has no conditioning site to edit.")
    unwanted, other = (
        [association.template(target) for target in targets]
        for targets in (association.unwanted, alternatives)
    )
    count = len(association.prompt.pieces)
    nothing = [False] * count
    usable = [
        each
        for each in paraphrases
        if fits_window(model, [fill(t, each.text(nothing)) for t in (*unwanted, *other)])
    ]
    # Too few sentences give means of single wordings, not of the labels.
    if len(usable) < MIN_SENTENCES:
        raise EvidenceError("With the words of the unwanted labels the prompt is too long.")
    prompts, controls = (
        [each.text([present] * count) for each in usable] for present in (True, False)
    )

    def read(texts: Sequence[str]) -> Floats:
        """`[text, unit]`, the mean over steps and seeds."""
        design = Design.crossed(texts, SEEDS)
        (drawing,) = evaluator.draw(
            [Condition("read")],
            design,
            read=[site],
            pictures=False,
            description="reading directions",
        )
        # float64, since the directions are small differences of large states.
        values = drawing.sites[site].values.mean(1).astype(np.float64)
        return design.item_means(values.reshape(len(values), -1))

    def read_templates(template: str, texts: Sequence[str]) -> Floats:
        return read([fill(template, text) for text in texts])

    control = read(controls)
    worded, others = (
        tuple(read_templates(template, controls) for template in templates)
        for templates in (unwanted, other)
    )
    preserved = []
    for piece in association.prompt.pieces:
        phrases = (_with_article(piece.words), piece.baseline or "a thing")
        present, removed = (
            read([fill(template, phrase) for template in PIECE_TEMPLATES]) for phrase in phrases
        )
        preserved.append((present - removed).mean(0))
    return Directions(
        site,
        np.array([(states - control).mean(0) for states in worded]),
        np.array([(states - control).mean(0) for states in others]).reshape(-1, control.shape[1]),
        np.array(preserved),
        (read(prompts) - control).mean(0),
        control.mean(0),
        control,
        worded,
    )


def _with_article(words: str) -> str:
    """The words with an article, unless they begin with one."""
    if words.partition(" ")[0].lower() in ("a", "an", "the"):
        return words
    return f"{'an' if words[:1].lower() in 'aeiou' else 'a'} {words}"
