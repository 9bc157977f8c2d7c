"""The edits that were tried, the frontier of target against preservation, and the selected one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clerestory.edits import Add
from clerestory.evaluation import Outcome

__all__ = ["Candidate", "frontier", "select_candidate"]

NEARLY_BEST = 0.97
"""The knee is the candidate that preserves most among those that reach this share of the best."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One edit that was tried.

    Attributes:
        edit: The edit; its strength counts standard deviations of its site.
        outcome: What it does on the selection items.
        score: The target's rate or, where it is removed, one less that.
        out_of_distribution: Whether its pictures are farther from those of prompts that say the
            target, in Fréchet distance, than unedited pictures are.
    """

    edit: Add
    outcome: Outcome
    score: float
    out_of_distribution: bool

    @property
    def preservation(self) -> float:
        """Mean preservation; 1 where nothing measures it."""
        mean = self.outcome.mean_preservation
        return 1.0 if mean is None else mean


def frontier(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates that no other exceeds in score and preservation both, the highest score first.

    Args:
        candidates: What was tried.

    Returns:
        The front; of candidates that are equal in both, only the first.
    """
    front: list[Candidate] = []
    highest = -1.0
    # From the highest score down, so one pass finds whatever preserves more than all before it.
    for candidate in sorted(candidates, key=lambda each: (-each.score, -each.preservation)):
        if candidate.preservation > highest:
            front.append(candidate)
            highest = candidate.preservation
    return front


def select_candidate(
    candidates: Sequence[Candidate], min_preservation: float | None = None
) -> tuple[Candidate, list[str]]:
    """Select the edit of a steered model.

    Args:
        candidates: What was tried. Those out of distribution are selected only where all are.
        min_preservation: Of the candidates that preserve as much, the one with the highest score
            is selected; the knee of the frontier if None, or if there is none.

    Returns:
        The candidate, and warnings.
    """
    warnings: list[str] = []
    usable = [candidate for candidate in candidates if not candidate.out_of_distribution]
    if not usable:
        usable = list(candidates)
        warnings.append("Every edit that was tried leaves the distribution of pictures.")
    preserving: list[Candidate] = []
    if min_preservation is not None:
        preserving = [each for each in usable if each.preservation >= min_preservation]
        if not preserving:
            warnings.append(
                f"Nothing that was tried preserves {min_preservation:.0%}: the knee was selected."
            )
    if preserving:
        # Of equal scores the one that preserves more.
        best = max(preserving, key=lambda each: (each.score, each.preservation))
    else:
        highest = max(candidate.score for candidate in usable)
        # At the knee a few percent of the target are given up for what they cost in preservation.
        nearly_best = [each for each in usable if each.score >= NEARLY_BEST * highest]
        best = max(nearly_best, key=lambda each: each.preservation)
    if best.score == 0:
        warnings.append("The selected edit has no effect on the target.")
    return best, warnings
