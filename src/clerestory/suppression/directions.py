"""Directions at a site, mostly the conditioning site, that suppression methods are built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clerestory.attribution import Piece, SegmentedPrompt
from clerestory.attribution.paraphrases import TEMPLATES, prompts_fit
from clerestory.classifiers import Target
from clerestory.errors import EvidenceError
from clerestory.evaluation import Condition, Design, Evaluator, fill
from clerestory.suppression.association import Association
from clerestory.types import Floats

__all__ = ["Directions", "read_directions"]

SEEDS = (0, 1)
MIN_SENTENCES = 6
PIECE_TEMPLATES = TEMPLATES[:12]


@dataclass(frozen=True, eq=False)
class Directions:
    """States and differences of states at a site.

    Attributes:
        site: The site, mostly the conditioning site.
        unwanted: What adding the words of each unwanted label to the control changes,
            `[label, unit]`.
        alternatives: The same for the labels that the control shows instead, `[label, unit]`.
        preserved: What each piece changes in a prompt without the others, `[piece, unit]`.
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

        Returns:
            As many rows as there are unwanted labels.
        """
        directions = self.unwanted
        if guarded:
            # An orthonormal basis first: preserved directions need not be orthogonal to each other.
            preserved, _ = np.linalg.qr(self.preserved.T)
            directions = directions - directions @ preserved @ preserved.T
        axes, _ = np.linalg.qr(directions.T)
        # QR leaves the sign of each axis open: it points from the control to the prompt.
        return np.asarray(axes.T * np.sign(axes.T @ self.difference)[:, None])


def read_directions(
    evaluator: Evaluator,
    association: Association,
    paraphrases: Sequence[SegmentedPrompt],
    alternatives: Sequence[Target],
    *,
    site: str | None = None,
) -> Directions:
    """Read the states of the selection half.

    Args:
        evaluator: Runs the model.
        association: What is to be counteracted.
        paraphrases: The sentences of the selection half.
        alternatives: The labels that the control shows instead of the unwanted ones.
        site: Address of another site than the conditioning site.

    Returns:
        The directions, each a mean over the sentences that fit with every label's words.

    Raises:
        EvidenceError: The model has no conditioning site, or the prompt is too long for the words
            of the labels.
    """
    model = association.model
    site = site or model.conditioning_site
    if site not in model.sites:
        raise EvidenceError(f"{model.name} has no conditioning site to edit.")
    unwanted, other = (
        [association.template(target) for target in targets]
        for targets in (association.unwanted, alternatives)
    )
    usable = [
        each
        for each in paraphrases
        if prompts_fit(model, [fill(t, each.text_without_pieces()) for t in (*unwanted, *other)])
    ]
    # Too few sentences give means of single wordings, not of the labels.
    if len(usable) < MIN_SENTENCES:
        raise EvidenceError("With the words of the unwanted labels the prompt is too long.")
    prompts = [each.full_text for each in usable]
    controls = [each.text_without_pieces() for each in usable]

    reader = _StateReader(evaluator, site)
    # Each label is compared with the same sentences without it.
    control = reader.states(controls)
    worded, others = (
        tuple(reader.states([fill(t, text) for text in controls]) for t in templates)
        for templates in (unwanted, other)
    )
    return Directions(
        site,
        np.array([(states - control).mean(0) for states in worded]),
        # Reshaped, since there may be no alternative.
        np.array([(states - control).mean(0) for states in others]).reshape(-1, control.shape[1]),
        np.array([reader.piece_direction(piece) for piece in association.prompt.pieces]),
        (reader.states(prompts) - control).mean(0),
        control.mean(0),
        control,
        worded,
    )


@dataclass(frozen=True, eq=False)
class _StateReader:
    """Reads states at one site."""

    evaluator: Evaluator
    site: str

    def states(self, texts: Sequence[str]) -> Floats:
        """`[text, unit]`, the mean over steps and seeds."""
        design = Design.crossed(texts, SEEDS)
        (drawing,) = self.evaluator.draw(
            [Condition("read")],
            design,
            read=[self.site],
            pictures=False,
            description="reading directions",
        )
        # float64, since the directions are small differences of large states.
        values = drawing.sites[self.site].values.mean(1).astype(np.float64)
        return design.item_means(values.reshape(len(values), -1))

    def piece_direction(self, piece: Piece) -> Floats:
        """What a piece changes compared with its baseline, `[unit]`, the mean over templates."""
        present, removed = (
            self.states([fill(template, phrase) for template in PIECE_TEMPLATES])
            # A piece that is deleted has no baseline: "a thing" keeps the sentence whole.
            for phrase in (_with_article(piece.words), piece.baseline or "a thing")
        )
        return np.asarray((present - removed).mean(0))


def _with_article(words: str) -> str:
    """The words with an article, unless they begin with one."""
    if words.partition(" ")[0].lower() in ("a", "an", "the"):
        return words
    return f"{'an' if words[:1].lower() in 'aeiou' else 'a'} {words}"
