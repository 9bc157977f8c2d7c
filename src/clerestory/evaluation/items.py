"""Items to draw a concept with: given, from a file, or from the model's profile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clerestory.errors import EvidenceError
from clerestory.io.reading import MAX_LINES_BYTES, read_text
from clerestory.models import Model

__all__ = ["select_items"]


def select_items(
    model: Model,
    items: Sequence[str] | str | Path | None,
    classifier: str,
    count: int,
    start: int = 0,
) -> tuple[str, ...]:
    """Different items, the same for the same arguments.

    Args:
        model: The model whose profile is asked where no items are given.
        items: The items themselves, or a file with one item per line.
        classifier: Classifier of the target; the profile returns items whose words do not mention
            its labels.
        count: How many.
        start: How many to skip.

    Returns:
        `count` different items.

    Raises:
        EvidenceError: There are fewer, or none are known.
    """
    if items is None:
        selected = model.profile.items(count, classifier, start)
        if not selected:
            raise EvidenceError(
                "Name a file with one item per line: this model's profile has no items."
            )
        return selected
    source = "The list" if not isinstance(items, str | Path) else str(items)
    if isinstance(items, str | Path):
        items = read_text(Path(items), EvidenceError, MAX_LINES_BYTES).splitlines()
    # Items are the replicates of every figure: one that is listed twice counts once.
    distinct = tuple(dict.fromkeys(item.strip() for item in items if item.strip()))
    selected = distinct[start : start + count]
    if len(selected) < count:
        raise EvidenceError(
            f"{source} has {len(distinct)} distinct items, {start + count} are needed."
        )
    return selected
