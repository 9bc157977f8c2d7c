"""Items to draw a concept with: given, from a file, or from the model's profile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clerestory.errors import EvidenceError
from clerestory.io.reading import MOST_LINES, read_text
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
        items: The items themselves, or a file with an item a line.
        classifier: The classifier that will look, such as `lancet:mood`: the profile's items do
            not mention what it predicts.
        count: How many.
        start: How many to skip.

    Raises:
        EvidenceError: There are fewer, or none are known.
    """
    if items is None:
        selected = model.profile.items(count, classifier, start)
        if not selected:
            raise EvidenceError("Name a file of items, one a line: this model's profile has none.")
        return selected
    source = "The list" if not isinstance(items, str | Path) else str(items)
    if isinstance(items, str | Path):
        items = read_text(Path(items), EvidenceError, MOST_LINES).splitlines()
    distinct = tuple(dict.fromkeys(item.strip() for item in items if item.strip()))
    selected = distinct[start : start + count]
    if len(selected) < count:
        raise EvidenceError(
            f"{source} has {len(distinct)} different items and {start + count} are asked for: give "
            "more, or ask for fewer."
        )
    return selected
