"""When an edit controls a label: its effect, held against baselines, with side effects."""

from __future__ import annotations

from collections.abc import Sequence

from clerestory.causal.baselines import LEVEL
from clerestory.evaluation import ClassChange, Effect, SideEffects
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.types import ClaimStatus

__all__ = [
    "SMALLEST_EFFECT",
    "control_status",
    "control_together",
    "control_warnings",
]

SMALLEST_EFFECT = 0.2
"""Change of the label's rate above which an edit is said to control it."""
FEWEST_ITEMS = 12
"""Items below which effects have wide intervals."""


def control_status(
    effect: Effect, smallest: float, q: float | None, side_effects: SideEffects
) -> ClaimStatus:
    """Whether an edit controls a label.

    Args:
        effect: Change of the label's rate, positive where it is the change that is meant.
        smallest: The smallest effect that counts.
        q: Of its effect against baselines, corrected for the number of edits; None without.
        side_effects: What else it changes.

    Returns:
        `supported` where the lower limit is above the smallest effect, q is at most 0.05 and all
        side effects are within their bound; `not supported` where the upper limit is below the
        smallest effect; otherwise `undecided`.
    """
    # Whatever its side effects are: the claim of control is refuted.
    if effect.high < smallest:
        return "not supported"
    within = side_effects.within_bound is True
    return "supported" if _has_effect(effect, smallest, q) and within else "undecided"


def control_together(
    effect: Effect, smallest: float, q: float | None, side_effects: SideEffects
) -> tuple[ClassChange, ...]:
    """What an edit changes together with the label.

    Args:
        effect: As in `control_status`.
        smallest: As in `control_status`.
        q: As in `control_status`.
        side_effects: As in `control_status`.

    Returns:
        The classes that change, at a level that holds for all of them, the largest change first;
        empty where the edit has no effect, or all side effects are within their bound.
    """
    if not _has_effect(effect, smallest, q) or side_effects.within_bound:
        return ()
    return side_effects.together_with()


def control_warnings(
    side_effects: Sequence[SideEffects], *, shared_seeds: bool
) -> list[EvidenceWarning]:
    """What limits claims of control.

    Args:
        side_effects: Those of each edit, of one design.
        shared_seeds: Whether all items were drawn with the same seeds.

    Returns:
        Warnings where nothing measures side effects, the design cannot show their bound, there are
        few items, or these share their seeds.
    """
    warnings = []
    first = side_effects[0]
    if first.items < FEWEST_ITEMS:
        text = f"Effects are of {first.items} items only; {2 * FEWEST_ITEMS} are recommended."
        warnings.append(EvidenceWarning("few-items", text))
    if not first.changes:
        text = (
            "No classifier measures side effects, which are part of the claim: name some, or no "
            "edit is supported."
        )
        warnings.append(EvidenceWarning("side-effects", text))
    # The worst edit: the design has to serve all of them.
    reachable = max(each.reachable for each in side_effects)
    if first.changes and reachable > first.bound:
        text = (
            f"{first.items} items and {first.pictures} pictures can show at best that no class "
            f"changes by more than {reachable:.2f}, and the bound is {first.bound:.2f}: draw more "
            "items, or more seeds of each."
        )
        warnings.append(EvidenceWarning("side-effects", text))
    if shared_seeds:
        text = "All items share their seeds: the effects are of these seeds."
        warnings.append(EvidenceWarning("shared-seeds", text))
    return warnings


def _has_effect(effect: Effect, smallest: float, q: float | None) -> bool:
    return effect.low > smallest and q is not None and q <= LEVEL
