"""Items to draw a concept with: from a file, or from the model's profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clerestory.cli.lines import read_lines

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["contents_of"]


def contents_of(
    model: Model, file: Path | None, judge: str, count: int, start: int = 0
) -> tuple[str, ...]:
    """Items to draw, from a file or from the model's profile.

    Args:
        model: The model whose profile is asked where there is no file.
        file: A file with an item a line.
        judge: The classifier that will look, such as `lancet:mood`: the profile's items do not
            mention what it predicts.
        count: How many.
        start: How many to skip.

    Returns:
        `count` different items.

    Raises:
        EvidenceError: There are fewer, or none are known.
    """
    from clerestory.errors import EvidenceError

    if file is not None:
        every = tuple(dict.fromkeys(read_lines(file)))
        listed = every[start : start + count]
        if len(listed) < count:
            raise EvidenceError(
                f"{file} has {len(every)} different items and {start + count} are asked for: "
                "give more, or ask for fewer."
            )
        return listed
    listed = model.profile.items(count, judge, start)
    if not listed:
        raise EvidenceError("Name a file of items, one a line: this model's profile has none.")
    return listed
