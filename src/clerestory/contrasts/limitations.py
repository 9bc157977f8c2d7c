"""Too few items, phrases and sentence frames: warnings, and where a result stays undecided."""

from __future__ import annotations

from typing import NamedTuple

from clerestory.contrasts.designs import Design
from clerestory.contrasts.samples import ContrastSamples
from clerestory.evaluation.warnings import EvidenceWarning

__all__ = ["Limitations", "limitations"]

FEWEST_TEMPLATES, FEWEST_ITEMS = 4, 12
"""Levels of the evaluation half below which a claim about others stays undecided."""
RECOMMENDED_TEMPLATES, RECOMMENDED_ITEMS = 6, 24


class Limitations(NamedTuple):
    """Warnings of too few levels.

    Attributes:
        warnings: One for each shortage.
        undecided: Whether they leave every pick undecided.
    """

    warnings: list[EvidenceWarning]
    undecided: bool


def limitations(samples: ContrastSamples, evaluation: Design) -> Limitations:
    """What an evaluation half is too small for.

    Args:
        samples: The samples of both halves.
        evaluation: The design of the evaluation half.

    Returns:
        The warnings.
    """
    sizes = evaluation.sizes
    warnings = []
    if evaluation.dropped:
        listed = ", ".join(evaluation.dropped[:3]) + (", …" if len(evaluation.dropped) > 3 else "")
        text = (
            "Not every item was recorded in every arm and template: "
            f"{len(evaluation.dropped)} levels were left out of the evaluation half ({listed})."
        )
        warnings.append(EvidenceWarning("incomplete", text))
    if sizes.items < RECOMMENDED_ITEMS:
        text = f"Only {sizes.items} items to evaluate on; {RECOMMENDED_ITEMS} are recommended"
        warnings.append(EvidenceWarning("few-items", f"{text}, {FEWEST_ITEMS} are required."))
    undecided = sizes.items < FEWEST_ITEMS
    # Whatever the other counts are: one phrase leaves nothing to generalise over.
    if sizes.design == "crossed":
        text = (
            "An arm has one phrase for its concept: the result is about these phrases, not about "
            "the concept. Give each arm eight phrases or more."
        )
        return Limitations([*warnings, EvidenceWarning("one-phrase", text)], True)
    for arm, count in sizes.templates.items():
        # One wording of all cells is warned of where samples are chosen, unless others of the
        # recording are in the other half.
        one = sizes.design == "cells" and count == 1 and not _varies(samples, "phrase", "template")
        if count < RECOMMENDED_TEMPLATES and not one:
            text = (
                f"Only {count} templates of the {arm} arm to evaluate on; {RECOMMENDED_TEMPLATES} "
                f"are recommended, {FEWEST_TEMPLATES} are required."
            )
            warnings.append(EvidenceWarning("few-templates", text))
            undecided = undecided or count < FEWEST_TEMPLATES
    # With two or three frames it cannot be known how much they differ in what they do to an arm.
    few_frames = sizes.frames < FEWEST_TEMPLATES and _varies(samples, "template")
    if sizes.design != "cells" and few_frames:
        text = (
            f"Only {sizes.frames} sentence frames to evaluate on; {FEWEST_TEMPLATES} are required, "
            "or one for all prompts."
        )
        warnings.append(EvidenceWarning("few-templates", text))
        undecided = True
    return Limitations(warnings, undecided)


def _varies(samples: ContrastSamples, *columns: str) -> bool:
    """Whether the samples of both halves have several levels of a column."""
    return any(len(samples.table[column].unique()) > 1 for column in columns)
