"""Items to draw a concept with: from a list, a file or the model's profile."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from clerestory.errors import EvidenceError
from clerestory.io.reading import read_lines
from clerestory.models import Model

__all__ = ["select_items"]


def select_items(
    model: Model,
    items: Sequence[str] | str | Path | None,
    classifier: str,
    count: int,
    start: int = 0,
) -> tuple[str, ...]:
    """Choose distinct items; the same arguments give the same items.

    Args:
        model: The model, whose profile supplies items if `items` is None.
        items: A list of items, or a file with one item per line.
        classifier: Classifier of the target; the profile returns items whose words do not mention
            its labels.
        count: Number of items.
        start: Number of items to skip.

    Returns:
        `count` distinct items.

    Raises:
        EvidenceError: There are fewer than `start + count` items, or the profile has none.
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
        items = read_lines(Path(items), EvidenceError)
    # Items are the replicates of every rate, so a duplicate must not count twice, also where it was
    # typed in another normal form.
    texts = (unicodedata.normalize("NFC", item.strip()) for item in items)
    distinct = tuple(dict.fromkeys(filter(None, texts)))
    # A slice rather than a draw: a later call with another `start` gives other items.
    selected = distinct[start : start + count]
    if len(selected) < count:
        raise EvidenceError(
            f"{source} has {len(distinct)} distinct items, {start + count} are needed."
        )
    return selected
